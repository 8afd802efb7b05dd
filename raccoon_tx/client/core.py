"""What to send, when to send it again, and what is done with: plain data that knows neither sockets nor clocks.

Whoever drives it says what happens and what time it is, and asks what is to be sent. An event is in exactly one place:
in the batch that is still open, in a batch that waits to be sent, or in one whose answer is not here yet.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from random import uniform
from typing import NamedTuple
from uuid import uuid4

from attrs import define, field, frozen, validators

#: Bytes that an event is taken to occupy beside its own.
OVERHEAD = 128

#: Seconds that a server's advice to wait is followed at most.
LONGEST_ADVICE = 300.0


class Full(Exception):
    """There is no room for the event: nothing of it was taken."""


class Closed(Exception):
    """The client takes no more events."""


class Event(NamedTuple):
    """One event: its type, which decides the topic, and its bytes, which become the value of the record."""

    type: str
    value: bytes

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return len(self.value) + len(self.type) + OVERHEAD


def event_of(kind: str, value: bytes) -> Event:
    """An event that can be sent. :raises TypeError: :raises ValueError: it cannot."""
    if not isinstance(kind, str) or not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"an event is a str and bytes, not {type(kind).__name__} and {type(value).__name__}")
    kind.encode()  # half of a surrogate pair cannot travel
    return Event(kind, bytes(value))


@frozen(kw_only=True)
class Limits:
    """How much is kept and sent at once.

    :ivar buffer_events: :ivar buffer_bytes: that are kept at most, those on their way among them. An event counts for
        its own bytes and `OVERHEAD`.
    :ivar batch_events: :ivar batch_bytes: of one batch at most; a larger event goes alone.
    :ivar batch_age: seconds that an event waits for others.
    :ivar in_flight: batches without an answer at most; a server refuses more than 64 on one WebSocket by default.
    :ivar answer_timeout: seconds to wait for an answer.
    :ivar backoff: :ivar longest_backoff: seconds before something is tried again, at first and at most.
    """

    buffer_events: int = field(default=100_000, validator=validators.gt(0))
    buffer_bytes: int = field(default=32 << 20, validator=validators.gt(0))
    batch_events: int = field(default=500, validator=validators.gt(0))
    batch_bytes: int = field(default=512 << 10, validator=validators.gt(0))
    batch_age: float = field(default=0.1, validator=validators.ge(0))
    in_flight: int = field(default=16, validator=validators.gt(0))
    answer_timeout: float = field(default=15.0, validator=validators.gt(0))
    backoff: float = field(default=0.5, validator=validators.gt(0))
    longest_backoff: float = field(default=30.0, validator=validators.gt(0))


@define(order=False, eq=False)
class Batch:
    """Events that travel together. :ivar number: its place in the order. :ivar guid: stays while its events do.
    :ivar tries: how often it has failed. :ivar time: when it was opened, may be sent again, or must be answered,
    wherever it is."""

    number: float
    guid: str
    time: float
    events: list[Event] = field(factory=list)
    size: int = 0
    tries: int = 0

    def __lt__(self, other: Batch) -> bool:
        return self.number < other.number


@frozen
class Answer:
    """What a server says of one batch.

    :ivar failed: the events it is about; all, if it names none. :ivar others_taken: and the others are published.
    :ivar too_large: a part of the batch may be taken. :ivar retry_after: seconds, if it said.
    """

    good: bool
    retryable: bool = False
    reason: str = ""
    failed: tuple[int, ...] = ()
    others_taken: bool = False
    too_large: bool = False
    retry_after: float | None = None


@define
class Counts:
    """What has become of events. :ivar sent_again: batches that went out more than once."""

    delivered: int = 0
    rejected: int = 0
    sent_again: int = 0
    connections: int = 0


@define(eq=False)
class Core:
    """The state of a client.

    :ivar guid: names batches. :ivar jitter: a number between two. :ivar rejected: events that the server will never
        take, and why, until somebody takes them from here.
    """

    limits: Limits
    guid: Callable[[], str] = lambda: str(uuid4())
    jitter: Callable[[float, float], float] = uniform
    counts: Counts = field(factory=Counts, init=False)
    rejected: list[tuple[Event, str]] = field(factory=list, init=False)
    #: Events, and the bytes they count for.
    events: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    #: Until when nothing is sent, and no connection is opened.
    pause: float = field(default=0.0, init=False)
    _losses: int = field(default=0, init=False)
    _number: int = field(default=0, init=False)
    _open: Batch | None = field(default=None, init=False)
    _ready: deque[Batch] = field(factory=deque, init=False)
    _again: list[Batch] = field(factory=list, init=False)
    _sent: dict[str, Batch] = field(factory=dict, init=False)

    # What a program asks for

    def has_room(self, event: Event) -> bool:
        """Whether it can be taken now. An event larger than the whole buffer is taken when there is nothing else."""
        if not self.events:
            return True
        limits = self.limits
        return self.events < limits.buffer_events and self.size + event.size <= limits.buffer_bytes

    def add(self, event: Event, now: float) -> None:
        """Take an event. :raises Full: there is no room for it."""
        if not self.has_room(event):
            raise Full(f"{self.events} events with {self.size} bytes are waiting already")
        limits, batch = self.limits, self._open
        if batch is not None and batch.size + event.size > limits.batch_bytes:
            self.close_batch()
            batch = None
        if batch is None:
            self._number += 1
            batch = self._open = Batch(self._number, self.guid(), now)
        batch.events.append(event)
        batch.size += event.size
        self.events += 1
        self.size += event.size
        if len(batch.events) >= limits.batch_events or batch.size >= limits.batch_bytes:
            self.close_batch()

    def close_batch(self) -> None:
        """What is taken so far waits for nothing else."""
        if self._open is not None:
            self._ready.append(self._open)
            self._open = None

    @property
    def idle(self) -> bool:
        """Whether every event is done with."""
        return not self.events

    @property
    def unanswered(self) -> int:
        """Batches on their way."""
        return len(self._sent)

    # What happens

    def connected(self) -> None:
        """There is a connection."""
        self.counts.connections += 1

    def lost(self, now: float) -> None:
        """The connection ended, or there was none to be had. What it carried may have arrived: nobody knows."""
        for batch in self._sent.values():
            batch.time = now
            insort(self._again, batch)
        self._sent.clear()
        self._losses += 1
        self.pause = max(self.pause, now + self._backoff(self._losses))

    def unknown(self, guid: str, now: float) -> None:
        """This batch got no answer, where each has a request of its own. It may have arrived."""
        batch = self._sent.pop(guid, None)
        if batch is not None:
            batch.time = now
            insort(self._again, batch)
            if self.pause <= now:  # the first of those that were on their way together
                self._losses += 1
                self.pause = now + self._backoff(self._losses)

    def too_large(self, now: float, reason: str) -> None:
        """The connection ended because a message was too large for the server, which does not say which one.

        It can only be the largest. Sent again whole, it would end every connection.
        """
        if self._sent:
            largest = max(self._sent.values(), key=lambda batch: batch.size)
            self._sent.pop(largest.guid)
            self._divide(largest, now, reason)
        self.lost(now)

    def answered(self, guid: str, answer: Answer, now: float) -> None:
        """A batch has its answer. One that was given up waiting for is as good."""
        batch = self._sent.pop(guid, None)
        if batch is None:
            batch = next((each for each in self._again if each.guid == guid), None)
            if batch is None or not answer.good:
                return
            self._again.remove(batch)
        if answer.retryable and answer.retry_after is not None:
            wait = min(answer.retry_after, LONGEST_ADVICE)
            self.pause = max(self.pause, now + wait * self.jitter(1.0, 1.5))
        else:
            self._losses = 0
        if answer.good:
            self._done(batch.events)
            self.counts.delivered += len(batch.events)
            return
        batch.tries += 1
        failed = {index for index in answer.failed if 0 <= index < len(batch.events)} or set(range(len(batch.events)))
        named = [event for index, event in enumerate(batch.events) if index in failed]
        others = [event for index, event in enumerate(batch.events) if index not in failed]
        if answer.too_large:
            self._divide(batch, now, answer.reason)
            return
        left = others
        if others and answer.others_taken:
            self._done(others)
            self.counts.delivered += len(others)
            left = []
        if answer.retryable:
            left = named if not left else batch.events
        else:
            self._give_up(named, answer.reason)
        if not left:
            return
        if len(left) < len(batch.events):
            # Under the old guid the rest would be taken for a duplicate.
            self._keep(batch, left)
        batch.time = now + (self._backoff(batch.tries) if answer.retryable else 0.0)
        insort(self._again, batch)

    def _divide(self, batch: Batch, now: float, reason: str) -> None:
        """Send the halves instead; an event that is too large alone is given up."""
        if len(batch.events) == 1:
            self._give_up(batch.events, reason)
            return
        middle = len(batch.events) // 2
        second = Batch(batch.number, "", now)
        self._keep(second, batch.events[middle:])
        self._keep(batch, batch.events[:middle])
        # The numbers between this batch and the next are never used up: a batch has few events for so many halves.
        second.number = batch.number + 2.0**-30 * middle
        batch.time = now
        insort(self._again, batch)
        insort(self._again, second)

    def _keep(self, batch: Batch, events: list[Event]) -> None:
        """These are its events from now on, so it is another batch."""
        batch.events = events
        batch.size = sum(event.size for event in events)
        batch.guid = self.guid()

    def _give_up(self, events: list[Event], reason: str) -> None:
        self._done(events)
        self.counts.rejected += len(events)
        self.rejected += [(event, reason) for event in events]

    def _done(self, events: list[Event]) -> None:
        self.events -= len(events)
        self.size -= sum(event.size for event in events)

    def _backoff(self, failures: int) -> float:
        longest = min(self.limits.longest_backoff, self.limits.backoff * 2.0 ** min(failures - 1, 16))
        return longest * self.jitter(0.5, 1.0)

    # What is to be done

    def wants_connection(self, now: float) -> bool:
        """Whether there is something to send and no reason to wait."""
        return not self.idle and now >= self.pause

    def to_send(self, now: float) -> list[Batch]:
        """Batches to send now, in order. They count as sent: say `lost` or `unknown` if they could not be."""
        if self._open is not None and now >= self._open.time + self.limits.batch_age:
            self.close_batch()
        batches: list[Batch] = []
        if now < self.pause:
            return batches
        room = self.limits.in_flight - len(self._sent)
        waiting: list[Batch] = []
        for batch in self._again:
            if len(batches) < room and now >= batch.time:
                batches.append(batch)
                self.counts.sent_again += 1
            else:
                waiting.append(batch)
        self._again = waiting
        while self._ready and len(batches) < room:
            batches.append(self._ready.popleft())
        for batch in batches:
            batch.time = now + self.limits.answer_timeout
            self._sent[batch.guid] = batch
        return batches

    def overdue(self, now: float) -> bool:
        """Whether an answer has been waited for long enough."""
        # They are in the order in which they were sent.
        return any(now >= batch.time for batch in self._first_sent())

    def next_time(self, now: float) -> float | None:
        """When to ask again if nothing happens before; ``None``: not at all."""
        times = [batch.time for batch in self._first_sent()]
        if self._open is not None:
            times.append(self._open.time + self.limits.batch_age)
        if len(self._sent) < self.limits.in_flight:
            times += [max(batch.time, self.pause) for batch in self._again]
            if self._ready:
                times.append(self.pause)
        return max(now, min(times)) if times else None

    def _first_sent(self) -> list[Batch]:
        return [next(iter(self._sent.values()))] if self._sent else []
