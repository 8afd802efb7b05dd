"""`raccoon top`: what it makes of a server's metrics."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import Counts
from raccoon_tx.metrics.exposition import Exposition
from raccoon_tx.metrics.families import Families
from raccoon_tx.tools.look import Trouble
from raccoon_tx.tools.metrics import Scrape, as_json, read, view
from raccoon_tx.tools.top import lines
from tests.traffic import known_traffic


def scraped(counts: Counts, at: float) -> Scrape:
    """What a server with these counts answers."""
    return read(Exposition().text(Families(counts, Clock().seconds, 10.0).snapshot()).decode(), at)


class ViewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counts = Counts()
        self.before = scraped(self.counts, 10.0)

    def view_after(self, seconds: float = 2.0) -> dict[str, object]:
        return as_json(view(self.before, scraped(self.counts, 10.0 + seconds)))

    def test_nothing(self) -> None:
        """A server that does nothing shows nothing, and no latency."""
        found = self.view_after()
        self.assertEqual((found["events_received_per_second"], found["delivery_p50_ms"]), (0, None))
        self.assertEqual(json.loads(json.dumps(found)), found)
        self.assertTrue(lines(view(self.before, self.before), "http://h"))

    def test_refusals(self) -> None:
        """Refusals are told by reason, per second, the most frequent first; accepted batches are not among them."""
        group = self.counts.group("app")
        for reason, count in (("serde", 2), ("toolarge", 6)):
            for _ in range(count):
                group.could_not_read(reason)
        group.read += 8
        group.refuse("exist")
        found = self.view_after()
        self.assertEqual(found["batches_refused_per_second"], {"toolarge": 3, "serde": 1})
        self.assertEqual(list(found["batches_refused_per_second"]), ["toolarge", "serde"])  # type: ignore[call-overload]
        self.assertEqual(found["batches_read_per_second"], 4)
        self.assertEqual(found["connections_refused_per_second"], {"exist": 0.5})

    def test_queue(self) -> None:
        """What waits now is told."""
        self.counts.queue = lambda: (2, 30)
        found = self.view_after()
        self.assertEqual((found["batches_waiting"], found["batches_in_flight"]), (2, 30))

    def test_latency(self) -> None:
        """Latency is that of the batches between the two looks, of all groups together."""
        self.counts.group("old").batch_latency.observe(4000)
        self.before = scraped(self.counts, 10.0)
        for group in ("a", "b"):
            for _ in range(50):
                self.counts.group(group).batch_latency.observe(20)
        found = self.view_after()
        half, most = found["delivery_p50_ms"], found["delivery_p99_ms"]
        assert isinstance(half, float)
        assert isinstance(most, float)
        self.assertTrue(10 < half < most <= 25, found)

    def test_slow(self) -> None:
        """Above the last bound of the histogram no more is known than that."""
        self.counts.group("a").batch_latency.observe(1e6)
        self.assertEqual(self.view_after()["delivery_p50_ms"], 5000)

    def test_traffic(self) -> None:
        """Everything that a server counts can be shown: rates by group and type add up to the total."""
        found = view(self.before, scraped(known_traffic(), 11.0))
        self.assertAlmostEqual(sum(found.types.values()), found.received)
        self.assertGreater(found.received, 0)
        text = "\n".join(lines(found, "http://h"))
        for group, kind in found.types:
            self.assertIn(f"{group}  {kind}", text)

    def test_started_anew(self) -> None:
        """A server that was started anew in between has no negative rates."""
        found = view(scraped(known_traffic(), 10.0), scraped(Counts(), 11.0))
        self.assertEqual((found.received, found.delivered), (0, 0))
        self.assertIsNone(found.latency)

    def test_others(self) -> None:
        """What is not ours is refused in a sentence."""
        for text in ("up 1\n", "<html>\n", 'a{b="c} 1\n'):
            self.assertRaises(Trouble, read, text, 1.0)
