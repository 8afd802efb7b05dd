"""What tells the time and wakes us: the reactor, or in tests a ``twisted.internet.task.Clock``.

The same as ``IReactorTime``, in a form that the type checker understands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds that only go forward."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., Any], /, *arguments: Any) -> Timer: ...


def looping(clock: Clock, call: Callable[[], object]) -> LoopingCall:
    """A `LoopingCall` by this clock, not started yet."""
    loop = LoopingCall(call)
    loop.clock = cast("Any", clock)
    return loop


def pause(clock: Clock, seconds: float) -> Deferred[None]:
    """Fires after so many seconds."""
    return deferLater(cast("Any", clock), seconds)
