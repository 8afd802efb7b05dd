"""Which signal does what: contract section 15.2."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def install(reactor: Any, hurry: Callable[[], None], reload: Callable[[], None]) -> None:
    """Once the reactor runs: a first ``SIGINT``, ``SIGTERM`` or ``SIGQUIT`` stops it, a second one calls ``hurry``;
    ``SIGHUP`` calls ``reload``.

    Ours come after the reactor's own handlers, which would make ``twistd`` die of the signal instead of ending with
    a status.
    """
    stopping: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stopping.append(number)
        reactor.callFromThread(reactor.stop if len(stopping) == 1 else hurry)

    def hang_up(_number: int, _frame: Any) -> None:
        reactor.callFromThread(reload)

    def handle() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, stop)
        signal.signal(signal.SIGHUP, hang_up)

    reactor.callWhenRunning(handle)
