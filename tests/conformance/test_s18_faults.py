"""Section 18: the known faults of the reference, by their numbers.

Most are rows of other sections as well; here their tests are called again, under the number of the fault. Faults 3
and 4 are races within a process: what can be seen is that the server outlives the traffic that caused them.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance import test_s01_routes as s01
from tests.conformance import test_s02_messages as s02
from tests.conformance import test_s03_identity as s03
from tests.conformance import test_s04_rest as s04
from tests.conformance import test_s05_websocket as s05
from tests.conformance import test_s07_acknowledgement as s07
from tests.conformance import test_s08_deduplication as s08
from tests.conformance import test_s09_routing as s09
from tests.conformance import test_s10_cors as s10
from tests.conformance import test_s11_log_publisher as s11
from tests.conformance import test_s12_metrics as s12
from tests.conformance import test_s13_configuration as s13
from tests.conformance import test_s14_commands as s14
from tests.conformance import test_s15_life as s15
from tests.conformance import test_s19_vectors as s19
from tests.conformance.frames import TEXT, raw, written
from tests.conformance.scrape import StatsD, scrape
from tests.conformance.server import Command, Farm, eventually
from tests.conformance.topics import Kafka, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Event, success
from tests.integration.clients import HOST, ask, call, channel, post, websocket


def test_s18_01_slow_reader(farm: Farm) -> None:
    """A client that stops reading holds up nobody, in mode 1 either."""
    server = farm.get(EVENT_ACK=1)
    message = written(TEXT, json.dumps({"req_guid": "x" * 60_000}).encode())
    with raw(server, "slow") as slow, websocket(server, "quick") as quick:
        slow.connection.settimeout(0.2)
        for _ in range(200):
            try:
                slow.connection.sendall(message)
            except OSError:
                break
        for _ in range(20):
            before = time.monotonic()
            assert ask(quick, Two().text()) == success("1234")
            assert time.monotonic() - before < 1


def test_s18_02_one_writer(farm: Farm) -> None:
    """Answers, refusals and pongs on one connection do not get into each other."""
    with raw(farm.get(EVENT_ACK=1)) as opened:
        two = Two()
        for number in range(100):
            sent = two.text(**{"1234": str(number)}) if number % 2 else "x"
            opened.connection.sendall(written(TEXT, sent.encode()) + written(9, b"%d" % number))
        frames = []
        while len(frames) < 200:
            frame = opened.read()
            assert frame is not None
            frames.append(frame)
        assert [frame.payload for frame in frames if frame.opcode == 10] == [b"%d" % number for number in range(100)]


def _come_and_go(server: object, number: int) -> None:
    with websocket(server, f"{word()}", f"group{number % 7}") as connection:  # type: ignore[arg-type]
        for _ in range(3):
            assert ask(connection, json.dumps({"req_guid": f"{number}"}))["status"] == 1


@pytest.mark.parametrize("fault", ["03", "04"])
def test_s18_03_04_coming_and_going(farm: Farm, fault: str) -> None:
    """Connections of many groups come and go while they are counted, and guids are remembered."""
    settings = {
        "METRIC_PROMETHEUS_ENABLED": "true",
        "METRIC_RUNTIME_STATS_RECORD_INTERVAL_MS": 5,
        "SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED": "true",
    }
    server = farm.get(**settings)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: _come_and_go(server, number), range(100)))
        scrape(server)
    assert server.alive


def test_s18_05_null_event(farm: Farm) -> None:
    """``null`` among the events."""
    s02.test_s02_2_body_refused(farm, "null event")
    s02.test_s02_2_text_frame_refused(farm, "null event")


def test_s18_06_07_stop(farm: Farm, kafka: Kafka) -> None:
    """What was acknowledged in mode 0 at a stop is there, and WebSockets are closed."""
    kind, values = f"stop-{word()}", []
    with farm.own(SERVER_DRAIN_DELAY_MS=200) as server, raw(server, "1") as opened:
        server.signal()
        number = 0
        while True:
            value = b"%d" % number
            opened.send(TEXT, Batch(f"{number}", Event(kind, value)).written("json"))
            frame = opened.read_but(9)
            assert frame is not None
            if frame.opcode == 8:
                assert frame.code == 1001
                break
            assert json.loads(frame.payload)["status"] == 1
            values.append(value)
            number += 1
        assert server.wait() == 0
    assert values
    found = kafka.of(kind, len(values))
    assert set(values) <= set(found)


def test_s18_08_empty_guid(farm: Farm, kafka: Kafka) -> None:
    """Batches without a guid."""
    s08.test_s08_empty_guid(farm, kafka, s08.ON)


def test_s18_09_duplicate_in_flight(faulty: Farm) -> None:
    """A duplicate of a batch that then fails."""
    s08.test_s08_in_flight(faulty, True)


def test_s18_10_limits(farm: Farm) -> None:
    """Bodies, messages, nesting and time have limits."""
    s04.test_s04_2_too_large(farm, "chunked")
    s05.test_s05_1_too_large(farm, "json", "fragments")
    s02.test_s02_2_body_refused(farm, "deep")
    s04.test_s04_3_body_late(farm, "json")


def test_s18_11_guids_are_bounded(farm: Farm, kafka: Kafka) -> None:
    """Guids are forgotten."""
    s08.test_s08_bounded_in_count(farm, kafka)


def test_s18_12_charset(farm: Farm, kafka: Kafka) -> None:
    """A charset in the content type."""
    s04.test_s04_1_content_type(farm, kafka, "application/json; charset=utf-8")


def test_s18_13_camel_case(farm: Farm, kafka: Kafka) -> None:
    """Names as in the guide."""
    s02.test_s02_2_key(farm, kafka, "all camelCase")


def test_s18_14_rfc_3339(farm: Farm, kafka: Kafka) -> None:
    """A time as text."""
    s02.test_s02_2_sent_time_accepted(farm, kafka, "RFC 3339")


@pytest.mark.parametrize("reason", ["duplicate", "limit"])
def test_s18_15_refusals_in_json(farm: Farm, reason: str) -> None:
    """Refusals in JSON for who asked for it."""
    s05.test_s05_2_refusal_in_the_subprotocol(farm, "raccoon.json.v1", reason)


def test_s18_16_without_id(farm: Farm) -> None:
    """WebSockets without an id."""
    s03.test_s03_websocket_without_id(farm, {})


def test_s18_17_duplicate_before_limit(farm: Farm) -> None:
    """A duplicate on a full server."""
    s05.test_s05_2_duplicate_before_limit(farm)


def test_s18_18_long_id(farm: Farm) -> None:
    """A duplicate with a long id."""
    s05.test_s05_2_long_id(farm, 200)


def test_s18_19_liveness(farm: Farm) -> None:
    """A busy sender that answers no ping stays, and who is dropped gets a close frame."""
    s05.test_s05_5_any_frame_is_life(farm, "data")
    s05.test_s05_5_silent(farm)


def test_s18_20_full_queue(faulty: Farm) -> None:
    """A full queue is said."""
    s04.test_s04_3_queue_full(faulty, 0, "json")


def test_s18_21_which_failed(session_faults: Farm) -> None:
    """Which events failed."""
    s07.test_s07_3_some_failed(session_faults, (2,), "rest-json")


def test_s18_22_first_succeeded(session_faults: Farm) -> None:
    """The text when the first event succeeded."""
    s07.test_s07_3_some_failed(session_faults, (2,), "websocket-json")


def test_s18_23_grpc_reason(session_faults: Farm) -> None:
    """The reason in gRPC."""
    s07.test_s07_3_some_failed(session_faults, (0,), "grpc-raystack")


def test_s18_24_status(farm: Farm) -> None:
    """The status when a listener cannot start."""
    s14.test_s14_status_2(farm, "SERVER_GRPC_PORT")


def test_s18_25_readiness(faulty: Farm) -> None:
    """Readiness is told apart from liveness."""
    s15.test_s15_1_without_kafka(faulty)


def test_s18_26_precedence(program: Command) -> None:
    """Flags win."""
    s13.test_s13_1_precedence(program)


@pytest.mark.parametrize("name", s13.ALIASES)
def test_s18_27_aliases(program: Command, name: str) -> None:
    """Aliases do not override one another."""
    s13.test_s13_3_aliases(program, name, False)


def test_s18_28_both_exporters(farm: Farm) -> None:
    """Both exporters at once."""
    with StatsD() as statsd:
        settings = {**s12.BOTH_EXPORTERS, "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}"}
        with farm.own(**settings) as server:
            assert post(server, b"{}").status == 200
            name = "batches_read_total,conn_group=--default--,reason=NA,status=success"
            statsd.until(lambda: statsd.count(name) == 1)
            labels = {"conn_group": "--default--", "reason": "NA", "status": "success"}
            assert scrape(server).value("batches_read_total", **labels) == 1


def test_s18_29_cors(farm: Farm, program: Command) -> None:
    """CORS without origins, with credentials, and what varies."""
    s10.test_s10_1_empty_list(farm, program)
    s10.test_s10_1_all_with_credentials(program)
    s10.test_s10_1_vary(farm, s10.ON)


def test_s18_30_given_up(faulty: Farm) -> None:
    """Events lost at a stop are counted as such."""
    s15.test_s15_3_given_up(faulty)


@pytest.mark.parametrize("code", [1000, 1001])
def test_s18_31_ordinary_disconnect(farm: Farm, code: int) -> None:
    """An ordinary disconnect is no failed batch, and no error in the log."""
    server, group = farm.get(METRIC_PROMETHEUS_ENABLED="true"), word()
    before = len(server.log)
    with raw(server, "1", ("X-User-Group", group)) as opened:
        opened.send(8, code.to_bytes(2, "big"))
        opened.until_closed()
    counted = "user_session_duration_milliseconds_count"
    assert eventually(lambda: scrape(server).value(counted, conn_group=group) == 1)
    failed = [each for each in scrape(server).labels("batches_read_total") if each["conn_group"] == group]
    assert failed == []
    assert "error" not in server.log[before:].lower()


def test_s18_32_sent_time(farm: Farm) -> None:
    """A missing ``sent_time`` is observed nowhere."""
    s12.test_s12_1_sent_time(farm, "null")


def test_s18_33_grpc_bytes(farm: Farm) -> None:
    """Bytes are counted on gRPC."""
    server, kind = farm.get(METRIC_PROMETHEUS_ENABLED="true"), f"bytes-{word()}"
    with channel(server) as opened:
        assert call(opened, Batch("1", Event(kind, b"12345")))["status"] == 1
    labels = {"conn_group": "--default--", "event_type": kind}
    assert scrape(server).value("events_rx_bytes_total", **labels) == 5


def test_s18_34_unknown_topic(session_faults: Farm) -> None:
    """An unknown topic is counted."""
    s09.test_s09_unknown_topic(session_faults, "late")


def test_s18_35_statsd_names(farm: Farm) -> None:
    """No superfluous commas."""
    with StatsD() as statsd:
        settings = {**s12.BOTH_EXPORTERS, "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}"}
        with farm.own(**settings) as server:
            assert post(server, Two().body("json")).status == 200
            statsd.until(lambda: any("kafka_messages_delivered_total" in line for line in statsd.lines))
    assert [line for line in statsd.lines if ",," in line or ",:" in line] == []


def test_s18_36_labels(farm: Farm) -> None:
    """Label values are bounded."""
    s12.test_s12_4_cap(farm)


def test_s18_37_round_trip(farm: Farm) -> None:
    """The round trip has an honest name as well."""
    settings = {**s12.BOTH_EXPORTERS, "METRIC_STATSD_ENABLED": "false"}
    with farm.own(**settings, PUBLISHER_KAFKA_CLIENT_STATISTICS_INTERVAL_MS=100) as server:
        assert post(server, Two().body("json")).status == 200
        assert eventually(lambda: scrape(server).labels("kafka_brokers_rtt_average_seconds"))


def test_s18_38_content_type(farm: Farm) -> None:
    """An answer has a content type."""
    s19.test_s19_08(farm)


@pytest.mark.parametrize("path", ["/api/v1/events/", "//api/v1/events"])
def test_s18_39_paths(farm: Farm, kafka: Kafka, path: str) -> None:
    """No redirect of a POST."""
    s01.test_s01_post_to_path(farm, kafka, path)


@pytest.mark.parametrize("row", s09.ILLEGAL)
def test_s18_40_topics(farm: Farm, row: str) -> None:
    """A type is checked."""
    s09.test_s09_illegal_type(farm, row, "rest-json")


def test_s18_41_no_addresses(faulty: Farm) -> None:
    """No addresses in answers."""
    s07.test_s07_4_no_addresses(faulty)


def test_s18_42_log_publisher(farm: Farm) -> None:
    """The log publisher fails no event."""
    s11.test_s11_line(farm, "neither", 1)


def test_s18_43_order(farm: Farm, kafka: Kafka) -> None:
    """Batches of one identity stay in order, if its records share a partition."""
    kind = f"order-{word()}"
    with farm.own(EVENT_PARTITION_KEY="identity") as server, raw(server, "somebody") as opened:
        sent = [written(TEXT, Batch(f"{n}", Event(kind, b"%d" % n)).written("json")) for n in range(60)]
        opened.connection.sendall(b"".join(sent))
        for _ in sent:
            assert opened.read_but(9) is not None
        assert kafka.of(kind, 60) == [b"%d" % number for number in range(60)]


def test_s18_44_batch_histogram(farm: Farm) -> None:
    """There is a histogram of whole batches beside those per event."""
    with farm.own(METRIC_PROMETHEUS_ENABLED="true", EVENT_ACK=1) as server:
        assert post(server, Two().body("json")).status == 200
        assert eventually(
            lambda: scrape(server).value("server_processing_latency_milliseconds_count", conn_group="--default--")
        )
        histograms = {name for name, kind in scrape(server).types.items() if kind == "histogram"}
        assert {name for name in histograms if "batch" in name and "idle" not in name}
