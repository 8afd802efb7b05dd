"""What is counted, in plain objects: an addition costs what an addition costs, and no library is called on the way of
an event. The exporters read from here. Plain data.

Labels that clients choose have bounds: what comes after the first `most` values is counted under ``other``, and so is
what makes no label: a text longer than any topic, or one that no encoding can write.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from random import random
from typing import Any

OTHER = "other"

#: Characters that a label may have. Those of a topic fit.
LONGEST = 256

#: Observations that `SampledHistogram` keeps.
KEPT = 100

#: Upper bounds, in milliseconds, of all histograms but one (contract section 12.1).
BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
#: Those of the duration of sessions.
SESSION_BOUNDS = (1000, 10_000, 100_000, 600_000, 3_600_000)


class Histogram:
    """Observations in buckets.

    :ivar bounds: upper bounds, inclusive. :ivar counts: observations in each bucket alone, with one bucket more for
        those above the last bound. :ivar total: their sum.
    """

    __slots__ = ("_first", "bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self._first = bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, milliseconds: float) -> None:
        """Count one observation, which becomes a whole number."""
        whole = int(milliseconds)
        # Most are in the first.
        self.counts[bisect_left(self.bounds, whole) if whole > self._first else 0] += 1
        self.total += whole


class SampledHistogram(Histogram):
    """Keeps some of its observations as they are as well, for an exporter that sends them one by one. Those that are
    kept are a fair sample: each observation has the same chance to be among them.

    :ivar kept: observations since the last `take`. :ivar seen: how many there were of them all.
    """

    __slots__ = ("kept", "seen")

    def __init__(self, bounds: tuple[int, ...] = BOUNDS) -> None:
        super().__init__(bounds)
        self.kept: list[int] = []
        self.seen = 0

    def observe(self, milliseconds: float) -> None:
        whole = int(milliseconds)
        self.counts[bisect_left(self.bounds, whole)] += 1
        self.total += whole
        self.seen += 1
        if len(self.kept) < KEPT:
            self.kept.append(whole)
        else:
            place = int(random() * self.seen)
            if place < KEPT:
                self.kept[place] = whole

    def take(self) -> tuple[list[int], int]:
        """What was kept, and how many observations it stands for; the next sample begins here."""
        taken = self.kept, self.seen
        self.kept, self.seen = [], 0
        return taken


class Lane:
    """Where the events of one group and type go, and how many went.

    :ivar topic: by its full name. :ivar group: :ivar type: labels.
    """

    __slots__ = ("bytes", "delivered", "group", "received", "topic", "type", "undelivered", "unknown_topic")

    def __init__(self, topic: str, group: str, kind: str) -> None:
        self.topic = topic
        self.group = group
        self.type = kind
        self.received = 0
        self.bytes = 0
        self.delivered = 0
        self.undelivered = 0
        self.unknown_topic = 0


class GroupCounts:
    """What is counted for one group of clients.

    :ivar lanes: a `raccoon_tx.routing.Lanes`, once there was an event. :ivar dead_letters: the lane of events without
        a topic. :ivar drained: the lanes of events that lay in the spool, by topic and type. :ivar read: batches.
    :ivar not_read: batches that could not be taken, by reason.
    :ivar connected: WebSockets let in, ever. :ivar refused: those that were not, by reason. :ivar open: those that
        are open now. :ivar processing: :ivar latency: milliseconds from the sending by the client, and from the
        arrival, until a batch was published, divided by its events, as dashboards expect. :ivar batch_processing:
        :ivar batch_latency: the same of whole batches.
    """

    __slots__ = (
        "batch_latency",
        "batch_processing",
        "connected",
        "dead_letters",
        "drained",
        "duplicates",
        "lanes",
        "latency",
        "name",
        "not_read",
        "open",
        "ping_failures",
        "pong_failures",
        "processing",
        "read",
        "refused",
        "sessions",
    )

    def __init__(self, name: str, histogram: type[Histogram] = Histogram) -> None:
        self.name = name
        self.lanes: Any = None
        self.dead_letters: Lane | None = None
        self.drained: dict[tuple[str, str], Lane] = {}
        self.read = 0
        self.not_read: dict[str, int] = {}
        self.duplicates = 0
        self.connected = 0
        self.refused: dict[str, int] = {}
        self.open = 0
        self.ping_failures = 0
        self.pong_failures = 0
        self.processing = histogram()
        self.latency = histogram()
        self.batch_processing = histogram()
        self.batch_latency = histogram()
        self.sessions = histogram(SESSION_BOUNDS)

    def could_not_read(self, reason: str) -> None:
        """Count a batch that could not be taken; ``reason`` is one of ours."""
        self.not_read[reason] = self.not_read.get(reason, 0) + 1

    def all_lanes(self) -> list[Lane]:
        """Every lane of the group."""
        lanes: list[Lane] = [*(self.lanes.all() if self.lanes is not None else []), *self.drained.values()]
        return [*lanes, self.dead_letters] if self.dead_letters is not None else lanes

    def drained_lane(self, topic: str, kind: str) -> Lane:
        """The lane of events of this topic, and this label of a type, that lay in the spool."""
        lane = self.drained.get((topic, kind))
        if lane is None:
            lane = self.drained[topic, kind] = Lane(topic, self.name, kind)
        return lane

    def refuse(self, reason: str) -> None:
        """Count a connection that was not let in; ``reason`` is one of ours."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


