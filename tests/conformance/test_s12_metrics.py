"""Section 12: metrics, by both exporters at once, after known traffic."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from attrs import frozen
from confluent_kafka import KafkaError

from tests.conformance.frames import CLOSE, TEXT, raw
from tests.conformance.scrape import Scrape, StatsD, scrape
from tests.conformance.server import Farm, Server, eventually
from tests.conformance.topics import topic, word
from tests.integration.batches import Batch, Event
from tests.integration.clients import HOST, TIMEOUT, ask, call, channel, closed, next_said, post, websocket

BOTH_EXPORTERS = {
    "METRIC_PROMETHEUS_ENABLED": "true",
    "METRIC_STATSD_ENABLED": "true",
    "METRIC_STATSD_FLUSH_PERIOD_MS": 200,
    "METRIC_RUNTIME_STATS_RECORD_INTERVAL_MS": 100,
}

PREFIX = word()
GOOD, BAD = f"good-{PREFIX}", f"bad-{PREFIX}"
GROUP = "app"


@frozen
class Known:
    """Traffic that has been. :ivar found: what Prometheus sees then. :ivar statsd: what was told to StatsD."""

    server: Server
    found: Scrape
    statsd: StatsD


@pytest.fixture(scope="module")
def known(session_faults: Farm) -> Iterator[Known]:
    """A server that has seen something of everything, in mode 1."""
    assert session_faults.cluster is not None
    session_faults.cluster.topic_error(topic(BAD), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with StatsD() as statsd:
        settings = {
            **BOTH_EXPORTERS,
            "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}",
            "EVENT_ACK": 1,
            "SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED": "true",
            "SERVER_WEBSOCKET_MAX_CONN": 2,
            "SERVER_MAX_BODY_BYTES": 5000,
            "SERVER_BODY_TIMEOUT_MS": 300,
            "PUBLISHER_KAFKA_CLIENT_STATISTICS_INTERVAL_MS": 100,
            "SERVER_WEBSOCKET_PING_INTERVAL_MS": 30000,
        }
        with session_faults.own(**settings) as server:
            traffic(server)
            last = 'conn_group="app"'
            eventually(lambda: last in scrape(server).text)
            statsd.until(lambda: any(line.startswith("kafka_brokers_tx_total") for line in statsd.lines))
            eventually(lambda: scrape(server).labels("kafka_brokers_rtt_average_milliseconds"))
            found = eventually(lambda: _settled(server))
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                statsd.take()
            yield Known(server, found, statsd)


def _settled(server: Server) -> Scrape | None:
    """A scrape, once the ends of the connections have been counted."""
    found = scrape(server)
    sessions = found.value("user_session_duration_milliseconds_count", conn_group=GROUP)
    gauge = found.value("connections_count_current", conn_group=GROUP)
    return found if sessions >= 3 and gauge == 0 else None


def traffic(server: Server) -> None:
    """What the tests below count."""
    headers = {"X-User-ID": "1", "X-User-Group": GROUP}
    good = Batch("1", Event(GOOD, b"12345"), Event(GOOD, b"123"))
    assert post(server, good.written("json"), **headers).status == 200
    assert post(server, good.written("proto"), "application/proto", **headers).status == 200
    assert post(server, Batch("1", Event(BAD, b"1234567")).written("json"), **headers).status == 500
    assert post(server, b"x", **headers).status == 400
    assert post(server, b"{}", "text/plain", **headers).status == 400
    assert post(server, b"{}", Content_Encoding="x", **headers).status == 415
    assert post(server, bytes(5001), **headers).status == 413
    assert post(server, Batch("1", Event("a/b", b"")).written("json"), **headers).status == 400
    assert post(server, b"{}", **headers).status == 200  # an empty batch
    late = HTTPConnection(HOST, server.http, timeout=TIMEOUT)
    late.putrequest("POST", "/api/v1/events")
    for name, value in {**headers, "Content-Type": "application/json", "Content-Length": "9"}.items():
        late.putheader(name, value)
    late.endheaders()
    assert late.getresponse().status == 408
    late.close()
    with channel(server) as opened:
        assert call(opened, Batch("1", Event(GOOD, b"1")), client="1")["status"] == 1
    with websocket(server, "1", GROUP) as first:
        assert ask(first, good.written("proto"))["status"] == 1
        assert ask(first, good.written("proto"))["data"]["duplicate"] == "true"
        assert ask(first, b"\x01")["code"] == 2
        with websocket(server, "1", GROUP) as second:
            assert next_said(second, bytes)["code"] == 5
            assert closed(second)[0] == 1008
        with websocket(server, "2", GROUP) as second:
            assert ask(second, b"")["status"] == 1
            with websocket(server, "3", GROUP) as third:
                assert next_said(third, bytes)["code"] == 4
                assert closed(third)[0] == 1008
    with raw(server, "1", instead={"Sec-WebSocket-Version": "8"}) as refused:
        assert refused.status == 400
    with raw(server, "4", ("X-User-Group", GROUP)) as gone:
        gone.send(TEXT, b"{}")
        assert gone.read() is not None
        gone.send(CLOSE)
        gone.until_closed()
    with raw(server, "5", ("X-User-Group", GROUP)) as strange:
        strange.send(CLOSE, struct.pack(">H", 1003))
        strange.until_closed()


COUNTERS: dict[str, tuple[dict[str, str], int]] = {
    "batches_read_total success": ({"status": "success", "reason": "NA", "conn_group": GROUP}, 9),
    "batches_read_total success grpc": ({"status": "success", "reason": "NA", "conn_group": "--default--"}, 1),
    "batches_read_total unknowncontentype": (
        {"status": "failed", "reason": "unknowncontentype", "conn_group": "NA"},
        1,
    ),
    "batches_read_total serde": ({"status": "failed", "reason": "serde", "conn_group": GROUP}, 2),
    "batches_read_total encoding": ({"status": "failed", "reason": "encoding", "conn_group": GROUP}, 1),
    "batches_read_total toolarge": ({"status": "failed", "reason": "toolarge", "conn_group": GROUP}, 1),
    "batches_read_total timeout": ({"status": "failed", "reason": "timeout", "conn_group": GROUP}, 1),
    "batches_read_total invalidevent": ({"status": "failed", "reason": "invalidevent", "conn_group": GROUP}, 1),
    "batches_read_total closeerror": ({"status": "failed", "reason": "closeerror", "conn_group": GROUP}, 1),
    "batches_read_total unknown": ({"status": "failed", "reason": "unknown", "conn_group": GROUP}, 1),
    "events_rx_total good": ({"conn_group": GROUP, "event_type": GOOD}, 6),
    "events_rx_total bad": ({"conn_group": GROUP, "event_type": BAD}, 1),
    "events_rx_total grpc": ({"conn_group": "--default--", "event_type": GOOD}, 1),
    "events_rx_bytes_total good": ({"conn_group": GROUP, "event_type": GOOD}, 24),
    "events_rx_bytes_total grpc": ({"conn_group": "--default--", "event_type": GOOD}, 1),
    "events_duplicate_total": ({"conn_group": GROUP, "reason": "duplicate"}, 1),
    "kafka_messages_delivered_total": ({"topic": topic(GOOD), "conn_group": GROUP, "event_type": GOOD}, 6),
    "kafka_messages_undelivered_total": ({"topic": topic(BAD), "conn_group": GROUP, "event_type": BAD}, 1),
    "user_connection_success_total": ({"conn_group": GROUP}, 4),
    "user_connection_failure_total exists": ({"conn_group": GROUP, "reason": "exists"}, 1),
    "user_connection_failure_total serverlimit": ({"conn_group": GROUP, "reason": "serverlimit"}, 1),
    "user_connection_failure_total ugfailure": ({"conn_group": "--default--", "reason": "ugfailure"}, 1),
}

#: Rows in which the contract leaves open whether a batch that was read, and refused later, counts as read as well.
LENIENT = {
    "batches_read_total success": {8, 9, 10},
    "events_rx_total good": {6, 8},
    "events_rx_bytes_total good": {24, 32},
}


@pytest.mark.parametrize("row", COUNTERS)
def test_s12_1_counter(known: Known, row: str) -> None:
    """Counted by Prometheus, and the same by StatsD."""
    labels, expected = COUNTERS[row]
    name = row.split()[0]
    assert known.found.types[name] == "counter"
    value = known.found.value(name, **labels)
    assert value in LENIENT.get(row, {expected})
    assert known.statsd.count(statsd_name(name, labels)) == value


def statsd_name(name: str, labels: dict[str, str]) -> str:
    """Name and labels as StatsD is told."""
    pairs = [f"{label}={re.sub(r'[, =:|]', '_', value)}" for label, value in sorted(labels.items())]
    return ",".join([name, *pairs])


def test_s12_1_no_other_failures(known: Known) -> None:
    """An ordinary disconnect is no failure: there is no other reason."""
    reasons = {labels["reason"] for labels in known.found.labels("batches_read_total")}
    assert reasons == {
        "NA", "unknowncontentype", "serde", "encoding", "toolarge", "timeout", "invalidevent", "closeerror", "unknown",
    }  # fmt: skip


LABELS = {
    "batches_read_total": ["status", "reason", "conn_group"],
    "events_rx_total": ["conn_group", "event_type"],
    "events_rx_bytes_total": ["conn_group", "event_type"],
    "events_duplicate_total": ["conn_group", "reason"],
    "kafka_messages_delivered_total": ["topic", "conn_group", "event_type"],
    "kafka_messages_undelivered_total": ["topic", "conn_group", "event_type"],
    "user_connection_success_total": ["conn_group"],
    "user_connection_failure_total": ["conn_group", "reason"],
    "connections_count_current": ["conn_group"],
    "kafka_tx_messages_total": [],
    "kafka_tx_messages_bytes_total": [],
    "kafka_brokers_tx_total": ["broker"],
    "kafka_brokers_tx_bytes_total": ["broker"],
    "kafka_brokers_rtt_average_milliseconds": ["broker"],
    "kafka_brokers_rtt_average_seconds": ["broker"],
    "conn_close_err_count": [],
}


@pytest.mark.parametrize("name", LABELS)
def test_s12_1_labels(known: Known, name: str) -> None:
    """Labels are those of the table."""
    samples = known.found.labels(name)
    assert samples or name == "conn_close_err_count"
    for labels in samples:
        assert set(labels) == set(LABELS[name])


REGISTERED = {
    "counter": ["conn_close_err_count"],
    "gauge": [name for name in LABELS if name.startswith(("connections", "kafka_tx", "kafka_brokers"))],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in REGISTERED.items() for name in names])
def test_s12_1_registered(known: Known, kind: str, name: str) -> None:
    """Metrics without labels are known by name and type from the beginning, like gauges once they are sampled."""
    assert known.found.types[name] == kind


GAUGES = {
    "connections_count_current": {"conn_group": GROUP},
    "kafka_tx_messages_total": {},
    "kafka_tx_messages_bytes_total": {},
}


@pytest.mark.parametrize("name", GAUGES)
def test_s12_1_gauge(known: Known, name: str) -> None:
    """Gauges say what is now; StatsD is told likewise."""
    value = known.found.value(name, **GAUGES[name])
    assert value == 0 if name == "connections_count_current" else value > 0
    prefix = f"{statsd_name(name, GAUGES[name])}:"
    lines = [line for line in known.statsd.lines if line.startswith(prefix)]
    assert lines
    assert lines[-1].endswith("|g")


def test_s12_1_broker_label(known: Known) -> None:
    """A broker is named by its host."""
    assert {labels["broker"] for labels in known.found.labels("kafka_brokers_tx_total")} <= {HOST, "localhost"}


def test_s12_1_round_trip(known: Known) -> None:
    """The round trip is in microseconds under its old name, and in seconds under an honest one."""
    (broker,) = {labels["broker"] for labels in known.found.labels("kafka_brokers_rtt_average_seconds")}
    old = known.found.value("kafka_brokers_rtt_average_milliseconds", broker=broker)
    honest = known.found.value("kafka_brokers_rtt_average_seconds", broker=broker)
    assert honest == pytest.approx(old / 1e6)


HISTOGRAMS: dict[str, dict[str, str]] = {
    "batch_idle_in_channel_milliseconds": {"worker": "worker-0"},
    "kafka_producebulk_tt_ms": {},
    "event_processing_duration_milliseconds": {"conn_group": GROUP},
    "worker_processing_duration_milliseconds": {"worker": "worker-0"},
    "server_processing_latency_milliseconds": {"conn_group": GROUP},
    "ack_event_rtt_ms": {},
    "event_rtt_ms": {},
    "user_session_duration_milliseconds": {"conn_group": GROUP},
}
BUCKETS = ["5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000"]
LONG_BUCKETS = ["1000", "10000", "100000", "600000", "3600000"]


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_s12_1_histogram(known: Known, name: str) -> None:
    """Histograms have their buckets, and StatsD gets timings."""
    labels = HISTOGRAMS[name]
    assert known.found.types[name] == "histogram"
    bounds = [
        dict(given)["le"]
        for of, given in known.found.samples
        if of == f"{name}_bucket" and {k: v for k, v in given if k != "le"} == labels
    ]
    expected = LONG_BUCKETS if name == "user_session_duration_milliseconds" else BUCKETS
    assert [float(bound) for bound in bounds] == [*map(float, expected), float("inf")]
    count = known.found.value(f"{name}_count", **labels)
    assert count > 0
    assert known.found.value(f"{name}_bucket", **labels, le="+Inf") == count
    values = [known.found.value(f"{name}_bucket", **labels, le=bound) for bound in bounds]
    assert values == sorted(values)
    assert known.found.value(f"{name}_sum", **labels).is_integer()
    timings = [line for line in known.statsd.lines if line.startswith(f"{statsd_name(name, labels)}:")]
    assert timings
    assert all(re.fullmatch(r"[^:]+:\d+\|ms(\|@[\d.]+)?", line) for line in timings)


def test_s12_1_empty_batches(farm: Farm) -> None:
    """An empty batch observes none of the histograms per event."""
    with farm.own(METRIC_PROMETHEUS_ENABLED="true", EVENT_ACK=1) as server:
        assert post(server, b'{"sent_time":{"seconds":1}}').status == 200
        found = scrape(server)
        for name in ("event_processing_duration", "worker_processing_duration", "server_processing_latency"):
            assert not found.labels(f"{name}_milliseconds_count") or not sum(
                found.value(f"{name}_milliseconds_count", **labels)
                for labels in found.labels(f"{name}_milliseconds_count")
            )


@pytest.mark.parametrize("sent_time", ["null", "4000000000"], ids=["absent", "in the future"])
def test_s12_1_sent_time(farm: Farm, sent_time: str) -> None:
    """Without a ``sent_time``, and with one in the future, there is nothing to observe."""
    body = f'{{"sent_time":{sent_time},"events":[{{"type":"t-{word()}","event_bytes":"eA=="}}]}}'
    with farm.own(METRIC_PROMETHEUS_ENABLED="true", EVENT_ACK=1) as server:
        assert post(server, body.encode()).status == 200
        latency = "server_processing_latency_milliseconds_count"
        assert eventually(lambda: scrape(server).value(latency, conn_group="--default--") == 1)
        found = scrape(server)
        assert found.value("event_processing_duration_milliseconds_count", conn_group="--default--") == 0


def test_s12_1_per_event(farm: Farm) -> None:
    """A batch's duration is divided by its events."""
    event = f'{{"type":"t-{word()}","event_bytes":"eA=="}}'
    body = f'{{"sent_time":{{"seconds":{int(time.time()) - 1000}}},"events":[{",".join([event] * 100)}]}}'
    with farm.own(METRIC_PROMETHEUS_ENABLED="true", EVENT_ACK=1) as server:
        assert post(server, body.encode()).status == 200
        name = "event_processing_duration_milliseconds"
        assert eventually(lambda: scrape(server).value(f"{name}_count", conn_group="--default--") == 1)
        assert 10_000 <= scrape(server).value(f"{name}_sum", conn_group="--default--") <= 10_100


