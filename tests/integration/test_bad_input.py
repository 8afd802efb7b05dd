"""What clients do wrong: each gets its answer within a second, in its own encoding, and the next good request is
served as if nothing had happened. `serving` sees that none of it leaves a traceback in the log."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
import pytest_twisted

from tests.integration.batches import TWO_EVENTS, Batch, Encoding, Event, Said, success
from tests.integration.clients import (
    EVENTS,
    HOST,
    ID_HEADER,
    MEDIA_TYPES,
    WAYS,
    ask,
    call,
    call_with_bytes,
    channel,
    closed,
    frame,
    next_said,
    post,
    sender,
    websocket,
)
from tests.integration.server import Running, in_thread, serving

LIMIT = 4 * 1024 * 1024

pytestmark = pytest.mark.usefixtures("both_ways")

both_encodings = pytest.mark.parametrize("encoding", ["json", "proto"])
every_way = pytest.mark.parametrize("way", WAYS)

NOT_JSON = [
    b"\x01",
    b"",
    b"null",
    b"[]",
    b'"{}"',
    b"{",
    b"{}{}",
    b'{"events":{}}',
    b'{"events":[null]}',
    b'{"events":[[]]}',
    b'{"events":["x"]}',
    b'{"req_guid":1}',
    b'{"sent_time":"yesterday"}',
    b'{"sent_time":true}',
    b'{"events":[{"event_bytes":"*","type":"x"}]}',
    b'{"events":[{"event_bytes":[256],"type":"x"}]}',
    b'{"events":[{"event_bytes":[1.5],"type":"x"}]}',
    b'{"events":[{"type":true}]}',
    b'{"a":' * 100_000,
    b"[" * 1_000_000,
    b'{"sent_time":{"seconds":1e999999999}}',
    b'{"sent_time":' + b"9" * 1_000_000 + b"}",
]

NOT_PROTOBUF = [
    b"\x01",
    b"\xff" * 100,
    b"\x0a\x05abc",  # shorter than it says
    b"\x0a\x02\xff\xfe",  # a guid that is not UTF-8
    b"\x1a\x04\x12\x02\xff\xfe",  # a type that is not
    b"\x0b" * 200_000,
    b"{}",
]


@contextmanager
def within_a_second(more: float = 0.0) -> Iterator[None]:
    """What is done meanwhile takes no longer. :param more: seconds that it may take beyond."""
    before = time.monotonic()
    yield
    assert time.monotonic() - before < 1.0 + more


def all_good(server: Running) -> None:
    """Every way in works."""
    for way in WAYS:
        with within_a_second(), sender(server, way, "good") as send:
            assert send(TWO_EVENTS) == success("1234")


async def run(broker: str, scenario: Callable[[Running], None]) -> None:
    """Do what is wrong, and then what is right: only that is produced."""
    async with serving(broker, 1) as server:
        await in_thread(scenario, server)
        await in_thread(all_good, server)
    found = await in_thread(server.topics.read, "type_a", "type_b", "bystander")
    assert found == {"type_a": [b"event_1"] * len(WAYS), "type_b": [b"event_2"] * len(WAYS), "bystander": []}


def garbage(encoding: Encoding) -> list[bytes]:
    return NOT_JSON if encoding == "json" else NOT_PROTOBUF


@both_encodings
@pytest_twisted.ensureDeferred
async def test_garbage_by_rest(broker: str, encoding: Encoding) -> None:
    """A body that is no batch is answered with 400, without ``data``."""

    def scenario(server: Running) -> None:
        for body in garbage(encoding):
            with within_a_second():
                response = post(server, body, MEDIA_TYPES[encoding])
            assert response.status == 400, body[:100]
            assert response.headers["Content-Type"] == MEDIA_TYPES[encoding]
            assert response.said == {"status": 2, "code": 2, "reason": "deserialization failure"}

    await run(broker, scenario)


@both_encodings
@pytest_twisted.ensureDeferred
async def test_garbage_by_websocket(broker: str, encoding: Encoding) -> None:
    """A frame that is no batch is answered in its type, and the connection goes on."""

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            for body in garbage(encoding):
                with within_a_second():
                    content = ask(connection, body.decode() if encoding == "json" else body)
                reason = content.pop("reason")
                assert reason.startswith("cannot deserialize request: "), body[:100]
                assert len(reason) < 1024
                assert content == {"status": 2, "code": 2, "data": {"req_guid": ""}}
            assert ask(connection, frame(Batch("good"), encoding)) == success("good")

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_garbage_by_grpc(broker: str) -> None:
    """A message that is no batch is gRPC's own error, with a reason."""

    def scenario(server: Running) -> None:
        with channel(server) as opened:
            for body in NOT_PROTOBUF:
                with within_a_second(), pytest.raises(grpc.RpcError) as failed:
                    call_with_bytes(opened, body)
                assert failed.value.code() is grpc.StatusCode.INTERNAL
                assert "Traceback" not in failed.value.details()
            assert call(opened, Batch("good")) == success("good")

    await run(broker, scenario)


