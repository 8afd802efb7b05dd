"""What came of the batches that were sent: plain data."""

from __future__ import annotations

from math import frexp, ldexp

from attrs import define, field

#: Steps between a latency and its double: percentiles are off by at most one of them.
_STEPS = 64

#: Most different reasons that are kept; one more takes all the others.
_REASONS = 20
OTHER = "for other reasons"


@define(eq=False)
class Tally:
    """What came of one run.

    :ivar batches: that were sent. :ivar accepted: of them. :ivar refused: others, by reason.
    :ivar unanswered: that got no answer in time. :ivar unsent: that were due and found no connection free.
    :ivar slowest: seconds that an accepted batch took.
    """

    batches: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(factory=dict)
    unanswered: int = 0
    unsent: int = 0
    slowest: float = 0.0
    _latencies: dict[int, int] = field(factory=dict)

    def accept(self, seconds: float) -> None:
        """A batch was accepted, so long after it was, or should have been, sent."""
        self.accepted += 1
        self.slowest = max(self.slowest, seconds)
        mantissa, exponent = frexp(max(seconds, 1e-7))
        step = exponent * _STEPS + int((mantissa - 0.5) * 2 * _STEPS)
        self._latencies[step] = self._latencies.get(step, 0) + 1

    def refuse(self, reason: str, count: int = 1) -> None:
        """Batches, or whatever is counted, were refused."""
        if reason not in self.refused and len(self.refused) >= _REASONS:
            reason = OTHER
        self.refused[reason] = self.refused.get(reason, 0) + count

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the accepted batches was answered."""
        left = share * self.accepted
        for step in sorted(self._latencies):
            left -= self._latencies[step]
            if left <= 0:
                exponent, within = divmod(step, _STEPS)
                return min(ldexp(0.5 + (within + 1) / (2 * _STEPS), exponent), self.slowest)
        return 0.0
