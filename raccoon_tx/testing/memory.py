"""A producer without Kafka. It passes the same tests as the real thing."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field, frozen
from confluent_kafka import KafkaError, KafkaException

_LARGEST = 1_000_000


@frozen
class MemoryMessage:
    """A message in a delivery report."""

    _topic: str
    _value: bytes

    def topic(self) -> str:
        return self._topic

    def value(self) -> bytes:
        return self._value


@define(eq=False)
class MemoryProducer:
    """A producer without Kafka: the part of ``confluent_kafka.Producer`` that the publisher uses, with
    ``delivery.report.only.error``.

    :ivar capacity: messages that its queue holds. :ivar held: nothing is delivered for now.
    :ivar broken: the error of each topic whose messages fail. :ivar refused: the error that `produce` raises for a
        topic. :ivar away: nobody answers a question for metadata. :ivar topics: what was delivered, by topic.
    :ivar more: keys, and what else came with a message by name.
    """

    capacity: int = 100_000
    held: bool = False
    broken: dict[str, int] = field(factory=dict)
    refused: dict[str, int] = field(factory=dict)
    away: bool = False
    topics: dict[str, list[bytes]] = field(factory=dict)
    more: list[tuple[bytes | None, dict[str, Any]]] = field(factory=list)
    flushes: int = 0
    _queue: deque[tuple[MemoryMessage, Any, int | None]] = field(factory=deque)

    def produce(self, topic: str, value: bytes, key: Any, partition: int, on_delivery: Any, /, **more: Any) -> None:
        """:raises BufferError: the queue is full. :raises KafkaException: this message cannot be taken."""
        if topic in self.refused:
            raise KafkaException(KafkaError(self.refused[topic]))
        if len(value) > _LARGEST:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if len(self._queue) >= self.capacity:
            raise BufferError("Local: Queue full")
        if key is not None or more:
            self.more.append((key, more))
        self._queue.append((MemoryMessage(topic, value), on_delivery, self.broken.get(topic)))

    def poll(self, timeout: float = 0, /) -> int:
        """Report what is delivered or has failed by now. :return: the number of reports."""
        served = 0
        while self._queue and not self.held:
            self._report(*self._queue.popleft())
            served += 1
        return served

    def flush(self, timeout: float = 0, /) -> int:
        """As `poll`. :return: the number of messages left."""
        self.flushes += 1
        self.poll(timeout)
        return len(self)

    def purge(self) -> None:
        """Give up what is in the queue; the next `poll` reports it as failed."""
        self._queue = deque((message, report, KafkaError._PURGE_QUEUE) for message, report, _ in self._queue)
        self.held = False

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """:raises KafkaException: nobody answers."""
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.topics

    def __len__(self) -> int:
        return len(self._queue)

    def _report(self, message: MemoryMessage, on_delivery: Any, code: int | None) -> None:
        if code is None:
            self.topics.setdefault(message.topic(), []).append(message.value())
        else:
            on_delivery(KafkaError(code), message)
