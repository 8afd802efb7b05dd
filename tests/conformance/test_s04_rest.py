"""Section 4: REST."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from confluent_kafka import KafkaError

from tests.conformance.frames import exchange, read_response
from tests.conformance.server import Farm, Server, eventually, free_ports
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import (
    CONTENT_TYPE_REFUSED,
    UNREADABLE,
    Two,
    assert_nothing_produced,
    media_type,
)
from tests.integration.batches import Batch, Encoding, Event, Said, success
from tests.integration.clients import EVENTS, HOST, ID_HEADER, TIMEOUT, Response, post, websocket

BOTH = pytest.mark.parametrize("encoding", ["json", "proto"])

#: Long enough for a kept-alive connection to be told from a new one.
LIMIT = 4 * 1024 * 1024

# 4.1 Content types

AS_JSON = [
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    'application/json; charset="utf-8"',
    "application/json; charset=us-ascii",
    "application/json; version=1",
    " application/json ",
    "application/vnd.api+json",
    "application/cloudevents+json; charset=utf-8",
    "text/json",
]
AS_PROTOBUF = [
    "application/proto",
    "APPLICATION/PROTO",
    "application/proto; messageType=SendEventRequest",
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
    "application/x-google-protobuf",
    "application/x-protobuf; proto=raystack",
]
REFUSED = [
    "",
    "text/plain",
    "text/plain; charset=utf-8",
    "text/html",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/grpc",
    "json",
    "*/*",
    "application/json; charset=utf-16",
    "application/json; charset=iso-8859-1",
]


@pytest.mark.parametrize("content_type", [*AS_JSON, *AS_PROTOBUF])
def test_s04_1_content_type(farm: Farm, kafka: Kafka, content_type: str) -> None:
    """These are accepted, and answered under one of two names."""
    two = Two()
    encoding: Encoding = "json" if content_type in AS_JSON else "proto"
    response = post(farm.get(), two.body(encoding), content_type)
    assert (response.status, response.said) == (200, success("1234"))
    assert response.headers["Content-Type"] == media_type(encoding)
    two.assert_produced(kafka)


@pytest.mark.parametrize("content_type", [None, *REFUSED])
def test_s04_1_content_type_refused(farm: Farm, content_type: str | None) -> None:
    """These are refused, and the answer is JSON."""
    response = post(farm.get(), Two().body("json"), content_type)
    assert (response.status, response.said) == (400, CONTENT_TYPE_REFUSED)
    assert response.headers["Content-Type"] == "application/json"


def test_s04_1_refused_is_not_produced(farm: Farm, kafka: Kafka) -> None:
    """Nothing of what is refused is produced."""
    two, server = Two(), farm.get()
    assert post(server, two.body("json"), "text/plain").status == 400
    assert_nothing_produced(server, kafka, two.first, two.second)


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "text/plain;charset=UTF-8"])
def test_s04_1_text_plain_as_json(farm: Farm, kafka: Kafka, content_type: str) -> None:
    """If it is switched on, plain text is read as JSON, for ``sendBeacon``."""
    two = Two()
    response = post(farm.get(SERVER_ACCEPT_TEXT_PLAIN="true"), two.body("json"), content_type)
    assert (response.status, response.said) == (200, success("1234"))
    assert response.headers["Content-Type"] == "application/json"
    two.assert_produced(kafka)


ACCEPTS = {
    "application/json": "json",
    "application/proto": "proto",
    "application/x-protobuf": "proto",
    "application/protobuf;q=0.9": "proto",
    "application/json; charset=utf-8": "json",
    "application/json, text/html": "json",
    "*/*": None,
    "application/*": None,
    "application/json, application/proto": None,
    "application/json, text/plain, */*": None,
    "text/html": None,
    "": None,
}


@BOTH
@pytest.mark.parametrize("accept", ACCEPTS)
def test_s04_1_accept(farm: Farm, accept: str, encoding: Encoding) -> None:
    """``Accept`` chooses if it names exactly one of the two families; else the request's encoding does."""
    response = post(farm.get(), Two().body(encoding), media_type(encoding), Accept=accept)
    chosen: Encoding = encoding if (named := ACCEPTS[accept]) is None else "json" if named == "json" else "proto"
    assert response.headers["Content-Type"] == media_type(chosen)
    assert response.said == success("1234")


