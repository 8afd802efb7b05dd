"""Tests of `raccoon_tx.ingest`."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.codec import JSON, PROTOBUF
from raccoon_tx.dedup import Guids
from raccoon_tx.delivery import Delivery
from raccoon_tx.ingest import Ingest
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Ack, Client, Outcome, Reply, Saturated
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.routing import Routes
from tests.samples import client

NOBODY = client()

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
        self.time = 0.0
        self.shelf = Shelf()
        self.answers: list[Reply] = []
        self.counts = Counts()
        self.ingest = self.make()

    def make(self, rate: int = 0, guids: Guids | None = None) -> Ingest:
        return Ingest(
            self.shelf.publish,
            Routes("%s", 10, 100, self.counts).route,
            Ack.DELIVERED,
            3,
            self.counts,
            self.now,
            RateLimit(rate, 0, self.now),
            guids,
        )

    def now(self) -> float:
        return self.time

    def submit(self, body: bytes, who: Client = NOBODY) -> None:
        self.ingest.submit(body, JSON, who, self.answers.append)

    def outcomes(self) -> list[Outcome]:
        return [reply.outcome for reply in self.answers]

    def test_published(self) -> None:
        """A batch goes to the publisher as records, with the client's way to be answered."""
        self.submit(GOOD)
        (delivery,) = self.shelf.taken
        self.assertEqual([(lane.topic, value) for lane, value in delivery.records], [("a", b"1"), ("b", b"2")])
        self.assertEqual((delivery.batch.guid, delivery.ack), ("g", Ack.DELIVERED))
        self.assertIs(delivery.group, self.counts.group("--default--"))
        self.assertEqual(self.answers, [])
        delivery.answer(Reply(Outcome.OK, "g"))
        self.assertEqual(self.answers, [Reply(Outcome.OK, "g")])

    def test_long_guid(self) -> None:
        """A guid is said again whatever its length, and known again, though it is not kept whole."""
        longest = "g" * 100_000
        self.ingest = self.make(guids=Guids(10, 10.0, self.now))
        for guid in longest, longest, longest + "g":
            self.submit(b'{"req_guid":"%b"}' % guid.encode(), client(name="1"))
        self.assertEqual([reply.guid for reply in self.answers], [longest, longest, longest + "g"])
        self.assertEqual([reply.extra for reply in self.answers], [{}, {"duplicate": "true"}, {}])
        self.submit(b'{"req_guid":"%b","events":7}' % longest.encode(), client(name="1"))
        self.assertEqual((self.answers[-1].outcome, self.answers[-1].guid), (Outcome.MALFORMED, longest))

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

        ingest = Ingest(
            broken, Routes("%s", 10, 100).route, Ack.DELIVERED, 3, self.counts, self.now, RateLimit(0, 0, self.now)
        )
        self.assertRaises(ZeroDivisionError, ingest.submit, GOOD, JSON, NOBODY, self.answers.append)
        self.assertEqual(self.answers, [])

    # Counts

    def test_counted(self) -> None:
        """Batches are counted as read, or under the reason why they were not taken."""
        self.submit(GOOD)
        self.submit(b"{}")
        self.submit(b"\x01")
        self.submit(b'{"events":[{"type":""}]}')
        self.shelf.full = True
        self.submit(GOOD)
        group = self.counts.group("--default--")
        self.assertEqual(group.read, 2)
        self.assertEqual(group.not_read, {"serde": 1, "invalidevent": 1, "overload": 1})

    # Rate limit

    def test_rate_limit(self) -> None:
        """A client that sends more than its share is told when to come back; others are not concerned."""
        self.ingest = self.make(rate=4)
        one, two = client(name="1"), client(name="2")
        self.submit(GOOD, one)
        self.submit(GOOD, one)
        self.submit(GOOD, one)
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.guid), (Outcome.RATE_LIMITED, "g"))
        self.assertGreaterEqual(reply.retry_after or 0, 1)
        self.submit(GOOD, two)
        self.time += 1
        self.submit(GOOD, one)
        self.assertEqual((len(self.answers), len(self.shelf.taken)), (1, 4))
        self.assertEqual(self.counts.group("--default--").not_read, {"ratelimit": 1})

    def test_rate_limit_nameless(self) -> None:
        """Clients without an id are told apart by where they come from."""
        self.ingest = self.make(rate=2)
        self.submit(GOOD, client(source="here"))
        self.submit(GOOD, client(source="there"))
        self.submit(GOOD, client(source="here"))
        self.assertEqual(self.outcomes(), [Outcome.RATE_LIMITED])

    # Duplicates

    def remembering(self) -> Client:
        """A client on a connection that remembers its batches."""
        made = client(name="1", transport="websocket")
        made.guids = Guids(10, 60, self.now)
        return made

    def test_duplicate(self) -> None:
        """A batch that was published is answered at once when it comes again, and not published again."""
        who = self.remembering()
        self.submit(GOOD, who)
        self.shelf.taken[0].answer(Reply(Outcome.OK, "g"))
        self.submit(GOOD, who)
        self.assertEqual(self.answers, [Reply(Outcome.OK, "g"), Reply(Outcome.OK, "g", extra={"duplicate": "true"})])
        self.assertEqual(len(self.shelf.taken), 1)
        group = self.counts.group("--default--")
        self.assertEqual((group.duplicates, group.read), (1, 2))

    def test_duplicate_in_flight(self) -> None:
        """A batch that is on its way is answered with what becomes of it, as often as it came."""
        who = self.remembering()
        self.submit(GOOD, who)
        self.submit(GOOD, who)
        self.assertEqual(self.answers, [])
        failed = Reply(Outcome.FAILED, "g", "broken")
        self.shelf.taken[0].answer(failed)
        self.assertEqual(self.answers, [failed, failed])
        self.submit(GOOD, who)
        self.assertEqual(len(self.shelf.taken), 2)

    def test_refused_is_not_seen(self) -> None:
        """A batch that was refused is new when it comes again."""
        who = self.remembering()
        self.shelf.full = True
        self.submit(GOOD, who)
        self.shelf.full = False
        self.submit(GOOD, who)
        self.assertEqual((self.outcomes(), len(self.shelf.taken)), ([Outcome.SATURATED], 1))

    def test_bug_is_not_seen(self) -> None:
        """A batch that met a bug is new when it comes again, and those who sent it meanwhile are answered."""
        who = self.remembering()

        def broken(delivery: Delivery) -> None:
            self.submit(GOOD, who)
            raise ZeroDivisionError

        ingest = Ingest(
            broken, Routes("%s", 10, 100).route, Ack.DELIVERED, 3, self.counts, self.now, RateLimit(0, 0, self.now)
        )
        self.assertRaises(ZeroDivisionError, ingest.submit, GOOD, JSON, who, self.answers.append)
        self.assertEqual(self.outcomes(), [Outcome.FAILED, Outcome.FAILED])
        self.submit(GOOD, who)
        self.assertEqual(len(self.shelf.taken), 1)

    def test_empty_guid(self) -> None:
        """Batches without a guid are never duplicates."""
        who = self.remembering()
        for _ in range(2):
            self.submit(b'{"events":[{"type":"a"}]}', who)
        self.assertEqual(len(self.shelf.taken), 2)

    def test_identity_scope(self) -> None:
        """Where everybody's batches are remembered, they are so over connections and transports; clients without an
        id are left alone."""
        self.ingest = self.make(guids=Guids(10, 60, self.now))
        for who in (client(name="1"), client(name="1", transport="grpc"), client("other", "1"), client(name="2")):
            self.submit(GOOD, who)
        self.assertEqual(len(self.shelf.taken), 3)
        for _ in range(2):
            self.submit(GOOD, client())
        self.assertEqual(len(self.shelf.taken), 5)
