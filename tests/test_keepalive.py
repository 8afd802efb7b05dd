"""Tests for `raccoon_tx.transports.keepalive`: contract section 5.5."""

from __future__ import annotations

import random

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.keepalive import KeepAlive


@define(eq=False)
class Phone:
    """A peer. :ivar answers: it does so. :ivar broken: pinging it fails."""

    clock: Clock
    last_heard: float = 0.0
    answers: bool = False
    broken: bool = False
    pings: list[float] = field(factory=list)
    given_up: list[float] = field(factory=list)

    def ping(self) -> None:
        if self.broken:
            raise RuntimeError("out of order")
        self.pings.append(self.clock.seconds())
        if self.answers:
            self.last_heard = self.clock.seconds()

    def give_up(self) -> None:
        self.given_up.append(self.clock.seconds())


class KeepAliveTests(SynchronousTestCase):
    """A ping for each connection in each interval, and an end for those that are silent for too long."""

    def setUp(self) -> None:
        self.patch(random, "randrange", random.Random(1).randrange)
        self.clock = Clock()
        self.keepalive = KeepAlive(self.clock, 30.0, 60.0)
        self.keepalive.startService()

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))

    def test_each_once(self) -> None:
        """Each connection is pinged once in each interval, the first time within one interval of its coming."""
        phones = [Phone(self.clock, answers=True) for _ in range(200)]
        for phone in phones:
            self.keepalive.add(phone)
        self.run_for(90.2)
        self.assertEqual({len(phone.pings) for phone in phones}, {3})
        for phone in phones:
            first, second, third = phone.pings
            self.assertLess(first, 30.15)
            self.assertTrue(29.8 < second - first < 30.2)
            self.assertTrue(29.8 < third - second < 30.2)

    def test_spread(self) -> None:
        """Connections that come together are not pinged together."""
        phones = [Phone(self.clock, answers=True) for _ in range(1000)]
        for phone in phones:
            self.keepalive.add(phone)
        self.run_for(30.2)
        moments = [phone.pings[0] for phone in phones]
        most = max(moments.count(moment) for moment in set(moments))
        self.assertLess(most, 50)
        self.assertGreater(len(set(moments)), 55)

    def test_silent(self) -> None:
        """A connection without a sign of life is given up after the patience, and at most one interval later."""
        phones = [Phone(self.clock) for _ in range(50)]
        for phone in phones:
            self.keepalive.add(phone)
        self.run_for(59.9)
        self.assertEqual([phone for phone in phones if phone.given_up], [])
        self.run_for(30.2)
        for phone in phones:
            self.assertTrue(60 <= phone.given_up[0] <= 90.1)
            self.assertTrue(1 <= len(phone.pings) <= 2)

    def test_heard(self) -> None:
        """Any sign of life counts, whatever it was."""
        phone = Phone(self.clock)
        self.keepalive.add(phone)
        for _ in range(10):
            phone.last_heard = self.clock.seconds()
            self.run_for(55)
        self.assertEqual(phone.given_up, [])

    def test_removed(self) -> None:
        """A connection that has ended is left alone."""
        phone = Phone(self.clock)
        self.keepalive.remove(phone, self.keepalive.add(phone))
        self.run_for(100)
        self.assertEqual((phone.pings, phone.given_up), ([], []))

    def test_removed_meanwhile(self) -> None:
        """Connections may end while others are being pinged."""

        class Last(Phone):
            def ping(self) -> None:
                for phone, slot in everybody:
                    keepalive.remove(phone, slot)

        keepalive = KeepAlive(self.clock, 0.02, 60.0)  # one slot
        keepalive.startService()
        phones = [Last(self.clock) for _ in range(5)]
        everybody = [(phone, keepalive.add(phone)) for phone in phones]
        self.clock.advance(0.02)
        self.clock.advance(0.02)

    def test_broken(self) -> None:
        """A connection that cannot be pinged is logged, and the others are pinged all the same, again and again."""
        keepalive = KeepAlive(self.clock, 0.02, 60.0)
        keepalive.startService()
        phones = [Phone(self.clock, broken=number == 5) for number in range(10)]
        for phone in phones:
            keepalive.add(phone)
        self.clock.advance(0.02)
        self.clock.advance(0.02)
        self.assertEqual([len(phone.pings) for phone in phones], [2, 2, 2, 2, 2, 0, 2, 2, 2, 2])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_busy_reactor(self) -> None:
        """A reactor that comes round late does not make the intervals longer."""
        phones = [Phone(self.clock, answers=True) for _ in range(100)]
        for phone in phones:
            self.keepalive.add(phone)
        self.clock.pump([2.0] * 45)
        self.assertEqual({len(phone.pings) for phone in phones}, {3})

    def test_sleep(self) -> None:
        """After a long sleep of the machine everybody is pinged once, and nobody is given up for what was not read
        meanwhile."""
        phones = [Phone(self.clock) for _ in range(100)]
        for phone in phones:
            self.keepalive.add(phone)
        self.clock.advance(300)
        self.assertEqual({(len(phone.pings), len(phone.given_up)) for phone in phones}, {(1, 0)})
        self.run_for(30.1)
        self.assertEqual({(len(phone.pings), len(phone.given_up)) for phone in phones}, {(1, 1)})

    def test_short_interval(self) -> None:
        """However short the interval is, no time is lost with empty turns."""
        for interval in (0.001, 0.02, 0.1, 1.0, 3600.0):
            clock = Clock()
            keepalive = KeepAlive(clock, interval, 7200.0)
            keepalive.startService()
            phone = Phone(clock, answers=True)
            keepalive.add(phone)
            (turn,) = clock.getDelayedCalls()
            self.assertGreaterEqual(turn.getTime(), min(interval, 0.0199))
            clock.pump([interval / 128] * 129)
            self.assertEqual(len(phone.pings), 1, interval)

    def test_stop(self) -> None:
        """After the stop there are no pings, and no timers."""
        phone = Phone(self.clock)
        self.keepalive.add(phone)
        self.successResultOf(self.keepalive.stopService())
        self.run_for(200)
        self.assertEqual((phone.pings, phone.given_up), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again(self) -> None:
        """It can be started again."""
        self.successResultOf(self.keepalive.stopService())
        self.keepalive.startService()
        phone = Phone(self.clock)
        self.keepalive.add(phone)
        self.run_for(31)
        self.assertEqual(len(phone.pings), 1)