@both_encodings
@pytest_twisted.ensureDeferred
async def test_guid_before_the_damage(broker: str, encoding: Encoding) -> None:
    """If the guid could be read, the answer on a WebSocket names it."""
    body: bytes | str = '{"req_guid":"known","events":[null]}' if encoding == "json" else b"\x0a\x05known\x1a\x05x"

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            content = ask(connection, body)
        assert content.pop("reason").startswith("cannot deserialize request: ")
        assert content == {"status": 2, "code": 2, "data": {"req_guid": "known"}}

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_content_types(broker: str) -> None:
    """A content type that names neither encoding is answered in JSON, whatever the body is."""
    refused = [None, "", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"]
    refused += ["application/json; charset=latin-1", "application", "proto", "application/jsonp"]

    def scenario(server: Running) -> None:
        for content_type in refused:
            for body in (TWO_EVENTS.written("json"), TWO_EVENTS.written("proto"), b""):
                with within_a_second():
                    response = post(server, body, content_type)
                assert response.status == 400, content_type
                assert response.headers["Content-Type"] == "application/json"
                assert response.said == {"status": 2, "code": 2, "reason": "invalid content type"}

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_content_encodings(broker: str) -> None:
    """A coding that is not known is answered with 415, which lists those that are; a body that is not in its coding
    with 400."""
    body = TWO_EVENTS.written("json")

    def scenario(server: Running) -> None:
        with within_a_second():
            response = post(server, body, Content_Encoding="lzma")
        assert response.status == 415
        assert "gzip" in response.headers["Accept-Encoding"]
        assert (response.said["status"], response.said["code"]) == (2, 2)
        for coding in ("gzip", "deflate"):
            with within_a_second():
                response = post(server, body, Content_Encoding=coding)
            assert response.status == 400
            assert response.said == {"status": 2, "code": 2, "reason": "deserialization failure"}

    await run(broker, scenario)


def assert_too_large(content: Said) -> None:
    assert (content["status"], content["code"]) == (2, 2)
    assert str(LIMIT) in content["reason"]


@both_encodings
@pytest_twisted.ensureDeferred
async def test_too_large_by_rest(broker: str, encoding: Encoding) -> None:
    """A body over the limit is answered with 413 before it is all there, with or without a length."""
    large = Batch("large", *[Event("bystander", b"x" * 800_000)] * 6).written(encoding)
    assert len(large) > LIMIT

    def scenario(server: Running) -> None:
        with within_a_second():
            response = post(server, large, MEDIA_TYPES[encoding])
        assert response.status == 413
        assert response.headers["Content-Type"] == MEDIA_TYPES[encoding]
        assert_too_large(response.said)
        head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: {MEDIA_TYPES[encoding]}\r\n"
        with within_a_second():
            assert b" 413 " in first_line(server, f"{head}Content-Length: {LIMIT + 1}\r\n\r\n".encode())
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        with within_a_second():
            assert b" 413 " in first_line(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 5)

    await run(broker, scenario)


def first_line(server: Running, sent: bytes) -> bytes:
    """Send bytes to the HTTP port. :return: the first line of what comes back; nothing if there is no answer."""
    with socket.create_connection((HOST, server.http), timeout=10) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as answer:
            return answer.readline()


@both_encodings
@pytest_twisted.ensureDeferred
async def test_too_large_by_websocket(broker: str, encoding: Encoding) -> None:
    """A message over the limit is answered in its type, and the connection closed with 1009; fragments add up."""
    large = frame(Batch("large", *[Event("bystander", b"x" * 800_000)] * 6), encoding)
    assert len(large) > LIMIT

    def scenario(server: Running) -> None:
        for message in (large, [large[:LIMIT], large[LIMIT:]]):
            with websocket(server, "1234") as connection:
                connection.send(message)  # by itself it takes a client without C code half a second
                with within_a_second():
                    assert_too_large(next_said(connection, type(large)))
                    code, reason = closed(connection)
                assert code == 1009
                assert str(LIMIT) in reason

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_too_large_by_grpc(broker: str) -> None:
    """A message over the limit is gRPC's own error."""

    def scenario(server: Running) -> None:
        with channel(server) as opened:
            # With no server of ours at all, gRPC takes up to a second to tell a client that is still sending.
            with within_a_second(more=1.5), pytest.raises(grpc.RpcError) as failed:
                call_with_bytes(opened, b"\x0a" + b"x" * LIMIT)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert call(opened, Batch("good")) == success("good")

    await run(broker, scenario)


ILLEGAL = ["", " ", "a b", "a/b", "a\nb", "a\0b", "Gr\u00fc\u00dfe", "%s", "x" * 300]


@every_way
@pytest_twisted.ensureDeferred
async def test_illegal_types(broker: str, way: str) -> None:
    """An event whose type makes no topic is named, and nothing of its batch is published."""

    def scenario(server: Running) -> None:
        with sender(server, way) as send:
            for kind in ILLEGAL:
                with within_a_second():
                    content = send(Batch("odd", Event("bystander", b"0"), Event(kind, b"1"), Event("", b"2")))
                assert content.pop("reason").isprintable()
                data = {"req_guid": "odd", "failed": "1,2", "failed_count": "2", "event_count": "3"}
                assert content == {"status": 2, "code": 2, "data": {**data, "retryable": "false"}}, kind

    await run(broker, scenario)


@every_way
@pytest_twisted.ensureDeferred
async def test_large_event(broker: str, way: str) -> None:
    """An event that the producer could never deliver is named, and nothing of its batch is published."""
    batch = Batch("large", Event("bystander", b"0"), Event("bystander", b"x" * 1_000_001))

    def scenario(server: Running) -> None:
        with within_a_second(), sender(server, way) as send:
            content = send(batch)
        assert (content["status"], content["code"]) == (2, 2)
        assert (content["data"]["failed"], content["data"]["retryable"]) == ("1", "false")

    await run(broker, scenario)


@every_way
@pytest_twisted.ensureDeferred
async def test_too_many_events(broker: str, way: str) -> None:
    """A batch of more events than are taken is refused as a whole."""
    batch = Batch("many", *[Event("bystander", b"")] * 5001)

    def scenario(server: Running) -> None:
        with within_a_second(), sender(server, way) as send:
            content = send(batch)
        assert (content["status"], content["code"], content["data"]["req_guid"]) == (2, 2, "many")
        assert "5000" in content["reason"]

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_invalid_utf_8_by_rest(broker: str) -> None:
    """In JSON, bytes that are not UTF-8 become replacement characters, and so make no topic."""

    def scenario(server: Running) -> None:
        with within_a_second():
            assert post(server, b'{"req_guid":"a\xff\xfeb"}').said == success("a\ufffd\ufffdb")
        with within_a_second():
            response = post(server, b'{"req_guid":"1","events":[{"type":"\xff"}]}')
        assert response.status == 400
        assert (response.said["code"], response.said["data"]["failed"]) == (2, "0")

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_invalid_utf_8_by_websocket(broker: str) -> None:
    """A text frame that is not UTF-8 is no WebSocket any more: it is closed with 1007."""

    def scenario(server: Running) -> None:
        with within_a_second(), websocket(server, "1234") as connection:
            connection.send(b'{"req_guid":"\xff"}', text=True)
            assert closed(connection)[0] == 1007

    await run(broker, scenario)


@pytest.mark.parametrize(
    "sent",
    [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\n"],
    ids=["no-http", "version", "tls", "http-2"],
)
@pytest_twisted.ensureDeferred
async def test_no_http(broker: str, sent: bytes) -> None:
    """What is not HTTP, or not of this kind, gets an error or a closed connection, not a wait."""

    def scenario(server: Running) -> None:
        with within_a_second():
            answer = first_line(server, sent + b"\r\n")
        assert answer == b"" or answer.split()[1][:1] in (b"4", b"5")

    await run(broker, scenario)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: x",
        b"Content-Length: -1",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n\r\nzz",
    ],
    ids=["word", "negative", "two", "both", "chunk"],
)
@pytest_twisted.ensureDeferred
async def test_bad_framing(broker: str, framing: bytes) -> None:
    """A body whose end cannot be known is answered with 400, and the connection closed."""

    def scenario(server: Running) -> None:
        head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
        with within_a_second():
            assert first_line(server, head + framing + b"\r\n\r\n{}").startswith(b"HTTP/1.1 400 ")

    await run(broker, scenario)


