"""Tests of `raccoon_tx.ratelimit`."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx import ratelimit
from raccoon_tx.ratelimit import RateLimit


class RateLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = 0.0

    def limit(self, rate: int, burst: int = 0) -> RateLimit:
        return RateLimit(rate, burst, lambda: self.time)

    def test_off(self) -> None:
        """A rate of 0 sets no limit and remembers nobody."""
        limit = self.limit(0)
        self.assertEqual([limit.wait("a", 1000) for _ in range(10)], [0.0] * 10)

    def test_full_at_first(self) -> None:
        """A client may begin with one second's worth at once, and then goes on at its rate."""
        limit = self.limit(10)
        self.assertEqual(limit.wait("a", 10), 0)
        self.assertAlmostEqual(limit.wait("a", 1), 0.1)
        self.time = 0.1
        self.assertEqual(limit.wait("a", 1), 0)

    def test_burst(self) -> None:
        """A burst is what may come at once, and a bucket never holds more."""
        limit = self.limit(1, 5)
        self.time = 1000.0
        self.assertEqual(limit.wait("a", 5), 0)
        self.assertGreater(limit.wait("a", 1), 0)

    def test_apart(self) -> None:
        """One client's haste does not concern another."""
        limit = self.limit(1)
        limit.wait("a", 1)
        self.assertGreater(limit.wait("a", 1), 0)
        self.assertEqual(limit.wait("b", 1), 0)

    def test_large_batch(self) -> None:
        """A batch larger than the bucket is taken when the bucket is full, and pays for it afterwards."""
        limit = self.limit(10)
        self.assertEqual(limit.wait("a", 30), 0)
        self.assertAlmostEqual(limit.wait("a", 1), 2.1)
        self.time = 2.1
        self.assertEqual(limit.wait("a", 1), 0)

    def test_bounded(self) -> None:
        """Of more clients than are remembered the one not seen longest is forgotten."""
        with mock.patch.object(ratelimit, "MOST_CLIENTS", 3):
            limit = self.limit(1)
            for who in "abcad":
                limit.wait(who, 1)
            self.assertEqual(list(limit._buckets), ["c", "a", "d"])

    def test_change(self) -> None:
        """Another limit holds at once."""
        limit = self.limit(1)
        limit.wait("a", 1)
        limit.change(100, 0)
        self.assertEqual(limit.wait("a", 100), 0)
        limit.change(0, 0)
        self.assertEqual(limit.wait("a", 100), 0)
