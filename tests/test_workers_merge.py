"""Tests of `raccoon_tx.workers.merge` and `raccoon_tx.workers.collect`."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import OTHER, Counts
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import Buckets, Observed
from raccoon_tx.workers.collect import TIMEOUT, Collector, WithObservations
from raccoon_tx.workers.merge import Totals
from raccoon_tx.workers.messages import Counted, Message, Observation, Sample, Scrape, to_samples
from raccoon_tx.workers.states import together

READ = "batches_read_total"
TOOK = "batch_processing_latency_milliseconds"
WAITED = "batch_idle_in_channel_milliseconds"
OPEN = "connections_count_current"
SENT = "kafka_tx_messages_total"
TRIP = "kafka_brokers_rtt_average_seconds"


def snapshot(counts: Counts) -> dict[str, list[Sample]]:
    """What a worker with these counts sends."""
    return {family.name: to_samples(family.samples) for family in Families(counts, lambda: 0.0, 10.0).snapshot()}


def counts(number: int, read: int, open_: int, trip: int) -> Counts:
    made = Counts("kafka", worker=f"worker-{number}")
    group = made.group("g")
    group.read, group.connected, group.open = read, open_, open_
    group.batch_latency.observe(read)
    made.waited.observe(7)
    made.client = {"txmsgs": read, "txmsg_bytes": 10 * read, "brokers": {"k": (1, 2, trip)}}
    return made


class TotalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.totals = Totals("kafka", 3)

    def samples(self, name: str) -> dict[Any, Any]:
        [family] = [family for family in self.totals.families() if family.name == name]
        return dict(family.samples)

    def test_sums(self) -> None:
        """Counters and gauges are summed, histograms bucket by bucket; averages stay averages."""
        self.totals.heard(0, snapshot(counts(0, 3, 2, 4000)))
        self.totals.heard(1, snapshot(counts(1, 40, 1, 2000)))
        self.assertEqual(self.samples(READ), {("success", "NA", "g"): 43})
        self.assertEqual(self.samples(OPEN), {("g",): 3})
        self.assertEqual(self.samples(SENT), {(): 43})
        self.assertEqual(self.samples(TRIP), {("k",): 0.003})
        took = self.samples(TOOK)[("g",)]
        self.assertIsInstance(took, Buckets)
        self.assertEqual((took.counts, took.total), ((1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0), 43))

    def test_workers_apart(self) -> None:
        """Where the worker is a label, they stay apart."""
        self.totals.heard(0, snapshot(counts(0, 3, 2, 1)))
        self.totals.heard(1, snapshot(counts(1, 4, 2, 1)))
        self.assertEqual(set(self.samples(WAITED)), {("worker-0",), ("worker-1",)})

    def test_latest(self) -> None:
        """What a worker said before is replaced by what it says now."""
        self.totals.heard(0, snapshot(counts(0, 3, 2, 1)))
        self.totals.heard(0, snapshot(counts(0, 5, 1, 1)))
        self.assertEqual((self.samples(READ)["success", "NA", "g"], self.samples(OPEN)), (5, {("g",): 1}))

    def test_never_down(self) -> None:
        """What a worker had counted outlives it, and its successor counts on; what it had open is closed."""
        self.totals.heard(0, snapshot(counts(0, 3, 2, 1)))
        self.totals.heard(1, snapshot(counts(1, 4, 1, 1)))
        self.totals.ended(0)
        self.assertEqual(self.samples(READ), {("success", "NA", "g"): 7})
        self.assertEqual(self.samples(OPEN), {("g",): 1})
        self.assertEqual(self.samples(SENT), {(): 4})
        self.totals.heard(0, snapshot(counts(0, 1, 1, 1)))
        self.totals.ended(0)
        self.totals.ended(1)
        self.assertEqual(self.samples(READ), {("success", "NA", "g"): 8})
        self.assertEqual(sum(self.samples(TOOK)[("g",)].counts), 3)
        self.assertEqual((self.samples(OPEN), self.samples(TRIP)), ({("g",): 0}, {}))

    def test_bounds(self) -> None:
        """All workers together have no more values of a label than one may have; what is one value of a label stays
        it."""
        for number in range(2):
            made = Counts("kafka", 3)
            for place in range(2):
                made.group(f"g{number}{place}").read = 1
            made.group(f"g{number}0").could_not_read("serde")
            self.totals.heard(number, snapshot(made))
        expected: dict[Any, Any] = {("success", "NA", group): 1 for group in ("g00", "g01", "g10", OTHER)}
        expected["failed", "serde", "g00"] = expected["failed", "serde", "g10"] = 1
        self.assertEqual(self.samples(READ), expected)

    def test_nothing_yet(self) -> None:
        """Before any worker was heard there are all metrics, without samples."""
        self.assertEqual([family.samples for family in self.totals.families() if family.samples], [])

    def test_publisher(self) -> None:
        """The publisher's metrics have its name."""
        self.assertIn("log_messages_delivered_total", {family.name for family in Totals("log", 3).families()})


