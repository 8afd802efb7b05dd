"""Reads what stands at the end of topics, and what is added to them. Blocks: it is not for a reactor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from attrs import define, field, frozen
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from raccoon_tx.tools.look import SOON, Progress, Trouble

#: Seconds that Kafka gets for an answer, and that reading the end of the topics may take.
TIMEOUT = 5.0

#: Seconds between two looks for new topics and partitions.
LOOK = 2.0

#: Most records of the past.
MOST = 10_000


@frozen
class Record:
    """:ivar time: milliseconds since 1970, if known."""

    topic: str
    partition: int
    offset: int
    time: int | None
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class _Silent:
    """What librdkafka has to say beside its errors is of no use here."""

    def log(self, *_words: Any) -> None: ...


def consumer(properties: Mapping[str, str]) -> Consumer:
    """A client that belongs to no group that anybody else is in, and leaves nothing behind."""
    own: dict[str, Any] = {
        "group.id": f"raccoon-tail-{uuid4().hex}",
        "enable.auto.commit": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "earliest",
        "logger": _Silent(),
    }
    try:
        return Consumer({**properties, **own})
    except KafkaException as error:
        raise Trouble(f"the Kafka client does not take its settings: {error.args[0].str()}") from None


@define(eq=False)
class Tail:
    """:ivar wanted: whether a topic is. :ivar found: there is a topic that is."""

    _consumer: Any
    _wanted: Callable[[str], bool]
    _progress: Progress
    found: bool = field(init=False, default=False)
    _known: set[tuple[str, int]] = field(init=False, factory=set)
    _looked: float = field(init=False, default=0.0)

    def begin(self, past: int) -> list[Record]:
        """Begin to read. :return: as many of the newest records, by time. :raises Trouble: Kafka does not answer."""
        new = self._look()
        started = time.monotonic()
        begins, busy = [], set()
        for number, partition in enumerate(new):
            if time.monotonic() - started > SOON:
                self._progress.show("looking at the partitions", number / len(new))
            low, high = self._ends(partition)
            partition.offset = max(low, high - past) if high >= 0 else OFFSET_END
            if partition.offset < high:
                busy.add((partition.topic, partition.partition))
            begins.append(partition)
        self._consumer.assign(begins)
        old: list[Record] = []
        limit = time.monotonic() + TIMEOUT
        while busy and time.monotonic() < limit:
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is None:
                old.append(_record(message))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                busy.discard((message.topic(), message.partition()))
            if time.monotonic() > limit - TIMEOUT + SOON:
                self._progress.show("reading the end of the topics")
        self._progress.end()
        old.sort(key=lambda record: (record.time or 0, record.topic, record.partition, record.offset))
        return old[-past:] if past else []

    def follow(self) -> Iterator[Record | None]:
        """What is added, for ever; ``None`` after a while in which there was nothing."""
        while True:
            if time.monotonic() - self._looked > LOOK:
                try:
                    new = self._look()
                except Trouble:
                    new = []  # it comes back, or the operator ends this
                for partition in new:
                    partition.offset = OFFSET_BEGINNING
                if new:
                    self._consumer.incremental_assign(new)
            message = self._consumer.poll(0.2)
            if message is None:
                yield None
            elif message.error() is None:
                yield _record(message)

    def _look(self) -> list[TopicPartition]:
        """The partitions that were not there before. Naming a topic could make it, so all are asked for."""
        listed = self._listed()
        self._looked = time.monotonic()
        new = []
        for name, topic in sorted(listed.topics.items()):
            if topic.error is None and self._wanted(name):
                self.found = True
                new += [TopicPartition(name, one) for one in sorted(topic.partitions) if (name, one) not in self._known]
        self._known.update((one.topic, one.partition) for one in new)
        return new

    def _listed(self) -> Any:
        limit = time.monotonic() + TIMEOUT
        while True:
            try:
                return self._consumer.list_topics(timeout=SOON)
            except KafkaException as error:
                if time.monotonic() >= limit:
                    self._progress.end()
                    raise Trouble(f"Kafka does not answer: {error.args[0].str()}; is it running there?") from None
                self._progress.show("Kafka has not answered yet")

    def _ends(self, partition: TopicPartition) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(partition, timeout=TIMEOUT)
        except KafkaException:
            return 0, -1
        return low, high


def _record(message: Message) -> Record:
    kind, at = message.timestamp()
    headers: Any = message.headers() or []
    return Record(
        str(message.topic()),
        int(message.partition() or 0),
        int(message.offset() or 0),
        at if kind else None,
        message.key(),
        message.value() or b"",
        [(name, value or b"") for name, value in headers],
    )
