"""What stands in Kafka's topics, read by a plain consumer that lives as long as the tests."""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import uuid4

from attrs import define, field, frozen
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

#: Seconds that a record may take to appear.
PATIENCE = 15.0


def word() -> str:
    """Part of a name that nobody else uses."""
    return uuid4().hex[:8]


def topic(kind: str) -> str:
    """Where events of this type go, by the pattern of section 19."""
    return f"clickstream-{kind}-log"


@frozen
class Record:
    """One record. :ivar time: in seconds, or None."""

    value: bytes
    key: bytes | None
    headers: dict[str, bytes]
    time: float | None


@define(eq=False)
class Kafka:
    """Reads topics from their beginning; each test has topics of its own, so that is what the test made."""

    bootstrap: str
    _consumer: Consumer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unused",  # asked for, but partitions are assigned by hand and nothing is committed
                "enable.auto.commit": False,
                "allow.auto.create.topics": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )

    def __enter__(self) -> Kafka:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def topics(self) -> set[str]:
        """The names of all topics."""
        return set(self._consumer.list_topics(timeout=PATIENCE).topics)

    def records(self, topics: Iterable[str], expected: int, patience: float = PATIENCE) -> dict[str, list[Record]]:
        """Read until there are ``expected`` records in all. :raises AssertionError: they do not come."""
        names = list(topics)
        deadline = time.monotonic() + patience
        found: dict[str, dict[tuple[int, int], Record]] = {name: {} for name in names}
        assigned: set[str] = set()
        ended: set[tuple[str, int]] = set()
        places: list[Place] = []
        try:
            while True:
                if len(assigned) < len(names):
                    fresh = self._fresh(names, assigned)
                    if fresh:
                        self._consumer.incremental_assign(fresh)
                        places += fresh
                        assigned |= {place.topic for place in fresh}
                for message in self._consumer.consume(500, 0.02):
                    self._note(message, found, ended)
                count = sum(map(len, found.values()))
                everything = {(place.topic, place.partition) for place in places} <= ended
                if count >= expected and (everything or not expected):
                    break
                assert time.monotonic() < deadline, f"{count} of {expected} records came: {self._brief(found)}"
        finally:
            self._consumer.unassign()
        return {name: [records[at] for at in sorted(records)] for name, records in found.items()}

    def _fresh(self, names: list[str], assigned: set[str]) -> list[Place]:
        known = self._consumer.list_topics(timeout=PATIENCE).topics
        return [
            Place(name, number, OFFSET_BEGINNING)
            for name in names
            if name in known and name not in assigned
            for number in known[name].partitions
        ]

    @staticmethod
    def _note(message: Message, found: dict[str, dict[tuple[int, int], Record]], ended: set[tuple[str, int]]) -> None:
        name, partition = str(message.topic()), int(message.partition())
        if error := message.error():
            if error.code() == KafkaError._PARTITION_EOF:
                ended.add((name, partition))
                return
            raise KafkaException(error)
        kind, moment = message.timestamp()
        found[name][partition, message.offset()] = Record(
            message.value() or b"",
            message.key(),
            dict(message.headers() or ()),
            None if kind == TIMESTAMP_NOT_AVAILABLE else moment / 1000,
        )

    @staticmethod
    def _brief(found: dict[str, dict[tuple[int, int], Record]]) -> dict[str, list[bytes]]:
        return {name: [record.value[:80] for record in records.values()] for name, records in found.items()}

    def values(self, *kinds: str, expected: int) -> dict[str, list[bytes]]:
        """The values by type, sorted, as soon as there are so many."""
        found = self.records(map(topic, kinds), expected)
        return {kind: sorted(record.value for record in found[topic(kind)]) for kind in kinds}

    def of(self, kind: str, expected: int = 1) -> list[bytes]:
        """The values of one type, in their order within each partition."""
        return [record.value for record in self.records([topic(kind)], expected)[topic(kind)]]