def can_be_label(value: str) -> bool:
    """Whether every exporter can write ``value``: half of a surrogate pair is a character, but nothing to send."""
    if len(value) > LONGEST:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


class Labels:
    """The first so many values of a label; the others are `OTHER`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label for ``value``."""
        if value in self._known:
            return value
        if len(self._known) >= self._most or not can_be_label(value):
            return OTHER
        self._known.add(value)
        return value


class SpoolCounts:
    """The figures of the disk spool.

    :ivar batches: :ivar events: :ivar bytes: that lie in it. :ivar oldest: when the oldest batch came, in Unix seconds.
    :ivar dead: batches that were given up and are kept. :ivar file: bytes of its file. :ivar usable: it takes batches.
    :ivar written: batches, ever. :ivar drained: those that were read of it again and delivered, ever.
    :ivar buried: those that were given up, ever. :ivar refused: batches for which it had no room, by reason.
    :ivar failures: what went wrong, by kind.
    :ivar commits: milliseconds of its transactions. :ivar wall: Unix seconds.
    """

    def __init__(self, wall: Callable[[], float], histogram: type[Histogram] = Histogram) -> None:
        self.wall = wall
        self.batches = self.events = self.bytes = self.dead = self.file = 0
        self.written = self.drained = self.buried = 0
        self.oldest = 0.0
        self.usable = False
        self.refused: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.commits = histogram()

    @property
    def age(self) -> float:
        """Seconds since the oldest batch came; 0 if there is none."""
        return max(0.0, self.wall() - self.oldest) if self.batches and self.oldest else 0.0

    def refuse(self, reason: str) -> None:
        """Count a batch that there was no room for; ``reason`` is one of ours."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def fail(self, kind: str) -> None:
        """Count something that went wrong; ``kind`` is one of ours."""
        self.failures[kind] = self.failures.get(kind, 0) + 1


class Counts:
    """Everything that is counted in this process.

    :ivar publisher: what the names of the publisher's metrics begin with: ``kafka``, whichever broker it has, or
        ``log``. :ivar worker: the label of the one worker there is. :ivar waited: milliseconds that batches waited
        for room in the producer. :ivar published: that the publisher took for each batch. :ivar worked: the same for
        each event. :ivar acked: from an acknowledgement to its frame. :ivar answered: from a WebSocket message to its
        answer. :ivar client: statistics of the Kafka client, empty without any: ``txmsgs`` and ``txmsg_bytes`` are
        messages and bytes that were sent; ``brokers`` has for each label a tuple of the requests and the bytes that
        went there and the average round trip in microseconds. :ivar spool: of the disk spool, if there is one.
        :ivar queue: says how many batches wait for room in the producer, and how many it has that are not confirmed;
        nothing without a producer.

    :param histogram: what the observations go to.
    """

    def __init__(
        self,
        publisher: str = "kafka",
        most: int = 200,
        worker: str = "worker-0",
        histogram: type[Histogram] = Histogram,
    ) -> None:
        self.publisher = publisher
        self.worker = worker
        self.type_label = Labels(most)
        self.topic_label = Labels(most)
        self.waited = histogram()
        self.published = histogram()
        self.worked = histogram()
        self.acked = histogram()
        self.answered = histogram()
        self.close_errors = 0
        self.replaced: dict[str, int] = {}
        self.client: Mapping[str, Any] = {}
        self.spool: SpoolCounts | None = None
        self.queue: Callable[[], tuple[int, int]] | None = None
        self._most = most
        self._histogram = histogram
        self._groups: dict[str, GroupCounts] = {}

    def group(self, name: str) -> GroupCounts:
        """What is counted for this group."""
        found = self._groups.get(name)
        if found is None:
            if len(self._groups) >= self._most or not can_be_label(name):
                name = OTHER
                found = self._groups.get(name)
            if found is None:
                found = self._groups[name] = GroupCounts(name, self._histogram)
        return found

    def groups(self) -> Iterator[GroupCounts]:
        """All groups that were ever seen."""
        yield from self._groups.values()
