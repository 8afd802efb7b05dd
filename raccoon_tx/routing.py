"""Event type -> topic, or a refusal: contract section 9. Plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from raccoon_tx.model import Event, Invalid
from raccoon_tx.report import Failure, failed_entries

#: One record to be: topic and value.
Record = tuple[str, bytes]

#: Kafka's rule for the name of a topic.
_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")

#: What librdkafka adds to the value of a record when it holds it against ``message.max.bytes``.
RECORD_OVERHEAD = 36


class Unroutable(Exception):
    """No topic may be derived from this type; the text says why."""


def check_topic(topic: str) -> str:
    """:raises Unroutable: ``topic`` is not a name that Kafka takes from a client."""
    if not _LEGAL.match(topic):
        if len(topic) > 249:
            raise Unroutable("topic name longer than 249 characters")
        raise Unroutable("illegal type: only letters, digits, '.', '_' and '-' can be in a topic name")
    if topic in (".", ".."):
        raise Unroutable("illegal type: '.' and '..' are not topic names")
    if topic.startswith("__"):
        raise Unroutable("illegal type: topics beginning with '__' are Kafka's own")
    return topic


class _PerType(dict[str, str]):
    """Topics by type, each checked when its type is first seen. What is refused is not remembered."""

    def __init__(self, pattern: str, most: int) -> None:
        super().__init__()
        self._before, _, self._after = pattern.partition("%s")
        self._most = most

    def __missing__(self, kind: str) -> str:
        if not kind:
            raise Unroutable("the type is empty")
        topic = check_topic(self._before + kind + self._after)
        if len(self) >= self._most:
            raise Unroutable(f"this server writes to at most {self._most} topics")
        self[kind] = topic
        return topic


class _Constant(dict[str, str]):
    """One topic for every type; remembers no type, since clients name them."""

    def __init__(self, topic: str) -> None:
        super().__init__()
        self._topic = topic

    def __missing__(self, kind: str) -> str:
        return self._topic


class Routes:
    """Makes the records of a batch.

    :ivar largest: bytes that the value of one record may have.
    """

    def __init__(self, pattern: str, max_topics: int, largest: int) -> None:
        self._topics: dict[str, str] = _PerType(pattern, max_topics) if "%s" in pattern else _Constant(pattern)
        self.largest = largest

    def route(self, events: Sequence[Event]) -> list[Record]:
        """The records of these events, in their order.

        :raises Invalid: an event has no legal topic or is too large ever to be delivered; its text and its data
            name each such event.
        """
        topics, largest = self._topics, self.largest
        try:
            records = [(topics[event.type], event.event_bytes) for event in events]
        except Unroutable:
            pass
        else:
            if max([len(value) for _, value in records], default=0) <= largest:
                return records
        raise self._explain(events)

    def _explain(self, events: Sequence[Event]) -> Invalid:
        failures: dict[int, Failure] = {}
        for index, event in enumerate(events):
            try:
                self._topics[event.type]
            except Unroutable as mistake:
                failures[index] = Failure(str(mistake), retryable=False)
            else:
                if len(event.event_bytes) > self.largest:
                    text = f"larger than the {self.largest} bytes that the producer takes"
                    failures[index] = Failure(text, retryable=False)
        reason, extra = failed_entries("invalid events: ", failures, events)
        return Invalid(reason, extra=extra)


#: A function like `Routes.route`.
Route = Callable[[Sequence[Event]], list[Record]]
