"""Tests of `raccoon_tx.metrics.exposition`."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import Counts
from raccoon_tx.metrics.exposition import CannotCollect, Exposition
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import COUNTER, GAUGE, HISTOGRAM, Family
from tests.traffic import known_traffic

#: What the collectors of the client library tell of the process.
PROCESS = ("process_", "python_")


def text(counts: Counts) -> str:
    return Exposition().text(Families(counts, Clock().seconds, 10.0).snapshot()).decode("utf-8")


def ours(exposition: str) -> list[str]:
    """The lines that are not about the process, without those that explain, each of which has its place."""
    lines = exposition.splitlines()
    for position, line in enumerate(lines):
        if line.startswith("# TYPE "):
            name = line.split(" ")[2]
            assert lines[position - 1].startswith(f"# HELP {name} "), line
    lines = [line for line in lines if not line.startswith("# HELP ")]
    return [line for line in lines if not line.removeprefix("# TYPE ").startswith(PROCESS)]


def histogram(name: str, labels: str, cumulated: str, total: str, bounds: str = "") -> list[str]:
    """The lines of one histogram. :param labels: before and after ``le``, with ``%`` for it."""
    counts = cumulated.split()
    le = (bounds or "5 10 25 50 100 250 500 1000 2500 5000").split()
    buckets = zip([*le, "+Inf"], counts, strict=True)
    others = labels.replace(",%", "").replace("%,", "").replace("%", "")
    others = "{" + others + "}" if others else ""
    return [
        f"# TYPE {name} histogram",
        *(name + "_bucket{" + labels.replace("%", f'le="{bound}"') + "} " + count + ".0" for bound, count in buckets),
        f"{name}_sum{others} {total}",
        f"{name}_count{others} {counts[-1]}.0",
    ]


EXPECTED = [
    "# TYPE batches_read_total counter",
    'batches_read_total{conn_group="app",reason="NA",status="success"} 2.0',
    'batches_read_total{conn_group="app",reason="serde",status="failed"} 1.0',
    'batches_read_total{conn_group="web",reason="NA",status="success"} 1.0',
    "# TYPE events_rx_total counter",
    'events_rx_total{conn_group="app",event_type="click"} 2.0',
    'events_rx_total{conn_group="app",event_type="page"} 1.0',
    'events_rx_total{conn_group="web",event_type="page"} 1.0',
    "# TYPE events_rx_bytes_total counter",
    'events_rx_bytes_total{conn_group="app",event_type="click"} 8.0',
    'events_rx_bytes_total{conn_group="app",event_type="page"} 1.0',
    'events_rx_bytes_total{conn_group="web",event_type="page"} 2.0',
    "# TYPE events_duplicate_total counter",
    'events_duplicate_total{conn_group="app",reason="duplicate"} 1.0',
    "# TYPE kafka_messages_delivered_total counter",
    'kafka_messages_delivered_total{conn_group="app",event_type="click",topic="clickstream-click-log"} 2.0',
    'kafka_messages_delivered_total{conn_group="app",event_type="page",topic="clickstream-page-log"} 1.0',
    "# TYPE kafka_messages_undelivered_total counter",
    'kafka_messages_undelivered_total{conn_group="web",event_type="page",topic="clickstream-page-log"} 1.0',
    "# TYPE kafka_unknown_topic_failure_total counter",
    'kafka_unknown_topic_failure_total{conn_group="web",event_type="page",topic="clickstream-page-log"} 1.0',
    "# TYPE user_connection_success_total counter",
    'user_connection_success_total{conn_group="app"} 3.0',
    "# TYPE user_connection_failure_total counter",
    'user_connection_failure_total{conn_group="app",reason="exists"} 1.0',
    "# TYPE server_ping_failure_total counter",
    'server_ping_failure_total{conn_group="app"} 4.0',
    "# TYPE server_pong_failure_total counter",
    'server_pong_failure_total{conn_group="app"} 5.0',
    "# TYPE conn_close_err_count counter",
    "conn_close_err_count 6.0",
    "# TYPE connections_count_current gauge",
    'connections_count_current{conn_group="app"} 2.0',
    "# TYPE kafka_tx_messages_total gauge",
    "kafka_tx_messages_total 4.0",
    "# TYPE kafka_tx_messages_bytes_total gauge",
    "kafka_tx_messages_bytes_total 11.0",
    "# TYPE kafka_brokers_tx_total gauge",
    'kafka_brokers_tx_total{broker="kafka-1"} 7.0',
    'kafka_brokers_tx_total{broker="kafka-2"} 1.0',
    "# TYPE kafka_brokers_tx_bytes_total gauge",
    'kafka_brokers_tx_bytes_total{broker="kafka-1"} 1234.0',
    'kafka_brokers_tx_bytes_total{broker="kafka-2"} 40.0',
    "# TYPE kafka_brokers_rtt_average_milliseconds gauge",
    'kafka_brokers_rtt_average_milliseconds{broker="kafka-1"} 1500.0',
    'kafka_brokers_rtt_average_milliseconds{broker="kafka-2"} 0.0',
    "# TYPE kafka_brokers_rtt_average_seconds gauge",
    'kafka_brokers_rtt_average_seconds{broker="kafka-1"} 0.0015',
    'kafka_brokers_rtt_average_seconds{broker="kafka-2"} 0.0',
    *histogram("batch_idle_in_channel_milliseconds", '%,worker="worker-0"', "1 1 1 1 1 1 1 1 1 1 1", "1.0"),
    *histogram("kafka_producebulk_tt_ms", "%", "0 0 1 1 1 1 1 1 1 1 2", "7012.0"),
    *histogram("event_processing_duration_milliseconds", 'conn_group="app",%', "0 0 0 1 1 1 1 1 1 1 1", "33.0"),
    *histogram("worker_processing_duration_milliseconds", '%,worker="worker-0"', "1 1 1 1 1 1 1 1 1 1 1", "4.0"),
    *histogram("server_processing_latency_milliseconds", 'conn_group="app",%', "1 1 1 1 1 1 1 1 1 1 1", "5.0"),
    *histogram("batch_processing_duration_milliseconds", 'conn_group="app",%', "0 0 0 0 1 1 1 1 1 1 1", "99.0"),
    *histogram("batch_processing_latency_milliseconds", 'conn_group="app",%', "0 0 1 1 1 1 1 1 1 1 1", "15.0"),
    *histogram("ack_event_rtt_ms", "%", "1 1 1 1 1 1 1 1 1 1 1", "2.0"),
    *histogram("event_rtt_ms", "%", "0 0 1 1 1 1 1 1 1 1 1", "20.0"),
    *histogram(
        "user_session_duration_milliseconds",
        'conn_group="app",%',
        "0 0 1 1 1 2",
        "4.09e+06",
        "1000 10000 100000 600000 3.6e+06",
    ),
]


class ExpositionTests(SynchronousTestCase):
    def test_known_traffic(self) -> None:
        """All of it, line by line."""
        self.assertEqual(ours(text(known_traffic())), EXPECTED)

    def test_nothing_happened(self) -> None:
        """Of what has no samples nothing is said."""
        zeros = "0 0 0 0 0 0 0 0 0 0 0"
        expected = ["# TYPE conn_close_err_count counter", "conn_close_err_count 0.0"]
        for name in ("kafka_producebulk_tt_ms", "ack_event_rtt_ms", "event_rtt_ms"):
            expected += histogram(name, "%", zeros, "0.0")
        self.assertEqual(ours(text(Counts())), expected)

    def test_process(self) -> None:
        """The process and its garbage collector are told of; nothing is that only Go has."""
        names = {family.name for family in text_string_to_metric_families(text(Counts()))}
        self.assertIn("python_info", names)
        self.assertIn("python_gc_collections", names)
        self.assertEqual([name for name in names if name.startswith(("go_", "server_go", "server_mem"))], [])

    def test_private(self) -> None:
        """The registry that everybody in the process may add to is left alone, and is not told of."""
        before = {family.name for family in REGISTRY.collect()}
        text(known_traffic())
        self.assertEqual({family.name for family in REGISTRY.collect()}, before)

    def test_no_dates(self) -> None:
        """When a series began is nobody's business: ``_created`` would double their number."""
        self.assertNotIn("_created", text(known_traffic()))

    def test_readable(self) -> None:
        """The client library reads its own format: kinds are as they were, and no sample is there twice."""
        kinds = {}
        seen = set()
        for family in text_string_to_metric_families(text(known_traffic())):
            kinds[family.name] = family.type
            for sample in family.samples:
                series = (sample.name, *sorted(sample.labels.items()))
                self.assertNotIn(series, seen)
                seen.add(series)
        self.assertEqual(kinds["batches_read"], COUNTER)
        self.assertEqual(kinds["conn_close_err_count"], COUNTER)
        self.assertEqual(kinds["kafka_tx_messages_total"], GAUGE)
        self.assertEqual(kinds["event_rtt_ms"], HISTOGRAM)

    def test_not_forged(self) -> None:
        """Whoever calls his group as the first lines of a metric are does not change what is said of that metric."""
        counts = Counts()
        counts.group("\n# TYPE conn_close_err_count untyped\n").read = 1
        expected = r'batches_read_total{conn_group="\n# TYPE conn_close_err_count untyped\n",reason="NA"'
        self.assertIn(expected, text(counts))

    def test_wrong_families(self) -> None:
        """A family whose values are not what its labels say cannot be written down."""
        wrong = Family("a_total", COUNTER, ("one", "two"), "Wrong.", {("1",): 1})
        self.assertRaises(CannotCollect, Exposition().text, [wrong])

    @settings(deadline=None)
    @given(st.text(), st.text(), st.text())
    def test_any_label(self, group: str, kind: str, broker: str) -> None:
        """No value of a label breaks a line: what was counted is what is read."""
        counts = Counts()
        counts.group(group).read = 7
        label: Any = counts.type_label
        counts.client = {"txmsgs": 0, "txmsg_bytes": 0, "brokers": {label(kind): (1, 2, 3)}}
        counts.group(group).refuse(label(broker))
        found = {}
        for family in text_string_to_metric_families(text(counts)):
            for sample in family.samples:
                found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        name = counts.group(group).name
        read = ("conn_group", name), ("reason", "NA"), ("status", "success")
        self.assertEqual(found["batches_read_total", read], 7)
        self.assertEqual(found["kafka_brokers_tx_bytes_total", (("broker", label(kind)),)], 2)
        refused = ("conn_group", name), ("reason", label(broker))
        self.assertEqual(found["user_connection_failure_total", refused], 1)
