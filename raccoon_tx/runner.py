"""Runs a server in the foreground, from start to stop: what ``raccoon server`` does."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from raccoon_tx import logs, signals
from raccoon_tx.config import Loaded
from raccoon_tx.logs import Logger
from raccoon_tx.process import give_up_output, or_exit
from raccoon_tx.reload import reload
from raccoon_tx.tap import Server, build_all

if TYPE_CHECKING:
    from raccoon_tx.workers.parent import Workers

_log = Logger()


def run(loaded: Loaded, started: Callable[[Server, Any], None] | None = None, log_stream: Any = None) -> int:
    """Run until a signal stops it. :param started: is called with the server and the reactor once it listens,
        if it is one process.

    :return: the exit status.
    """
    settings = loaded.settings
    logs.begin(settings.log.format, settings.log.level, log_stream)
    from twisted.internet import reactor

    running: Any = reactor
    for warning in loaded.warnings:
        _log.warn("{text}", text=warning)
    try:
        server: Server | Workers = or_exit(partial(build_all, settings, running, relayed=False))
        or_exit(server.privilegedStartService)
        or_exit(server.startService)
    except SystemExit as end:
        return int(str(end))
    running.addSystemEventTrigger("before", "shutdown", _stop, server)
    signals.install(running, server.hurry, partial(reload, loaded, server.change))
    if started is not None and isinstance(server, Server):
        running.callWhenRunning(started, server, running)
    running.callWhenRunning(_collect_from_now_on)
    running.run()
    give_up_output()
    return server.status


def _collect_from_now_on() -> None:
    # What is there by now stays to the end: no garbage collection need look at it again.
    gc.freeze()
    gc.enable()


def _stop(server: Server | Workers) -> Any:
    if server.failed:
        return server.stopService()
    _log.info("stopping: finishing what was received")
    return server.stopService().addCallback(lambda _: _log.info("stopped"))
