"""Tests of `raccoon_tx.delivery`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Ack, Outcome, Reply
from raccoon_tx.report import Failure
from tests.samples import delivery


class Recorder:
    """A publisher that only takes note."""

    def __init__(self) -> None:
        self.ended: list[Delivery] = []

    def finished(self, delivery: Delivery) -> None:
        self.ended.append(delivery)


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answers: list[Reply] = []
        self.carrier = Recorder()

    def sent(self, ack: Ack, count: int = 2) -> Delivery:
        """A batch that the producer has taken."""
        made = delivery(*[("a", b"%d" % n) for n in range(count)], ack=ack, answer=self.answers.append)
        made.carried_by(self.carrier)
        made.taken = count
        made.accepted()
        return made

    def test_accepted(self) -> None:
        """With ``event.ack`` 0 the answer goes out when the producer has the batch; reports change nothing."""
        sent = self.sent(Ack.ACCEPTED)
        self.assertEqual(self.answers, [Reply(Outcome.OK, "1234")])
        sent.settle()
        sent.fail(1, Failure("broken"))
        sent.settle()
        self.assertEqual(len(self.answers), 1)
        self.assertEqual(self.carrier.ended, [sent])

    def test_delivered(self) -> None:
        """With ``event.ack`` 1 the answer goes out with the last report."""
        sent = self.sent(Ack.DELIVERED)
        sent.settle()
        self.assertEqual(self.answers, [])
        sent.settle()
        self.assertEqual(self.answers, [Reply(Outcome.OK, "1234")])
        self.assertEqual(self.carrier.ended, [sent])

    def test_failed(self) -> None:
        """The answer names the events that failed, and only those."""
        sent = self.sent(Ack.DELIVERED, 3)
        sent.fail(2, Failure("broken"))
        sent.settle()
        sent.settle(2)
        (reply,) = self.answers
        self.assertEqual((reply.outcome, reply.guid), (Outcome.FAILED, "1234"))
        self.assertEqual(reply.reason, "cannot publish events: error when sending messages: event 2 (a): broken")
        self.assertEqual(
            dict(reply.extra), {"failed": "2", "failed_count": "1", "event_count": "3", "retryable": "true"}
        )

    def test_hopeless(self) -> None:
        """When no failed event can ever be delivered, the client is told not to try again."""
        sent = self.sent(Ack.DELIVERED, 1)
        sent.fail(0, Failure("too large", retryable=False))
        sent.settle()
        self.assertEqual(self.answers[0].extra["retryable"], "false")

    def test_not_all_taken(self) -> None:
        """A batch of which a part still waits is not answered by the reports of the other part."""
        made = delivery(("a", b"0"), ("a", b"1"), answer=self.answers.append)
        made.carried_by(self.carrier)
        made.taken = 1
        made.settle()
        self.assertEqual((self.answers, self.carrier.ended), ([], []))

    def test_late(self) -> None:
        """Whoever keeps track of a batch beyond its answer is told what became of it, but only after an answer that
        left it open."""
        for outcome, told in ((Outcome.EXPIRED, [Outcome.OK]), (Outcome.OK, []), (Outcome.DRAINING, [])):
            late: list[Outcome] = []
            sent = delivery(
                ("a", b"1"), answer=self.answers.append, late=lambda reply, to=late: to.append(reply.outcome)
            )
            sent.carried_by(self.carrier)
            sent.taken = 1
            sent.answer(Reply(outcome, "1234"))
            sent.settle()
            self.assertEqual(late, told)

    def test_once(self) -> None:
        """Nobody is answered twice."""
        sent = self.sent(Ack.DELIVERED, 1)
        sent.answer(Reply(Outcome.EXPIRED, "1234"))
        sent.settle()
        self.assertEqual([reply.outcome for reply in self.answers], [Outcome.EXPIRED])
        self.assertTrue(sent.answered)
