"""Tests for `raccoon_tx.transports.deadlines`."""

from __future__ import annotations

import random

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.deadlines import Deadlines


@define(eq=False, slots=False)
class Guest:
    """Somebody with a deadline. :ivar late_at: when it was over."""

    clock: Clock
    late_at: float | None = None

    def late(self) -> None:
        assert self.late_at is None
        self.late_at = self.clock.seconds()


class DeadlinesTests(SynchronousTestCase):
    """One timer for all of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, 10.0)

    def guest(self) -> Guest:
        guest = Guest(self.clock)
        self.deadlines.begin(guest)
        return guest

    def test_on_time(self) -> None:
        """Each is told when its own time is over, by one timer, and nothing is left then."""
        guests = []
        for _ in range(100):
            guests.append(self.guest())
            self.clock.advance(0.07)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0.01] * 1100)
        for number, guest in enumerate(guests):
            self.assertApproximates(guest.late_at, number * 0.07 + 10.0, 0.011)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anew(self) -> None:
        """Time may begin anew."""
        first, second = self.guest(), self.guest()
        self.clock.advance(9.9)
        self.deadlines.begin(first)
        self.clock.advance(0.2)
        self.assertEqual((first.late_at, second.late_at), (None, 10.1))
        self.clock.advance(9.6)
        self.assertIsNone(first.late_at)
        self.clock.advance(0.2)
        self.assertApproximates(first.late_at, 19.9, 0.01)

    def test_forget(self) -> None:
        """Who is done is not told, and hears how much time there was left."""
        guest = self.guest()
        self.clock.advance(4.0)
        self.assertEqual(self.deadlines.forget(guest), 6.0)
        self.assertEqual(self.deadlines.forget(guest), 10.0)
        self.clock.advance(100.0)
        self.assertIsNone(guest.late_at)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """The timer can be stopped, more than once, and begins again with the next deadline."""
        self.deadlines.forget(self.guest())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.stop()
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        guest = self.guest()
        self.clock.advance(10.0)
        self.assertEqual(guest.late_at, 10.0)

    def test_each_other(self) -> None:
        """One that is late may take another along, or begin anew."""
        first, second = self.guest(), self.guest()

        def leave_both() -> None:
            self.deadlines.forget(second)
            self.deadlines.begin(third)

        third = Guest(self.clock)
        first.late = leave_both  # type: ignore[method-assign]
        self.clock.advance(10.0)
        self.assertIsNone(second.late_at)
        self.clock.advance(10.0)
        self.assertEqual(third.late_at, 20.0)

    def test_odd_times(self) -> None:
        """However odd the sums of floats, nobody is late by more than a moment, or early."""
        chance = random.Random(5)
        guests = []
        for _ in range(2000):
            self.clock.advance(chance.random() * 0.3)
            guests.append((self.guest(), self.clock.seconds()))
        for _ in range(2000):
            self.clock.advance(chance.random() * 0.01)
        self.clock.advance(10.0)
        for guest, began in guests:
            self.assertIsNotNone(guest.late_at)
            self.assertGreater(guest.late_at, began + 9.999)
