"""What is counted, in plain objects: an addition costs what an addition costs, and no library is called on the way of
an event. The exporters read from here. Plain data.

Labels that clients choose have bounds: what comes after the first `most` values is counted under ``other``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

OTHER = "other"

#: Upper bounds, in milliseconds, of all histograms but one (contract section 12.1).
BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
#: Those of the duration of sessions.
SESSION_BOUNDS = (1000, 10_000, 100_000, 600_000, 3_600_000)


class Histogram:
    """Observations in buckets.

    :ivar bounds: upper bounds, inclusive. :ivar counts: observations in each bucket alone, with one bucket more for
        those above the last bound. :ivar total: their sum.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, milliseconds: float) -> None:
        """Count one observation, which becomes a whole number."""
        whole = int(milliseconds)
        self.counts[bisect_left(self.bounds, whole)] += 1
        self.total += whole


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
        a topic. :ivar read: batches. :ivar not_read: batches that could not be taken, by reason.
    :ivar connected: WebSockets let in, ever. :ivar refused: those that were not, by reason. :ivar open: those that
        are open now.
    """

    __slots__ = (
        "connected",
        "dead_letters",
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

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: Any = None
        self.dead_letters: Lane | None = None
        self.read = 0
        self.not_read: dict[str, int] = {}
        self.duplicates = 0
        self.connected = 0
        self.refused: dict[str, int] = {}
        self.open = 0
        self.ping_failures = 0
        self.pong_failures = 0
        self.processing = Histogram()
        self.latency = Histogram()
        self.sessions = Histogram(SESSION_BOUNDS)

    def could_not_read(self, reason: str) -> None:
        """Count a batch that could not be taken; ``reason`` is one of ours."""
        self.not_read[reason] = self.not_read.get(reason, 0) + 1

    def all_lanes(self) -> list[Lane]:
        """Every lane of the group."""
        lanes: list[Lane] = self.lanes.all() if self.lanes is not None else []
        return [*lanes, self.dead_letters] if self.dead_letters is not None else lanes

    def refuse(self, reason: str) -> None:
        """Count a connection that was not let in; ``reason`` is one of ours."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


class Labels:
    """The first so many values of a label; the others are `OTHER`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The label for ``value``."""
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


class Counts:
    """Everything that is counted in this process.

    :ivar publisher: name of the publisher, which begins the names of its metrics. :ivar worker: the label of the one
        worker there is. :ivar waited: milliseconds that batches waited for room in the producer. :ivar published: that
        the publisher took for each batch. :ivar worked: the same for each event. :ivar acked: from an acknowledgement
        to its frame. :ivar answered: from a WebSocket message to its answer. :ivar client: statistics of the Kafka
        client, as it hands them over.
    """

    def __init__(self, publisher: str = "kafka", most: int = 200, worker: str = "worker-0") -> None:
        self.publisher = publisher
        self.worker = worker
        self.type_label = Labels(most)
        self.topic_label = Labels(most)
        self.waited = Histogram()
        self.published = Histogram()
        self.worked = Histogram()
        self.acked = Histogram()
        self.answered = Histogram()
        self.close_errors = 0
        self.client: Mapping[str, Any] = {}
        self._most = most
        self._groups: dict[str, GroupCounts] = {}

    def group(self, name: str) -> GroupCounts:
        """What is counted for this group."""
        found = self._groups.get(name)
        if found is None:
            if len(self._groups) >= self._most:
                name = OTHER
            found = self._groups.setdefault(name, GroupCounts(name))
        return found

    def groups(self) -> Iterator[GroupCounts]:
        """All groups that were ever seen."""
        yield from self._groups.values()
