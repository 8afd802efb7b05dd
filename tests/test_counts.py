"""Tests of `raccoon_tx.metrics.counts`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import BOUNDS, OTHER, Counts, Histogram, Labels


class HistogramTests(SynchronousTestCase):
    def test_buckets(self) -> None:
        """A bound belongs to its bucket; what is above the last one has a bucket of its own."""
        histogram = Histogram()
        for value in (0, 5, 5.9, 6, 10, 5000, 5001, 10**9):
            histogram.observe(value)
        self.assertEqual(histogram.counts, [3, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2])
        self.assertEqual(len(histogram.counts), len(BOUNDS) + 1)
        self.assertEqual(histogram.total, 5 + 5 + 6 + 10 + 5000 + 5001 + 10**9)


class LabelsTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """The first values keep their names, the others share one."""
        label = Labels(2)
        self.assertEqual([label(value) for value in "abcab"], ["a", "b", OTHER, "a", "b"])


class CountsTests(SynchronousTestCase):
    def test_groups(self) -> None:
        """A group is counted by its name, and beyond so many groups together with the others."""
        counts = Counts(most=2)
        one = counts.group("one")
        self.assertIs(counts.group("one"), one)
        counts.group("two")
        self.assertIs(counts.group("three"), counts.group("four"))
        self.assertEqual([group.name for group in counts.groups()], ["one", "two", OTHER])

    def test_reasons(self) -> None:
        """What was not taken, and who was not let in, is counted by reason."""
        group = Counts().group("g")
        for reason in ("serde", "overload", "serde"):
            group.could_not_read(reason)
            group.refuse(reason)
        self.assertEqual(group.not_read, {"serde": 2, "overload": 1})
        self.assertEqual(group.refused, {"serde": 2, "overload": 1})