@BOTH
def test_s04_1_accept_on_error(farm: Farm, encoding: Encoding) -> None:
    """Also for an error."""
    other: Encoding = "proto" if encoding == "json" else "json"
    response = post(farm.get(), b"\x01", media_type(encoding), Accept=media_type(other))
    assert response.headers["Content-Type"] == media_type(other)
    assert (response.status, response.said) == (400, UNREADABLE)


# 4.2 Compression and size


def _raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


def _two_members(body: bytes) -> bytes:
    return gzip.compress(body[:20]) + gzip.compress(body[20:])


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "gzip of two members": ("gzip", _two_members),
    "deflate": ("deflate", zlib.compress),
    "identity": ("identity", bytes),
}


@BOTH
@pytest.mark.parametrize("row", CODINGS)
def test_s04_2_coding(farm: Farm, kafka: Kafka, row: str, encoding: Encoding) -> None:
    """A body may be compressed so."""
    two = Two()
    name, compress = CODINGS[row]
    response = post(farm.get(), compress(two.body(encoding)), media_type(encoding), Content_Encoding=name)
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


@BOTH
@pytest.mark.parametrize("name", ["compress", "lzma", "gzipped", "aes128gcm"])
def test_s04_2_unknown_coding(farm: Farm, name: str, encoding: Encoding) -> None:
    """Another coding is refused, and the answer says which ones there are."""
    response = post(farm.get(), Two().body(encoding), media_type(encoding), Content_Encoding=name)
    assert response.status == 415
    assert response.headers["Content-Type"] == media_type(encoding)
    assert (response.said["status"], response.said["code"]) == (2, 2)
    assert {"gzip", "deflate"} <= {each.strip() for each in response.headers["Accept-Encoding"].split(",")}


@BOTH
@pytest.mark.parametrize(
    ("start", "end", "more"), [(0, -9, b""), (2, None, b""), (0, None, b"x")], ids=["cut off", "no start", "more"]
)
def test_s04_2_damaged_gzip(farm: Farm, encoding: Encoding, start: int, end: int | None, more: bytes) -> None:
    """A damaged compressed body does not decode."""
    body = gzip.compress(Two().body(encoding))[start:end] + more
    response = post(farm.get(), body, media_type(encoding), Content_Encoding="gzip")
    assert (response.status, response.said) == (400, UNREADABLE)


def padded(size: int) -> bytes:
    """A batch without events, of so many bytes."""
    return b'{"req_guid":"1234"}'.ljust(size)


