"""Deadlines that are all equally far away, by one timer."""

from __future__ import annotations

from typing import Protocol

from raccoon_tx.clock import Clock, Timer

#: Seconds that a timer may be early, as far as it concerns the sums of floats.
_ROUNDING = 1e-6


#: Of those whose time is over at one moment, who is told so in one turn of the reactor.
IN_A_TURN = 64


class Waiting(Protocol):
    """Who has a deadline."""

    def late(self) -> None:
        """It is over."""


class Deadlines:
    """They come up in the order in which they began, so a request costs no timer, only two changes of a dict.

    :ivar seconds: until each of them.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        self._due: dict[Waiting, float] = {}
        self._timer: Timer | None = None

    def begin(self, waiting: Waiting) -> None:
        """Its time begins, perhaps anew."""
        self._due.pop(waiting, None)
        self._due[waiting] = self._clock.seconds() + self.seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._turn)

    def forget(self, waiting: Waiting) -> float:
        """It has no deadline here any more. :return: the seconds it had left, or all of them if it had none."""
        now = self._clock.seconds()
        return self._due.pop(waiting, now + self.seconds) - now

    def stop(self) -> None:
        """Nobody is left; the timer, which stays for the next one otherwise, goes too."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        over: list[Waiting] = []
        for waiting, due in self._due.items():
            if due > now + _ROUNDING or len(over) == IN_A_TURN:
                self._timer = self._clock.callLater(max(due - now, 0.0), self._turn)
                break
            over.append(waiting)
        for waiting in over:
            if self._due.pop(waiting, None) is not None:
                waiting.late()
