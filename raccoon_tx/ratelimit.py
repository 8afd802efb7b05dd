"""How many events a client may send: a bucket of tokens for each, of which an event takes one. Plain data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from attrs import define

#: Clients whose buckets are remembered; the one not seen longest is forgotten, and begins anew with a full one.
MOST_CLIENTS = 50_000


@define
class _Bucket:
    tokens: float
    filled: float


class RateLimit:
    """:ivar rate: events a second; 0 sets no limit. :ivar burst: events that may come at once; 0: one second's worth.
    :ivar now: seconds."""

    def __init__(self, rate: int, burst: int, now: Callable[[], float]) -> None:
        self._now = now
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self.change(rate, burst)

    def change(self, rate: int, burst: int) -> None:
        """Set other limits. Everybody begins with a full bucket again."""
        self.rate = rate
        self._size = float(burst or rate)
        self._buckets.clear()

    def wait(self, client: Hashable, events: int) -> float:
        """Take events from a client. :return: 0 if it may send them, else seconds after which it may."""
        if not self.rate:
            return 0.0
        now = self._now()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._size, now)
            if len(self._buckets) > MOST_CLIENTS:
                self._buckets.popitem(last=False)
        else:
            bucket.tokens = min(self._size, bucket.tokens + (now - bucket.filled) * self.rate)
            bucket.filled = now
            self._buckets.move_to_end(client)
        # A batch larger than the bucket is let in when the bucket is full, and pays its debt afterwards.
        needed = min(float(events), self._size)
        if bucket.tokens >= needed:
            bucket.tokens -= events
            return 0.0
        return (needed - bucket.tokens) / self.rate
