"""A Kafka cluster in memory, in a process of its own: the one inside librdkafka. Prints its address, ends with stdin.

It speaks the real protocol on real sockets, with four partitions for each topic, and keeps the newest 5 MB of each; the
offsets go on counting. ``python benchmarks/broker.py`` starts one by hand, for a server that you start yourself.
"""

from __future__ import annotations

import sys

from confluent_kafka import Producer


def main() -> None:
    """Serve until there is nobody left on the standard input."""
    cluster = Producer({"test.mock.num.brokers": "1", "log_level": "3"})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    print(f"{broker.host}:{broker.port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
