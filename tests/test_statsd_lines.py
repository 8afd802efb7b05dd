"""Tests of `raccoon_tx.metrics.statsd_lines`."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import KEPT, Counts, SampledHistogram
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import COUNTER, GAUGE, Family, Observed
from raccoon_tx.metrics.statsd_lines import PACKET, Changes, fit, packets, series
from tests.traffic import known_traffic

#: A line as everybody reads it.
LINE = re.compile(r"[a-z_]+(,[a-z_]+=[^\s,=:|\x00-\x1f\x7f-\x9f]+)*:[0-9]+(\.[0-9]+)?\|(c|g|ms)(\|@0\.[0-9]+)?")


def lines(made: list[bytes]) -> list[str]:
    return [line for packet in made for line in packet.decode("utf-8").split("\n")]


EXPECTED = [
    "batches_read_total,conn_group=app,reason=NA,status=success:2|c",
    "batches_read_total,conn_group=app,reason=serde,status=failed:1|c",
    "batches_read_total,conn_group=web,reason=NA,status=success:1|c",
    "events_rx_total,conn_group=app,event_type=click:2|c",
    "events_rx_total,conn_group=app,event_type=page:1|c",
    "events_rx_total,conn_group=web,event_type=page:1|c",
    "events_rx_bytes_total,conn_group=app,event_type=click:8|c",
    "events_rx_bytes_total,conn_group=app,event_type=page:1|c",
    "events_rx_bytes_total,conn_group=web,event_type=page:2|c",
    "events_duplicate_total,conn_group=app,reason=duplicate:1|c",
    "kafka_messages_delivered_total,conn_group=app,event_type=click,topic=clickstream-click-log:2|c",
    "kafka_messages_delivered_total,conn_group=app,event_type=page,topic=clickstream-page-log:1|c",
    "kafka_messages_undelivered_total,conn_group=web,event_type=page,topic=clickstream-page-log:1|c",
    "kafka_unknown_topic_failure_total,conn_group=web,event_type=page,topic=clickstream-page-log:1|c",
    "user_connection_success_total,conn_group=app:3|c",
    "user_connection_failure_total,conn_group=app,reason=exists:1|c",
    "server_ping_failure_total,conn_group=app:4|c",
    "server_pong_failure_total,conn_group=app:5|c",
    "conn_close_err_count:6|c",
    "connections_count_current,conn_group=app:2|g",
    "kafka_tx_messages_total:4|g",
    "kafka_tx_messages_bytes_total:11|g",
    "kafka_brokers_tx_total,broker=kafka-1:7|g",
    "kafka_brokers_tx_total,broker=kafka-2:1|g",
    "kafka_brokers_tx_bytes_total,broker=kafka-1:1234|g",
    "kafka_brokers_tx_bytes_total,broker=kafka-2:40|g",
    "kafka_brokers_rtt_average_milliseconds,broker=kafka-1:1500|g",
    "kafka_brokers_rtt_average_milliseconds,broker=kafka-2:0|g",
    "kafka_brokers_rtt_average_seconds,broker=kafka-1:0.0015|g",
    "kafka_brokers_rtt_average_seconds,broker=kafka-2:0|g",
    "batch_idle_in_channel_milliseconds,worker=worker-0:1|ms",
    "kafka_producebulk_tt_ms:12|ms",
    "kafka_producebulk_tt_ms:7000|ms",
    "worker_processing_duration_milliseconds,worker=worker-0:4|ms",
    "ack_event_rtt_ms:2|ms",
    "event_rtt_ms:20|ms",
    "event_processing_duration_milliseconds,conn_group=app:33|ms",
    "server_processing_latency_milliseconds,conn_group=app:5|ms",
    "batch_processing_duration_milliseconds,conn_group=app:99|ms",
    "batch_processing_latency_milliseconds,conn_group=app:15|ms",
    "user_session_duration_milliseconds,conn_group=app:90000|ms",
    "user_session_duration_milliseconds,conn_group=app:4000000|ms",
]


class ChangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counts = known_traffic(SampledHistogram)
        self.families = Families(self.counts, Clock().seconds, 10.0)
        self.changes = Changes()

    def told(self) -> list[str]:
        return lines(self.changes.packets(self.families.snapshot(), self.families.observations()))

    def test_known_traffic(self) -> None:
        """All of it, line by line."""
        self.assertEqual(self.told(), EXPECTED)

    def test_changes(self) -> None:
        """A counter is told by how much it has grown, and not at all if it has not; a gauge is told each time."""
        self.told()
        gauges = [line for line in EXPECTED if line.endswith("|g")]
        self.assertEqual(self.told(), gauges)
        self.counts.close_errors += 2
        self.counts.group("app").could_not_read("toolarge")
        self.assertEqual(
            self.told(),
            [
                "batches_read_total,conn_group=app,reason=toolarge,status=failed:1|c",
                "conn_close_err_count:2|c",
                *gauges,
            ],
        )

    def test_sample(self) -> None:
        """Of many observations some are told, and how many each stands for."""
        for value in range(4 * KEPT):
            self.counts.acked.observe(value + 10)
        found = [line for line in self.told() if line.startswith("ack_event_rtt_ms:")]
        self.assertEqual(len(found), KEPT)
        # One was there before.
        self.assertTrue(all(line.endswith(f"|ms|@{KEPT / (4 * KEPT + 1):.9f}") for line in found), found[0])

    def test_rates(self) -> None:
        """Rates and gauges are never in a notation with an exponent."""
        observed = Observed("t", (), (), [1], 10**8)
        gauge = Family("g", GAUGE, (), "", {(): 0.000012})
        self.assertEqual(lines(Changes().packets([gauge], [observed])), ["g:0.000012|g", "t:1|ms|@0.00000001"])

    def test_same_names(self) -> None:
        """Two groups that are one in this format have one gauge, which is the sum."""
        gauge = Family("g", GAUGE, ("a",), "", {("x y",): 1, ("x:y",): 2, ("z",): 4})
        self.assertEqual(lines(Changes().packets([gauge], [])), ["g,a=x_y:3|g", "g,a=z:4|g"])

    @given(st.text(), st.text(), st.text())
    def test_any_label(self, group: str, kind: str, topic: str) -> None:
        """No value of a label breaks a line, or a packet."""
        family = Family("name_total", COUNTER, ("conn_group", "event_type", "topic"), "", {(group, kind, topic): 7})
        made = Changes().packets([family], [Observed("name", ("conn_group",), (group,), [3], 5)])
        found = lines(made)
        self.assertEqual(len(found), 2)
        for line in found:
            self.assertRegex(line, re.compile(rf"\A{LINE.pattern}\Z"))

    @given(st.lists(st.text(max_size=256), min_size=3, max_size=3))
    def test_any_counts(self, names: list[str]) -> None:
        """The same, through what is counted."""
        counts = Counts(histogram=SampledHistogram)
        for name in names:
            counts.group(name).read += 1
            counts.group(name).latency.observe(5)
        families = Families(counts, Clock().seconds, 10.0)
        for packet in Changes().packets(families.snapshot(), families.observations()):
            self.assertLessEqual(len(packet), PACKET)
            for line in packet.decode("utf-8").split("\n"):
                self.assertRegex(line, re.compile(rf"\A{LINE.pattern}\Z"))


class SeriesTests(SynchronousTestCase):
    def test_sorted(self) -> None:
        """Keys are sorted, commas are where they belong, and a name without labels is bare."""
        self.assertEqual(series("n", ("b", "a"), ("1", "2")), "n,a=2,b=1")
        self.assertEqual(series("n", (), ()), "n")

    def test_unfit(self) -> None:
        """What has a meaning in a line is replaced, as is what cannot be seen."""
        cases = {
            "a,b c=d:e|f": "a_b_c_d_e_f",
            "\n\r\t\0\x7f\x85\u2028": "_______",
            "": "_",
            "--default--": "--default--",
            "@#äß🦝": "@#äß🦝",
            "\ud800": "?",
        }
        self.assertEqual({value: fit(value) for value in cases}, cases)

    def test_long(self) -> None:
        """A long value is cut between two characters, so that a line always fits into a packet."""
        self.assertEqual(fit("é" * 500), "é" * 200)
        self.assertEqual(fit("a" + "é" * 500), "a" + "é" * 199)
        longest = series("n" * 50, ("conn_group", "event_type", "topic"), ("🦝" * 256,) * 3)
        self.assertLess(len(longest.encode()) + 40, PACKET)


class PacketsTests(SynchronousTestCase):
    def test_full(self) -> None:
        """A packet is as full as it can be."""
        exact = ["a" * 719, "b" * 720]
        self.assertEqual([len(packet) for packet in packets([*exact, "c"])], [PACKET, 1])
        self.assertEqual([len(packet) for packet in packets(["a" * 720, "b" * 720, "c"])], [720, 722])
        self.assertEqual(packets([]), [])

    @given(st.lists(st.text("abc", min_size=1, max_size=PACKET)))
    def test_whole(self, given: list[str]) -> None:
        """No line is split or lost, and no packet is too large."""
        made = packets(given)
        self.assertEqual(lines(made), given)
        self.assertTrue(all(len(packet) <= PACKET for packet in made))
