"""The reactor of a server: Twisted's own on epoll, with a clock that nobody can set, and less done for each event."""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet.main import installReactor
from twisted.python import log

try:
    from twisted.internet import epollreactor
except ImportError:  # not on Linux
    epollreactor = None  # type: ignore[assignment]

#: Whether this machine has it.
EPOLL = epollreactor is not None

#: Events that are handled before timers and threads have their turn, however many there are.
IN_A_TURN = 256

#: Something came in, and nothing else happened: ``select.EPOLLIN``.
_READABLE = 1


def install() -> None:
    """Make it the reactor of this process, if there is none yet and the machine has epoll. Whoever wants another one
    installs it first, as always with Twisted."""
    if EPOLL and "twisted.internet.reactor" not in sys.modules:
        installReactor(make())


def make() -> Any:
    """A reactor, not installed."""
    if not EPOLL:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()

    class Reactor(epollreactor.EPollReactor):
        """Time-outs last as long as they should, whatever is done to the clock on the wall, and an event is handed to
        its connection without a context for log lines that do not use it."""

        seconds = staticmethod(time.monotonic)

        def doPoll(self, timeout: float | None) -> None:
            try:
                events = self._poller.poll(-1 if timeout is None else timeout, min(len(self._selectables), IN_A_TURN))
            except InterruptedError:
                return
            selectables = self._selectables
            for descriptor, event in events:
                selectable = selectables.get(descriptor)
                if selectable is None:
                    continue  # closed by what came before it
                if event != _READABLE:
                    self._doReadOrWrite(selectable, descriptor, event)
                    continue
                try:
                    why = selectable.doRead()
                except BaseException as problem:
                    why = problem
                    log.err()
                if why:
                    self._disconnectSelectable(selectable, why, True)

        # The main loop calls it by this name.
        doIteration = doPoll  # noqa: N815

    return Reactor()
