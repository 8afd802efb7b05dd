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
        self.assertIsNone(connections.admit(ALICE))
        self.assertEqual(
            connections.admit(ALICE), Reply(Outcome.DUPLICATE_CONNECTION, None, "duplicated connection: [g] alice,")
        )
        self.assertEqual(len(connections), 1)

    def test_other_group(self) -> None:
        """The same id in another group is another client."""
        connections = Connections(10)
        self.assertIsNone(connections.admit(ALICE))
        self.assertIsNone(connections.admit(Identity("h", "alice")))

    def test_again(self) -> None:
        """Who has gone may come back."""
        connections = Connections(10)
        connections.admit(ALICE)
        connections.release(ALICE)
        self.assertEqual(len(connections), 0)
        self.assertIsNone(connections.admit(ALICE))

    def test_full(self) -> None:
        """When all places are taken, newcomers are told so, until one leaves."""
        connections = Connections(1)
        connections.admit(ALICE)
        self.assertEqual(connections.admit(BOB), Reply(Outcome.MAX_CONNECTIONS, None, "max connection reached"))
        connections.release(ALICE)
        self.assertIsNone(connections.admit(BOB))

    def test_duplicate_first(self) -> None:
        """A duplicate is told that it is one, even when all places are taken."""
        connections = Connections(1)
        connections.admit(ALICE)
        refusal = connections.admit(ALICE)
        assert refusal is not None
        self.assertIs(refusal.outcome, Outcome.DUPLICATE_CONNECTION)

    def test_without_id(self) -> None:
        """Clients without an id are nobody's duplicates, but take places."""
        connections = Connections(2)
        self.assertIsNone(connections.admit(NOBODY))
        self.assertIsNone(connections.admit(NOBODY))
        refusal = connections.admit(NOBODY)
        assert refusal is not None
        self.assertIs(refusal.outcome, Outcome.MAX_CONNECTIONS)
        connections.release(NOBODY)
        self.assertIsNone(connections.admit(ALICE))


class Crowd(RuleBasedStateMachine):
    """People come and go; nobody is counted twice, and nobody is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections(3)
        self.inside: list[Identity] = []

    @rule(client=st.sampled_from([ALICE, BOB, NOBODY, Identity("h", "alice"), Identity("h", "")]))
    def come(self, client: Identity) -> None:
        refusal = self.connections.admit(client)
        if client.id and client in self.inside:
            assert refusal is not None
            assert refusal.outcome is Outcome.DUPLICATE_CONNECTION
        elif len(self.inside) == 3:
            assert refusal is not None
            assert refusal.outcome is Outcome.MAX_CONNECTIONS
        else:
            assert refusal is None
            self.inside.append(client)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.inside))
        self.inside.remove(client)
        self.connections.release(client)

    @invariant()
    def counted(self) -> None:
        assert len(self.connections) == len(self.inside)


class CrowdTests(SynchronousTestCase):
    """Comings and goings in any order."""

    def test_crowd(self) -> None:
        """Who is inside is known at every moment."""
        run_state_machine_as_test(Crowd)
