"""Section 19: the conformance vectors, by their numbers."""

from __future__ import annotations

import gzip
import time

import grpc
import pytest
from confluent_kafka import KafkaError
from websockets.exceptions import InvalidStatus

from tests.conformance import test_s10_cors as cors
from tests.conformance.frames import BINARY, CLOSE, PING, TEXT, Raw, raw
from tests.conformance.scrape import scrape
from tests.conformance.server import Farm
from tests.conformance.test_s04_rest import LIMIT, TIGHT, assert_come_back, assert_too_large, fill, padded
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import CONTENT_TYPE_REFUSED, UNREADABLE, Two
from tests.integration.batches import Encoding, Said, said, success
from tests.integration.clients import (
    EVENTS,
    TIMEOUT,
    ask,
    call,
    channel,
    closed,
    curl,
    frame,
    has_curl,
    next_said,
    post,
    request,
    websocket,
)

MODES = pytest.mark.parametrize("ack", [0, 1])
BOTH = pytest.mark.parametrize("encoding", ["json", "proto"])


def test_s19_01(farm: Farm) -> None:
    """``GET /ping``."""
    response = request(farm.get(), "GET", "/ping")
    assert (response.status, response.body) == (200, b"pong")


@MODES
@pytest.mark.parametrize("client", ["http.client", "curl"])
def test_s19_02(farm: Farm, kafka: Kafka, ack: int, client: str) -> None:
    """Two events as JSON."""
    two, server = Two(), farm.get(EVENT_ACK=ack)
    if client == "curl" and has_curl():
        response = curl(server, EVENTS, "--header", "Content-Type: application/json", "--data-binary", two.text())
    else:
        response = post(server, two.body("json"))
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "03": ("application/json; charset=utf-8", {}),
    "04": ("application/json", {"event_bytes": "eventBytes", "req_guid": "reqGuid", "sent_time": "sentTime"}),
    "05": ("application/json", {'"ZXZlbnRfMQ=="': "[101,118,101,110,116,95,49]"}),
    "06": ("application/json", {'{"seconds":1,"nanos":2}': '"2021-11-29T03:08:47.376499Z"'}),
}


@pytest.mark.parametrize("vector", VARIANTS)
def test_s19_03_to_06(farm: Farm, kafka: Kafka, vector: str) -> None:
    """The same in other forms."""
    content_type, instead = VARIANTS[vector]
    two = Two()
    response = post(farm.get(), two.text(**instead).encode(), content_type)
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


@MODES
def test_s19_07(farm: Farm, kafka: Kafka, ack: int) -> None:
    """The same as protobuf."""
    two = Two()
    response = post(farm.get(EVENT_ACK=ack), two.body("proto"), "application/proto")
    assert (response.status, response.said) == (200, success("1234"))
    assert response.headers["Content-Type"] == "application/proto"
    two.assert_produced(kafka)


def test_s19_08(farm: Farm) -> None:
    """No content type, no body."""
    response = post(farm.get(), b"", None)
    assert (response.status, response.said) == (400, CONTENT_TYPE_REFUSED)
    assert response.headers["Content-Type"] == "application/json"


def test_s19_09(farm: Farm) -> None:
    """Garbage."""
    response = post(farm.get(), b"\x01")
    assert (response.status, response.said) == (400, UNREADABLE)


@MODES
def test_s19_10(farm: Farm, ack: int) -> None:
    """An empty object."""
    response = post(farm.get(EVENT_ACK=ack), b"{}")
    assert (response.status, response.said) == (200, success(""))


def test_s19_11(farm: Farm) -> None:
    """``null`` as an event."""
    assert post(farm.get(), b'{"req_guid":"x","events":[null]}').status == 400


def test_s19_12(farm: Farm) -> None:
    """No bytes of protobuf."""
    response = post(farm.get(), b"", "application/proto")
    assert (response.status, response.said) == (200, success(""))
    assert response.headers["Content-Type"] == "application/proto"


def test_s19_13(farm: Farm, kafka: Kafka) -> None:
    """A compressed body."""
    two = Two()
    response = post(farm.get(), gzip.compress(two.body("json")), Content_Encoding="gzip")
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


def test_s19_14(farm: Farm) -> None:
    """4 MiB and a byte."""
    assert_too_large(post(farm.get(), padded(LIMIT + 1)))


