"""Tests for `raccoon_tx.transports.connections`: contract section 5.2."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Identity, Outcome, Reply
from raccoon_tx.transports.connections import Connections

ALICE, BOB, NOBODY = Identity("g", "alice"), Identity("g", "bob"), Identity("g", "")


class ConnectionsTests(SynchronousTestCase):
    """Who is let in."""

    def test_duplicate(self) -> None:
        """A client that is connected is not let in again; the reason has a comma at its end, as it always had."""
        connections = Connections(10)
        self.assertIsNone(connections.admit(ALICE, 1))
        self.assertEqual(
            connections.admit(ALICE, 2), Reply(Outcome.DUPLICATE_CONNECTION, None, "duplicated connection: [g] alice,")
        )
        self.assertEqual(len(connections), 1)

    def test_other_group(self) -> None:
        """The same id in another group is another client."""
        connections = Connections(10)
        self.assertIsNone(connections.admit(ALICE, 1))
        self.assertIsNone(connections.admit(Identity("h", "alice"), 2))

    def test_again(self) -> None:
        """Who has gone may come back."""
        connections = Connections(10)
        connections.admit(ALICE, 1)
        connections.release(ALICE, 1)
        self.assertEqual(len(connections), 0)
        self.assertIsNone(connections.admit(ALICE, 2))

    def test_full(self) -> None:
        """When all places are taken, newcomers are told so, until one leaves."""
        connections = Connections(1)
        connections.admit(ALICE, 1)
        self.assertEqual(connections.admit(BOB, 2), Reply(Outcome.MAX_CONNECTIONS, None, "max connection reached"))
        connections.release(ALICE, 1)
        self.assertIsNone(connections.admit(BOB, 3))

    def test_duplicate_first(self) -> None:
        """A duplicate is told that it is one, even when all places are taken."""
        connections = Connections(1)
        connections.admit(ALICE, 1)
        refusal = connections.admit(ALICE, 2)
        assert refusal is not None
        self.assertIs(refusal.outcome, Outcome.DUPLICATE_CONNECTION)

    def test_without_id(self) -> None:
        """Clients without an id are nobody's duplicates, but take places."""
        connections = Connections(2)
        self.assertIsNone(connections.admit(NOBODY, 1))
        self.assertIsNone(connections.admit(NOBODY, 2))
        self.assertIsNone(connections.of(NOBODY))
        refusal = connections.admit(NOBODY, 3)
        assert refusal is not None
        self.assertIs(refusal.outcome, Outcome.MAX_CONNECTIONS)
        connections.release(NOBODY, 1)
        self.assertIsNone(connections.admit(ALICE, 4))

    def test_replace(self) -> None:
        """A place may go to another connection of its client, also when all are taken; the end of the first one does
        not take it away again."""
        connections = Connections(1)
        connections.admit(ALICE, 1)
        connections.replace(ALICE, 2)
        self.assertEqual((connections.of(ALICE), len(connections)), (2, 1))
        connections.release(ALICE, 1)
        self.assertEqual((connections.of(ALICE), len(connections)), (2, 1))
        connections.release(ALICE, 2)
        self.assertEqual((connections.of(ALICE), len(connections)), (None, 0))

    def test_released_twice(self) -> None:
        """Who has gone has gone once."""
        connections = Connections(2)
        for client in ALICE, NOBODY:
            connections.admit(client, 1)
            connections.release(client, 1)
            connections.release(client, 1)
        self.assertEqual(len(connections), 0)


class Crowd(RuleBasedStateMachine):
    """People come and go; nobody is counted twice, and nobody is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections(3)
        self.inside: list[tuple[Identity, int]] = []
        self.number = 0

    @rule(client=st.sampled_from([ALICE, BOB, NOBODY, Identity("h", "alice"), Identity("h", "")]))
    def come(self, client: Identity) -> None:
        self.number += 1
        refusal = self.connections.admit(client, self.number)
        if client.id and client in [who for who, _ in self.inside]:
            assert refusal is not None
            assert refusal.outcome is Outcome.DUPLICATE_CONNECTION
        elif len(self.inside) == 3:
            assert refusal is not None
            assert refusal.outcome is Outcome.MAX_CONNECTIONS
        else:
            assert refusal is None
            self.inside.append((client, self.number))

    @rule(client=st.sampled_from([ALICE, BOB]))
    def come_again(self, client: Identity) -> None:
        resident = self.connections.of(client)
        if resident is not None:
            self.number += 1
            self.connections.replace(client, self.number)
            self.inside.remove((client, resident))
            self.inside.append((client, self.number))
            self.connections.release(client, resident)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        client, number = data.draw(st.sampled_from(self.inside))
        self.inside.remove((client, number))
        self.connections.release(client, number)

    @invariant()
    def counted(self) -> None:
        assert len(self.connections) == len(self.inside)


class CrowdTests(SynchronousTestCase):
    """Comings and goings in any order."""

    def test_crowd(self) -> None:
        """Who is inside is known at every moment."""
        run_state_machine_as_test(Crowd)
