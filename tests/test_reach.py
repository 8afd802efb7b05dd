"""Tests of `raccoon_tx.publishers.reach`."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.publishers.reach import FIRST_TIMEOUT, INTERVAL, TIMEOUT, Reach
from tests.traffic import Threads

ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


class Cluster:
    """Answers questions for metadata, or does not."""

    def __init__(self) -> None:
        self.there = True
        self.timeouts: list[float] = []

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> None:
        self.timeouts.append(timeout)
        if not self.there:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class ReachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.threads, self.cluster = Clock(), Threads(), Cluster()
        self.reach = Reach(self.clock, self.threads)
        self.reach.watch(self.cluster)
        self.threads.finish()

    def test_asks_at_start(self) -> None:
        """The first question is asked at the start, and an answer is all that was wanted."""
        self.assertEqual(self.cluster.timeouts, [FIRST_TIMEOUT])
        self.assertFalse(self.reach.away)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_false_alarm(self) -> None:
        """Lost connections alone do not make Kafka count as away: it is asked first."""
        self.reach.error(ALL_DOWN)
        self.assertFalse(self.reach.away)
        self.threads.finish()
        self.assertFalse(self.reach.away)

    def test_away_and_back(self) -> None:
        """Without an answer Kafka is away, and is asked until it answers."""
        self.cluster.there = False
        self.reach.error(ALL_DOWN)
        self.threads.finish()
        self.assertTrue(self.reach.away)
        self.clock.advance(INTERVAL)
        self.threads.finish()
        self.assertTrue(self.reach.away)
        self.assertEqual(self.cluster.timeouts[-1], TIMEOUT)
        self.cluster.there = True
        self.clock.advance(INTERVAL)
        self.threads.finish()
        self.assertFalse(self.reach.away)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_question(self) -> None:
        """A flood of errors leads to one question at a time."""
        self.cluster.there = False
        for _ in range(100):
            self.reach.error(ALL_DOWN)
        self.assertEqual(len(self.threads.calls), 1)
        self.threads.finish()
        for _ in range(100):
            self.reach.error(ALL_DOWN)
        self.assertEqual(len(self.threads.calls), 0)
        self.reach.stop()

    def test_other_errors(self) -> None:
        """One broken connection is no reason to ask."""
        self.reach.error(KafkaError(KafkaError._TRANSPORT))
        self.assertEqual(self.threads.calls, [])

    def test_delivery_is_an_answer(self) -> None:
        """A delivered event shows that Kafka is there."""
        self.cluster.there = False
        self.reach.error(ALL_DOWN)
        self.threads.finish()
        self.reach.reached()
        self.assertFalse(self.reach.away)
        self.reach.stop()

    def test_stop(self) -> None:
        """After the stop nothing is asked, and no timer is left; a late answer changes nothing."""
        self.cluster.there = False
        self.reach.error(ALL_DOWN)
        self.reach.stop()
        self.threads.finish()
        self.assertFalse(self.reach.away)
        self.reach.error(ALL_DOWN)
        self.assertEqual((self.threads.calls, self.clock.getDelayedCalls()), ([], []))

    def test_broken_question(self) -> None:
        """A question that goes wrong in an unexpected way is logged, and the next one can be asked."""

        def broken(topic: str | None = None, timeout: float = -1) -> None:
            raise ZeroDivisionError

        self.cluster.list_topics = broken  # type: ignore[method-assign,assignment]
        self.reach.error(ALL_DOWN)
        self.threads.finish()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reach.error(ALL_DOWN)
        self.assertEqual(len(self.threads.calls), 1)

    def test_confirm(self) -> None:
        """Who wants to be sure that there is a broker is told when it has answered, once, and else not at all."""
        told: list[int] = []
        self.reach.confirm(lambda: told.append(1))
        self.assertEqual(told, [])
        self.threads.finish()
        self.assertEqual(told, [1])
        self.cluster.there = False
        self.reach.confirm(lambda: told.append(2))
        self.threads.finish()
        self.cluster.there = True
        self.clock.advance(INTERVAL)
        self.threads.finish()
        self.assertFalse(self.reach.away)
        self.assertEqual(told, [1])
