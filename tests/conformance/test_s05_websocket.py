"""Section 5: WebSocket."""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from contextlib import ExitStack

import pytest
from confluent_kafka import KafkaError

from tests.conformance.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    Frame,
    Raw,
    exchange,
    handshake,
    raw,
    written,
)
from tests.conformance.server import Farm, Server, eventually
from tests.conformance.test_s03_identity import entry
from tests.conformance.test_s04_rest import TIGHT, fill
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Encoding, Event, Said, said, success
from tests.integration.clients import EVENTS, HOST, ID_HEADER, TIMEOUT, ask, closed, next_said, post, websocket

BOTH = pytest.mark.parametrize("encoding", ["json", "proto"])


def answer(opened: Raw, opcode: int, payload: bytes, **how: bool | int) -> Said:
    """Send a frame. :return: what the answer says, which has to be of the same type."""
    opened.send(opcode, payload, **how)
    frame = opened.read_but(PING)
    assert frame is not None
    assert frame.opcode == opcode
    return said(frame.payload)


# 5.1 Handshake

HANDSHAKE_ROWS: dict[str, tuple[dict[str, str | None], tuple[tuple[str, str], ...], int, str]] = {
    "no Connection": ({"Connection": None}, (), 400, "Bad Request"),
    "Connection lists no upgrade": ({"Connection": "keep-alive"}, (), 400, "Bad Request"),
    "no Upgrade": ({"Upgrade": None}, (), 400, "Bad Request"),
    "Upgrade lists no websocket": ({"Upgrade": "h2c"}, (), 400, "Bad Request"),
    "no version": ({"Sec-WebSocket-Version": None}, (), 400, "Bad Request"),
    "version 8": ({"Sec-WebSocket-Version": "8"}, (), 400, "Bad Request"),
    "other origin": ({}, (("Origin", "http://evil.example"),), 403, "Forbidden"),
    "no key": ({"Sec-WebSocket-Key": None}, (), 400, "Bad Request"),
    "blank key": ({"Sec-WebSocket-Key": " "}, (), 400, "Bad Request"),
    "origin before key": ({"Sec-WebSocket-Key": None}, (("Origin", "http://evil.example"),), 403, "Forbidden"),
    "version before origin": ({"Sec-WebSocket-Version": "8"}, (("Origin", "http://e.example"),), 400, "Bad Request"),
}


@pytest.mark.parametrize("row", HANDSHAKE_ROWS)
def test_s05_1_handshake_refused(farm: Farm, row: str) -> None:
    """A bad handshake is refused in plain text, which begins with the status and says what was wrong."""
    instead, more, status, phrase = HANDSHAKE_ROWS[row]
    with raw(farm.get(), "1", *more, instead=instead) as refused:
        assert refused.status == status
        assert refused.headers["Sec-Websocket-Version"] == "13"
        assert refused.headers["Content-Type"].startswith("text/plain")
        assert refused.body.startswith(phrase.encode())
        assert len(refused.body.strip()) > len(phrase)


def test_s05_1_other_method(farm: Farm) -> None:
    """An upgrade by another method is a method that is not allowed."""
    with raw(farm.get(), "1", method="PUT") as refused:
        assert refused.status == 405


