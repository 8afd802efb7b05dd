"""Section 16: the official clients, by requests in their form."""

from __future__ import annotations

import json
import time
from uuid import uuid4

import pytest

from raccoon_tx._proto.odpf.raccoon.v1beta1 import raccoon_pb2 as odpf_pb2
from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from tests.conformance.frames import BINARY, PING, PONG, exchange, raw
from tests.conformance.server import Farm, eventually
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Said, said, success
from tests.integration.clients import EVENTS, HOST, TIMEOUT, Response, call_with_bytes, channel


class Recorded:
    """A batch with a guid and a type of its own, as a client would make it."""

    def __init__(self) -> None:
        self.guid, self.kind = str(uuid4()), f"client-{word()}"
        self.value = b'{"page":"home"}'

    def protobuf(self, sent_time: float | None = None) -> bytes:
        request = SendEventRequest(req_guid=self.guid)
        request.sent_time.FromNanoseconds(int((sent_time or time.time()) * 1e9))
        request.events.add(type=self.kind, event_bytes=self.value)
        return request.SerializeToString()

    def assert_produced(self, kafka: Kafka, times: int = 1) -> None:
        assert kafka.of(self.kind, times) == [self.value] * times


def post_as(farm: Farm, lines: list[str], body: bytes, **settings: object) -> Response:
    """A request with exactly these headers."""
    server = farm.get(**settings)
    head = [f"POST {EVENTS} HTTP/1.1", f"Host: {HOST}:{server.http}", *lines, f"Content-Length: {len(body)}"]
    response = exchange(server.http, "\r\n".join([*head, "", ""]).encode() + body)
    assert response is not None
    return response


def strict(response: Response, guid: str) -> None:
    """What the strictest of the clients accept: 200, a body, known fields, numbers."""
    assert response.status == 200
    content = json.loads(response.body)
    assert set(content) == {"status", "code", "sent_time", "data"}
    assert (content["status"], content["code"]) == (1, 1)
    assert type(content["sent_time"]) is int
    assert content["data"] == {"req_guid": guid}


GO = ["User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"]


@pytest.mark.parametrize("ack", [0, 1])
def test_s16_go_rest_json(farm: Farm, kafka: Kafka, ack: int) -> None:
    """Go, REST, JSON."""
    sent = Recorded()
    body = (
        f'{{"req_guid":"{sent.guid}","sent_time":{{"seconds":1700000000,"nanos":123456789}},'
        f'"events":[{{"event_bytes":"eyJwYWdlIjoiaG9tZSJ9","type":"{sent.kind}"}}]}}'
    )
    strict(post_as(farm, [*GO, "Content-Type: application/json"], body.encode(), EVENT_ACK=ack), sent.guid)
    sent.assert_produced(kafka)


@pytest.mark.parametrize("ack", [0, 1])
def test_s16_go_rest_proto(farm: Farm, kafka: Kafka, ack: int) -> None:
    """Go, REST, protobuf."""
    sent = Recorded()
    response = post_as(farm, [*GO, "Content-Type: application/proto"], sent.protobuf(), EVENT_ACK=ack)
    assert response.status == 200
    assert said(SendEventResponse.FromString(response.body)) == success(sent.guid)
    sent.assert_produced(kafka)


def test_s16_go_websocket(farm: Farm, kafka: Kafka) -> None:
    """Go, WebSocket: every frame that comes is binary protobuf, refusals too."""
    sent, client = Recorded(), word()
    server = farm.get(EVENT_ACK=1)
    with raw(server, client) as opened:
        for _ in range(2):  # a retry has the same guid
            opened.send(BINARY, sent.protobuf())
            frame = opened.read_but(PING)
            assert frame is not None
            assert frame.opcode == BINARY
            assert said(SendEventResponse.FromString(frame.payload)) == success(sent.guid)
        with raw(server, client) as second:
            frame = second.read()
            assert frame is not None
            assert frame.opcode == BINARY
            assert SendEventResponse.FromString(frame.payload).code == 5
    sent.assert_produced(kafka, 2)