def chunked(body: bytes, content_type: str = "application/json", coding: str | None = None) -> bytes:
    """A request with a body in chunks of 64 KiB."""
    head = [f"POST {EVENTS} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
    if coding:
        head.append(f"Content-Encoding: {coding}")
    parts = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return "\r\n".join([*head, "", ""]).encode() + chunks + b"0\r\n\r\n"


def assert_too_large(response: Response | None, encoding: Encoding = "json", limit: int = LIMIT) -> None:
    assert response is not None
    assert response.status == 413
    assert response.headers["Content-Type"] == media_type(encoding)
    content = response.said
    assert (content["status"], content["code"]) == (2, 2)
    assert str(limit) in content["reason"]


@pytest.mark.parametrize("form", ["length", "chunked", "gzip", "deflate"])
def test_s04_2_largest(farm: Farm, form: str) -> None:
    """A body of 4 MiB is taken."""
    server, body = farm.get(), padded(LIMIT)
    if form == "length":
        response = post(server, body)
    elif form == "chunked":
        answer = exchange(server.http, chunked(body))
        assert answer is not None
        response = answer
    else:
        compress = gzip.compress if form == "gzip" else zlib.compress
        response = post(server, compress(body), Content_Encoding=form)
    assert (response.status, response.said) == (200, success("1234"))


@pytest.mark.parametrize("form", ["length", "chunked", "gzip", "deflate", "chunked gzip"])
def test_s04_2_too_large(farm: Farm, form: str) -> None:
    """A byte more is too large, however it is sent."""
    server, body = farm.get(), padded(LIMIT + 1)
    if form == "length":
        assert_too_large(post(server, body))
    elif form == "chunked":
        assert_too_large(exchange(server.http, chunked(body)))
    elif form == "chunked gzip":
        assert_too_large(exchange(server.http, chunked(gzip.compress(body), coding="gzip")))
    else:
        compress = gzip.compress if form == "gzip" else zlib.compress
        assert_too_large(post(server, compress(body), Content_Encoding=form))


def test_s04_2_too_large_protobuf(farm: Farm) -> None:
    """The answer to protobuf is protobuf."""
    assert_too_large(post(farm.get(), bytes(LIMIT + 1), "application/proto"), "proto")


def test_s04_2_too_large_before_it_is_sent(farm: Farm) -> None:
    """Who announces too large a body is told so before it is sent, and the connection is closed."""
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {1 << 40}\r\n\r\n"
    with socket.create_connection((HOST, farm.get().http), TIMEOUT) as connection:
        connection.sendall(head.encode())
        assert_too_large(read_response(connection))
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_s04_2_bomb(farm: Farm) -> None:
    """A small body that would be huge is refused quickly."""
    deflater = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join(deflater.compress(zeros) for _ in range(500)) + deflater.flush()
    before = time.monotonic()
    assert_too_large(post(farm.get(), bomb, Content_Encoding="gzip"))
    assert time.monotonic() - before < 2


@BOTH
def test_s04_2_limit_is_a_setting(farm: Farm, encoding: Encoding) -> None:
    """The limit can be chosen."""
    server = farm.get(SERVER_MAX_BODY_BYTES=1000)
    body = padded(1000) if encoding == "json" else b""
    assert post(server, body, media_type(encoding)).status == 200
    assert_too_large(post(server, body.ljust(1001), media_type(encoding)), encoding, 1000)


# 4.3 Outcomes


@pytest.mark.parametrize(
    ("size", "headers"),
    [(LIMIT + 1, {}), (20, {"Content-Encoding": "unheard-of"}), (20, {ID_HEADER: "x" * 257})],
    ids=["too large", "unknown coding", "bad id"],
)
def test_s04_3_order_content_type_first(farm: Farm, size: int, headers: dict[str, str]) -> None:
    """The content type is looked at before anything else."""
    response = post(farm.get(), padded(size), "text/plain", **headers)
    assert (response.status, response.said) == (400, CONTENT_TYPE_REFUSED)


def test_s04_3_order_body_before_decoding(farm: Farm) -> None:
    """A body is read before it is decoded: one that is too large and wrong is too large."""
    assert_too_large(post(farm.get(), b"x" * (LIMIT + 1)))


@BOTH
def test_s04_3_body_breaks_off(farm: Farm, encoding: Encoding) -> None:
    """A body that breaks off is answered with 500, if the client still reads."""
    body = Two().body(encoding)
    lines = [f"POST {EVENTS} HTTP/1.1", "Host: x", f"Content-Type: {media_type(encoding)}", "Content-Length: 1000"]
    response = exchange(farm.get().http, "\r\n".join([*lines, "", ""]).encode() + body, end=True)
    assert response is not None
    assert (response.status, response.said) == (500, {"status": 2, "code": 3, "reason": "deserialization failure"})
    assert response.headers["Content-Type"] == media_type(encoding)


FRAMING = {
    "bad chunk size": "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "negative length": "Content-Length: -1\r\n\r\n",
    "no number": "Content-Length: ten\r\n\r\n",
    "two lengths": "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "both": "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "header without colon": "nonsense\r\n\r\n",
}


@pytest.mark.parametrize("row", FRAMING)
def test_s04_3_bad_framing(farm: Farm, row: str) -> None:
    """Malformed HTTP is 400, and the connection is closed."""
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((HOST, farm.get().http), TIMEOUT) as connection:
        connection.sendall((head + FRAMING[row]).encode())
        data = b""
        while part := connection.recv(4096):
            data += part
    assert data.startswith(b"HTTP/1.1 400 ")


@BOTH
def test_s04_3_does_not_decode(farm: Farm, encoding: Encoding) -> None:
    """What does not decode is answered as it came."""
    response = post(farm.get(), b"\x01", media_type(encoding))
    assert (response.status, response.said) == (400, UNREADABLE)
    assert response.headers["Content-Type"] == media_type(encoding)


@BOTH
@pytest.mark.parametrize("ack", [0, 1])
def test_s04_3_accepted(farm: Farm, kafka: Kafka, encoding: Encoding, ack: int) -> None:
    """Success is 200, in both modes."""
    two = Two()
    response = post(farm.get(EVENT_ACK=ack), two.body(encoding), media_type(encoding))
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


@BOTH
def test_s04_3_publishing_failed(session_faults: Farm, encoding: Encoding) -> None:
    """If Kafka does not take an event, the answer is 500 and says which one."""
    two = Two()
    assert session_faults.cluster is not None
    session_faults.cluster.topic_error(topic(two.second), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    response = post(session_faults.get(EVENT_ACK=1), two.body(encoding), media_type(encoding))
    assert response.status == 500
    assert response.headers["Content-Type"] == media_type(encoding)
    content = response.said
    assert (content["status"], content["code"]) == (2, 3)
    assert content["reason"].startswith("cannot publish events: error when sending messages: event 1 ")
    assert content["data"]["req_guid"] == "1234"
    assert content["data"]["failed"] == "1"


@BOTH
def test_s04_3_body_late(farm: Farm, encoding: Encoding) -> None:
    """A body that is not there in time is answered with 408, even if it trickles."""
    server = farm.get(SERVER_BODY_TIMEOUT_MS=400)
    lines = [f"POST {EVENTS} HTTP/1.1", "Host: x", f"Content-Type: {media_type(encoding)}", "Content-Length: 1000"]
    before = time.monotonic()
    with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        connection.settimeout(0.05)
        while time.monotonic() - before < TIMEOUT:
            connection.sendall(b" ")
            try:
                assert connection.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                pass
        connection.settimeout(TIMEOUT)
        response = read_response(connection)
    assert 0.35 < time.monotonic() - before < 3
    assert response is not None
    assert response.status == 408
    assert response.headers["Content-Type"] == media_type(encoding)
    assert (response.said["status"], response.said["code"]) == (2, 2)


@pytest.mark.parametrize("sent", [b"PO", f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nX-".encode()], ids=["method", "more"])
def test_s04_3_head_late(farm: Farm, sent: bytes) -> None:
    """So is a head; if no method was read yet the connection is only closed."""
    server = farm.get(SERVER_HEAD_TIMEOUT_MS=400)
    before = time.monotonic()
    response = exchange(server.http, sent)
    assert 0.35 < time.monotonic() - before < 3
    assert response is None if sent == b"PO" else response is None or response.status == 408


@BOTH
def test_s04_3_rate_limit(farm: Farm, encoding: Encoding) -> None:
    """Who sends more than it may is told to come back, while others are served."""
    server = farm.get(SERVER_RATE_LIMIT_EVENTS_PER_SECOND=2, SERVER_RATE_LIMIT_BURST=4)
    client, body = word(), Two().body(encoding)
    responses = [post(server, body, media_type(encoding), **{ID_HEADER: client}) for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 429]
    last = responses[-1]
    assert last.headers["Content-Type"] == media_type(encoding)
    assert (last.said["status"], last.said["code"]) == (2, 3)
    assert int(last.headers["Retry-After"]) >= 1
    assert post(server, body, media_type(encoding), **{ID_HEADER: word()}).status == 200


def test_s04_3_rate_limit_refills(farm: Farm) -> None:
    """After a while it may send again."""
    server = farm.get(SERVER_RATE_LIMIT_EVENTS_PER_SECOND=2, SERVER_RATE_LIMIT_BURST=4)
    client, two = word(), Two()
    while post(server, two.body("json"), **{ID_HEADER: client}).status == 200:
        pass
    assert eventually(lambda: post(server, two.body("json"), **{ID_HEADER: client}).status == 200, 3, 0.1)


def test_s04_3_rate_limit_without_id(farm: Farm) -> None:
    """Clients without an id are limited by their address."""
    server = farm.get(SERVER_RATE_LIMIT_EVENTS_PER_SECOND=1)
    two = Two()
    for _ in range(3):
        response = post(server, two.body("json"))
    assert response.status == 429


#: Two events fill the producer, and one more batch the buffer.
TIGHT = {
    "PUBLISHER_KAFKA_CLIENT_QUEUE_BUFFERING_MAX_MESSAGES": 2,
    "WORKER_BUFFER_CHANNEL_SIZE": 1,
    "PUBLISHER_PUBLISH_TIMEOUT_MS": 3000,
    "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 1,
    "WORKER_BUFFER_FLUSH_TIMEOUT_MS": 100,
}


def fill(server: Server, farm: Farm, rtt: int = 60_000) -> None:
    """Let Kafka answer nothing for a while, when the producer has a connection to it and nothing to do."""
    assert farm.cluster is not None
    kind = f"before-{word()}"
    assert post(server, Batch("0", Event(kind, b"")).written("json")).status == 200
    with Kafka(farm.bootstrap) as reader:
        assert reader.of(kind) == [b""]
    time.sleep(0.1)  # until the server has heard of it
    farm.cluster.set_rtt(rtt)


@BOTH
@pytest.mark.parametrize("ack", [0, 1])
def test_s04_3_queue_full(faulty: Farm, ack: int, encoding: Encoding) -> None:
    """If there is no room for a batch, the answer is 503 and says when to come back."""
    with faulty.own(EVENT_ACK=ack, **TIGHT) as server:
        fill(server, faulty)
        with websocket(server, "filler") as filler:
            for _ in range(3):
                filler.send(Two().text())
            before = time.monotonic()
            response = post(server, Two().body(encoding), media_type(encoding))
            assert time.monotonic() - before < 1.0
    assert_come_back(response, encoding)


def assert_come_back(response: Response, encoding: Encoding, status: int = 503) -> Said:
    """It is worth another try later."""
    assert response.status == status
    assert response.headers["Content-Type"] == media_type(encoding)
    assert response.headers["Retry-After"].isdecimal()
    assert int(response.headers["Retry-After"]) >= 1
    content = response.said
    assert (content["status"], content["code"]) == (2, 3)
    assert content["data"]["req_guid"] == "1234"
    assert content["data"]["retryable"] == "true"
    return content


@BOTH
def test_s04_3_no_report(faulty: Farm, encoding: Encoding) -> None:
    """If Kafka does not report in time, the answer is 504."""
    assert faulty.cluster is not None
    settings = {"PUBLISHER_PUBLISH_TIMEOUT_MS": 300, "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 1}
    with faulty.own(EVENT_ACK=1, **settings, WORKER_BUFFER_FLUSH_TIMEOUT_MS=100) as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        faulty.cluster.set_rtt(60_000)
        before = time.monotonic()
        response = post(server, two.body(encoding), media_type(encoding))
        assert time.monotonic() - before < 2
    assert response.status == 504
    assert response.headers["Content-Type"] == media_type(encoding)
    assert (response.said["status"], response.said["code"]) == (2, 3)
    assert response.said["data"]["req_guid"] == "1234"


@BOTH
def test_s04_3_broker_unavailable(faulty: Farm, encoding: Encoding) -> None:
    """In mode 1 nothing is taken while Kafka is known to be away."""
    assert faulty.cluster is not None
    settings = {"PUBLISHER_PUBLISH_TIMEOUT_MS": 500, "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 1}
    with faulty.own(EVENT_ACK=1, **settings, WORKER_BUFFER_FLUSH_TIMEOUT_MS=100) as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        faulty.cluster.broker_down(1)
        response = eventually(
            lambda: (found := post(server, two.body(encoding), media_type(encoding))).status == 503 and found
        )
    assert isinstance(response, Response)
    assert_come_back(response, encoding)


def test_s04_3_retry_after_is_jittered(faulty: Farm) -> None:
    """Clients are not told to come back all at once."""
    assert faulty.cluster is not None
    settings = {"PUBLISHER_PUBLISH_TIMEOUT_MS": 500, "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 1}
    nobody = f"{HOST}:{free_ports(1)[0]}"
    with faulty.own(PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS=nobody, EVENT_ACK=1, **settings) as server:
        eventually(lambda: post(server, Two().body("json")).status == 503)
        waits = [assert_come_back(post(server, Two().body("json")), "json")["data"] for _ in range(20)]
    assert len({wait["retry_after_ms"] for wait in waits}) > 1


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "idle"])
@BOTH
def test_s04_3_draining(faulty: Farm, encoding: Encoding, begun: bool) -> None:
    """At a stop, a request that comes after the port was closed is told to come back, or finished if it had begun,
    and the connection is closed. If it had not begun, the connection may have been closed before."""
    assert faulty.cluster is not None
    two = Two()
    body = two.body(encoding)
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n".encode() if begun else b""
    rest = b"" if begun else f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n".encode()
    rest += f"Content-Type: {media_type(encoding)}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with (
        faulty.own(EVENT_ACK=1, PUBLISHER_PUBLISH_TIMEOUT_MS=8000) as server,
        socket.create_connection((HOST, server.http), TIMEOUT) as kept_alive,
        websocket(server, "busy") as busy,
    ):
        assert post(server, two.body("json")).status == 200
        faulty.cluster.set_rtt(1500)
        busy.send(two.text())
        assert busy.ping().wait(TIMEOUT)
        kept_alive.sendall(head)
        time.sleep(0.05)
        server.signal()
        eventually(lambda: refuses(server))
        response = None
        with suppress(ConnectionError):
            kept_alive.sendall(rest)
            response = read_response(kept_alive)
        faulty.cluster.set_rtt(0)
        assert server.wait() == 0
    assert response is not None or not begun
    if response is not None:
        assert response.headers["Connection"].lower() == "close"
        assert response.headers["Content-Type"] == media_type(encoding)
        if response.status == 200:
            assert response.said == success("1234")
        else:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert (response.said["status"], response.said["code"]) == (2, 3)


def refuses(server: Server) -> bool:
    """Whether nobody listens on the HTTP port."""
    try:
        socket.create_connection((HOST, server.http), 1).close()
    except OSError:
        return True
    return False


INVALID = {
    "empty type": "",
    "slash": "a/b",
    "space": "a b",
    "letter with an accent": "é",
    "line feed": "a\\nb",
    "NUL": "a\\u0000b",
    "too long": "x" * 250,
}


@pytest.mark.parametrize("row", INVALID)
def test_s04_3_invalid_event(farm: Farm, kafka: Kafka, row: str) -> None:
    """An event with an illegal type spoils its batch, and the answer says which one it was."""
    two, server = Two(), farm.get()
    response = post(server, two.text(type_b=INVALID[row]).encode())
    assert response.status == 400
    content = response.said
    assert (content["status"], content["code"], content["data"]["req_guid"]) == (2, 2, "1234")
    assert content["data"]["failed"] == "1"
    assert content["data"]["retryable"] == "false"
    assert_nothing_produced(server, kafka, two.first)


@BOTH
def test_s04_3_too_many_events(farm: Farm, encoding: Encoding) -> None:
    """A batch of more events than may be is refused."""
    server, two = farm.get(SERVER_MAX_EVENTS=2), Two()
    assert post(server, two.body(encoding), media_type(encoding)).status == 200
    three = Batch("1234", *two.batch.events, Event(two.first, b"3"))
    response = post(server, three.written(encoding), media_type(encoding))
    assert response.status == 400
    assert (response.said["status"], response.said["code"]) == (2, 2)


def test_s04_3_five_thousand_events(farm: Farm) -> None:
    """By default that is five thousand."""
    server, kind = farm.get(), f"many-{word()}"
    events = [Event(kind, b"")] * 5001
    assert post(server, Batch("g", *events[1:]).written("proto"), "application/proto").status == 200
    assert post(server, Batch("g", *events).written("proto"), "application/proto").status == 400


def test_s04_3_every_answer_has_a_body(farm: Farm) -> None:
    """No answer to a POST of events is empty."""
    server = farm.get()
    for response in (
        post(server, b"{}"),
        post(server, b"x"),
        post(server, b"", None),
        post(server, b"", "application/proto"),
        post(server, b"{}", Content_Encoding="x"),
        post(server, bytes(LIMIT + 1)),
    ):
        assert response.body
        assert response.said["status"] in (1, 2)


# 4.4


def test_s04_4_enqueue_timeout(faulty: Farm) -> None:
    """A batch waits for room no longer than it is told to."""
    with faulty.own(**TIGHT, SERVER_ENQUEUE_TIMEOUT_MS=200) as server:
        fill(server, faulty)
        post(server, Two().body("json"))
        before = time.monotonic()
        response = post(server, Two().body("json"))
        assert 0.15 < time.monotonic() - before < 0.9
    assert_come_back(response, "json")


def test_s04_4_keep_alive(farm: Farm) -> None:
    """Many requests go over one connection, errors among them."""
    connection = HTTPConnection(HOST, farm.get().http, timeout=TIMEOUT)
    statuses = []
    connection.connect()
    near = connection.sock.getsockname()
    for body in (b"{}", b"x", b"{}", b"null", b"{}"):
        connection.request("POST", EVENTS, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        assert connection.sock.getsockname() == near
    connection.close()
    assert statuses == [200, 400, 200, 400, 200]


def test_s04_4_expect_100_continue(farm: Farm) -> None:
    """curl asks before it sends a large body."""
    body = padded(2000)
    head = (
        f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((HOST, farm.get().http), TIMEOUT) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        response = read_response(connection)
    assert response is not None
    assert response.said == success("1234")
