"""Tests of `raccoon_tx.publishers.producer`, and of what the publisher leans on in a producer.

`MemoryProducer` passes the same tests as the real producer, so it may stand for it elsewhere.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.publishers.producer import capacity, complete, largest_value, make_producer
from raccoon_tx.publishers.token import Token
from raccoon_tx.testing import MemoryProducer
from tests.samples import delivery


class PropertiesTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """Without a word of the operator every event is confirmed by all replicas and none is repeated."""
        self.assertEqual(
            complete({"bootstrap.servers": "x:1"}),
            {
                "bootstrap.servers": "x:1",
                "acks": "-1",
                "enable.idempotence": "true",
                "statistics.interval.ms": "0",
                "reconnect.backoff.max.ms": "1000",
                "topic.metadata.propagation.max.ms": "5000",
            },
        )

    def test_operator_first(self) -> None:
        """What the operator sets stays as it is."""
        given = {
            "statistics.interval.ms": "500",
            "reconnect.backoff.max.ms": "9",
            "topic.metadata.propagation.max.ms": "8",
            "enable.idempotence": "false",
        }
        self.assertEqual(complete(given), {"acks": "-1", **given})

    def test_acks(self) -> None:
        """An operator's own ``acks``, under either name, is respected and costs the idempotence."""
        self.assertEqual(complete({"acks": "1"})["acks"], "1")
        self.assertNotIn("enable.idempotence", complete({"acks": "1"}))
        alias = complete({"request.required.acks": "0"})
        self.assertNotIn("acks", alias)
        self.assertNotIn("enable.idempotence", alias)
        self.assertIn("enable.idempotence", complete({"request.required.acks": "all"}))

    def test_no_conflict(self) -> None:
        """Nothing the operator may set makes our idempotence an error."""
        for given in (
            {"max.in.flight": "100"},
            {"max.in.flight.requests.per.connection": "1000000"},
            {"retries": "0"},
            {"message.send.max.retries": "0"},
            {"queuing.strategy": "lifo"},
            {"acks": "0"},
            {"max.in.flight": "5", "retries": "3"},
        ):
            make_producer({"bootstrap.servers": "127.0.0.1:1", **given}, lambda error: None).purge()

    def test_sizes(self) -> None:
        """Queue and message size are the operator's, or the library's defaults; a queue of 0 has no end."""
        self.assertEqual((capacity({}), largest_value({})), (100_000, 999_964))
        given = {"queue.buffering.max.messages": "7", "message.max.bytes": "2000"}
        self.assertEqual((capacity(given), largest_value(given)), (7, 1964))
        self.assertEqual(capacity({"queue.buffering.max.messages": "0"}), sys.maxsize)
        self.assertEqual(capacity({"queue.buffering.max.messages": "0x10"}), 16)
        self.assertEqual(capacity({"queue.buffering.max.messages": "010"}), 8)


class Reports(list[Any]):
    """What tokens report."""

    def token(self, count: int) -> Token:
        """For a batch of so many events."""
        made = Token(delivery(("t", b"")), self.append)
        made.count = count
        return made

    @property
    def counts(self) -> list[int]:
        """Of the events of each token that came to its end."""
        return [count for _, count, _ in self]

    @property
    def errors(self) -> list[tuple[int, str, bytes]]:
        """Of all of them."""
        return [(error.code(), topic, value) for _, _, errors in self for error, topic, value in errors or ()]


