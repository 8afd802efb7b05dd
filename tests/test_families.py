"""Tests of `raccoon_tx.metrics.families`, and of what `raccoon_tx.metrics.counts` keeps for it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import (
    BOUNDS,
    KEPT,
    LONGEST,
    OTHER,
    SESSION_BOUNDS,
    Counts,
    Histogram,
    Labels,
    Lane,
    SampledHistogram,
    SpoolCounts,
)
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import COUNTER, GAUGE, HISTOGRAM, Buckets, Family
from raccoon_tx.routing import Routes
from tests.samples import batch
from tests.traffic import known_traffic

#: Contract section 12.1: kind and labels by name.
CONTRACT = {
    "batches_read_total": (COUNTER, "status reason conn_group"),
    "events_rx_total": (COUNTER, "conn_group event_type"),
    "events_rx_bytes_total": (COUNTER, "conn_group event_type"),
    "events_duplicate_total": (COUNTER, "conn_group reason"),
    "kafka_messages_delivered_total": (COUNTER, "topic conn_group event_type"),
    "kafka_messages_undelivered_total": (COUNTER, "topic conn_group event_type"),
    "kafka_unknown_topic_failure_total": (COUNTER, "topic event_type conn_group"),
    "user_connection_success_total": (COUNTER, "conn_group"),
    "user_connection_failure_total": (COUNTER, "conn_group reason"),
    "server_ping_failure_total": (COUNTER, "conn_group"),
    "server_pong_failure_total": (COUNTER, "conn_group"),
    "conn_close_err_count": (COUNTER, ""),
    "connections_count_current": (GAUGE, "conn_group"),
    "batches_waiting_current": (GAUGE, ""),  # ours
    "batches_in_flight_current": (GAUGE, ""),  # ours
    "kafka_tx_messages_total": (GAUGE, ""),
    "kafka_tx_messages_bytes_total": (GAUGE, ""),
    "kafka_brokers_tx_total": (GAUGE, "broker"),
    "kafka_brokers_tx_bytes_total": (GAUGE, "broker"),
    "kafka_brokers_rtt_average_milliseconds": (GAUGE, "broker"),
    "kafka_brokers_rtt_average_seconds": (GAUGE, "broker"),
    "batch_idle_in_channel_milliseconds": (HISTOGRAM, "worker"),
    "kafka_producebulk_tt_ms": (HISTOGRAM, ""),
    "event_processing_duration_milliseconds": (HISTOGRAM, "conn_group"),
    "worker_processing_duration_milliseconds": (HISTOGRAM, "worker"),
    "server_processing_latency_milliseconds": (HISTOGRAM, "conn_group"),
    "batch_processing_duration_milliseconds": (HISTOGRAM, "conn_group"),
    "batch_processing_latency_milliseconds": (HISTOGRAM, "conn_group"),
    "ack_event_rtt_ms": (HISTOGRAM, ""),
    "event_rtt_ms": (HISTOGRAM, ""),
    "user_session_duration_milliseconds": (HISTOGRAM, "conn_group"),
}

#: What only this server has.
OURS = {
    "spool_written_batches_total": (COUNTER, ""),
    "spool_drained_batches_total": (COUNTER, ""),
    "spool_buried_batches_total": (COUNTER, ""),
    "spool_refused_batches_total": (COUNTER, "reason"),
    "spool_failures_total": (COUNTER, "kind"),
    "producers_replaced_total": (COUNTER, "reason"),
    "spool_batches_current": (GAUGE, ""),
    "spool_events_current": (GAUGE, ""),
    "spool_bytes_current": (GAUGE, ""),
    "spool_file_bytes_current": (GAUGE, ""),
    "spool_dead_batches_current": (GAUGE, ""),
    "spool_oldest_age_seconds": (GAUGE, ""),
    "spool_usable_current": (GAUGE, ""),
    "spool_commit_milliseconds": (HISTOGRAM, ""),
}


def families(counts: Counts) -> dict[str, Family]:
    return {family.name: family for family in Families(counts, Clock().seconds, 10.0).snapshot()}


def samples(counts: Counts, name: str) -> dict[tuple[str, ...], Any]:
    return dict(families(counts)[name].samples)


class SnapshotTests(SynchronousTestCase):
    def test_contract(self) -> None:
        """Every metric has the kind, and the labels in the order, that the contract has."""
        found = {name: (family.kind, " ".join(family.labels)) for name, family in families(Counts()).items()}
        self.assertEqual(found, {**CONTRACT, **OURS})

    def test_helpful(self) -> None:
        """Every metric says in one line what it is."""
        for family in families(Counts()).values():
            self.assertRegex(family.help, r"^[A-Z][^\n]+\.$")

    def test_log(self) -> None:
        """The publisher begins the names of its metrics."""
        names = set(families(Counts("log")))
        self.assertLessEqual({"log_messages_delivered_total", "log_producebulk_tt_ms"}, names)
        self.assertNotIn("kafka_messages_delivered_total", names)

    def test_nothing_happened(self) -> None:
        """What never happened has no samples, unless it has no labels: then it is 0."""
        counts = Counts()
        counts.group("quiet")
        found = {name: family.samples for name, family in families(counts).items() if family.samples}
        nothing = {(): Buckets(BOUNDS, (0,) * 11, 0)}
        self.assertEqual(
            found,
            {
                "conn_close_err_count": {(): 0},
                "kafka_producebulk_tt_ms": nothing,
                "ack_event_rtt_ms": nothing,
                "event_rtt_ms": nothing,
            },
        )

    def test_spool(self) -> None:
        """With a spool, its figures are there from the beginning; without one, none of them has a sample."""
        counts = Counts()
        self.assertEqual([samples(counts, name) for name in OURS], [{}] * len(OURS))
        spool = counts.spool = SpoolCounts(lambda: 1010.0)
        self.assertEqual(samples(counts, "spool_batches_current"), {(): 0})
        self.assertEqual(samples(counts, "spool_oldest_age_seconds"), {(): 0})
        self.assertEqual(samples(counts, "spool_refused_batches_total"), {})
        spool.batches, spool.oldest, spool.usable = 2, 1000.0, True
        spool.refuse("full")
        spool.fail("write")
        spool.commits.observe(7)
        self.assertEqual(samples(counts, "spool_batches_current"), {(): 2})
        self.assertEqual(samples(counts, "spool_oldest_age_seconds"), {(): 10})
        self.assertEqual(samples(counts, "spool_usable_current"), {(): 1})
        self.assertEqual(samples(counts, "spool_refused_batches_total"), {("full",): 1})
        self.assertEqual(samples(counts, "spool_failures_total"), {("write",): 1})
        self.assertEqual(samples(counts, "spool_commit_milliseconds")[()].total, 7)

    def test_bounds(self) -> None:
        """All histograms have the same bounds, but that of sessions."""
        for family in families(known_traffic()).values():
            if family.kind == HISTOGRAM and family.name not in OURS:
                bounds = SESSION_BOUNDS if family.name == "user_session_duration_milliseconds" else BOUNDS
                self.assertEqual({buckets.bounds for buckets in family.samples.values()}, {bounds}, family.name)

    def test_stays(self) -> None:
        """What happens later changes nothing."""
        counts = known_traffic()
        before = families(counts)
        again = families(known_traffic())
        app = counts.group("app")
        app.latency.observe(1)
        app.refuse("serverlimit")
        counts.client = {}
        for lane in app.all_lanes():
            lane.delivered += 1
        self.assertEqual(before, again)

    def test_reasons(self) -> None:
        """Batches are told apart by what became of them, and why."""
        counts = Counts()
        group = counts.group("g")
        group.read = 2
        group.could_not_read("toolarge")
        self.assertEqual(
            samples(counts, "batches_read_total"), {("success", "NA", "g"): 2, ("failed", "toolarge", "g"): 1}
        )

    def test_empty_events(self) -> None:
        """Events without bytes are bytes as well, namely 0 of them."""
        counts = Counts()
        Routes("%s", 10, 10, counts).route(batch(("a", b"")), counts.group("g"))
        self.assertEqual(samples(counts, "events_rx_bytes_total"), {("g", "a"): 0})

    def test_sums(self) -> None:
        """Lanes with the same labels are added up."""
        counts = Counts(most=1)
        routes = Routes("%s", 10, 10, counts)
        group = counts.group("g")
        for lane, _ in routes.route(batch(*((kind, b"12") for kind in "abc")), group):
            lane.delivered = lane.undelivered = lane.unknown_topic = 1
        dead = routes.dead_letter_lane(group, "dead")
        dead.delivered = 5
        self.assertEqual(samples(counts, "events_rx_total"), {("g", "a"): 1, ("g", OTHER): 2})
        self.assertEqual(samples(counts, "events_rx_bytes_total"), {("g", "a"): 2, ("g", OTHER): 4})
        for name in ("delivered", "undelivered"):
            found = samples(counts, f"kafka_messages_{name}_total")
            self.assertEqual(found, {("a", "g", "a"): 1, (OTHER, "g", OTHER): 7 if name == "delivered" else 2})
        unknown = samples(counts, "kafka_unknown_topic_failure_total")
        self.assertEqual(unknown, {("a", "a", "g"): 1, (OTHER, OTHER, "g"): 2})

    def test_bounded(self) -> None:
        """However many groups, types and topics there are, there is a bound to what is told of them."""
        counts = Counts(most=3)
        routes = Routes("%s", 100, 10, counts)
        for group in range(10):
            for lane, _ in routes.route(batch(*((f"t{kind}", b"") for kind in range(10))), counts.group(f"g{group}")):
                lane.delivered += 1
        found = samples(counts, "kafka_messages_delivered_total")
        self.assertEqual(sum(found.values()), 100)
        self.assertEqual(len(found), 4 * 4)

    def test_queue(self) -> None:
        """What waits for room, and what is not confirmed, is there as soon as there is a producer."""
        counts, names = Counts(), ("batches_waiting_current", "batches_in_flight_current")
        self.assertEqual([samples(counts, name) for name in names], [{}, {}])
        counts.queue = lambda: (2, 30)
        self.assertEqual([samples(counts, name) for name in names], [{(): 2}, {(): 30}])

    def test_no_client(self) -> None:
        """The client's gauges are there when the client has said something."""
        gauges = [name for name, (kind, _) in CONTRACT.items() if kind == GAUGE and name.startswith("kafka_")]
        self.assertEqual([samples(Counts(), name) for name in gauges], [{}] * len(gauges))

    def test_round_trips(self) -> None:
        """The gauge of milliseconds has microseconds, as dashboards expect; that of seconds is right."""
        counts = known_traffic()
        milliseconds = samples(counts, "kafka_brokers_rtt_average_milliseconds")
        self.assertEqual(milliseconds, {("kafka-1",): 1500, ("kafka-2",): 0})
        seconds = samples(counts, "kafka_brokers_rtt_average_seconds")
        self.assertEqual(seconds, {("kafka-1",): 0.0015, ("kafka-2",): 0.0})


class ConnectionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.counts = Clock(), Counts()
        self.families = Families(self.counts, self.clock.seconds, 10.0)
        self.group = self.counts.group("g")
        self.group.connected = self.group.open = 1

    def connections(self) -> dict[tuple[str, ...], int]:
        found = {family.name: family for family in self.families.snapshot()}
        return dict(found["connections_count_current"].samples)

    def test_sampled(self) -> None:
        """The number of connections is looked up once in each interval."""
        self.assertEqual(self.connections(), {("g",): 1})
        self.group.open = 5
        self.clock.advance(9.9)
        self.assertEqual(self.connections(), {("g",): 1})
        self.clock.advance(0.1)
        self.assertEqual(self.connections(), {("g",): 5})

    def test_emptied(self) -> None:
        """A group that everybody has left goes on reporting 0; one that nobody ever came to by WebSocket does not."""
        self.counts.group("rest").read = 1
        self.group.open = 0
        self.assertEqual(self.connections(), {("g",): 0})


class LabelTests(SynchronousTestCase):
    def test_unfit(self) -> None:
        """What is too long for a label, or no text at all, is counted with the others."""
        label, counts = Labels(10), Counts()
        for value in ("x" * (LONGEST + 1), "half \ud800", "\udfff"):
            self.assertEqual(label(value), OTHER)
            self.assertIs(counts.group(value), counts.group(OTHER))
        for value in ("x" * LONGEST, "", "\n", "🦝"):
            self.assertEqual(label(value), value)
            self.assertEqual(counts.group(value).name, value)

    def test_unfit_types(self) -> None:
        """A type that is no label does not become one where all types have the same topic."""
        counts = Counts()
        routes = Routes("all", 10, 10, counts)
        routes.route(batch(("\ud800", b""), ("y" * 1000, b"")), counts.group("g"))
        self.assertEqual(samples(counts, "events_rx_total"), {("g", OTHER): 2})

    def test_no_lane_is_lost(self) -> None:
        """The group of a lane is the label of the group."""
        counts = Counts(most=1)
        counts.group("first")
        lanes = Routes("%s", 10, 10, counts).lanes(counts.group("second"))
        lane: Lane = lanes["t"]
        self.assertEqual(lane.group, OTHER)


