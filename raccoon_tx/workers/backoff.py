"""How long to wait before a worker is started again. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform

from attrs import define, field

#: Seconds before the first new start, and at most.
FIRST, MOST = 0.1, 30.0
#: Seconds after which a worker has proved itself: what ends it later is not what ended it before.
PROVED = 60.0


@define
class Backoff:
    """:ivar jitter: makes a number between two; workers that end together are not to start together."""

    jitter: Callable[[float, float], float] = uniform
    _failures: int = field(default=0, init=False)

    def delay(self, lived: float) -> float:
        """Seconds to wait after a worker that has lived for so many."""
        self._failures = 1 if lived >= PROVED else self._failures + 1
        # Never so many that the power is too large a number.
        longest = min(MOST, FIRST * 2.0 ** min(self._failures - 1, 16))
        return longest * self.jitter(0.75, 1.0)
