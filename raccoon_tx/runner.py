"""Runs a server in the foreground, from start to stop: what ``raccoon server`` does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from OpenSSL import SSL
from twisted.logger import Logger

from raccoon_tx import logs, signals
from raccoon_tx.config import Loaded
from raccoon_tx.reload import reload
from raccoon_tx.tap import Server, build
from raccoon_tx.transports.listen import PortTaken

#: Exit statuses, of contract section 14.
ORDERLY, WRONG, CANNOT_START, ABANDONED = 0, 1, 2, 3

_log = Logger()


def run(loaded: Loaded, started: Callable[[Server, Any], None] | None = None, log_stream: Any = None) -> int:
    """Run until a signal stops it. :param started: is called with the server and the reactor once it listens.

    :return: the exit status.
    """
    settings = loaded.settings
    logs.begin(settings.log.format, settings.log.level, log_stream)
    from twisted.internet import reactor

    running: Any = reactor
    for warning in loaded.warnings:
        _log.warn("{warning}", warning=warning)
    try:
        server = build(settings, running)
        server.privilegedStartService()
        server.startService()
    except PortTaken as problem:
        _log.critical("{problem}", problem=problem)
        return CANNOT_START
    except KafkaException as problem:
        _log.critical("the publisher cannot start: {problem}", problem=problem.args[0].str())
        return CANNOT_START
    except (OSError, SSL.Error) as problem:
        _log.critical("the certificates cannot be used: {problem}", problem=repr(problem))
        return WRONG
    running.addSystemEventTrigger("before", "shutdown", _stop, server)
    signals.install(running, server.hurry, partial(reload, loaded, server.change))
    if started is not None:
        running.callWhenRunning(started, server, running)
    running.run()
    return ABANDONED if server.abandoned else ORDERLY


def _stop(server: Server) -> Any:
    _log.info("stopping: finishing what was received")
    return server.stopService().addCallback(lambda _: _log.info("stopped"))
