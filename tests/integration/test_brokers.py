"""The mock cluster and the readers do what the other integration tests take for granted."""

from __future__ import annotations

import time
from ctypes import CDLL

from confluent_kafka import KafkaError, KafkaException, Producer, cimpl
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.consume import (
    Record,
    read_all,
    read_records,
    read_records_until_end,
    read_until_end,
)
from tests.integration.mock_cluster import PRODUCE, SYMBOLS, MockCluster


def produce(bootstrap: str, topic: str, *values: bytes, **properties: object) -> list[int]:
    """Produce and wait. Returns the code of each report: 0, or why it failed."""
    codes: list[int] = []
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 0, **properties})

    def report(error: KafkaError | None, _: object) -> None:
        codes.append(error.code() if error else 0)

    for value in values:
        producer.produce(topic, value, partition=0, key=b"k", headers={"h": b"x"}, on_delivery=report)
    producer.flush(20)
    return codes


class MockClusterTests(SynchronousTestCase):
    """What the mock cluster is told to do wrong is what a producer sees."""

    def setUp(self) -> None:
        self.cluster = MockCluster(brokers=2)
        self.addCleanup(self.cluster.close)
        self.cluster.create_topic("events", partitions=1)

    def produce(self, *values: bytes, **properties: object) -> list[int]:
        return produce(self.cluster.bootstrap, "events", *values, **properties)

    def test_symbols(self) -> None:
        """The installed librdkafka has every function that is called."""
        library = CDLL(cimpl.__file__)
        self.assertEqual([name for name in SYMBOLS if not hasattr(library, name)], [])

    def test_round_trip(self) -> None:
        """What is produced can be consumed."""
        self.assertEqual(self.produce(b"1", b"2"), [0, 0])
        self.assertEqual(read_until_end(self.cluster.bootstrap, ["events"]), {"events": [b"1", b"2"]})

    def test_permanent_error(self) -> None:
        """An error that does not go away fails the record, with its code; the next one is well."""
        self.cluster.push_request_errors(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
        self.assertEqual(self.produce(b"1"), [KafkaError.MSG_SIZE_TOO_LARGE])
        self.assertEqual(self.produce(b"2"), [0])

    def test_passing_errors(self) -> None:
        """A producer gets over errors that go away, and nobody hears of them."""
        self.cluster.push_request_errors(PRODUCE, [KafkaError.NOT_ENOUGH_REPLICAS] * 2)
        self.assertEqual(self.produce(b"1"), [0])

    def test_cleared_errors(self) -> None:
        """Errors that were taken back do not happen."""
        self.cluster.push_request_errors(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
        self.cluster.clear_request_errors(PRODUCE)
        self.assertEqual(self.produce(b"1"), [0])

    def test_topic_error(self) -> None:
        """A topic may be forbidden, and allowed again."""
        self.cluster.topic_error("events", KafkaError.TOPIC_AUTHORIZATION_FAILED)
        self.assertEqual(self.produce(b"1"), [KafkaError.TOPIC_AUTHORIZATION_FAILED])
        self.cluster.topic_error("events", 0)
        self.assertEqual(self.produce(b"2"), [0])

    def test_brokers_down(self) -> None:
        """With every broker away a record times out; once they are back all is well."""
        for broker in (1, 2):
            self.cluster.broker_down(broker)
        self.assertEqual(self.produce(b"1", **{"message.timeout.ms": 500}), [KafkaError._MSG_TIMED_OUT])
        for broker in (1, 2):
            self.cluster.broker_up(broker)
        self.assertEqual(self.produce(b"2"), [0])

    def test_leader(self) -> None:
        """A partition may move; a producer follows it to the only broker left."""
        for leader, other in ((1, 2), (2, 1)):
            self.cluster.set_leader("events", 0, leader)
            self.cluster.broker_down(other)
            self.assertEqual(self.produce(b"1"), [0])
            self.cluster.broker_up(other)

    def test_slow(self) -> None:
        """Answers may take their time."""
        self.cluster.set_rtt(150)
        before = time.monotonic()
        self.assertEqual(self.produce(b"1"), [0])
        self.assertGreater(time.monotonic() - before, 0.3)

    def test_refusals(self) -> None:
        """What the cluster refuses to do is an error here, not a silence."""
        with self.assertRaises(KafkaException):
            self.cluster.create_topic("events")
        with self.assertRaises(KafkaException):
            self.cluster.broker_down(99)

    def test_side_by_side(self) -> None:
        """Clusters in one process have nothing to do with each other; closing one twice is no harm."""
        with MockCluster() as other:
            other.push_request_errors(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
            self.assertEqual(self.produce(b"mine"), [0])
            self.assertEqual(produce(other.bootstrap, "events", b"other"), [KafkaError.MSG_SIZE_TOO_LARGE])
            other.close()
        self.assertRaises(RuntimeError, other.create_topic, "late")
        self.assertEqual(read_until_end(self.cluster.bootstrap, ["events"]), {"events": [b"mine"]})


class ReaderTests(SynchronousTestCase):
    """Readers see what is there, and make nothing up."""

    def setUp(self) -> None:
        self.cluster = MockCluster()
        self.addCleanup(self.cluster.close)
        self.bootstrap = self.cluster.bootstrap
        produce(self.bootstrap, "a", b"1", b"2", b"3")

    def test_records(self) -> None:
        """A record comes with its place, key and headers."""
        first = Record(partition=0, offset=0, key=b"k", value=b"1", headers=(("h", b"x"),))
        self.assertEqual(read_records(self.bootstrap, ["a"], 3, timeout=10)["a"][0], first)
        self.assertEqual(read_records_until_end(self.bootstrap, ["a"])["a"][0], first)

    def test_expected(self) -> None:
        """Reading is over as soon as enough was seen."""
        before = time.monotonic()
        self.assertEqual(read_all(self.bootstrap, ["a"], 3, timeout=60), {"a": [b"1", b"2", b"3"]})
        self.assertLess(time.monotonic() - before, 30)

    def test_too_few(self) -> None:
        """If there is less than expected, what was there is returned once the time is over."""
        self.assertEqual(read_all(self.bootstrap, ["a", "b"], 4, timeout=2), {"a": [b"1", b"2", b"3"], "b": []})

    def test_missing_topic(self) -> None:
        """A topic that is not there has no records, and is not made by looking."""
        for _ in range(2):
            self.assertEqual(read_until_end(self.bootstrap, ["a", "b"]), {"a": [b"1", b"2", b"3"], "b": []})
        produce(self.bootstrap, "b", b"4")
        self.assertEqual(read_until_end(self.bootstrap, ["b"]), {"b": [b"4"]})

    def test_end_out_of_reach(self) -> None:
        """If the end is not reached in time, that is an error: half a topic proves nothing."""
        self.cluster.set_rtt(700)
        self.assertRaises((TimeoutError, KafkaException), read_until_end, self.bootstrap, ["a"], 1.0)