def test_s12_1_connections_gauge(farm: Farm) -> None:
    """Connections are counted now and then; a group that has emptied reports 0."""
    with farm.own(**{**BOTH_EXPORTERS, "METRIC_STATSD_ENABLED": "false"}) as server:
        with websocket(server, "1", GROUP), websocket(server, "2", GROUP):
            assert eventually(lambda: scrape(server).value("connections_count_current", conn_group=GROUP) == 2)
        assert eventually(lambda: {"conn_group": GROUP} in scrape(server).labels("connections_count_current"))
        assert eventually(lambda: scrape(server).value("connections_count_current", conn_group=GROUP) == 0)
        assert {"conn_group": GROUP} in scrape(server).labels("connections_count_current")


def test_s12_1_no_statistics_by_default(farm: Farm) -> None:
    """Kafka's gauges appear only if they were asked for."""
    assert scrape(farm.get(METRIC_PROMETHEUS_ENABLED="true")).labels("kafka_tx_messages_total") == []


@pytest.mark.parametrize(
    "name", ["process_resident_memory_bytes", "process_cpu_seconds_total", "python_gc_collections"]
)
def test_s12_1_process(known: Known, name: str) -> None:
    """Figures of the process are there; Go's are not."""
    assert any(each.startswith(name) for each in known.found.types)
    assert not any(each.startswith(("server_go_", "server_mem_")) for each in known.found.types)