@pytest.mark.parametrize("ack", [0, 1])
def test_s16_go_grpc(farm: Farm, kafka: Kafka, ack: int) -> None:
    """Go, gRPC: the call is without error."""
    sent = Recorded()
    with channel(farm.get(EVENT_ACK=ack)) as opened:
        assert said(call_with_bytes(opened, sent.protobuf())) == success(sent.guid)
    sent.assert_produced(kafka)


def test_s16_go_grpc_invalid(farm: Farm) -> None:
    """Also for a batch that is refused: an error of the call would crash the client's process."""
    sent = Recorded()
    sent.kind = "a/b"
    with channel(farm.get()) as opened:
        content = said(call_with_bytes(opened, sent.protobuf()))
    assert (content["status"], content["code"]) == (2, 2)


JAVA = [
    "Accept: application/json",
    "Content-Type: application/json",
    "User-Agent: Java-http-client/11.0.20",
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
]


def test_s16_java_rest(farm: Farm, kafka: Kafka) -> None:
    """Java, REST: no time, no id, and an offer of HTTP/2."""
    sent = Recorded()
    body = f'{{"req_guid":"{sent.guid}","events":[{{"event_bytes":"eyJwYWdlIjoiaG9tZSJ9","type":"{sent.kind}"}}]}}'
    strict(post_as(farm, JAVA, body.encode()), sent.guid)
    sent.assert_produced(kafka)


def test_s16_java_grpc(farm: Farm, kafka: Kafka) -> None:
    """Java's stubs are of the older package."""
    sent = Recorded()
    with channel(farm.get()) as opened:
        method = opened.unary_unary("/odpf.raccoon.v1beta1.EventService/SendEvent")
        answer = method(sent.protobuf(), timeout=TIMEOUT, metadata=[("x-user-id", "1")])
    assert odpf_pb2.SendEventResponse.FromString(answer).status == 1
    sent.assert_produced(kafka)


AXIOS = [
    "Accept: application/json, text/plain, */*",
    "User-Agent: axios/1.4.0",
    "Accept-Encoding: gzip, compress, deflate, br",
    "Connection: close",
]


def test_s16_javascript_json(farm: Farm, kafka: Kafka) -> None:
    """JavaScript, REST, JSON: bytes are arrays of integers."""
    sent = Recorded()
    body = json.dumps(
        {
            "req_guid": sent.guid,
            "sent_time": {"seconds": 1700000000, "nanos": 123000000},
            "events": [{"type": sent.kind, "event_bytes": list(sent.value)}],
        },
        separators=(",", ":"),
    )
    strict(post_as(farm, [*AXIOS, "Content-Type: application/json"], body.encode()), sent.guid)
    sent.assert_produced(kafka)


def test_s16_javascript_proto(farm: Farm, kafka: Kafka) -> None:
    """JavaScript, REST, protobuf: the answer is protobuf, though axios would take JSON."""
    sent = Recorded()
    response = post_as(farm, [*AXIOS, "Content-Type: application/proto"], sent.protobuf())
    assert response.headers["Content-Type"] == "application/proto"
    assert said(SendEventResponse.FromString(response.body)) == success(sent.guid)
    sent.assert_produced(kafka)


PYTHON = [
    "User-Agent: python-requests/2.31.0",
    "Accept-Encoding: gzip, deflate",
    "Accept: */*",
    "Connection: keep-alive",
]


def test_s16_python_rest(farm: Farm, kafka: Kafka) -> None:
    """Python, REST: no id, and spaces in its JSON."""
    sent = Recorded()
    body = json.dumps(
        {
            "req_guid": sent.guid,
            "sent_time": {"seconds": 1700000000, "nanos": 5},
            "events": [{"type": sent.kind, "event_bytes": "eyJwYWdlIjoiaG9tZSJ9"}],
        }
    )
    strict(post_as(farm, [*PYTHON, "Content-Type: application/json"], body.encode()), sent.guid)
    sent.assert_produced(kafka)


