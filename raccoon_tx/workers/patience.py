"""Notices what was not answered in time, with one timer for all of it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from raccoon_tx.clock import Clock, Timer


@define(eq=False)
class Patience:
    """Everything that is waited for gets the same time.

    :ivar seconds: that it gets. :ivar late: is called with the number of what was not answered in it.
    """

    _clock: Clock
    _seconds: float
    _late: Callable[[int], None]
    _deadlines: dict[int, float] = field(factory=dict, init=False)
    _timer: Timer | None = field(default=None, init=False)

    def begin(self, number: int) -> None:
        """An answer to this is waited for."""
        self._deadlines[number] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def end(self, number: int) -> None:
        """It is not waited for any more. Does nothing if it was not."""
        self._deadlines.pop(number, None)

    def numbers(self) -> list[int]:
        """What is waited for."""
        return list(self._deadlines)

    def stop(self) -> None:
        """Nothing is waited for any more."""
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        # The oldest come first: all get the same time.
        late = []
        for number, deadline in self._deadlines.items():
            if deadline > now:
                self._timer = self._clock.callLater(deadline - now, self._look)
                break
            late.append(number)
        for number in late:
            self._deadlines.pop(number, None)
            self._late(number)
