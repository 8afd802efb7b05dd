"""Event type -> topic, or a refusal: contract section 9. Plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from attrs import frozen

from raccoon_tx.metrics.counts import OTHER, Counts, GroupCounts, Lane
from raccoon_tx.model import Batch, Client, Event, Invalid
from raccoon_tx.report import Failure, failed_entries

#: One record to be: its lane, which knows the topic, and its value. `raccoon_tx.records` adds to it where asked.
Record = tuple[Lane, bytes]

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


class _Topics:
    """Topics by type, each checked when its type is first seen. What is refused is not remembered, and nothing is
    where the pattern is constant: clients name the types.

    :ivar allowed: types; empty for any.
    """

    def __init__(self, pattern: str, most: int) -> None:
        self._before, self._variable, self._after = pattern.partition("%s")
        self._most = most
        self._known: dict[str, str] = {}
        self.allowed: Collection[str] = ()

    def topic(self, kind: str) -> str:
        """:raises Unroutable: there is none for this type."""
        if self.allowed and kind not in self.allowed:
            raise Unroutable("this type is not allowed here")
        if not self._variable:
            return self._before
        known = self._known.get(kind)
        if known is None:
            if not kind:
                raise Unroutable("the type is empty")
            known = check_topic(self._before + kind + self._after)
            if len(self._known) >= self._most:
                raise Unroutable(f"this server writes to at most {self._most} topics")
            self._known[kind] = known
        return known

    @property
    def one_for_all(self) -> bool:
        """Whether every type has the same topic."""
        return not self._variable


class Lanes(dict[str, Lane]):
    """The lanes of one group, by type. Missing ones are made, or refused."""

    def __init__(self, topics: _Topics, group: str, counts: Counts) -> None:
        super().__init__()
        self._topics = topics
        self._group = group
        self._counts = counts
        self._others: Lane | None = None
        self._closed: dict[str, Lane] = {}

    def __missing__(self, kind: str) -> Lane:
        topic = self._topics.topic(kind)
        lane = self._closed.pop(kind, None)
        if lane is None:
            label = self._counts.type_label(kind)
            if label != kind and self._topics.one_for_all:
                # More types than are told apart, and no topic that would tell them apart.
                if self._others is None:
                    self._others = Lane(topic, self._group, label)
                return self._others
            lane = Lane(topic, self._group, label)
        self[kind] = lane
        return lane

    def close(self, allowed: Collection[str]) -> None:
        """Let only these types in; what the others have counted stays."""
        for kind in [kind for kind in self if kind not in allowed]:
            self._closed[kind] = self.pop(kind)

    def all(self) -> list[Lane]:
        """Every lane that has ever been open."""
        return [*self.values(), *self._closed.values(), *([self._others] if self._others else [])]


@frozen
class Stray:
    """An event that has no way to its topic. :ivar reason: why."""

    index: int
    event: Event
    reason: str


class Routes:
    """Makes the records of a batch.

    :ivar largest: bytes that the value of one record may have.
    """

    def __init__(self, pattern: str, max_topics: int, largest: int, counts: Counts | None = None) -> None:
        self._topics = _Topics(pattern, max_topics)
        self._counts = counts or Counts()
        self.largest = largest

    def allow(self, types: Collection[str]) -> None:
        """Take only events of these types from now on; none at all means any."""
        self._topics.allowed = frozenset(types)
        for group in self._counts.groups():
            if types and group.lanes is not None:
                group.lanes.close(self._topics.allowed)

    def lanes(self, group: GroupCounts) -> Lanes:
        """The lanes of a group."""
        if group.lanes is None:
            group.lanes = Lanes(self._topics, group.name, self._counts)
        lanes: Lanes = group.lanes
        return lanes

    def dead_letter_lane(self, group: GroupCounts, topic: str) -> Lane:
        """The lane of events of this group that have no other way."""
        lane = group.dead_letters
        if lane is None:
            lane = group.dead_letters = Lane(topic, group.name, OTHER)
        return lane

    def route(self, batch: Batch, group: GroupCounts, _client: Client | None = None) -> list[Record]:
        """The records of a batch, in the order of its events, which are counted as received.

        :raises Invalid: an event has no legal topic or is too large ever to be delivered; its text and its data
            name each such event.
        """
        lanes = group.lanes if group.lanes is not None else self.lanes(group)
        largest = self.largest
        try:
            records = [(lanes[event.type], event.event_bytes) for event in batch.events]
        except Unroutable:
            raise self.refusal(batch.events, self.strays(batch, group)) from None
        for _, value in records:
            if len(value) > largest:
                raise self.refusal(batch.events, self.strays(batch, group))
        for lane, value in records:
            lane.received += 1
            lane.bytes += len(value)
        return records

    def strays(self, batch: Batch, group: GroupCounts) -> list[Stray]:
        """The events that cannot be published, and why."""
        lanes = self.lanes(group)
        found = []
        for index, event in enumerate(batch.events):
            try:
                lanes[event.type]
            except Unroutable as mistake:
                found.append(Stray(index, event, str(mistake)))
            else:
                if len(event.event_bytes) > self.largest:
                    text = f"larger than the {self.largest} bytes that the producer takes"
                    found.append(Stray(index, event, text))
        return found

    def refusal(self, events: Sequence[Event], strays: Sequence[Stray]) -> Invalid:
        """What the client of a batch with such events is told."""
        failures = {stray.index: Failure(stray.reason, retryable=False) for stray in strays}
        reason, extra = failed_entries("invalid events: ", failures, events)
        return Invalid(reason, extra=extra)


#: A function like `Routes.route`.
Route = Callable[..., list[Any]]
