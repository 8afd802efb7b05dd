"""Tests of `raccoon_tx.spool.publisher`: what a client is told, and where its batch then is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Ack, Draining, Outcome, Reply, Saturated, Unavailable
from raccoon_tx.report import Failure
from raccoon_tx.spool.database import Broken, Changes, Database
from raccoon_tx.spool.ledger import Ledger
from raccoon_tx.spool.publisher import LOOK_INTERVAL, SpoolingPublisher
from raccoon_tx.spool.store import LAZY_INTERVAL, TROUBLE_INTERVAL
from tests.samples import delivery
from tests.spooled import Shelf, Spooled, outcomes

HOPELESS, LATER = Failure("too large", retryable=False), Failure("no leader")
OK = Reply(Outcome.OK, "g")


class Case(SynchronousTestCase):
    ack = Ack.DELIVERED

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.spooled = Spooled(Path(folder.name, "spool"))
        self.spooled.start()
        self.clock, self.store = self.spooled.clock, self.spooled.store
        self.shelf = Shelf()
        self.ledger = Ledger(self.store, self.clock.seconds)
        self.publisher = SpoolingPublisher(self.shelf, self.store, self.ledger, self.clock, self.ack)
        self.publisher.startService()
        self.addCleanup(self.end)
        self.answers: list[Reply] = []
        self.lates: list[Reply] = []

    def end(self) -> None:
        self.publisher.stopService()
        self.clock.advance(TROUBLE_INTERVAL)
        self.spooled.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(self, *values: bytes) -> Delivery:
        events = [("a", value) for value in values or (b"1", b"2")]
        made = delivery(*events, ack=self.ack, answer=self.answers.append, guid="g", late=self.lates.append)
        self.publisher.publish(made)
        return made

    def commit(self) -> None:
        self.spooled.box.commit()

    def settled(self) -> list[int]:
        """The rows that are left when all deletions are done."""
        self.clock.advance(LAZY_INTERVAL)
        self.commit()
        return self.spooled.rows()

    def wait(self, seconds: float) -> None:
        self.clock.pump([LOOK_INTERVAL] * round(seconds / LOOK_INTERVAL))

    def no_disk(self, times: int = 1000) -> None:
        """The next transactions fail."""
        apply, left = Database.apply, [times]

        def failing(database: Database, changes: Changes) -> None:
            left[0] -= 1
            if left[0] >= 0:
                raise Broken("disk I/O error")
            apply(database, changes)

        self.patch(Database, "apply", failing)


class DurableTests(Case):
    ack = Ack.DURABLE

    def test_answered_at_the_commit(self) -> None:
        """A batch is acknowledged when it is on the disk, and then goes to Kafka; when that has it, it is gone."""
        self.send()
        self.assertEqual((self.answers, self.shelf.kept), ([], []))
        self.commit()
        self.assertEqual((self.answers, self.shelf.values()), ([OK], [[b"1", b"2"]]))
        self.shelf.end()
        self.assertEqual((self.settled(), self.answers, self.ledger.hands), ([], [OK], set()))

    def test_kafka_away(self) -> None:
        """Without Kafka it is acknowledged all the same, and waits."""
        for refusal in (Unavailable("away"), Saturated("full")):
            self.shelf.refusal = refusal
            self.send()
            self.commit()
        self.assertEqual(self.answers, [OK, OK])
        self.assertEqual((self.settled(), self.ledger.waiting, self.ledger.hands), ([1, 2], 2, set()))

    def test_turned_away(self) -> None:
        """What the publisher gives back waits on the disk."""
        self.send()
        self.commit()
        self.shelf.turn_away(Saturated("full"))
        self.assertEqual((self.answers, self.settled(), self.ledger.waiting), ([OK], [1], 1))

    def test_late(self) -> None:
        """That Kafka takes long changes nothing; it may still take it."""
        self.send()
        self.commit()
        self.shelf.expire()
        self.assertEqual((self.answers, self.settled(), self.ledger.waiting), ([OK], [1], 0))
        self.shelf.end()
        self.assertEqual((self.settled(), self.lates), ([], []))

    def test_failed(self) -> None:
        """What failed stays on the disk, and of it no more than that."""
        self.send(b"1", b"2", b"3")
        self.commit()
        self.shelf.end({1: LATER})
        self.assertEqual((self.settled(), self.ledger.waiting, self.store.counts.events), ([1], 1, 1))

    def test_not_durable(self) -> None:
        """What the disk did not take is refused, and nothing of it goes to Kafka."""
        self.no_disk(1)
        self.send()
        self.commit()
        self.assertEqual(outcomes(self.answers), [Outcome.SATURATED])
        self.assertGreaterEqual(self.answers[0].retry_after or 0, 1)
        self.assertEqual((self.shelf.kept, self.ledger.hands), ([], set()))

    def test_no_room(self) -> None:
        """Without room on the disk a batch is refused at once, and the reason says so."""
        self.store.status.trouble = "full"
        self.assertIn("the spool is full", self.assertRaises(Saturated, self.send).reason)
        self.assertEqual(self.publisher.state, (False, "the spool takes nothing"))
        self.store.status.trouble = ""
        self.assertEqual(self.publisher.state, (True, "ok"))

    def test_stopping(self) -> None:
        """At a stop nothing new is taken; what Kafka did not take in time stays on the disk."""
        self.send()
        self.commit()
        self.shelf.running = False
        self.assertRaises(Draining, self.send)
        self.shelf.end({0: LATER, 1: LATER})
        self.assertEqual((self.settled(), self.publisher.abandoned), ([1], {}))

    def test_ready_without_kafka(self) -> None:
        """It can take an event whatever Kafka does."""
        self.shelf.able = (False, "Kafka cannot be reached")
        self.assertEqual(self.publisher.state[0], True)


class DeliveredTests(Case):
    ack = Ack.DELIVERED

    def test_in_time(self) -> None:
        """If Kafka is quick, nothing is written."""
        self.send()
        self.wait(0.4)
        self.shelf.end()
        self.wait(1.0)
        self.assertEqual((self.answers, self.spooled.box.orders, self.lates), ([OK], [], []))

    def test_slow_kafka(self) -> None:
        """After half a second the disk answers; when Kafka has it, it is gone from there."""
        self.send()
        self.wait(0.55)
        self.assertEqual(self.answers, [])
        self.commit()
        self.assertEqual((self.answers, self.spooled.rows(), self.ledger.waiting), ([OK], [1], 0))
        self.shelf.end()
        self.assertEqual((self.settled(), self.answers, self.lates), ([], [OK], []))

    def test_kafka_answers_before_the_disk(self) -> None:
        """If both answer at once, the client hears one answer, and nothing is left on the disk."""
        self.send()
        self.wait(0.55)
        self.shelf.end()
        self.commit()
        self.assertEqual((self.answers, self.settled(), self.ledger.hands), ([OK], [], set()))

    def test_kafka_fails_before_the_disk(self) -> None:
        """What Kafka failed while it was being written is acknowledged, and kept."""
        self.send()
        self.wait(0.55)
        self.shelf.end({0: LATER})
        self.commit()
        self.assertEqual((self.answers, self.settled(), self.ledger.waiting), ([OK], [1], 1))

    def test_both_fail(self) -> None:
        """If neither has it, the client hears what Kafka said."""
        self.no_disk()
        self.send()
        self.wait(0.55)
        self.shelf.end({0: LATER})
        self.commit()
        self.assertEqual((self.answers[0].outcome, self.answers[0].extra["failed"]), (Outcome.FAILED, "0"))

    def test_disk_fails(self) -> None:
        """If the disk fails, the client waits for Kafka as it would without a spool."""
        self.no_disk()
        self.send()
        self.wait(0.55)
        self.commit()
        self.assertEqual(self.answers, [])
        self.shelf.expire()
        self.assertEqual(outcomes(self.answers), [Outcome.EXPIRED])
        self.shelf.end()
        self.assertEqual((outcomes(self.answers), self.lates), ([Outcome.EXPIRED], [OK]))

    def test_failed_in_time(self) -> None:
        """What Kafka refuses at once is an error, as without a spool, and is not kept."""
        self.send()
        self.shelf.end({1: HOPELESS})
        self.assertEqual((outcomes(self.answers), self.spooled.box.orders), ([Outcome.FAILED], []))

    def test_failure_is_known(self) -> None:
        """A batch of which an event has failed already is not acknowledged by the disk."""
        self.send()
        self.shelf.kept[0].fail(0, HOPELESS)
        self.wait(0.6)
        self.assertEqual((self.answers, self.spooled.box.orders), ([], []))
        self.shelf.end()
        self.assertEqual(outcomes(self.answers), [Outcome.FAILED])

    def test_kafka_away(self) -> None:
        """If Kafka is away or has no room, the disk answers as soon as it can."""
        for refusal in (Unavailable("away"), Saturated("full")):
            self.shelf.refusal = refusal
            self.send()
            self.commit()
        self.shelf.refusal = None
        self.send()
        self.shelf.turn_away(Saturated("full"))
        self.commit()
        self.assertEqual((self.answers, self.ledger.waiting), ([OK] * 3, 3))

    def test_neither(self) -> None:
        """If Kafka is away and the disk has no room, the batch is refused."""
        self.shelf.refusal = Unavailable("away")
        self.store.status.trouble = "full"
        self.assertIn("the spool is full", self.assertRaises(Saturated, self.send).reason)
        self.shelf.refusal = None
        self.send()
        self.shelf.turn_away(Saturated("full"))
        self.assertEqual(outcomes(self.answers), [Outcome.SATURATED])

    def test_state(self) -> None:
        """It is ready while either can take an event."""
        self.assertEqual(self.publisher.state, (True, "ok"))
        self.shelf.able = (False, "Kafka cannot be reached")
        self.assertEqual(self.publisher.state, (True, "Kafka cannot be reached; batches go to the spool"))
        self.store.status.trouble = "full"
        self.assertEqual(self.publisher.state, (False, "Kafka cannot be reached"))
        self.store.status.trouble = ""
        self.shelf.running = False
        self.assertEqual(self.publisher.state[0], False)

    def test_stop(self) -> None:
        """What the publisher has to give up at a stop is kept, and acknowledged while there is somebody to hear it."""
        self.send()
        self.shelf.running = False
        self.shelf.end({1: LATER})
        self.commit()
        self.assertEqual((self.answers, self.spooled.rows(), self.store.counts.events), ([OK], [1], 1))
        self.assertEqual(self.publisher.abandoned, {})

    def test_give_up(self) -> None:
        """Whoever is about to lose the connection is answered by the publisher."""
        self.publisher.give_up()
        self.assertEqual(self.shelf.gave_up, 1)


class AcceptedTests(Case):
    ack = Ack.ACCEPTED

    def test_taken(self) -> None:
        """If the publisher takes it, it is acknowledged, and nothing is written."""
        self.send()
        self.assertEqual(self.answers, [OK])
        self.wait(1.0)
        self.shelf.end()
        self.assertEqual((self.answers, self.spooled.box.orders), ([OK], []))

    def test_kafka_away(self) -> None:
        """What Kafka cannot take goes to the disk instead of being refused, and is acknowledged there."""
        self.shelf.refusal = Unavailable("away")
        self.send()
        self.assertEqual(self.answers, [])
        self.commit()
        self.assertEqual((self.answers, self.spooled.rows(), self.ledger.waiting), ([OK], [1], 1))

    def test_refused(self) -> None:
        """What the producer does not take at once is an error, as without a spool."""
        self.patch(Shelf, "publish", self.refuse)
        self.send()
        self.assertEqual(outcomes(self.answers), [Outcome.FAILED])
        self.shelf.end()
        self.assertEqual((len(self.answers), self.spooled.box.orders), (1, []))

    @staticmethod
    def refuse(shelf: Shelf, errand: Any) -> None:
        shelf.kept.append(errand)
        errand.taken = 2
        errand.fail(0, HOPELESS)
        errand.accepted()

    def test_failed_later(self) -> None:
        """What was acknowledged and fails is kept on the disk, and what could not be delivered as it is is suspect."""
        self.send(b"1", b"2", b"3")
        self.send(b"4", b"5")
        self.shelf.end({0: LATER})
        self.shelf.end({1: HOPELESS})
        self.commit()
        self.assertEqual((self.spooled.rows(), self.store.counts.events, self.ledger.waiting), ([1, 2], 2, 2))
        self.assertEqual(self.ledger.suspects, {2})
        self.assertEqual(self.answers, [OK, OK])

    def test_stop(self) -> None:
        """What is in memory at a stop goes to the disk."""
        self.send()
        self.shelf.running = False
        self.shelf.end({0: LATER, 1: LATER})
        self.publisher.stopService()
        self.spooled.stop()
        again = Spooled(self.spooled.path)
        again.start()
        self.assertEqual((len(again.rows()), again.store.counts.events), (1, 2))
        again.stop()
        self.assertEqual(self.publisher.abandoned, {})
        self.publisher.startService()

    def test_lost(self) -> None:
        """What neither Kafka nor the disk has is counted and said."""
        for trouble in ("full", ""):
            self.send()
            self.shelf.running = False
            self.no_disk()
            self.store.status.trouble = trouble
            self.shelf.end({0: LATER})
            self.commit()
            self.shelf.running = True
        self.assertEqual(self.publisher.abandoned, {"a": 2})