class ProducerTestsMixin:
    """What the publisher leans on. ``self.producer`` takes two messages."""

    producer: Any

    def wait(self, reports: Reports, count: int = 1) -> None:
        limit = monotonic() + 10
        while len(reports) < count and monotonic() < limit:
            self.producer.poll(0.05)

    def refusal(self, value: bytes, token: Token) -> Exception | None:
        """What `produce` raises, without the traceback, which would keep the token."""
        try:
            self.producer.produce("t", value, None, -1, token)
        except Exception as problem:
            return problem.with_traceback(None)
        return None

    def test_reports(self: Any) -> None:
        """A token comes to its end when all of its messages are delivered, and not before; success is not called
        back."""
        reports = Reports()
        token = reports.token(2)
        self.producer.produce("t", b"1", None, -1, token)
        self.producer.produce("u", b"", None, -1, token)
        self.assertEqual(len(self.producer), 2)
        del token
        self.assertEqual(reports, [])
        self.wait(reports)
        self.assertEqual((reports.counts, reports.errors), ([2], []))
        self.assertEqual(len(self.producer), 0)

    def test_token_held(self: Any) -> None:
        """Whoever produces still holds the token: nothing is reported before that ends."""
        reports = Reports()
        token = reports.token(1)
        self.producer.produce("t", b"1", None, -1, token)
        limit = monotonic() + 10
        while len(self.producer) and monotonic() < limit:
            self.producer.poll(0.05)
        self.assertEqual(reports, [])
        del token
        self.assertEqual(reports.counts, [1])

    def test_full(self: Any) -> None:
        """A full queue raises `BufferError` at once, has taken nothing, and keeps no reference."""
        reports = Reports()
        self.producer.produce("t", b"1", None, -1, reports.token(1))
        self.producer.produce("t", b"2", None, -1, reports.token(2))
        self.assertIsInstance(self.refusal(b"3", reports.token(3)), BufferError)
        self.assertEqual(reports.counts, [3])
        self.assertEqual(len(self.producer), 2)
        self.wait(reports, 3)
        self.assertEqual(sorted(reports.counts), [1, 2, 3])
        self.assertEqual(reports.errors, [])

    def test_too_large(self: Any) -> None:
        """A message over the limit raises at once; there is no report of it, and no reference is kept."""
        reports = Reports()
        large = b"x" * 1_000_001
        problem: Any = self.refusal(large, reports.token(1))
        self.assertIsInstance(problem, KafkaException)
        self.assertEqual(problem.args[0].code(), KafkaError.MSG_SIZE_TOO_LARGE)
        self.assertEqual((len(self.producer), reports.counts, reports.errors), (0, [1], []))

    def test_purge(self: Any) -> None:
        """What is purged is reported as failed by the next polls, and frees its place."""
        self.hold()
        reports = Reports()
        self.producer.produce("t", b"1", None, -1, reports.token(1))
        self.producer.purge()
        self.wait(reports)
        ((code, topic, value),) = reports.errors
        self.assertIn(code, (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT))
        self.assertEqual((topic, value, len(self.producer)), ("t", b"1", 0))

    def test_flush_returns(self: Any) -> None:
        """A flush without a time-out returns at once, and says what is left."""
        self.hold()
        self.producer.produce("t", b"1", None, -1, Reports().token(1))
        self.assertEqual(self.producer.flush(0), 1)

    def test_metadata(self: Any) -> None:
        """Somebody answers a question for metadata, or there is a `KafkaException`."""
        self.producer.list_topics(timeout=5)
        self.hold()
        self.assertRaises(KafkaException, self.producer.list_topics, timeout=0.2)


class MemoryProducerTests(ProducerTestsMixin, SynchronousTestCase):
    """The stand-in."""

    def setUp(self) -> None:
        self.producer = MemoryProducer(capacity=2)

    def hold(self) -> None:
        self.producer.held = self.producer.away = True


class RealProducerTests(ProducerTestsMixin, SynchronousTestCase):
    """The real producer, with the embedded broker."""

    def setUp(self) -> None:
        self.broker = EmbeddedBroker()
        self.broker.startService()
        self.addCleanup(self.broker.stopService)
        self.producer = self.connect(self.broker.address)

    def connect(self, address: str) -> Any:
        properties = {"bootstrap.servers": address, "queue.buffering.max.messages": "2"}
        return make_producer(properties, lambda error: None)

    def hold(self) -> None:
        """From here on, one that nobody answers."""
        self.producer = self.connect("127.0.0.1:1")

    def tearDown(self) -> None:
        self.producer.purge()
        self.producer.poll(0)
