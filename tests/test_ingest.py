"""Tests of `raccoon_tx.ingest`."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.codec import JSON, PROTOBUF
from raccoon_tx.delivery import Delivery
from raccoon_tx.ingest import Ingest
from raccoon_tx.model import Ack, Outcome, Reply, Saturated
from raccoon_tx.routing import Routes
from tests.samples import NOBODY

GOOD = b'{"req_guid":"g","events":[{"type":"a","event_bytes":"MQ=="},{"type":"b","event_bytes":"Mg=="}]}'


@define
class Shelf:
    """A publisher that keeps what it is given, or is full."""

    full: bool = False
    taken: list[Delivery] = field(factory=list)

    def publish(self, delivery: Delivery) -> None:
        if self.full:
            raise Saturated("overloaded", retry_after=2.0)
        self.taken.append(delivery)


class IngestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shelf = Shelf()
        self.answers: list[Reply] = []
        self.ingest = Ingest(self.shelf.publish, Routes("%s", 10, 100).route, Ack.DELIVERED, 3)

    def submit(self, body: bytes) -> None:
        self.ingest.submit(body, JSON, NOBODY, self.answers.append)

    def test_published(self) -> None:
        """A batch goes to the publisher as records, with the client's way to be answered."""
        self.submit(GOOD)
        (delivery,) = self.shelf.taken
        self.assertEqual(delivery.records, [("a", b"1"), ("b", b"2")])
        self.assertEqual((delivery.batch.guid, delivery.ack, delivery.client), ("g", Ack.DELIVERED, NOBODY))
        self.assertEqual(self.answers, [])
        delivery.answer(Reply(Outcome.OK, "g"))
        self.assertEqual(self.answers, [Reply(Outcome.OK, "g")])

    def test_empty(self) -> None:
        """A batch without events succeeds at once and troubles nobody."""
        self.submit(b'{"req_guid":"e"}')
        self.ingest.submit(b"", PROTOBUF, NOBODY, self.answers.append)
        self.assertEqual(self.answers, [Reply(Outcome.OK, "e"), Reply(Outcome.OK, "")])
        self.assertEqual(self.shelf.taken, [])

    def test_malformed(self) -> None:
        """Bytes that are no batch are answered as such; nothing is published."""
        self.submit(b"\x01")
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.guid), (Outcome.MALFORMED, ""))
        self.assertEqual(self.shelf.taken, [])

    def test_malformed_guid(self) -> None:
        """What could be read of a broken batch is used to name it."""
        self.submit(b'{"req_guid":"half","events":[null]}')
        self.assertEqual(self.answers[0].guid, "half")

    def test_invalid(self) -> None:
        """One event without a legal topic keeps the whole batch out."""
        self.submit(b'{"req_guid":"i","events":[{"type":"a"},{"type":"b d"}]}')
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.guid, reply.extra["failed"]), (Outcome.INVALID, "i", "1"))
        self.assertEqual(self.shelf.taken, [])

    def test_too_many(self) -> None:
        """A batch with more events than are allowed is refused as a whole."""
        self.submit(b'{"req_guid":"m","events":[{"type":"a"},{"type":"a"},{"type":"a"},{"type":"a"}]}')
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.guid), (Outcome.INVALID, "m"))
        self.assertIn("4 in one batch, at most 3", reply.reason)

    def test_refused(self) -> None:
        """What the publisher refuses is answered with its reason, its advice and the guid of the batch."""
        self.shelf.full = True
        self.submit(GOOD)
        (reply,) = self.answers
        self.assertEqual(
            reply,
            Reply(Outcome.SATURATED, "g", "overloaded", {"retryable": "true", "retry_after_ms": "2000"}, 2.0),
        )

    def test_bugs_stay_loud(self) -> None:
        """What is not a refusal is not turned into an answer."""

        def broken(delivery: Delivery) -> None:
            raise ZeroDivisionError

        ingest = Ingest(broken, Routes("%s", 10, 100).route, Ack.DELIVERED, 3)
        self.assertRaises(ZeroDivisionError, ingest.submit, GOOD, JSON, NOBODY, self.answers.append)
        self.assertEqual(self.answers, [])
