"""Tests of `raccoon_tx.workers.table` and `raccoon_tx.workers.remote`: one table of connections over all workers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Identity, Outcome, Reply
from raccoon_tx.transports.admission import PROBE_TIME
from raccoon_tx.transports.connections import duplicate
from raccoon_tx.workers.remote import TIMEOUT
from tests.workers import Parent, Socket, Worker

ALICE, BOB, NOBODY = Identity("g", "alice"), Identity("g", "bob"), Identity("g", "")
FULL = Reply(Outcome.MAX_CONNECTIONS, None, "max connection reached")


class Case(SynchronousTestCase):
    def prepare(self, policy: str = "reject", most: int = 10) -> tuple[Worker, Worker]:
        self.parent = Parent(policy, most)
        return self.parent.worker(), self.parent.worker()

    def enter(self, worker: Worker, identity: Identity) -> Socket:
        socket = Socket(identity)
        worker.admission.enter(socket)
        self.parent.turn()
        return socket


class RejectTests(Case):
    def test_duplicate(self) -> None:
        """A client that is connected to one worker is refused by another, until it has gone."""
        one, other = self.prepare()
        first = self.enter(one, ALICE)
        self.assertEqual(first.heard, ["pause", "let in"])
        self.assertEqual(self.enter(other, ALICE).heard, ["pause", duplicate(ALICE)])
        one.admission.leave(first)
        self.parent.turn()
        self.assertEqual(self.enter(other, ALICE).heard, ["pause", "let in"])

    def test_full(self) -> None:
        """The limit holds over all workers."""
        one, other = self.prepare(most=2)
        nobody = self.enter(one, NOBODY)
        self.enter(other, ALICE)
        self.assertEqual(self.enter(one, BOB).heard, ["pause", FULL])
        one.admission.leave(nobody)
        self.parent.turn()
        self.assertEqual(self.enter(other, BOB).heard, ["pause", "let in"])

    def test_refused_has_no_place(self) -> None:
        """Who was refused takes no place, and has nothing to give back."""
        one, other = self.prepare()
        self.enter(one, ALICE)
        refused = self.enter(other, ALICE)
        other.admission.leave(refused)
        self.parent.turn()
        self.assertEqual(len(self.parent.connections), 1)

    def test_worker_dies(self) -> None:
        """The connections of a worker that has ended are gone with it."""
        one, other = self.prepare()
        self.enter(one, ALICE)
        self.enter(one, NOBODY)
        self.enter(other, BOB)
        one.die()
        self.assertEqual(len(self.parent.connections), 1)
        self.assertEqual(self.enter(other, ALICE).heard, ["pause", "let in"])

    def test_left_while_waiting(self) -> None:
        """A client that goes before it was let in is not heard of again."""
        one, _ = self.prepare()
        socket = Socket(ALICE)
        one.admission.enter(socket)
        one.admission.leave(socket)
        self.parent.turn()
        self.assertEqual((socket.heard, len(self.parent.connections)), (["pause"], 0))

    def test_no_answer(self) -> None:
        """While the parent does not answer, clients are told to try later, and take no places afterwards."""
        one, other = self.prepare()
        one.mute = True
        socket = self.enter(one, ALICE)
        self.parent.clock.advance(TIMEOUT)
        refusal = socket.heard[1]
        self.assertEqual((refusal.outcome, refusal.code), (Outcome.UNAVAILABLE, 3))
        one.mute = False
        self.parent.turn()
        self.assertEqual(len(self.parent.connections), 0)
        self.assertEqual(self.enter(other, ALICE).heard, ["pause", "let in"])

    def test_parent_dies(self) -> None:
        """Without a parent who waits is refused, and who comes; who is in stays."""
        one, _ = self.prepare()
        resident = self.enter(one, ALICE)
        waiting = Socket(BOB)
        one.admission.enter(waiting)
        one.admission.lose()
        late = self.enter(one, NOBODY)
        self.assertEqual(resident.heard, ["pause", "let in"])
        self.assertEqual([heard.outcome for heard in (waiting.heard[1], late.heard[0])], [Outcome.UNAVAILABLE] * 2)
        one.admission.leave(resident)
        self.parent.clock.advance(TIMEOUT)
        self.assertEqual(self.parent.clock.getDelayedCalls(), [])


class ReplaceTests(Case):
    def test_other_worker(self) -> None:
        """Who comes later takes over, on whichever worker, and keeps the place when the first one has gone."""
        one, other = self.prepare("replace")
        first, second = self.enter(one, ALICE), self.enter(other, ALICE)
        self.assertEqual((first.heard[2:], second.heard), (["replaced"], ["pause", "let in"]))
        one.admission.leave(first)
        self.parent.turn()
        self.assertEqual(len(self.parent.connections), 1)


class ProbeTests(Case):
    def test_alive(self) -> None:
        """A connection that gives a sign of life stays; the newcomer on the other worker is refused."""
        one, other = self.prepare("probe")
        first, second = self.enter(one, ALICE), self.enter(other, ALICE)
        self.assertEqual((first.heard[2:], second.heard), (["ask"], ["pause", "wait"]))
        one.admission.heard(first)
        self.parent.turn()
        self.assertEqual(second.heard[2:], [duplicate(ALICE)])

    def test_silent(self) -> None:
        """One that gives none has to go."""
        one, other = self.prepare("probe")
        first, second = self.enter(one, ALICE), self.enter(other, ALICE)
        self.parent.clock.advance(PROBE_TIME)
        self.parent.turn()
        self.assertEqual((first.heard[2:], second.heard[2:]), (["ask", "give way"], ["let in"]))
        one.admission.leave(first)
        self.parent.turn()
        self.assertIsNotNone(self.parent.connections.of(ALICE))

    def test_worker_dies(self) -> None:
        """If its worker ends meanwhile, the newcomer is let in at once."""
        one, other = self.prepare("probe")
        self.enter(one, ALICE)
        second = self.enter(other, ALICE)
        one.die()
        self.parent.turn()
        self.assertEqual(second.heard[2:], ["let in"])
        other.die()
        self.assertEqual(len(self.parent.connections), 0)
        self.assertEqual([call for call in self.parent.clock.getDelayedCalls() if call.time > TIMEOUT], [])

    def test_both_in_one_that_dies(self) -> None:
        """Nothing is left of two connections of one worker either."""
        one, other = self.prepare("probe")
        self.enter(one, ALICE)
        self.enter(one, ALICE)
        one.die()
        self.assertEqual(len(self.parent.connections), 0)
        self.assertEqual(self.enter(other, ALICE).heard, ["pause", "let in"])
