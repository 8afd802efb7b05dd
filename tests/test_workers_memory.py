"""Tests of `raccoon_tx.workers.memory` and `raccoon_tx.workers.remote`: one memory of batches over all workers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Identity, Outcome, Reply
from raccoon_tx.workers.remote import TIMEOUT
from tests.workers import Parent, Sender, Worker

ALICE = Identity("g", "alice")
OK = Reply(Outcome.OK, "1")
COPY = Reply(Outcome.OK, "1", extra={"duplicate": "true"})
FAILED = Reply(Outcome.FAILED, "1", "broken", {"failed": "0"}, 2.0)
EXPIRED = Reply(Outcome.EXPIRED, "1", "late")


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Parent()
        self.one, self.other = self.parent.worker(), self.parent.worker()

    def ask(self, worker: Worker, guid: str = "1", client: Identity = ALICE) -> Sender:
        sender = Sender()
        worker.guids.ask(client, guid, sender.answers.append, sender)
        self.parent.turn()
        return sender

    def settle(self, sender: Sender, reply: Reply) -> None:
        assert sender.settle is not None
        sender.settle(reply)
        self.parent.turn()

    def test_done(self) -> None:
        """What one worker has taken is known to the others."""
        first = self.ask(self.one)
        self.settle(first, OK)
        self.assertEqual(first.answers, [OK])
        self.assertEqual(self.ask(self.other).answers, [COPY])
        self.assertEqual(self.ask(self.one).answers, [COPY])
        self.assertEqual(len(self.one.questions), 0)

    def test_other_batches(self) -> None:
        """Another guid, and the same one of another client, is another batch."""
        self.settle(self.ask(self.one), OK)
        self.assertIsNotNone(self.ask(self.other, "2").settle)
        self.assertIsNotNone(self.ask(self.other, "1", Identity("g", "bob")).settle)

    def test_on_its_way(self) -> None:
        """A copy of a batch that is on its way waits for it, longer than the parent gets to answer, and gets the same
        answer."""
        first = self.ask(self.one)
        copy = self.ask(self.other)
        self.parent.clock.advance(TIMEOUT + 1)
        self.assertEqual((copy.settle, copy.answers), (None, []))
        self.settle(first, FAILED)
        self.assertEqual((first.answers, copy.answers), ([FAILED], [FAILED]))
        self.assertIsNotNone(self.ask(self.other).settle)

    def test_expired(self) -> None:
        """What may still be delivered is not published again, before it is known to have failed."""
        first = self.ask(self.one)
        self.settle(first, EXPIRED)
        self.assertEqual(self.ask(self.other).answers, [EXPIRED])
        self.settle(first, FAILED)
        self.assertEqual(first.answers, [EXPIRED])
        self.assertIsNotNone(self.ask(self.other).settle)

    def test_worker_dies(self) -> None:
        """What a worker that has ended had not finished is unknown again: copies that wait may come again."""
        self.ask(self.one)
        copy = self.ask(self.other)
        self.one.die()
        self.parent.turn()
        [answer] = copy.answers
        self.assertEqual((answer.code, answer.guid, answer.extra["retryable"]), (3, "1", "true"))
        self.assertIsNotNone(self.ask(self.other).settle)

    def test_what_it_had_finished(self) -> None:
        """What it had finished stays known."""
        self.settle(self.ask(self.one), OK)
        self.one.die()
        self.assertEqual(self.ask(self.other).answers, [COPY])

    def test_no_answer(self) -> None:
        """While the parent does not answer, batches are to come again, and may."""
        self.one.mute = True
        silent = self.ask(self.one)
        self.parent.clock.advance(TIMEOUT)
        self.assertTrue(silent.silent)
        self.assertEqual([answer.code for answer in silent.answers], [3])
        self.one.mute = False
        self.assertIsNotNone(self.ask(self.one).settle)

    def test_late_answer(self) -> None:
        """A batch whose client was turned away is not taken when the parent answers after all."""
        silent = Sender()
        self.one.guids.ask(ALICE, "1", silent.answers.append, silent)
        self.parent.clock.advance(TIMEOUT)  # the timer is due in the same turn as the message
        self.parent.turn()
        self.assertEqual((silent.settle, len(silent.answers)), (None, 1))
        self.assertIsNotNone(self.ask(self.other).settle)

    def test_parent_dies(self) -> None:
        """Without a parent batches are to come again; those that were new are answered all the same."""
        first = self.ask(self.one)
        copy = self.ask(self.one)
        self.one.up.close()
        self.one.guids.lose()
        self.assertEqual([answer.outcome for answer in copy.answers], [Outcome.UNAVAILABLE])
        self.assertTrue(self.ask(self.one, "2").silent)
        self.settle(first, OK)
        self.assertEqual(first.answers, [OK])
