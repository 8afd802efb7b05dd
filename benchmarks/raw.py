"""The least that any server in Python must spend: `Producer.produce`, in a process of its own.

The same client library with the same properties as the server's, the arguments by position, no callback, ``poll(0)``
after each batch, as fast as it goes. Prints one JSON object: events, and seconds of processor time until all of them
were delivered.
"""

from __future__ import annotations

import json
import os
import sys
import time

from confluent_kafka import Producer


def produce(producer: Producer, topic: str, batch: int, value: bytes, seconds: float) -> int:
    """Produce for so long, and until everything is delivered. :return: how many events."""
    count, limit, each = 0, time.monotonic() + seconds, range(batch)
    while time.monotonic() < limit:
        for _ in each:
            while True:
                try:
                    producer.produce(topic, value, None, -1)
                    break
                except BufferError:
                    producer.poll(0.005)
        producer.poll(0)
        count += batch
    if producer.flush(30):
        raise SystemExit("Kafka did not take everything")
    return count


def main() -> None:
    """``raw.py BROKER TOPIC BATCH SIZE SECONDS PROPERTY=VALUE...``"""
    broker, topic, batch, size, seconds, *properties = sys.argv[1:]
    producer = Producer({"bootstrap.servers": broker, **dict(text.split("=", 1) for text in properties)})
    value = os.urandom(int(size))
    produce(producer, topic, int(batch), value, 0.3)
    before = time.process_time()
    count = produce(producer, topic, int(batch), value, float(seconds))
    print(json.dumps({"events": count, "cpu": time.process_time() - before}))


if __name__ == "__main__":
    main()