@pytest.mark.parametrize("client", ["java", "javascript", "python", "go"])
def test_s16_errors_parse(farm: Farm, client: str) -> None:
    """An error is a body that every client can read."""
    lines = {"java": JAVA, "javascript": [*AXIOS], "python": PYTHON, "go": GO}[client]
    if client != "java":
        lines = [*lines, "Content-Type: application/json"]
    response = post_as(farm, lines, b"nonsense")
    assert response.status == 400
    assert set(json.loads(response.body)) <= {"status", "code", "sent_time", "reason", "data"}


def test_s16_mode_1_within_a_second(farm: Farm) -> None:
    """In mode 1 the answer comes before two of the clients lose patience."""
    before = time.monotonic()
    strict(post_as(farm, [*PYTHON, "Content-Type: application/json"], Two().body("json"), EVENT_ACK=1), "1234")
    assert time.monotonic() - before < 1.0


DEDUP = {"SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED": "true", "EVENT_ACK": 1}


def android_batch(sent: Recorded, sent_time: float) -> bytes:
    """With extra fields within the event, as the SDK writes them."""
    request = SendEventRequest.FromString(sent.protobuf(sent_time))
    body = request.events[0].SerializeToString() + b"\x1a\x03app\x28\x01"
    head = SendEventRequest(req_guid=sent.guid, sent_time=request.sent_time).SerializeToString()
    return head + b"\x1a" + bytes([len(body)]) + body


@pytest.mark.parametrize("settings", [{}, DEDUP], ids=["as it is", "with deduplication"])
def test_s16_android(farm: Farm, kafka: Kafka, settings: dict[str, object]) -> None:
    """Android: the same guid again on the same connection with a new time, and pings from the client."""
    sent = Recorded()
    with raw(farm.get(**settings), word()) as opened:
        for attempt in range(2):
            opened.send(PING)
            frame = opened.read_but(PING)
            assert frame is not None
            assert frame.opcode == PONG
            opened.send(BINARY, android_batch(sent, time.time() + attempt))
            frame = opened.read_but(PING)
            assert frame is not None
            assert frame.opcode == BINARY
            content: Said = said(frame.payload)
            assert (content["status"], content["data"]["req_guid"]) == (1, sent.guid)
    time.sleep(0.1)
    sent.assert_produced(kafka, 1 if settings else 2)
    records = kafka.records([topic(sent.kind)], 1 if settings else 2)[topic(sent.kind)]
    assert len(records) == (1 if settings else 2)


def test_s16_android_network_change(farm: Farm) -> None:
    """Whose network changed gets in again under ``probe``, although the old connection is not gone."""
    server, client = farm.get(SERVER_WEBSOCKET_DUPLICATE_POLICY="probe"), word()
    with raw(server, client) as lost:
        assert lost.status == 101

        def admitted() -> bool:
            with raw(server, client) as opened:
                opened.send(BINARY, b"")
                frame = opened.read_but(PING)
                assert frame is not None
                return said(frame.payload)["status"] == 1

        assert eventually(admitted, 5)


PAGE = "https://shop.example"
BROWSER = [f"Origin: {PAGE}", "Sec-Fetch-Mode: cors", "Accept: */*", "Authorization: Basic dXNlcjpwYXNz"]
CORS = {
    "SERVER_CORS_ENABLED": "true",
    "SERVER_CORS_ALLOWED_ORIGIN": PAGE,
    "SERVER_CORS_ALLOWED_HEADERS": "Authorization",
}


def test_s16_web_preflight(farm: Farm) -> None:
    """Web SDK: the browser asks whether it may send ``Authorization``."""
    server = farm.get(**CORS)
    lines = [
        f"OPTIONS {EVENTS} HTTP/1.1",
        "Host: collector.example",
        f"Origin: {PAGE}",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,content-type,x-user-id",
    ]
    response = exchange(server.http, "\r\n".join([*lines, "", ""]).encode())
    assert response is not None
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()


def test_s16_web_post(farm: Farm, kafka: Kafka) -> None:
    """Web SDK: protobuf by ``fetch``, and the guid of the answer decides what is deleted."""
    sent = Recorded()
    response = post_as(farm, [*BROWSER, "Content-Type: application/proto"], sent.protobuf(), **CORS)
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert SendEventResponse.FromString(response.body).data["req_guid"] == sent.guid
    sent.assert_produced(kafka)