class Source:
    """A worker that answers when it is told to. :ivar asked: what it was asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[Message] = []

    def send(self, message: Message) -> None:
        self.asked.append(message)


class CollectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sources = [Source(0), Source(1)]
        clock: Any = self.clock
        self.collector = Collector(clock, Totals("kafka", 200), lambda: self.sources)

    def answer(self, source: Source, read: int, observations: list[Observation] | None = None) -> None:
        scrape = source.asked[-1]
        assert isinstance(scrape, Scrape)
        samples = snapshot(counts(source.number, read, 0, 1))
        states = {"publisher": (True, f"state {source.number}")}
        self.collector.heard(source, Counted(scrape.number, samples, observations or [], states))

    def read(self, families: Any) -> int:
        [family] = [family for family in families if family.name == READ]
        return sum(family.samples.values())

    def test_all(self) -> None:
        """All workers are asked, and waited for."""
        found = self.collector.snapshot()
        self.assertEqual([source.asked for source in self.sources], [[Scrape(1, False)]] * 2)
        self.answer(self.sources[0], 3)
        self.assertNoResult(found)
        self.answer(self.sources[1], 4)
        self.assertEqual(self.read(self.successResultOf(found)), 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self) -> None:
        """One that does not answer in time has the numbers it had before."""
        before = self.collector.snapshot()
        for source in self.sources:
            self.answer(source, 3)
        self.successResultOf(before)
        found = self.collector.snapshot()
        self.answer(self.sources[0], 5)
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.read(self.successResultOf(found)), 8)
        self.answer(self.sources[1], 9)  # too late, but not in vain
        self.sources.clear()
        self.assertEqual(self.read(self.successResultOf(self.collector.snapshot())), 14)

    def test_ended(self) -> None:
        """One that ends is not waited for; what it sent at its end is kept."""
        found = self.collector.snapshot()
        self.answer(self.sources[0], 5)
        self.collector.heard(self.sources[1], Counted(0, snapshot(counts(1, 2, 0, 1))))
        self.assertNoResult(found)
        self.collector.ended(self.sources[1])
        self.assertEqual(self.read(self.successResultOf(found)), 7)

    def test_side_by_side(self) -> None:
        """Two may ask at once."""
        one, other = self.collector.snapshot(), self.collector.snapshot()
        for source in self.sources:
            self.answer(source, 1)
        self.assertNoResult(one)
        self.successResultOf(other)
        self.clock.advance(TIMEOUT)
        self.successResultOf(one)

    def test_observations(self) -> None:
        """An exporter that sends observations gets those of all workers, once."""
        exporter = WithObservations(self.collector)
        found = exporter.snapshot()
        self.assertEqual(self.sources[0].asked, [Scrape(1, True)])
        for source in self.sources:
            self.answer(source, 1, [Observation(TOOK, ("conn_group",), ("g",), [source.number], 9)])
        self.successResultOf(found)
        expected = [Observed(TOOK, ("conn_group",), ("g",), [number], 9) for number in range(2)]
        self.assertEqual((exporter.observations(), exporter.observations()), (expected, []))

    def test_states(self) -> None:
        """The states are those of the workers that have answered the last time, and have not ended."""
        self.collector.snapshot()
        for source in self.sources:
            self.answer(source, 1)
        zero, one = ({"publisher": (True, f"state {number}")} for number in range(2))
        self.assertEqual(self.collector.states(), [zero, one])
        self.collector.snapshot()
        self.answer(self.sources[1], 1)
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.collector.states(), [one])
        self.answer(self.sources[0], 1)
        self.collector.ended(self.sources[1])
        self.assertEqual(self.collector.states(), [zero])


class StateTests(SynchronousTestCase):
    def test_alike(self) -> None:
        """What is the same in all workers is said once."""
        told = [{"publisher": (False, "unreachable"), "listeners": (True, "ok")}] * 2
        self.assertEqual(
            together(told, 2),
            {
                "publisher": {"ok": False, "state": "unreachable"},
                "listeners": {"ok": True, "state": "ok"},
                "workers": {"ok": True, "state": "ok"},
            },
        )

    def test_worst(self) -> None:
        """The worst state is told, and of how many workers it is; degraded is worse than not."""
        down, degraded, fine = (False, "unreachable"), (True, "degraded: slow"), (True, "ok")
        for states, ok, text in (
            ([fine, down, degraded], False, "unreachable (1 of 3 workers)"),
            ([degraded, fine, degraded], True, "degraded: slow (2 of 3 workers)"),
        ):
            found = together([{"publisher": state} for state in states], 3)
            self.assertEqual(found["publisher"], {"ok": ok, "state": text})

    def test_missing(self) -> None:
        """Workers that do not answer are missed."""
        self.assertEqual(together([{}], 2)["workers"], {"ok": True, "state": "1 of 2 answer"})
        self.assertEqual(together([], 2), {"workers": {"ok": False, "state": "0 of 2 answer"}})
