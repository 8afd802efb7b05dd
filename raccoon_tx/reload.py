"""What ``SIGHUP`` does: the configuration is read again, and what can change while the server runs changes."""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

from raccoon_tx.config import ConfigurationError, Loaded
from raccoon_tx.logs import Logger
from raccoon_tx.settings import Settings

_log = Logger()

#: What takes effect without a restart.
CHANGING = "log level, certificates, rate limits and allowed types"


def reload(loaded: Loaded, change: Callable[[Settings], None]) -> None:
    """Read the sources of a configuration again, and hand the result on. Mistakes are logged and change nothing.

    :raises: nothing.
    """
    if loaded.again is None:
        return
    try:
        now = loaded.again()
        change(now.settings)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            _log.error("SIGHUP: {mistake}", mistake=mistake)
        _log.error("SIGHUP: nothing was changed")
    except (OSError, SSL.Error) as problem:
        _log.error("SIGHUP: the certificates cannot be used, the old ones stay: {problem}", problem=repr(problem))
    else:
        for warning in now.warnings:
            _log.warn("{text}", text=warning)
        _log.info("SIGHUP: {what} are as configured now; other settings need a restart", what=CHANGING)