def test_s19_15(session_faults: Farm) -> None:
    """Kafka rejects the second event."""
    assert session_faults.cluster is not None
    two = Two()
    session_faults.cluster.topic_error(topic(two.second), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    response = post(session_faults.get(EVENT_ACK=1), two.body("json"))
    content = response.said
    assert (response.status, content["status"], content["code"]) == (500, 2, 3)
    assert content["reason"].startswith("cannot publish events: ")
    assert (content["data"]["req_guid"], content["data"]["failed"]) == ("1234", "1")


@MODES
def test_s19_16(faulty: Farm, ack: int) -> None:
    """The queue is full."""
    with faulty.own(EVENT_ACK=ack, **TIGHT) as server, websocket(server, "filler") as filler:
        fill(server, faulty)
        for _ in range(3):
            filler.send(Two().text())
        response = post(server, Two().body("json"))
    assert_come_back(response, "json")


@pytest.mark.parametrize(("vector", "opcode", "payload"), [("17", BINARY, b"\x01"), ("18", TEXT, b"")])
def test_s19_17_18(farm: Farm, vector: str, opcode: int, payload: bytes) -> None:
    """A frame that does not decode."""
    with raw(farm.get(), word()) as opened:
        for _ in range(2):
            opened.send(opcode, payload)
            content = _next(opened, opcode)
            assert content.pop("reason")
            assert content == {"status": 2, "code": 2, "data": {"req_guid": ""}}


def _next(opened: Raw, opcode: int) -> Said:
    found = opened.read_but(PING)
    assert found is not None
    assert found.opcode == opcode
    return said(found.payload)


@BOTH
@MODES
def test_s19_19(farm: Farm, kafka: Kafka, ack: int, encoding: Encoding) -> None:
    """Two events by WebSocket."""
    two = Two()
    with websocket(farm.get(EVENT_ACK=ack), word()) as connection:
        assert ask(connection, two.text() if encoding == "json" else two.body("proto")) == success("1234")
    two.assert_produced(kafka)


def test_s19_20(farm: Farm) -> None:
    """The same identity again."""
    with farm.own() as server, websocket(server, "1234") as first:
        assert ask(first, b"") == success("")
        with websocket(server, "1234") as second:
            assert next_said(second, bytes) == {
                "status": 2,
                "code": 5,
                "reason": "duplicated connection: [--default--] 1234,",
            }
            assert closed(second) == (1008, "duplicate connection: 1234")


def test_s19_21(farm: Farm) -> None:
    """The same id in another group."""
    client, server = word(), farm.get()
    with websocket(server, client) as first, websocket(server, client, "other") as second:
        for connection in first, second:
            assert ask(connection, b"") == success("")


def test_s19_22(farm: Farm) -> None:
    """A full table."""
    with farm.own(SERVER_WEBSOCKET_MAX_CONN=1) as server, websocket(server, "1") as first:
        assert ask(first, b"") == success("")
        with websocket(server, "2") as second:
            assert next_said(second, bytes) == {"status": 2, "code": 4, "reason": "max connection reached"}
            assert closed(second) == (1008, "Max connection reached")


def test_s19_23(farm: Farm) -> None:
    """Two without an id."""
    server = farm.get()
    with websocket(server) as first, websocket(server) as second:
        for connection in first, second:
            assert ask(connection, b"") == success("")


def test_s19_24(farm: Farm) -> None:
    """Who never answers pings."""
    settings = {"SERVER_WEBSOCKET_PING_INTERVAL_MS": 200, "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS": 600}
    with raw(farm.get(**settings), word()) as opened:
        before = time.monotonic()
        close = opened.read_but(PING, patience=5)
        assert time.monotonic() - before < 0.8 + 0.4  # for a busy machine
        assert close is None or close.opcode == CLOSE


def test_s19_25(farm: Farm) -> None:
    """A page from elsewhere."""
    with pytest.raises(InvalidStatus) as refused, websocket(farm.get(), word(), Origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


DEDUP = {"SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED": "true", "METRIC_PROMETHEUS_ENABLED": "true"}


def test_s19_26(farm: Farm, kafka: Kafka) -> None:
    """The same guid twice."""
    two, server, group = Two(), farm.get(**DEDUP), word()
    with websocket(server, word(), group) as connection:
        assert ask(connection, two.text()) == success("1234")
        assert ask(connection, two.text())["status"] == 1
    two.assert_produced(kafka)
    assert scrape(server).value("events_duplicate_total", conn_group=group, reason="duplicate") == 1


def test_s19_27(farm: Farm, kafka: Kafka) -> None:
    """No guid twice."""
    two = Two()
    with websocket(farm.get(**DEDUP), word()) as connection:
        for _ in range(2):
            assert ask(connection, two.text(**{"1234": ""})) == success("")
    two.assert_produced(kafka, 2)


@MODES
def test_s19_28(farm: Farm, kafka: Kafka, ack: int) -> None:
    """Two events by gRPC."""
    two = Two()
    with channel(farm.get(EVENT_ACK=ack)) as opened:
        assert call(opened, two.batch) == success("1234")
    two.assert_produced(kafka)


def test_s19_29(farm: Farm) -> None:
    """gRPC without an id."""
    with channel(farm.get()) as opened, pytest.raises(grpc.RpcError) as failed:
        call(opened, Two().batch, client=None)
    assert failed.value.details() == "connection id header missing"


def test_s19_30(farm: Farm, kafka: Kafka) -> None:
    """gRPC under the older package."""
    two = Two()
    with channel(farm.get()) as opened:
        assert call(opened, two.batch, "odpf") == success("1234")
    two.assert_produced(kafka)


def test_s19_31(session_faults: Farm) -> None:
    """gRPC, and Kafka rejects."""
    assert session_faults.cluster is not None
    two = Two()
    session_faults.cluster.topic_error(topic(two.first), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with channel(session_faults.get(EVENT_ACK=1)) as opened:
        content = call(opened, two.batch)
    assert (content["status"], content["code"], content["data"]["req_guid"]) == (2, 3, "1234")


@pytest.mark.parametrize(
    ("vector", "origin", "allowed"),
    [("32", "http://localhost:3000", "http://localhost:3000"), ("33", "http://localhost:5050", None)],
)
def test_s19_32_33(farm: Farm, kafka: Kafka, vector: str, origin: str, allowed: str | None) -> None:
    """POST from a page."""
    two = Two()
    response = post(farm.get(**cors.ON), two.body("json"), Origin=origin)
    assert (response.status, response.said) == (200, success("1234"))
    assert response.headers["Access-Control-Allow-Origin"] == allowed
    two.assert_produced(kafka)


PREFLIGHTS = {
    "34": ({"method": "POST", "headers": "content-type,x-user-id"}, 200, True),
    "35": ({"method": "POST", "headers": "content-type,x-user-id,fake-header"}, 403, False),
    "36": ({"method": None}, 400, None),
    "37": ({"method": "DELETE"}, 405, None),
}


@pytest.mark.parametrize("vector", PREFLIGHTS)
def test_s19_34_to_37(farm: Farm, vector: str) -> None:
    """Preflights."""
    asked, status, allowed = PREFLIGHTS[vector]
    response = cors.options(farm, cors.ON, **cors.preflight(**asked))
    assert response.status == status
    if allowed is not None:
        assert (response.headers["Access-Control-Allow-Origin"] is not None) == allowed


def test_s19_38(farm: Farm) -> None:
    """OPTIONS without CORS."""
    assert cors.options(farm, {}, **cors.preflight()).status == 405


def test_s19_39(farm: Farm) -> None:
    """A plain GET."""
    response = request(farm.get(), "GET", EVENTS)
    assert (response.status, response.headers["Sec-Websocket-Version"]) == (400, "13")


@BOTH
def test_s19_40(farm: Farm, kafka: Kafka, encoding: Encoding) -> None:
    """SIGTERM while a batch is on its way."""
    two = Two()
    settings = {"EVENT_ACK": 1, "PUBLISHER_KAFKA_CLIENT_LINGER_MS": 300, "SERVER_DRAIN_WINDOW_MS": 100}
    with farm.own(**settings) as server, websocket(server, "idle") as idle, websocket(server, "1234") as publishing:
        publishing.send(frame(two.batch, encoding))
        assert publishing.ping().wait(TIMEOUT)
        server.signal()
        assert next_said(publishing, str if encoding == "json" else bytes) == success("1234")
        for connection in idle, publishing:
            assert closed(connection)[0] == 1001
        assert server.wait() == 0
    two.assert_produced(kafka)
