"""Finds a producer that is wedged: it has events and a broker, and nothing becomes of any of them. Plain data.

No error says so. A broker that has lost its state may refuse the sequence of an idempotent producer for ever, and
another producer works at once.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from confluent_kafka import KafkaError

#: Seconds between two looks.
LOOK_INTERVAL = 1.0
#: How many times as patient it becomes, at most, while new producers are no better than the old ones.
MOST_PATIENT = 16

#: What is reported of events of which nobody but the producer has said anything.
_NO_WORD = {KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


@define(eq=False)
class Watchdog:
    """Looked at now and then, and told of one report of each burst: no event pays for it.

    :ivar patience: seconds in which something has to become of an event. It doubles with each producer of which nothing
        came either: then it is not their fault, and each of them may leave events in Kafka twice.
    """

    _patience: float
    _next: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)
    _moved: bool = field(default=True, init=False)
    _timed_out: bool = field(default=False, init=False)
    _times: int = field(default=1, init=False)

    def heard(self, count: int, errors: list[tuple[Any, str, bytes]] | None) -> None:
        """Take a report: an event that was delivered or refused is a sign of life, one whose time was over is none."""
        if errors is None or len(errors) < count or errors[-1][0].code() not in _NO_WORD:
            self._moved = True
            self._times = 1
        else:
            self._timed_out = True

    def rest(self) -> None:
        """Nothing can be expected of the producer, up to now."""
        self._moved = True

    def replaced(self) -> None:
        """There is another producer."""
        self._moved = True
        self._times = min(self._times * 2, MOST_PATIENT)

    def suspects(self, now: float, has_events: bool) -> bool:
        """Whether nothing has become of any event for too long."""
        if now < self._next:
            return False
        self._next = now + LOOK_INTERVAL
        if self._moved or not (has_events or self._timed_out):
            self._moved = self._timed_out = False
            self._since = now
        return now - self._since >= self._patience * self._times