# 12.2


def test_s12_2_content_type(known: Known) -> None:
    """The text format is named, and its newer one if asked for."""
    for accept, expected in (("", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")):
        connection = HTTPConnection(HOST, known.server.metrics, timeout=TIMEOUT)
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        response.read()
        connection.close()
        assert response.headers["Content-Type"].startswith((expected, "text/plain"))


def test_s12_2_path(farm: Farm) -> None:
    """The path can be chosen, and there is nothing elsewhere."""
    server = farm.get(METRIC_PROMETHEUS_ENABLED="true", METRIC_PROMETHEUS_PATH="/figures")
    assert "conn_close_err_count" in scrape(server, "/figures").types
    connection = HTTPConnection(HOST, server.metrics, timeout=TIMEOUT)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 404
    connection.close()


# 12.3


def test_s12_3_packets(known: Known) -> None:
    """Packets are at most 1440 bytes, and hold whole lines."""
    assert max(map(len, known.statsd.packets)) <= 1440
    for line in known.statsd.lines:
        assert re.fullmatch(r"[a-zA-Z_]\w*(,[a-z_]+=[^,=:| ]*)*:-?[\d.e+-]+\|(c|g|ms)(\|@[\d.]+)?", line), line


def test_s12_3_sorted(known: Known) -> None:
    """Labels are sorted, and there are no commas too many."""
    for line in known.statsd.lines:
        name, *pairs = line.partition(":")[0].split(",")
        assert name
        assert all(pairs)
        assert pairs == sorted(pairs)


def test_s12_3_replaced(farm: Farm) -> None:
    """What would break the form is replaced within values."""
    with StatsD() as statsd:
        settings = {**BOTH_EXPORTERS, "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}"}
        with farm.own(**settings) as server:
            assert post(server, b"{}", X_User_Group="a,b c=d:e|f").status == 200
            wanted = "batches_read_total,conn_group=a_b_c_d_e_f,reason=NA,status=success"
            statsd.until(lambda: statsd.count(wanted) == 1)


def test_s12_3_last_flush(farm: Farm) -> None:
    """What was counted before a stop is sent before the end."""
    with StatsD() as statsd:
        settings = {
            **BOTH_EXPORTERS,
            "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}",
            "METRIC_STATSD_FLUSH_PERIOD_MS": 60_000,
        }
        kind = f"late-{word()}"
        with farm.own(**settings) as server:
            assert post(server, Batch("g", Event(kind, b"x")).written("json")).status == 200
            assert server.stop() == 0
        name = f"kafka_messages_delivered_total,conn_group=--default--,event_type={kind},topic={topic(kind)}"
        statsd.until(lambda: statsd.count(name) == 1)


# 12.4


def test_s12_4_cap(farm: Farm) -> None:
    """After so many values of a label the rest are ``other``."""
    with farm.own(METRIC_PROMETHEUS_ENABLED="true", METRIC_MAX_LABEL_VALUES=3) as server:
        for number in range(6):
            batch = Batch("g", Event(f"cap{number}", b"x"))
            assert post(server, batch.written("json"), X_User_Group=f"group{number}").status == 200
        for label, name in (
            ("conn_group", "batches_read_total"),
            ("event_type", "events_rx_total"),
            ("topic", "kafka_messages_delivered_total"),
        ):
            values = eventually(
                lambda: (
                    found
                    if "other" in (found := {each[label] for each in scrape(server).labels(name)})  # noqa: B023
                    else None
                )
            )
            assert len(values) <= 4, values
        assert (
            sum(
                scrape(server).value("events_rx_total", **labels) for labels in scrape(server).labels("events_rx_total")
            )
            == 6
        )


def test_s12_4_escaped(farm: Farm) -> None:
    """A value cannot break the text."""
    server = farm.get(METRIC_PROMETHEUS_ENABLED="true")
    group = 'a"b\\c{}' + word()
    assert post(server, b"{}", X_User_Group=group).status == 200
    assert scrape(server).value("batches_read_total", status="success", reason="NA", conn_group=group) == 1
