"""How many records stand in a topic: by the offsets at which its partitions end, whatever has been deleted since."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

#: Seconds that a question to Kafka may take, and that events may take to arrive.
PATIENCE = 10.0


class Topic:
    """A topic, which comes into being with this. :ivar name: of it."""

    def __init__(self, broker: str, name: str) -> None:
        self.name = name
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "benchmark",
                "enable.auto.commit": "false",
                "allow.auto.create.topics": "true",
                "log_level": "0",
            }
        )
        limit = time.monotonic() + PATIENCE
        while not (partitions := self._consumer.list_topics(name, timeout=PATIENCE).topics[name].partitions):
            if time.monotonic() > limit:
                raise TimeoutError(f"Kafka does not make the topic {name}")
            time.sleep(0.05)
        self._partitions = [TopicPartition(name, number) for number in partitions]
        self._base = 0
        self._base = self.count()

    def count(self) -> int:
        """Records written since this was made."""
        total = 0
        for partition in self._partitions:
            try:
                total += self._consumer.get_watermark_offsets(partition, timeout=PATIENCE)[1]
            except KafkaException:
                time.sleep(0.05)  # the topic is being made
        return total - self._base

    def wait_for(self, expected: int) -> int:
        """Wait until so many records have arrived, or until no more come. :return: how many have."""
        found, limit = self.count(), time.monotonic() + PATIENCE
        while found < expected and time.monotonic() < limit:
            time.sleep(0.005)
            before, found = found, self.count()
            if found > before:
                limit = time.monotonic() + PATIENCE
        return found

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()