class SampledHistogramTests(SynchronousTestCase):
    def test_like_others(self) -> None:
        """It counts as any histogram does."""
        plain, sampled = Histogram(), SampledHistogram()
        for value in (0, 5, 5.9, 6, 5001):
            plain.observe(value)
            sampled.observe(value)
        self.assertEqual((plain.counts, plain.total), (sampled.counts, sampled.total))

    def test_few(self) -> None:
        """Few observations are all kept, once."""
        histogram = SampledHistogram()
        for value in (7, 3.9, 7):
            histogram.observe(value)
        self.assertEqual(histogram.take(), ([7, 3, 7], 3))
        self.assertEqual(histogram.take(), ([], 0))

    def test_many(self) -> None:
        """Of many, so many are kept, early ones and late ones alike."""
        histogram = SampledHistogram()
        for value in range(100 * KEPT):
            histogram.observe(value)
        kept, seen = histogram.take()
        self.assertEqual((len(kept), seen), (KEPT, 100 * KEPT))
        self.assertEqual(len(set(kept)), KEPT)
        # The mean of 100 of 0..9999, evenly chosen, has a standard error of 289.
        self.assertLess(abs(sum(kept) / KEPT - 5000), 6 * 289)

    def test_everywhere(self) -> None:
        """Where raw observations are wanted, every histogram keeps some, under the names of the metrics."""
        counts = known_traffic(SampledHistogram)
        found = Families(counts, Clock().seconds, 10.0)
        taken = {each.name: (each.labels, each.values, each.kept, each.seen) for each in found.observations()}
        names = {name for name, (kind, _) in CONTRACT.items() if kind == HISTOGRAM}
        self.assertEqual(set(taken), names)
        self.assertEqual(taken["kafka_producebulk_tt_ms"], ((), (), [12, 7000], 2))
        self.assertEqual(taken["user_session_duration_milliseconds"], (("conn_group",), ("app",), [90000, 4000000], 2))
        self.assertEqual(found.observations(), [])

    def test_nowhere(self) -> None:
        """Ordinary histograms keep nothing."""
        self.assertEqual(Families(known_traffic(), Clock().seconds, 10.0).observations(), [])