HANDSHAKES: dict[str, dict[str, str | None]] = {
    "as browsers write it": {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket"},
    "other case": {"Connection": "UPGRADE", "Upgrade": "WebSocket"},
    "lists": {"Connection": "foo,upgrade", "Upgrade": "foo, websocket"},
    "several versions": {"Sec-WebSocket-Version": "13, 8"},
}


@pytest.mark.parametrize("row", HANDSHAKES)
def test_s05_1_handshake(farm: Farm, row: str) -> None:
    """A good one is answered by RFC 6455."""
    with raw(farm.get(), None, instead=HANDSHAKES[row]) as opened:
        assert opened.status == 101
        assert opened.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert opened.headers["Upgrade"].lower() == "websocket"
        assert opened.headers["Connection"].lower() == "upgrade"
        assert opened.headers["Sec-WebSocket-Protocol"] is None
        assert opened.headers["Sec-WebSocket-Extensions"] is None


DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


def test_s05_1_no_compression(farm: Farm) -> None:
    """Compression is not taken unless it is switched on."""
    with raw(farm.get(), None, DEFLATE) as opened:
        assert opened.status == 101
        assert opened.headers["Sec-WebSocket-Extensions"] is None
        assert answer(opened, BINARY, b"") == success("")


def deflated(payload: bytes) -> bytes:
    """As in RFC 7692."""
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


COMPRESSION = {"SERVER_WEBSOCKET_COMPRESSION": "true"}


@BOTH
def test_s05_1_compression(farm: Farm, kafka: Kafka, encoding: Encoding) -> None:
    """If it is, messages may be compressed."""
    two = Two()
    with raw(farm.get(**COMPRESSION), None, DEFLATE) as opened:
        assert opened.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        opened.send(TEXT if encoding == "json" else BINARY, deflated(two.body(encoding)), reserved=4)
        frame = opened.read_but(PING)
        assert frame is not None
        payload = frame.payload
        if frame.reserved & 4:
            payload = zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
        assert said(payload) == success("1234")
    two.assert_produced(kafka)


def test_s05_1_compression_not_offered(farm: Farm) -> None:
    """It is not forced on anyone."""
    with raw(farm.get(**COMPRESSION)) as opened:
        assert opened.headers["Sec-WebSocket-Extensions"] is None
        assert answer(opened, BINARY, b"") == success("")


def test_s05_1_compression_bomb(farm: Farm) -> None:
    """A message that would be too large when decompressed is too large."""
    with raw(farm.get(**COMPRESSION), None, DEFLATE) as opened:
        opened.send(BINARY, deflated(bytes(100 * 1024 * 1024)), reserved=4)
        frames = opened.until_closed()
    assert frames[-1].opcode == CLOSE
    assert frames[-1].code == 1009


@BOTH
@pytest.mark.parametrize("form", ["one frame", "fragments"])
def test_s05_1_too_large(farm: Farm, encoding: Encoding, form: str) -> None:
    """Too large a message is answered with an error, and the connection closed with 1009."""
    server = farm.get(SERVER_MAX_BODY_BYTES=1000)
    opcode = TEXT if encoding == "json" else BINARY
    body = b'{"req_guid":"1234"}'.ljust(1001) if encoding == "json" else bytes(1001)
    with raw(server) as opened:
        if form == "one frame":
            opened.send(opcode, body)
        else:
            opened.send(opcode, body[:600], final=False)
            opened.send(CONTINUATION, body[600:])
        error, close = opened.until_closed()
    assert error.opcode == opcode
    assert (said(error.payload)["status"], said(error.payload)["code"]) == (2, 2)
    assert (close.opcode, close.code) == (CLOSE, 1009)


def test_s05_1_largest(farm: Farm) -> None:
    """A message of 4 MiB is taken."""
    with raw(farm.get()) as opened:
        assert answer(opened, TEXT, b'{"req_guid":"1234"}'.ljust(4 * 1024 * 1024)) == success("1234")


# 5.2 Admission


def duplicate(client: str, group: str = "--default--") -> Said:
    return {"status": 2, "code": 5, "reason": f"duplicated connection: [{group}] {client},"}


LIMIT = {"status": 2, "code": 4, "reason": "max connection reached"}


def assert_refused(opened: Raw, refusal: Said, text: str, opcode: int = BINARY) -> None:
    """One frame, a close frame, and the end."""
    assert opened.status == 101
    first, close = opened.until_closed()
    assert first.opcode == opcode
    assert said(first.payload) == refusal
    assert (close.opcode, close.code, close.text) == (CLOSE, 1008, text)


def test_s05_2_duplicate(farm: Farm) -> None:
    """A second connection of one identity is refused, and the first goes on."""
    server, client = farm.get(), word()
    with raw(server, client) as first:
        assert answer(first, BINARY, b"") == success("")
        with raw(server, client) as second:
            assert_refused(second, duplicate(client), f"duplicate connection: {client}")
        assert answer(first, BINARY, b"") == success("")


def test_s05_2_after_the_first_has_gone(farm: Farm) -> None:
    """Another one may follow it."""
    server, client = farm.get(), word()
    for _ in range(3):
        with raw(server, client) as opened:
            assert answer(opened, BINARY, b"") == success("")
            opened.send(CLOSE, struct.pack(">H", 1000))
            assert [frame.opcode for frame in opened.until_closed()] == [CLOSE]


FULL = {"SERVER_WEBSOCKET_MAX_CONN": 2}


@pytest.mark.parametrize("client", ["third", None])
def test_s05_2_limit(farm: Farm, client: str | None) -> None:
    """When the table is full nobody else gets in."""
    with farm.own(**FULL) as server, raw(server, "first") as first, raw(server) as second:
        for opened in first, second:
            assert answer(opened, BINARY, b"") == success("")
        with raw(server, client) as third:
            assert_refused(third, LIMIT, "Max connection reached")


def test_s05_2_duplicate_before_limit(farm: Farm) -> None:
    """A duplicate is called one even then."""
    with farm.own(**FULL) as server, raw(server, "first") as first, raw(server, "second") as second:
        for opened in first, second:
            assert answer(opened, BINARY, b"") == success("")
        with raw(server, "first") as third:
            assert_refused(third, duplicate("first"), "duplicate connection: first")


def test_s05_2_only_websockets_are_counted(farm: Farm) -> None:
    """REST is not counted."""
    with farm.own(**FULL) as server, raw(server, "first") as first, raw(server, "second") as second:
        for opened in first, second:
            assert answer(opened, BINARY, b"") == success("")
        assert post(server, b"{}").said == success("")


@pytest.mark.parametrize("length", [100, 101, 102, 256])
def test_s05_2_long_id(farm: Farm, length: int) -> None:
    """The text of the close frame is cut to 123 bytes."""
    server, client = farm.get(), word().ljust(length, "x")
    with raw(server, client) as first:
        assert answer(first, BINARY, b"") == success("")
        with raw(server, client) as second:
            assert_refused(second, duplicate(client), f"duplicate connection: {client}"[:123])


def test_s05_2_cut_at_a_character(farm: Farm) -> None:
    """It is not cut within a character."""
    server, client = farm.get(), word() + "ü" * 60
    headers = (("Sec-WebSocket-Protocol", entry("id", client)),)
    with raw(server, None, *headers) as first:
        assert answer(first, BINARY, b"") == success("")
        with raw(server, None, *headers) as second:
            text = f"duplicate connection: {client}".encode()[:123].decode(errors="ignore")
            assert_refused(second, duplicate(client), text)


REFUSAL_ENCODINGS = {"raccoon.json.v1": TEXT, "raccoon.proto.v1": BINARY}


@pytest.mark.parametrize("protocol", REFUSAL_ENCODINGS)
@pytest.mark.parametrize("reason", ["duplicate", "limit"])
def test_s05_2_refusal_in_the_subprotocol(farm: Farm, protocol: str, reason: str) -> None:
    """The refusal is in the encoding that was agreed on."""
    offer = ("Sec-WebSocket-Protocol", protocol)
    with farm.own(SERVER_WEBSOCKET_MAX_CONN=1) as server, raw(server, "first") as first:
        assert answer(first, BINARY, b"") == success("")
        client = "first" if reason == "duplicate" else "second"
        with raw(server, client, offer) as second:
            assert second.headers["Sec-WebSocket-Protocol"] == protocol
            if reason == "duplicate":
                content, text = duplicate("first"), "duplicate connection: first"
            else:
                content, text = LIMIT, "Max connection reached"
            assert_refused(second, content, text, REFUSAL_ENCODINGS[protocol])


def policy(farm: Farm, name: str) -> Server:
    return farm.get(SERVER_WEBSOCKET_DUPLICATE_POLICY=name)


def test_s05_2_replace(farm: Farm) -> None:
    """Under ``replace`` the new connection takes over."""
    server, client = policy(farm, "replace"), word()
    with raw(server, client) as first:
        assert answer(first, BINARY, b"") == success("")
        with raw(server, client) as second:
            assert answer(second, BINARY, b"") == success("")
            (close,) = (frame for frame in first.until_closed() if frame.opcode != PING)
            assert (close.opcode, close.code) == (CLOSE, 1008)
            assert answer(second, BINARY, b"") == success("")
            with raw(server, client) as third:
                assert answer(third, BINARY, b"") == success("")


def test_s05_2_probe_alive(farm: Farm) -> None:
    """Under ``probe`` the old connection is asked; if it answers, the new one is refused."""
    server, client = policy(farm, "probe"), word()
    with websocket(server, client) as first:
        assert ask(first, b"") == success("")
        with raw(server, client) as second:
            assert_refused(second, duplicate(client), f"duplicate connection: {client}")
        assert ask(first, b"") == success("")


def test_s05_2_probe_dead(farm: Farm) -> None:
    """If it does not answer within two seconds, the new one takes over."""
    server, client = policy(farm, "probe"), word()
    with raw(server, client) as first:
        assert answer(first, BINARY, b"") == success("")
        before = time.monotonic()
        with raw(server, client) as second:
            assert answer(second, BINARY, b"") == success("")
            assert time.monotonic() - before < 3.5
            assert PING in [frame.opcode for frame in first.until_closed()]


# 5.3 Frames


def test_s05_3_mixed(farm: Farm, kafka: Kafka) -> None:
    """Every frame is answered in its own type."""
    two = Two()
    with raw(farm.get()) as opened:
        for opcode, encoding in ((TEXT, "json"), (BINARY, "proto"), (TEXT, "json")):
            assert answer(opened, opcode, two.body("json" if encoding == "json" else "proto")) == success("1234")
    two.assert_produced(kafka, 3)


@BOTH
def test_s05_3_fragments(farm: Farm, kafka: Kafka, encoding: Encoding) -> None:
    """A message may come in pieces, with a ping between them."""
    two = Two()
    body, opcode = two.body(encoding), TEXT if encoding == "json" else BINARY
    with raw(farm.get()) as opened:
        opened.send(opcode, body[:10], final=False)
        opened.send(PING, b"between")
        opened.send(CONTINUATION, b"", final=False)
        opened.send(CONTINUATION, body[10:])
        assert opened.read() == Frame(PONG, b"between")
        frame = opened.read_but(PING)
        assert frame is not None
        assert (frame.opcode, said(frame.payload)) == (opcode, success("1234"))
    two.assert_produced(kafka)


def test_s05_3_byte_by_byte(farm: Farm) -> None:
    """And by the byte."""
    with raw(farm.get()) as opened:
        opened.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in written(TEXT, b'{"req_guid":"1"}'):
            opened.connection.sendall(bytes([byte]))
        frame = opened.read_but(PING)
        assert frame is not None
        assert said(frame.payload) == success("1")


@pytest.mark.parametrize("length", [125, 126, 127, 65535, 65536])
def test_s05_3_lengths(farm: Farm, length: int) -> None:
    """A frame has any length."""
    with raw(farm.get()) as opened:
        assert answer(opened, TEXT, b'{"req_guid":"1"}'.ljust(length)) == success("1")


def test_s05_3_with_the_handshake(farm: Farm) -> None:
    """A frame may come in one packet with the handshake."""
    server = farm.get()
    sent = handshake(server, list(HANDSHAKE.items())) + written(BINARY, b"") + written(CLOSE)
    with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
        connection.sendall(sent)
        data = b"".join(iter(lambda: connection.recv(4096), b""))
    assert data.startswith(b"HTTP/1.1 101 ")
    assert b"req_guid" in data


def test_s05_3_empty_binary(farm: Farm) -> None:
    """An empty binary message is an empty batch."""
    with raw(farm.get()) as opened:
        assert answer(opened, BINARY, b"") == success("")


def test_s05_3_invalid_utf_8(farm: Farm) -> None:
    """Text that is not UTF-8 is a violation of the protocol."""
    with raw(farm.get()) as opened:
        opened.send(TEXT, b'{"req_guid":"\xff"}')
        frames = opened.until_closed()
    assert (frames[-1].opcode, frames[-1].code) == (CLOSE, 1007)


# 5.4 Outcomes

UNDECODABLE = {
    "empty text": (TEXT, b"", ""),
    "garbage as text": (TEXT, b"\x01", ""),
    "null": (TEXT, b"null", ""),
    "array": (TEXT, b"[]", ""),
    "garbage as binary": (BINARY, b"\x01", ""),
    "guid before the damage": (BINARY, b"\x0a\x041234\x1a\x7f", None),
}


@pytest.mark.parametrize("row", UNDECODABLE)
def test_s05_4_does_not_decode(farm: Farm, row: str) -> None:
    """What does not decode is answered, and the connection stays."""
    opcode, payload, guid = UNDECODABLE[row]
    with raw(farm.get()) as opened:
        content = answer(opened, opcode, payload)
        assert content.pop("reason").removeprefix("cannot deserialize request: ")
        assert content["data"].pop("req_guid") in (["", "1234"] if guid is None else [guid])
        assert content["data"] in ({}, {"retryable": "false"})
        assert (content["status"], content["code"]) == (2, 2)
        assert answer(opened, BINARY, b"") == success("")


@BOTH
@pytest.mark.parametrize("ack", [0, 1])
def test_s05_4_success(farm: Farm, kafka: Kafka, encoding: Encoding, ack: int) -> None:
    """A success, in both modes."""
    two = Two()
    with raw(farm.get(EVENT_ACK=ack)) as opened:
        assert answer(opened, TEXT if encoding == "json" else BINARY, two.body(encoding)) == success("1234")
    two.assert_produced(kafka)


@BOTH
def test_s05_4_publishing_failed(session_faults: Farm, encoding: Encoding) -> None:
    """What Kafka does not take, in mode 1."""
    two = Two()
    assert session_faults.cluster is not None
    session_faults.cluster.topic_error(topic(two.first), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with raw(session_faults.get(EVENT_ACK=1)) as opened:
        content = answer(opened, TEXT if encoding == "json" else BINARY, two.body(encoding))
        assert (content["status"], content["code"]) == (2, 3)
        assert content["reason"].startswith("cannot publish events: error when sending messages: event 0 ")
        assert content["data"]["req_guid"] == "1234"
        assert content["data"]["failed"] == "0"
        assert answer(opened, BINARY, b"") == success("")


@BOTH
def test_s05_4_invalid_event(farm: Farm, encoding: Encoding) -> None:
    """An event with an illegal type."""
    batch = Batch("1234", Event("fine", b""), Event("a/b", b""))
    with raw(farm.get()) as opened:
        content = answer(opened, TEXT if encoding == "json" else BINARY, batch.written(encoding))
        assert (content["status"], content["code"]) == (2, 2)
        assert content["data"]["failed"] == "1"
        assert answer(opened, BINARY, b"") == success("")


def test_s05_4_one_answer_each(farm: Farm) -> None:
    """There is one answer to each message."""
    guids = [str(number) for number in range(200)]
    with raw(farm.get()) as opened:
        opened.connection.sendall(b"".join(written(TEXT, json.dumps({"req_guid": guid}).encode()) for guid in guids))
        answers = [opened.read_but(PING) for _ in guids]
        assert [said(frame.payload)["data"]["req_guid"] for frame in answers if frame] == guids
        with pytest.raises(TimeoutError):
            opened.read_but(PING, patience=0.1)


def test_s05_4_overloaded(faulty: Farm) -> None:
    """When there is no room, the client is told in-band, and its pings are answered meanwhile."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1, **TIGHT) as server, raw(server, "1") as opened:
        fill(server, faulty)
        for _ in range(6):
            opened.send(TEXT, Two().body("json"))
        opened.send(PING, b"alive?")
        contents = []
        while (frame := opened.read_but()) is not None and frame.opcode != PONG:
            contents.append(said(frame.payload))
        assert frame == Frame(PONG, b"alive?")
        while not contents:
            frame = opened.read_but(PING)
            assert frame is not None
            contents.append(said(frame.payload))
    assert contents[0]["reason"].startswith("overloaded")
    assert (contents[0]["status"], contents[0]["code"]) == (2, 3)
    assert contents[0]["data"]["retryable"] == "true"


def test_s05_4_in_flight(faulty: Farm) -> None:
    """A connection has so many unanswered batches and no more; another one is not hindered."""
    assert faulty.cluster is not None
    settings = {"SERVER_WEBSOCKET_MAX_IN_FLIGHT": 3, "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 1}
    with (
        faulty.own(EVENT_ACK=1, **settings, WORKER_BUFFER_FLUSH_TIMEOUT_MS=100) as server,
        raw(server, "busy") as busy,
        raw(server, "other") as other,
    ):
        two = Two()
        assert answer(busy, TEXT, two.body("json")) == success("1234")
        faulty.cluster.set_rtt(1500)
        for number in range(5):
            busy.send(TEXT, two.text(**{"1234": str(number)}).encode())
        frames = [busy.read_but(PING), busy.read_but(PING)]
        refusals = [said(frame.payload) for frame in frames if frame]
        assert [each["data"]["req_guid"] for each in refusals] == ["3", "4"]
        assert all((each["code"], each["reason"][:10]) == (3, "overloaded") for each in refusals)
        assert answer(other, BINARY, b"") == success("")
        faulty.cluster.set_rtt(0)


# 5.5 Keep-alive and closing

QUICK = {"SERVER_WEBSOCKET_PING_INTERVAL_MS": 200, "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS": 600}


def test_s05_5_pings(farm: Farm) -> None:
    """The server pings, with its own eight bytes; who answers stays."""
    with raw(farm.get(**QUICK)) as opened:
        start = time.monotonic()
        times = []
        while time.monotonic() - start < 1.2:
            frame = opened.read(1)
            assert frame == Frame(PING, b"--ping--")
            opened.send(PONG, frame.payload)
            times.append(time.monotonic() - start)
        assert answer(opened, BINARY, b"") == success("")
    assert 4 <= len(times) <= 12


def test_s05_5_pings_are_spread(farm: Farm) -> None:
    """Connections opened together are not all pinged together."""
    server = farm.get(SERVER_WEBSOCKET_PING_INTERVAL_MS=400, SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS=5000)
    with ExitStack() as stack:
        sockets = [stack.enter_context(raw(server)) for _ in range(12)]
        firsts = []
        waiting = set(range(len(sockets)))
        start = time.monotonic()
        while waiting and time.monotonic() - start < 5:
            for number in list(waiting):
                try:
                    frame = sockets[number].read(0.002)
                except TimeoutError:
                    continue
                assert frame == Frame(PING, b"--ping--")
                firsts.append(time.monotonic() - start)
                waiting.discard(number)
    assert len(firsts) == len(sockets)
    assert max(firsts) - min(firsts) > 0.1


def test_s05_5_silent(farm: Farm) -> None:
    """Who never answers is closed with 1001."""
    with raw(farm.get(**QUICK)) as opened:
        before = time.monotonic()
        close = opened.read_but(PING)
        after = time.monotonic() - before
        assert opened.until_closed(5) == []
    assert 0.5 < after < 1.3
    assert close is not None
    assert (close.opcode, close.code) == (CLOSE, 1001)


@pytest.mark.parametrize("sign", ["data", "ping", "pong", "part of a message"])
def test_s05_5_any_frame_is_life(farm: Farm, sign: str) -> None:
    """Any frame is a sign of life."""
    with raw(farm.get(**QUICK)) as opened:
        first = True
        start = time.monotonic()
        while time.monotonic() - start < 1.6:
            if sign == "data":
                opened.send(BINARY, b"")
            elif sign == "part of a message":
                opened.send(BINARY if first else CONTINUATION, b"", final=False)
            else:
                opened.send(PING if sign == "ping" else PONG, b"x")
            first = False
            time.sleep(0.2)
        assert CLOSE not in [frame.opcode for frame in opened.at_hand()]


@pytest.mark.parametrize("payload", [b"", b"x", bytes(125)])
def test_s05_5_client_ping(farm: Farm, payload: bytes) -> None:
    """A ping is echoed."""
    with raw(farm.get()) as opened:
        opened.send(PING, payload)
        assert opened.read() == Frame(PONG, payload)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_s05_5_close_echo(farm: Farm, code: int) -> None:
    """A close frame is echoed with its code and without a text, and the connection ends."""
    with raw(farm.get()) as opened:
        opened.send(CLOSE, struct.pack(">H", code) + b"bye")
        assert opened.until_closed() == [Frame(CLOSE, struct.pack(">H", code))]


def test_s05_5_close_without_code(farm: Farm) -> None:
    """If it has no code the echo has none."""
    with raw(farm.get()) as opened:
        opened.send(CLOSE)
        assert opened.until_closed() == [Frame(CLOSE, b"")]


VIOLATIONS = {
    "unmasked": (written(TEXT, b"{}", mask=False), 1002),
    "reserved bit": (written(TEXT, b"{}", reserved=4), 1002),
    "unknown opcode": (written(3, b""), 1002),
    "unknown control opcode": (written(11, b""), 1002),
    "fragmented ping": (written(PING, b"", final=False), 1002),
    "long ping": (written(PING, bytes(126)), 1002),
    "continuation of nothing": (written(CONTINUATION, b"x"), 1002),
    "new message within another": (written(TEXT, b"{", final=False) + written(TEXT, b"}"), 1002),
    "close code 1005": (written(CLOSE, struct.pack(">H", 1005)), 1002),
    "close code 999": (written(CLOSE, struct.pack(">H", 999)), 1002),
    "close payload of one byte": (written(CLOSE, b"x"), 1002),
    "close text not UTF-8": (written(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("row", VIOLATIONS)
def test_s05_5_violation(farm: Farm, row: str) -> None:
    """Who breaks the protocol is closed with 1002 or 1007."""
    sent, code = VIOLATIONS[row]
    with raw(farm.get()) as opened:
        opened.connection.sendall(sent)
        frames = opened.until_closed()
    assert frames
    assert frames[-1].opcode == CLOSE
    assert frames[-1].code in ((1002, 1007) if code == 1007 else (1002,))


def test_s05_5_identity_is_free_after_any_end(farm: Farm) -> None:
    """However a connection ends, its identity is free again."""
    server, client = farm.get(), word()
    for how in (written(CLOSE), written(TEXT, b"{}", mask=False), b""):
        with raw(server, client) as opened:
            assert answer(opened, BINARY, b"") == success("")
            opened.connection.sendall(how)
            if how:
                opened.until_closed()

    def admitted() -> bool:
        with raw(server, client) as opened:
            return answer(opened, BINARY, b"") == success("")

    assert eventually(admitted)


def test_s05_5_slow_reader(farm: Farm) -> None:
    """Who reads no answers is dropped, and nobody else notices."""
    server = farm.get(SERVER_WEBSOCKET_WRITE_BUFFER_LIMIT=100_000, SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS=1000)
    message = written(TEXT, json.dumps({"req_guid": "x" * 60_000}).encode())
    with socket.socket() as connection, websocket(server, "quick") as quick:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        connection.connect((HOST, server.http))
        connection.sendall(handshake(server, [*HANDSHAKE.items(), (ID_HEADER, "slow")]))
        before = time.monotonic()
        dropped = False
        while not dropped and time.monotonic() - before < TIMEOUT:
            try:
                connection.sendall(message)
            except TimeoutError:
                pass
            except ConnectionError:
                dropped = True
            asked = time.monotonic()
            assert ask(quick, b"") == success("")
            assert time.monotonic() - asked < 0.5
    assert dropped


# 5.6 Subprotocols

OFFERS: dict[str, str | None] = {
    "raccoon.json.v1": "raccoon.json.v1",
    "raccoon.proto.v1": "raccoon.proto.v1",
    "raccoon.json.v1, raccoon.proto.v1": "raccoon.json.v1",
    "raccoon.proto.v1, raccoon.json.v1": "raccoon.proto.v1",
    "chat, raccoon.json.v1": "raccoon.json.v1",
    f"{entry('id', 'somebody')}, raccoon.json.v1": "raccoon.json.v1",
    "raccoon.proto.v1, bearer, token-of-somebody": "raccoon.proto.v1",
    entry("id", "another"): None,
    "chat": None,
    "bearer, token": None,
}


@pytest.mark.parametrize("row", range(len(OFFERS)), ids=[offer.replace(entry("id", "x"), "id") for offer in OFFERS])
def test_s05_6_echo(farm: Farm, row: int) -> None:
    """An encoding that was offered is echoed, a value never."""
    offer, echo = list(OFFERS.items())[row]
    with raw(farm.get(), None, ("Sec-WebSocket-Protocol", offer)) as opened:
        assert opened.status == 101
        assert opened.headers["Sec-WebSocket-Protocol"] in (
            {"raccoon.json.v1", "raccoon.proto.v1"} if "json.v1" in offer and "proto.v1" in offer else {echo}
        )


@pytest.mark.parametrize("protocol", ["raccoon.json.v1", "raccoon.proto.v1"])
def test_s05_6_frames_are_judged_one_by_one(farm: Farm, protocol: str) -> None:
    """Messages are in any encoding all the same."""
    with raw(farm.get(), None, ("Sec-WebSocket-Protocol", protocol)) as opened:
        assert answer(opened, BINARY, b"") == success("")
        assert answer(opened, TEXT, b"{}") == success("")


def test_s05_plain_get(farm: Farm) -> None:
    """A plain GET is a handshake that lacks everything."""
    response = exchange(farm.get().http, f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert response is not None
    assert (response.status, response.headers["Sec-Websocket-Version"]) == (400, "13")


def test_s05_library(farm: Farm) -> None:
    """A WebSocket library that is not ours sees the same."""
    server, client = farm.get(), word()
    with websocket(server, client) as first:
        assert ask(first, "{}") == success("")
        with websocket(server, client) as second:
            assert next_said(second, bytes) == duplicate(client)
            assert closed(second) == (1008, f"duplicate connection: {client}")
