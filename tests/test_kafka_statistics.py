"""Tests of `raccoon_tx.metrics.kafka_statistics`."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import OTHER, Counts
from raccoon_tx.metrics.kafka_statistics import MOST_BROKERS, KafkaStatistics, host


def window(took: int, count: int) -> dict[str, int]:
    """What the client says of times: more than is wanted."""
    return {"min": 1, "max": took, "avg": took // count if count else 0, "sum": took, "cnt": count, "p99": 9}


def broker(nodename: str, tx: int, txbytes: int, rtt: dict[str, int], nodeid: int = 1) -> dict[str, Any]:
    return {
        "name": f"{nodename}/{nodeid if nodeid >= 0 else 'bootstrap'}",
        "nodename": nodename,
        "nodeid": nodeid,
        "source": "learned" if nodeid >= 0 else "configured",
        "tx": tx,
        "txbytes": txbytes,
        "rtt": rtt,
        "toppars": {"t-0": {"topic": "t", "partition": 0}},
    }


def report(*brokers: dict[str, Any]) -> str:
    return json.dumps(
        {
            "name": "rdkafka#producer-1",
            "type": "producer",
            "tx": 99,
            "txmsgs": 12,
            "txmsg_bytes": 3400,
            "brokers": {each["name"]: each for each in brokers},
            "topics": {"t": {"partitions": {"-1": {"txmsgs": 5}}}},
            "eos": {"idemp_state": "Assigned"},
        }
    )


class KafkaStatisticsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counts = Counts()
        self.take = KafkaStatistics(self.counts)

    def test_report(self) -> None:
        """What was sent, altogether and to each host."""
        self.take(
            report(
                broker("kafka-1.example:9092", 7, 1234, window(3000, 2)),
                broker("kafka-2.example:9092", 1, 40, window(0, 0), nodeid=2),
            )
        )
        self.assertEqual(
            self.counts.client,
            {
                "txmsgs": 12,
                "txmsg_bytes": 3400,
                "brokers": {"kafka-1.example": (7, 1234, 1500), "kafka-2.example": (1, 40, 0)},
            },
        )

    def test_latest(self) -> None:
        """Each report replaces the one before, with the brokers that are gone."""
        self.take(report(broker("old:9092", 1, 1, window(1, 1))))
        self.take(report(broker("new:9092", 2, 2, window(2, 1))))
        self.assertEqual(self.counts.client["brokers"], {"new": (2, 2, 2)})

    def test_bootstrap(self) -> None:
        """The address that the client began with, idle since, does not hide the broker of the same host."""
        idle = broker("kafka:9092", 3, 100, window(0, 0), nodeid=-1)
        used = broker("kafka:9093", 50, 9000, window(4000, 4))
        for order in ((idle, used), (used, idle)):
            self.take(report(*order))
            self.assertEqual(self.counts.client["brokers"], {"kafka": (53, 9100, 1000)})

    def test_nowhere(self) -> None:
        """What the client counts as a broker, but is at no address, is left out."""
        self.take(report(broker("", 0, 0, window(0, 0), nodeid=-1), broker(":0", 0, 0, window(0, 0), nodeid=-1)))
        self.assertEqual(self.counts.client["brokers"], {})

    def test_hosts(self) -> None:
        """The label is the host, which may be an IPv6 address."""
        names = {"kafka:9092": "kafka", "10.0.0.1:1": "10.0.0.1", "[::1]:9092": "::1", "::1:9092": "::1", "": ""}
        self.assertEqual({name: host(name) for name in names}, names)

    def test_bounded(self) -> None:
        """Beyond so many hosts there are only others, together."""
        self.take(report(*(broker(f"h{number}:1", 1, 2, window(6, 2)) for number in range(MOST_BROKERS + 5))))
        brokers = self.counts.client["brokers"]
        self.assertEqual(len(brokers), MOST_BROKERS + 1)
        self.assertEqual(brokers[OTHER], (5, 10, 3))

    def test_little(self) -> None:
        """What is not said is 0."""
        self.take("{}")
        self.assertEqual(self.counts.client, {"txmsgs": 0, "txmsg_bytes": 0, "brokers": {}})

    def test_bad(self) -> None:
        """A report that cannot be read changes nothing."""
        self.take(report())
        before = self.counts.client
        for text in ("", "{", "null", "[]", '{"brokers": 1}', '{"txmsgs": "x"}', '{"brokers": {"a": 1}}', "\ud800"):
            self.take(text)
            self.assertIs(self.counts.client, before, text)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Nothing is raised, whatever is said."""
        KafkaStatistics(Counts())(text)
