"""Tests of `raccoon_tx.publishers.kafka`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Ack, Batch, Draining, Outcome, Reply, Saturated, Unavailable
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.kafka import IDLE_INTERVAL, KafkaPublisher
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.publishers.words import failure
from raccoon_tx.testing import MemoryProducer
from tests.samples import delivery

INTERVAL = 0.01


class KafkaPublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.kafka = Clock(), MemoryProducer(capacity=4)
        self.answers: list[Reply] = []
        self.on_error: Callable[[KafkaError], None] | None = None
        self.counts = Counts()
        self.publisher = self.started()

    def started(self, **settings: Any) -> KafkaPublisher:
        values: dict[str, Any] = {
            "capacity": 4,
            "batches": 2,
            "patience": 0.5,
            "flush_interval": INTERVAL,
            "publish_timeout": 10.0,
            "drain_timeout": 5.0,
            "close_timeout": 1.0,
        }
        accounts = Accounts(self.counts, self.clock.seconds, lambda: 1000 + self.clock.seconds())
        reach = Reach(self.clock, execute)
        publisher = KafkaPublisher(self.connect, self.clock, reach, accounts, **{**values, **settings})
        publisher.startService()
        return publisher

    def connect(self, on_error: Callable[[KafkaError], None]) -> MemoryProducer:
        self.on_error = on_error
        return self.kafka

    def send(self, *events: tuple[str, bytes], ack: Ack = Ack.DELIVERED, guid: str = "g") -> Delivery:
        made = delivery(*events, ack=ack, answer=self.answers.append, guid=guid)
        self.publisher.publish(made)
        return made

    def tick(self, seconds: float = INTERVAL) -> None:
        self.clock.pump([INTERVAL] * max(1, round(seconds / INTERVAL)))

    def outcomes(self) -> list[Outcome]:
        return [reply.outcome for reply in self.answers]

    def stop(self) -> Deferred[None]:
        return self.publisher.stopService()

    def tearDown(self) -> None:
        if self.publisher.running:
            self.kafka.held = False
            stopped = self.stop()
            self.tick(8)
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # Delivery

    def test_delivered(self) -> None:
        """A batch is answered when all its events have arrived, in order."""
        self.send(("a", b"1"), ("b", b"2"), ("a", b"3"))
        self.assertEqual(self.answers, [])
        self.tick()
        self.assertEqual(self.answers, [Reply(Outcome.OK, "g")])
        self.assertEqual(self.kafka.topics, {"a": [b"1", b"3"], "b": [b"2"]})

    def test_accepted(self) -> None:
        """With ``event.ack`` 0 a batch is answered when the producer has it."""
        self.kafka.held = True
        self.send(("a", b"1"), ack=Ack.ACCEPTED)
        self.assertEqual(self.answers, [Reply(Outcome.OK, "g")])

    def test_failed_events(self) -> None:
        """A failed report is traced back to its event by topic and value."""
        self.kafka.broken["b"] = KafkaError.TOPIC_AUTHORIZATION_FAILED
        self.send(("a", b"1"), ("b", b"1"), ("b", b"2"), ("a", b"2"))
        self.tick()
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.extra["failed"]), (Outcome.FAILED, "1,2"))
        self.assertEqual(reply.extra["retryable"], "false")
        self.assertIn("event 2 (b): Broker: Topic authorization failed", reply.reason)

    def test_failed_twins(self) -> None:
        """Of equal events as many are named as have failed."""
        self.kafka.broken["b"] = KafkaError._MSG_TIMED_OUT
        self.send(("b", b""), ("a", b""), ("b", b""))
        self.tick()
        self.assertEqual(self.answers[0].extra["failed"], "0,2")
        self.assertEqual(self.answers[0].extra["retryable"], "true")

    def test_refused_by_producer(self) -> None:
        """An event that the producer does not take fails alone; its neighbours are delivered."""
        self.kafka.refused["b"] = KafkaError._UNKNOWN_TOPIC
        self.send(("a", b"1"), ("b", b"2"), ("a", b"3"))
        self.tick()
        self.assertEqual(self.answers[0].extra["failed"], "1")
        self.assertEqual(self.kafka.topics, {"a": [b"1", b"3"]})

    def test_refused_by_producer_accepted(self) -> None:
        """With ``event.ack`` 0 too, an event that was not taken is not acknowledged."""
        self.kafka.refused["b"] = KafkaError._UNKNOWN_TOPIC
        self.send(("a", b"1"), ("b", b"2"), ack=Ack.ACCEPTED)
        self.assertEqual((self.answers[0].outcome, self.answers[0].extra["failed"]), (Outcome.FAILED, "1"))

    def test_all_refused_by_producer(self) -> None:
        """A batch of which nothing is taken is answered at once and leaves nothing behind."""
        self.kafka.refused["b"] = KafkaError._UNKNOWN_TOPIC
        self.send(("b", b"1"), ("b", b"2"))
        self.assertEqual(self.answers[0].extra["failed"], "0,1")
        self.assertEqual(len(self.publisher._in_flight), 0)

    def test_no_addresses(self) -> None:
        """What a client reads of an error is the library's text for its code, not what the library knows beside it."""
        told = failure(KafkaError(KafkaError._TRANSPORT, "broker-7.internal:9092 refused"))
        self.assertEqual(told.text, "Local: Broker transport failure")

    # Room

    def test_waits_for_room(self) -> None:
        """A batch for which the producer has no room waits, behind those that wait already, and loses nothing."""
        self.kafka.held = True
        self.send(("a", b"1"), ("a", b"2"), ("a", b"3"), guid="first")
        self.send(("a", b"4"), ("a", b"5"), guid="second")
        self.send(("a", b"6"), guid="third")
        self.tick()
        self.assertEqual(len(self.kafka), 3)
        self.kafka.held = False
        self.tick(2 * INTERVAL)
        self.assertEqual([reply.guid for reply in self.answers], ["first", "second", "third"])
        self.assertEqual(self.kafka.topics["a"], [b"1", b"2", b"3", b"4", b"5", b"6"])

    def test_full(self) -> None:
        """When as many batches wait as may, the next one is refused, with advice when to come back."""
        self.kafka.held = True
        for _ in range(3):
            self.send(("a", b"1"), ("a", b"2"), ("a", b"3"))
        refusal = self.assertRaises(Saturated, self.send, ("a", b"1"))
        self.assertTrue(refusal.reason.startswith("overloaded"), refusal.reason)
        self.assertGreaterEqual(refusal.retry_after or 0, 1)

    def test_queue(self) -> None:
        """How many batches wait, and how many are not confirmed, can be seen."""
        assert self.counts.queue is not None
        self.assertEqual(self.counts.queue(), (0, 0))
        self.kafka.held = True
        for _ in range(3):
            self.send(("a", b"1"), ("a", b"2"), ("a", b"3"))
        self.assertEqual(self.counts.queue(), (2, 1))
        self.kafka.held = False
        self.tick(1)
        self.assertEqual(self.counts.queue(), (0, 0))

    def test_patience(self) -> None:
        """A batch that has waited long enough is refused, and nothing of it is produced."""
        for ack in (Ack.ACCEPTED, Ack.DELIVERED):
            self.answers.clear()
            self.kafka.held = True
            self.send(("a", b"1"), ("a", b"2"), ("a", b"3"), ack=Ack.DELIVERED, guid="first")
            self.send(("b", b"1"), ("b", b"2"), ack=ack, guid="second")
            self.tick(0.4)
            self.assertEqual(self.answers, [])
            self.tick(0.2)
            self.assertEqual([(r.outcome, r.guid) for r in self.answers], [(Outcome.SATURATED, "second")])
            self.kafka.held = False
            self.tick()
            self.assertNotIn("b", self.kafka.topics)

    def test_larger_than_the_queue(self) -> None:
        """A batch with more events than the producer's queue holds goes through piece by piece."""
        values = [b"%d" % number for number in range(11)]
        self.send(*[("a", value) for value in values])
        self.tick(5 * INTERVAL)
        self.assertEqual(self.outcomes(), [Outcome.OK])
        self.assertEqual(self.kafka.topics["a"], values)

    def test_larger_than_the_queue_stuck(self) -> None:
        """If only a part of such a batch could be taken, the rest is named as failed once the taken part is known."""
        self.kafka.held = True
        self.send(*[("a", b"%d" % number) for number in range(6)])
        self.tick(0.6)
        self.assertEqual(self.answers, [])
        self.kafka.held = False
        self.tick()
        self.assertEqual((self.outcomes(), self.answers[0].extra["failed"]), ([Outcome.FAILED], "4,5"))

    def test_larger_than_the_queue_stuck_accepted(self) -> None:
        """With ``event.ack`` 0 the answer names what was not taken when patience ends."""
        self.kafka.held = True
        self.send(*[("a", b"%d" % number) for number in range(6)], ack=Ack.ACCEPTED)
        self.tick(0.6)
        self.assertEqual((self.outcomes(), self.answers[0].extra["failed"]), ([Outcome.FAILED], "4,5"))

    # Time

    def test_publish_timeout(self) -> None:
        """A batch whose reports do not come is answered when its time is over; a late report answers nobody."""
        self.kafka.held = True
        self.send(("a", b"1"), guid="early")
        self.tick(5)
        self.send(("a", b"2"), guid="late")
        self.tick(5.5)
        self.assertEqual([(r.outcome, r.guid) for r in self.answers], [(Outcome.EXPIRED, "early")])
        self.tick(5)
        self.assertEqual([r.guid for r in self.answers], ["early", "late"])
        self.kafka.held = False
        self.tick()
        self.assertEqual(len(self.answers), 2)
        self.assertEqual((len(self.publisher._in_flight), len(self.publisher._overdue)), (0, 0))

    def test_idle(self) -> None:
        """With nothing on its way the producer is looked at rarely, and at once often again when there is."""
        self.tick()
        self.assertEqual(self.publisher._flushing.interval, IDLE_INTERVAL)
        self.tick(0.05)
        self.send(("a", b"1"))
        self.tick()
        self.assertEqual(self.outcomes(), [Outcome.OK])

    def test_flush_survives(self) -> None:
        """An exception while flushing is logged and does not end the flushing."""

        def broken(reply: Reply) -> None:
            raise ZeroDivisionError

        self.publisher.publish(delivery(("a", b"1"), answer=broken))
        self.tick()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.send(("a", b"2"))
        self.tick(2 * INTERVAL)
        self.assertEqual(self.outcomes(), [Outcome.OK])

    # Counts

    def test_counted(self) -> None:
        """What was delivered and what was not is counted by lane, unknown topics also by themselves."""
        self.kafka.broken["b"] = KafkaError.UNKNOWN_TOPIC_OR_PART
        self.kafka.refused["c"] = KafkaError._UNKNOWN_TOPIC
        sent = self.send(("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"))
        self.tick()
        counted = {lane.topic: (lane.delivered, lane.undelivered, lane.unknown_topic) for lane, _ in sent.records}
        self.assertEqual(counted, {"a": (2, 0, 0), "b": (0, 1, 1), "c": (0, 1, 1)})

    def test_times(self) -> None:
        """The times of a batch are observed once, when it is through, by event where the names say so."""
        self.kafka.held = True
        sent = self.send(("a", b"1"), ("a", b"2"), ack=Ack.ACCEPTED)
        self.tick(0.3)
        self.kafka.held = False
        self.tick()
        self.assertEqual(sum(self.counts.published.counts), 1)
        self.assertAlmostEqual(self.counts.published.total, 310, delta=10)
        self.assertAlmostEqual(self.counts.worked.total, 155, delta=5)
        self.assertAlmostEqual(sent.group.latency.total, 155, delta=5)
        self.assertEqual(sum(sent.group.processing.counts), 0)

    def test_age(self) -> None:
        """How old the events were is observed if the client said when it sent them, unless that is yet to come."""
        for sent_time in (999.0, 1002.0):
            sent = delivery(("a", b"1"), ("a", b"2"))
            sent.batch = Batch("g", sent.batch.events, sent_time)
            self.publisher.publish(sent)
            self.tick()
            self.assertEqual(sum(sent.group.processing.counts), 1 if sent_time < 1000 else 0)

    # Records

    def test_full_records(self) -> None:
        """Keys, timestamps and headers are handed to the producer."""
        publisher = self.started()
        sent = delivery(("a", b"1"), answer=self.answers.append)
        sent.records = [(*sent.records[0], b"key", 5, [("h", b"v")])]
        publisher.publish(sent)
        self.tick()
        self.assertEqual(self.outcomes(), [Outcome.OK])
        self.assertEqual(self.kafka.more, [(b"key", {"timestamp": 5, "headers": [("h", b"v")]})])
        publisher.stopService()
        self.tick()

    # Reach

    def lose_kafka(self) -> None:
        self.kafka.away = True
        assert self.on_error is not None
        self.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    def test_away(self) -> None:
        """While Kafka is known to be away, those who want to hear of a delivery are refused at once."""
        self.lose_kafka()
        refusal = self.assertRaises(Unavailable, self.send, ("a", b"1"))
        self.assertGreaterEqual(refusal.retry_after or 0, 1)
        self.send(("a", b"1"), ack=Ack.ACCEPTED)
        self.assertEqual(self.outcomes(), [Outcome.OK])

    def test_back(self) -> None:
        """A delivered event tells that Kafka is there again."""
        self.kafka.held = True
        self.send(("a", b"1"))
        self.lose_kafka()
        self.kafka.held = False
        self.tick()
        self.send(("a", b"2"))
        self.tick()
        self.assertEqual(self.outcomes(), [Outcome.OK, Outcome.OK])
        self.kafka.away = False

    # Stop

    def test_stop_idle(self) -> None:
        """With nothing on its way the stop takes no time."""
        self.successResultOf(self.stop())

    def test_stop_waits(self) -> None:
        """Stopping waits for the events in flight, whatever the acknowledgement, and asks that they be sent now."""
        self.kafka.held = True
        self.send(("a", b"1"), ack=Ack.ACCEPTED)
        stopped = self.stop()
        self.tick(0.5)
        self.assertNoResult(stopped)
        self.kafka.held = False
        self.tick()
        self.tick()
        self.successResultOf(stopped)
        self.assertEqual(self.kafka.topics, {"a": [b"1"]})
        self.assertGreater(self.kafka.flushes, 0)
        self.assertEqual(self.publisher.abandoned, {})

    def test_stop_lets_waiting_in(self) -> None:
        """Batches that wait for room are still delivered during the stop."""
        self.kafka.held = True
        self.send(("a", b"1"), ("a", b"2"), ("a", b"3"))
        self.send(("a", b"4"), ("a", b"5"))
        stopped = self.stop()
        self.kafka.held = False
        self.tick(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.outcomes(), [Outcome.OK, Outcome.OK])

    def test_stop_refuses(self) -> None:
        """A stopping publisher takes nothing more."""
        self.kafka.held = True
        self.send(("a", b"1"))
        stopped = self.stop()
        self.assertRaises(Draining, self.send, ("a", b"2"))
        self.kafka.held = False
        self.tick(0.1)
        self.successResultOf(stopped)

    def test_abandoned(self) -> None:
        """Events that cannot be delivered in time are counted by topic; unanswered clients are told."""
        self.kafka.held = True
        self.send(("a", b"1"), ("b", b"2"), ("a", b"3"), guid="sent")
        self.send(("c", b"4"), ("c", b"5"), guid="waiting")
        stopped = self.stop()
        self.tick(0.9)
        self.assertNoResult(stopped)
        self.tick(6)
        self.successResultOf(stopped)
        self.assertEqual(self.publisher.abandoned, {"a": 2, "b": 1})
        self.assertEqual({reply.guid: reply.outcome for reply in self.answers}["sent"], Outcome.FAILED)
        self.assertEqual({reply.guid: reply.outcome for reply in self.answers}["waiting"], Outcome.SATURATED)

    def test_give_up(self) -> None:
        """Everybody who waits is answered, whether the producer has the batch or not; nothing is taken back."""
        self.kafka.held = True
        self.send(("a", b"1"), ("a", b"2"), ("a", b"3"), guid="sent")
        self.send(("a", b"4"), ("a", b"5"), guid="waiting")
        self.publisher.give_up()
        self.assertEqual(
            {reply.guid: reply.outcome for reply in self.answers},
            {"sent": Outcome.EXPIRED, "waiting": Outcome.DRAINING},
        )
        self.kafka.held = False
        self.tick()
        self.assertEqual((self.kafka.topics["a"], len(self.answers)), ([b"1", b"2", b"3"], 2))

    def test_hurry(self) -> None:
        """A hurried stop waits for nothing, and still counts what it leaves behind."""
        self.kafka.held = True
        self.send(("a", b"1"))
        stopped = self.stop()
        self.publisher.hurry()
        self.tick(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.publisher.abandoned, {"a": 1})


