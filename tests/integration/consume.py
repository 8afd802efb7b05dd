"""What stands in a topic, read by a plain consumer that leaves no trace: no group, no commits, no new topics.

These functions block. In a test under the reactor, call them by `deferToThread`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from attrs import frozen
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

#: What a node says of a partition that it is about to lead.
_PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)

#: A topic, and the number of a partition of it.
Place = tuple[str, int]


@frozen
class Record:
    """One record as Kafka keeps it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def read_records(bootstrap: str, topics: Iterable[str], expected: int, timeout: float) -> dict[str, list[Record]]:
    """Read from the beginning until ``expected`` records have been seen in all, or ``timeout`` seconds are over.

    A topic that does not exist yet is waited for; if it never comes, it has no records. The records of a topic are
    in the order of their partitions, and within a partition in that of their offsets.
    """
    deadline = time.monotonic() + timeout
    found: dict[str, list[Record]] = {topic: [] for topic in topics}
    with _consumer(bootstrap) as consumer:
        reading: set[Place] = set()
        while _count(found) < expected and (left := deadline - time.monotonic()) > 0:
            missing = found.keys() - {topic for topic, _ in reading}
            if missing and (fresh := _places(consumer, missing, left)):
                consumer.incremental_assign([TopicPartition(*place, OFFSET_BEGINNING) for place in fresh])
                reading |= fresh
            for message in _messages(consumer, left):
                if not message.error():
                    found[message.topic()].append(_record(message))
    return _in_order(found)


def read_records_until_end(bootstrap: str, topics: Iterable[str], timeout: float = 60.0) -> dict[str, list[Record]]:
    """Read from the beginning everything that stands in the topics now, ordered as by `read_records`.

    :raises TimeoutError: it takes longer than ``timeout`` seconds; what was read until then is of no use.
    """
    deadline = time.monotonic() + timeout
    found: dict[str, list[Record]] = {topic: [] for topic in topics}
    with _consumer(bootstrap) as consumer:
        ends: dict[Place, int] = {}
        for place in _places(consumer, found, timeout):
            low, high = _watermarks(consumer, place, deadline)
            if low < high:
                ends[place] = high
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in ends])
        while ends:
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError(f"After {timeout:g} s these partitions were not read to their end: {sorted(ends)}")
            for message in _messages(consumer, left):
                place = message.topic(), message.partition()
                end = ends.get(place, 0)
                if not message.error() and message.offset() < end:
                    found[message.topic()].append(_record(message))
                if message.error() or message.offset() >= end - 1:
                    ends.pop(place, None)
    return _in_order(found)


def read_all(bootstrap: str, topics: Iterable[str], expected: int, timeout: float) -> dict[str, list[bytes]]:
    """The values alone of what `read_records` reads."""
    return _values(read_records(bootstrap, topics, expected, timeout))


def read_until_end(bootstrap: str, topics: Iterable[str], timeout: float = 60.0) -> dict[str, list[bytes]]:
    """The values alone of what `read_records_until_end` reads."""
    return _values(read_records_until_end(bootstrap, topics, timeout))


@contextmanager
def _consumer(bootstrap: str) -> Iterator[Consumer]:
    properties = {
        "bootstrap.servers": bootstrap,
        "group.id": "unused",  # asked for, but partitions are assigned by hand and nothing is committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(properties)
    try:
        yield consumer
    finally:
        consumer.close()


def _places(consumer: Consumer, topics: Iterable[str], timeout: float) -> set[Place]:
    """The partitions of those topics that exist. All are listed: asking for one by name may create it."""
    known = consumer.list_topics(timeout=max(timeout, 2.0)).topics
    return {(topic, number) for topic in topics if topic in known for number in known[topic].partitions}


def _watermarks(consumer: Consumer, place: Place, deadline: float) -> tuple[int, int]:
    """Where a partition begins and ends. A node that has just started is told who leads before it does."""
    while True:
        left = max(deadline - time.monotonic(), 0.1)
        try:
            watermarks: tuple[int, int] = consumer.get_watermark_offsets(TopicPartition(*place), timeout=left)
            return watermarks
        except KafkaException as problem:
            if problem.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _messages(consumer: Consumer, left: float) -> list[Message]:
    """Some messages, or marks of the end of a partition, within a short while."""
    messages: list[Message] = consumer.consume(500, timeout=min(left, 0.1))
    for message in messages:
        if (error := message.error()) and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
    return messages


def _record(message: Message) -> Record:
    headers = tuple(message.headers() or ())
    return Record(message.partition(), message.offset(), message.key(), message.value(), headers)


def _count(found: dict[str, list[Record]]) -> int:
    return sum(map(len, found.values()))


def _in_order(found: dict[str, list[Record]]) -> dict[str, list[Record]]:
    return {topic: sorted(records, key=lambda each: (each.partition, each.offset)) for topic, records in found.items()}


def _values(found: dict[str, list[Record]]) -> dict[str, list[bytes]]:
    return {topic: [record.value or b"" for record in records] for topic, records in found.items()}