@pytest.mark.parametrize("value", [b"x" * 257, b"a\x01b", b"\xff"], ids=["long", "control", "not-utf-8"])
@pytest_twisted.ensureDeferred
async def test_bad_identity(broker: str, value: bytes) -> None:
    """An id that could not stand in a log line is refused: 400 on REST and at the handshake."""

    def scenario(server: Running) -> None:
        for start, more in (
            (b"POST", b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
            (b"GET", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"),
        ):
            head = b"%s %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n" % (start, EVENTS.encode(), ID_HEADER.encode(), value)
            with within_a_second():
                assert b" 400 " in first_line(server, head + more)

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_bad_identity_by_grpc(broker: str) -> None:
    """On gRPC an id that is too long is an invalid argument."""

    def scenario(server: Running) -> None:
        with channel(server) as opened:
            with within_a_second(), pytest.raises(grpc.RpcError) as failed:
                call(opened, TWO_EVENTS, client="x" * 257)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "256" in failed.value.details()

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_unknown_grpc_methods(broker: str) -> None:
    """A method or a service that does not exist is said not to be implemented."""

    def scenario(server: Running) -> None:
        with channel(server) as opened:
            for path in ("/raystack.raccoon.v1beta1.EventService/Send", "/other.Service/SendEvent"):
                with within_a_second(), pytest.raises(grpc.RpcError) as failed:
                    opened.unary_unary(path)(b"", timeout=10)
                assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED

    await run(broker, scenario)


@pytest_twisted.ensureDeferred
async def test_vanishing_clients(broker: str) -> None:
    """Clients that go away in the middle of anything are not missed."""
    head = (
        f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()
    )

    def scenario(server: Running) -> None:
        for sent in (b"", b"P", head[:30], head, head + b'{"req_guid":'):
            with socket.create_connection((HOST, server.http), timeout=10) as connection:
                connection.sendall(sent)
        with websocket(server, "1234") as connection:
            connection.send(Batch("gone").written("json").decode())
            connection.socket.shutdown(socket.SHUT_RDWR)
        with socket.create_connection((HOST, server.grpc), timeout=10) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    await run(broker, scenario)