class FailedProducer(MemoryProducer):
    """One that may be told that it has failed for good: it takes nothing, and reports what it has when it is purged."""

    failed = False

    def produce(self, *arguments: Any, **more: Any) -> None:
        if self.failed:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        super().produce(*arguments, **more)


class RenewalTests(KafkaPublisherTests):
    """A producer that has failed for good, or is wedged; and another one does all that the first one did."""

    wedge = False

    def connect(self, on_error: Callable[[KafkaError], None]) -> MemoryProducer:
        made = FailedProducer(capacity=4, held=self.wedge)
        self.made: list[FailedProducer] = [*getattr(self, "made", []), made]
        self.kafka = self.made[-1]
        return super().connect(on_error)

    def test_renewed(self) -> None:
        """What the failed one had goes to the next one, and what comes meanwhile waits behind it."""
        self.tick(1.0)
        self.kafka.held = True
        self.send(("clicks", b"1"), guid="first")
        failed = self.made[0]
        failed.failed = True
        self.send(("clicks", b"2"), guid="second")
        self.tick(0.1)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(
            {reply.guid: reply.outcome for reply in self.answers},
            {
                "first": Outcome.OK,
                "second": Outcome.OK,
            },
        )
        self.assertEqual(self.kafka.topics, {"clicks": [b"1", b"2"]})
        self.assertEqual(failed.topics, {})

    def again(self, **settings: Any) -> None:
        """Start another publisher with these settings."""
        stopped = self.stop()
        self.tick(0.1)
        self.successResultOf(stopped)
        self.made.clear()
        self.publisher = self.started(**settings)

    def test_rescued(self) -> None:
        """Where somebody else keeps what fails, it is told of it, and nothing goes twice."""
        self.again(rescued=True)
        self.tick(1.0)
        self.kafka.held = True
        self.send(("clicks", b"1"), guid="first")
        self.made[0].failed = True
        self.send(("clicks", b"2"), guid="second")
        self.tick(0.1)
        self.assertEqual(
            {reply.guid: reply.outcome for reply in self.answers}, {"first": Outcome.FAILED, "second": Outcome.OK}
        )
        self.assertEqual(self.kafka.topics, {"clicks": [b"2"]})

    def test_fatal_report(self) -> None:
        """A report is enough to know that the producer is done for; the event of it goes again."""
        self.kafka.broken["clicks"] = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        self.send(("clicks", b"1"), ack=Ack.ACCEPTED)
        self.tick(1.2)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.kafka.topics, {"clicks": [b"1"]})
        self.assertEqual(self.outcomes(), [Outcome.OK])

    def test_told_already(self) -> None:
        """Whose client was told that it was not confirmed does not go again: it comes again from there."""
        self.again(wedged=2.0, publish_timeout=0.5)
        self.kafka.held = True
        self.send(("clicks", b"1"), guid="told")
        self.send(("clicks", b"2"), ("clicks", b"2"), guid="acknowledged", ack=Ack.ACCEPTED)
        self.tick(4.0)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.outcomes(), [Outcome.OK, Outcome.EXPIRED])
        self.assertEqual(self.kafka.topics, {"clicks": [b"2", b"2"]})

    def test_wedged(self) -> None:
        """A producer that has events and a broker, and delivers nothing, is replaced after a while."""
        self.again(wedged=2.0)
        self.kafka.held = True
        self.send(("clicks", b"1"), ("clicks", b"2"), ack=Ack.ACCEPTED)
        self.tick(1.9)
        self.assertEqual(len(self.made), 1)
        self.tick(2.0)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.kafka.topics, {"clicks": [b"1", b"2"]})
        self.tick(5.0)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.counts.replaced, {"wedged": 1})

    def test_wedged_without_broker(self) -> None:
        """While no broker answers, nothing is wrong with the producer."""
        self.again(wedged=2.0)
        self.kafka.held = self.kafka.away = True
        self.send(("clicks", b"1"), ack=Ack.ACCEPTED)
        self.tick(10.0)
        self.assertEqual(len(self.made), 1)
        self.kafka.held = self.kafka.away = False
        self.tick(5.0)
        self.assertEqual((len(self.made), self.kafka.topics), (1, {"clicks": [b"1"]}))

    def test_wedged_all(self) -> None:
        """If the next ones are no better, they are given more and more time; a success makes an end of that."""
        self.again(wedged=2.0)
        self.wedge = True
        self.send(("clicks", b"1"), ack=Ack.ACCEPTED)
        self.tick(30.0)
        self.assertLessEqual(len(self.made), 4)
        self.wedge = self.kafka.held = False
        self.tick(0.2)
        self.assertEqual(self.kafka.topics, {"clicks": [b"1"]})
        before = len(self.made)
        self.kafka.held = True
        self.send(("clicks", b"2"), ack=Ack.ACCEPTED)
        self.tick(4.5)
        self.assertEqual((len(self.made), self.kafka.topics), (before + 1, {"clicks": [b"2"]}))

    def test_slow(self) -> None:
        """Now and then an event is delivered or refused: that is slow, not wedged. Nor is it to have nothing to do."""
        self.again(wedged=2.0)
        for code in (None, KafkaError.TOPIC_AUTHORIZATION_FAILED, None, None):
            self.kafka.broken = {"clicks": code} if code is not None else {}
            self.kafka.held = True
            self.send(("clicks", b"1"))
            self.tick(1.5)
            self.kafka.held = False
            self.tick(0.1)
        self.tick(5.0)
        self.assertEqual(len(self.made), 1)

    def test_timed_out(self) -> None:
        """That the time of all events is over is no sign of life."""
        self.again(wedged=2.0)
        self.kafka.broken["clicks"] = KafkaError._MSG_TIMED_OUT
        for _ in range(4):
            self.send(("clicks", b"1"))
            self.tick(1.0)
        self.assertEqual(len(self.made), 2)

    def test_stopped_meanwhile(self) -> None:
        """A stop that cannot wait counts what would have gone again."""
        self.kafka.held = True
        self.send(("clicks", b"1"), ack=Ack.ACCEPTED)
        self.publisher._renew("failed", "is replaced for a test")
        self.made[1].capacity = 0
        self.tick(0.2)
        stopped = self.stop()
        self.tick(3.0)
        self.successResultOf(stopped)
        self.assertEqual(self.publisher.abandoned, {"clicks": 1})

    def test_not_at_once_again(self) -> None:
        """Producers that fail one after another are not made faster than one a second; batches are refused as overload
        meanwhile, and leave nothing behind that a stop would wait for."""
        self.kafka.failed = True
        self.send(("clicks", b"1"))
        self.tick(0.6)
        self.assertEqual(len(self.made), 1)
        self.assertEqual([reply.outcome for reply in self.answers], [Outcome.SATURATED])
        self.tick(0.6)
        self.assertEqual(len(self.made), 2)
        stopped = self.publisher.stopService()
        self.tick(0.1)
        self.successResultOf(stopped)

    def test_bytes_are_full(self) -> None:
        """A producer may have no room although it has few messages; who is refused for it leaves nothing behind."""
        self.kafka.capacity = 0
        self.send(("clicks", b"1"))
        self.tick(0.6)
        self.assertEqual([reply.outcome for reply in self.answers], [Outcome.SATURATED])
        stopped = self.publisher.stopService()
        self.tick(0.1)
        self.successResultOf(stopped)
