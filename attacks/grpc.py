"""gRPC clients that are too many, too large, too slow, or no gRPC clients at all."""

from __future__ import annotations

import random
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any

import grpc

from attacks.attack import Broken, require, row
from attacks.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SEND,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    field,
    frame,
    head,
    message,
    opening,
    settings,
    streams,
)
from attacks.target import Target
from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventResponse
from tests.integration.batches import Batch, Event
from tests.integration.clients import HOST, ID_HEADER, TIMEOUT, channel
from tests.integration.server import RACCOON, environment

SUBJECT = "gRPC"

ID = [(ID_HEADER.lower(), "attacker")]
MESSAGE = Batch("1", Event("grpc", b"x" * 50)).written("proto")

#: Seconds that a connection gets for the HTTP/2 handshake, and a little.
HANDSHAKE = 13.0


# Calls by a client that keeps to the protocol


def _status(opened: grpc.Channel, path: str, body: bytes, metadata: Any = None) -> tuple[grpc.StatusCode, str]:
    """How a call ends, and the text of that."""
    try:
        opened.unary_unary(path)(body, timeout=TIMEOUT, metadata=ID if metadata is None else metadata)
    except grpc.RpcError as end:
        return end.code(), end.details() or ""
    return grpc.StatusCode.OK, ""


def _ends(make: Callable[[], bytes], code: grpc.StatusCode, target: Target) -> None:
    """Send a message. The call ends with this status, and the text of it tells nothing of our inside."""
    with channel(target) as opened:
        ended, text = _status(opened, SEND, make())
    _require_end(ended, text, code)


def _require_end(ended: grpc.StatusCode, text: str, *codes: grpc.StatusCode) -> None:
    require(ended in codes, f"ended with {ended}: {text}")
    for word in ("Traceback", "Exception calling", "raccoon_tx/", ".py", "object at 0x"):
        require(word not in text, f"told {text!r}")


def _metadata(size: int, target: Target) -> None:
    with channel(target) as opened:
        _require_end(
            *_status(opened, SEND, MESSAGE, [*ID, ("x-large", "x" * size)]), grpc.StatusCode.RESOURCE_EXHAUSTED
        )


def _path(path: str, target: Target) -> None:
    with channel(target) as opened:
        _require_end(*_status(opened, path, MESSAGE), grpc.StatusCode.UNIMPLEMENTED)


def _identity(metadata: Any, target: Target) -> None:
    with channel(target) as opened:
        _require_end(*_status(opened, SEND, MESSAGE, metadata), grpc.StatusCode.INVALID_ARGUMENT)


def _at_once(count: int, size: int, target: Target) -> None:
    """So many calls at once: each is answered, and none with an error status, which ends the official Go client."""
    body = Batch("many", Event("grpc", b"x" * size)).written("proto")
    answers: Counter[str] = Counter()
    with ExitStack() as stack:
        # As many on a connection as the server lets it have.
        apart = [("grpc.use_local_subchannel_pool", 1)]
        address = f"{HOST}:{target.grpc}"
        opened = [stack.enter_context(grpc.insecure_channel(address, apart)) for _ in range(count // 200)]
        methods = [each.unary_unary(SEND) for each in opened]
        calls = [method.future(body, timeout=4 * TIMEOUT, metadata=ID) for method in methods for _ in range(200)]
        for each in calls:
            try:
                content = SendEventResponse.FromString(each.result())
                taken = content.code == 1
                require(taken or content.reason.startswith("overloaded"), f"answered {content}")
                answers["taken" if taken else "refused in-band"] += 1
            except grpc.RpcError as end:
                raise Broken(f"ended with {end.code()}: {end.details()}") from None
    for name, times in answers.items():
        target.notes[name] = times


def _watchers(count: int, target: Target) -> None:
    """So many clients watch the health. Who is let in is told; the others are refused, and nobody is kept waiting."""
    path = "/grpc.health.v1.Health/Watch"
    refused = told = 0
    with ExitStack() as stack:
        calls = []
        for _ in range(8):
            method = stack.enter_context(channel(target)).unary_stream(path)
            calls += [method(b"", timeout=2.5) for _ in range(count // 8)]
        for each in calls:
            try:
                next(each)
                told += 1
            except grpc.RpcError as end:
                if end.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    refused += 1
            except StopIteration:
                pass
        with channel(target) as opened:
            ended, text = _status(opened, "/grpc.health.v1.Health/Check", b"", [])
            _require_end(ended, text, grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
        for each in calls:
            each.cancel()
    target.notes["told"], target.notes["refused"] = told, refused


# Frames by hand


def _flood(burst: Callable[[int], bytes], read: bool, target: Target) -> None:
    """Send ``burst(turn)`` for as long as it is taken, on a new connection whenever the server has had enough."""
    sent = connections = 0
    while target.time_left:
        connections += 1
        with Http2(target) as opened:
            opened.greeted()
            turn = 0
            opened.raw.socket.settimeout(2.0)
            while target.time_left and opened.send(data := burst(turn)):
                sent, turn = sent + len(data), turn + 1
                if read:
                    for _ in opened.frames(0.0):
                        pass
                    opened.raw.socket.settimeout(2.0)
        time.sleep(0.01)
    target.notes["MB sent"], target.notes["connections"] = round(sent / 2**20, 1), connections


def _reset(turn: int) -> bytes:
    block = head()
    numbers = range(turn * 200 + 1, turn * 200 + 201, 2)
    return b"".join(opening(number, block) + frame(RST_STREAM, 0, number, b"\0\0\0\x08") for number in numbers)


def _reset_with_message(turn: int) -> bytes:
    block, data = head(), message(MESSAGE)
    numbers = range(turn * 200 + 1, turn * 200 + 201, 2)
    return b"".join(
        opening(number, block) + frame(DATA, END_STREAM, number, data) + frame(RST_STREAM, 0, number, b"\0\0\0\x08")
        for number in numbers
    )


def _continuation(turn: int) -> bytes:
    first = b"" if turn else frame(HEADERS, 0, 1, head())
    return first + frame(CONTINUATION, 0, 1, field(b"x-more", b"x" * 16000)) * 10


def _tiny_continuation(turn: int) -> bytes:
    first = b"" if turn else frame(HEADERS, 0, 1, head())
    return first + frame(CONTINUATION, 0, 1) * 5000


_RANDOM = random.Random(7)


def _random_frames(count: int, target: Target) -> None:
    """So many connections, each with frames of any kind."""
    for _ in range(count):
        with Http2(target) as opened:
            for _ in range(50):
                kind, flags = _RANDOM.randrange(0, 12), _RANDOM.randrange(256)
                payload = _RANDOM.randbytes(_RANDOM.choice((0, 1, 4, 5, 8, 9, 100, 16384)))
                if not opened.send(frame(kind, flags, _RANDOM.randrange(0, 8), payload)):
                    break


def _random_bytes(count: int, target: Target) -> None:
    for _ in range(count):
        with target.connect(port=target.grpc) as raw:
            raw.send(_RANDOM.choice((b"", PREFACE)) + _RANDOM.randbytes(1000))


def _http_1(target: Target) -> None:
    """The connection ends, and is told why or not."""
    with target.connect(port=target.grpc) as raw:
        raw.send(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{}")
        raw.require_closed(HANDSHAKE)


def _silent(sent: bytes, target: Target) -> None:
    """Send that and no more: the handshake timeout ends it."""
    raws = [target.connect(port=target.grpc) for _ in range(20)]
    try:
        for raw in raws:
            raw.send(sent)
        target.notes["closed after s"] = round(max(raw.require_closed(HANDSHAKE) for raw in raws), 1)
    finally:
        for raw in raws:
            raw.socket.close()


def _goaway(target: Target) -> None:
    """Nothing that a client says of its own goodbye comes to the log, whatever it says."""
    target.log_since()
    text = b"\n2026-01-01T00:00:00.000Z error FORGED\r\n\x1b[31mFORGED\x1b[0m"
    with Http2(target) as opened:
        opened.greeted()
        opened.send(frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x02" + text))
        opened.raw.read(1.0)
    time.sleep(0.2)
    log = target.log_since()
    require("FORGED" not in log and "\x1b" not in log, f"logged {log!r}")


def _unfinished(connections: int, size: int, target: Target) -> None:
    """Streams without end, as many as the server lets each connection have, each with ``size`` bytes of a message of
    4 MB, and a million bytes of credit for the answers."""
    part = b"\0" + (4 * 2**20 - 8).to_bytes(4, "big") + bytes(size)
    block, sent = head(), 0
    with ExitStack() as stack:
        opened = [stack.enter_context(Http2(target)) for _ in range(connections)]
        for each in opened:
            each.greeted()
            each.raw.socket.settimeout(0.5)
        while target.time_left:
            for each in opened:
                each.raw.socket.settimeout(0.2)
            for turn, number in enumerate(islice(streams(), 256)):
                if turn % 16 == 0 and not target.time_left:
                    break
                for each in opened:
                    data = opening(number, block) + _in_frames(number, part)
                    if each.send(data):
                        sent += len(data)
            break
        target.notes["MB sent"] = round(sent / 2**20, 1)
        while target.time_left:
            time.sleep(0.05)


def _in_frames(stream: int, data: bytes, size: int = 16384) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(frame(DATA, 0, stream, piece) for piece in pieces)


def _bytewise(target: Target) -> None:
    """Messages of one byte a frame, on 50 streams."""
    data = message(MESSAGE * 40)
    with Http2(target) as opened:
        opened.greeted()
        numbers = [*islice(streams(), 50)]
        opened.send(*(opening(number) for number in numbers))
        for position in range(len(data)):
            if not opened.send(*(frame(DATA, 0, number, data[position : position + 1]) for number in numbers)):
                raise Broken("the connection was closed")
            if not position % 100:
                for _ in opened.frames(0.0):
                    pass
                opened.raw.socket.settimeout(10.0)
            if not target.time_left:
                return


def _drip(target: Target) -> None:
    """Streams whose messages come one byte in 100 ms: others are served."""
    with Http2(target) as opened:
        opened.greeted()
        numbers = [*islice(streams(), 100)]
        opened.send(*(opening(number) + frame(DATA, 0, number, b"\0\0\0\x10\0") for number in numbers))
        while target.time_left:
            opened.send(*(frame(DATA, 0, number, b"x") for number in numbers))
            for _ in opened.frames(0.1):
                pass


def _unread(window: int, connections: int, target: Target) -> None:
    """Good calls by clients that never take their answers: a window of ``window`` bytes, and nothing is read."""
    answered = 0
    with ExitStack() as stack:
        opened = [
            stack.enter_context(Http2(target, buffer=4096 if window else None, s4=window)) for _ in range(connections)
        ]
        for each in opened:
            each.greeted()
        numbers = streams()
        data, block = message(MESSAGE), head()
        while target.time_left:
            many = [*islice(numbers, 64)]
            burst = b"".join(opening(number, block) + frame(DATA, END_STREAM, number, data) for number in many)
            alive = 0
            for each in opened:
                each.raw.socket.settimeout(0.1)
                alive += each.send(burst)
                answered += len(many)
            if not alive:
                break
        while target.time_left:
            time.sleep(0.05)
    target.notes["calls"] = answered


def _raw_connections(count: int, target: Target) -> None:
    """So many connections that say nothing."""
    raws = []
    try:
        for number in range(count):
            raws.append(target.connect(f"127.0.0.{1 + number % 20}", port=target.grpc))
        target.notes["descriptors"] = target.descriptors()
        while target.time_left:
            time.sleep(0.05)
    finally:
        for raw in raws:
            raw.socket.close()


def _idle_connections(count: int, target: Target) -> None:
    """So many connections that have greeted and say no more."""
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(Http2(target, f"127.0.0.{1 + number % 20}"))
        while target.time_left:
            time.sleep(0.05)


def _churn(target: Target) -> None:
    """Connections, each for one call, one after the other."""
    data, block, count = message(MESSAGE), head(), 0
    while target.time_left:
        with Http2(target) as opened:
            opened.send(opening(1, block), frame(DATA, END_STREAM, 1, data))
            opened.ended(1)
        count += 1
    target.notes["connections"] = count


def _second_server(target: Target) -> None:
    """Another server cannot take a part of our calls: it does not start."""
    wanted = {
        "server.websocket.conn.id.header": ID_HEADER,
        "server.websocket.port": 0,
        "server.grpc.port": target.grpc,
        "publisher.type": "log",
    }
    run = subprocess.run(
        RACCOON, env=environment(wanted), capture_output=True, timeout=30.0, check=False, cwd="/", text=True
    )
    require(run.returncode == 2, f"ended with {run.returncode}: {run.stdout[-300:]}")
    require(str(target.grpc) in run.stdout + run.stderr, "did not name the port")


def _call(block: bytes, data: bytes, expected: tuple[bytes, ...], target: Target) -> None:
    """One call by hand. :param expected: one of these is in what comes back; empty: any end will do."""
    with Http2(target) as opened:
        opened.greeted()
        opened.send(opening(1, block), frame(DATA, END_STREAM, 1, data))
        found = opened.ended(1)
        require(not expected or any(word in found for word in expected), f"answered {found[:200]!r}")
    time.sleep(0.003)


def _violates(sent: bytes, target: Target) -> None:
    """Send it: whatever comes of it on that connection, the server goes on."""
    with Http2(target) as opened:
        opened.greeted()
        opened.send(sent)
        for kind, _flags, _stream, _payload in opened.frames(0.3):
            if kind == GOAWAY:
                break
    time.sleep(0.003)


def _bomb(wbits: int, megabytes: int = 100) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    zeros = bytes(2**20)
    return b"".join(squeezer.compress(zeros) for _ in range(megabytes)) + squeezer.flush()


def _members() -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (squeezer.compress(b"") + squeezer.flush()) * 200_000


# The table


_row = partial(row, SUBJECT, seconds=0.5, number="E19")


_INVALID = (b"grpc-status\x013",)
_CODES = grpc.StatusCode

_CALLS = (
    _row("a message of 5 MB", "a message over the limit", "RESOURCE_EXHAUSTED",
         partial(_ends, partial(bytes, 5_000_000), _CODES.RESOURCE_EXHAUSTED), memory=32, number="E1", quick=True),
    _row("gzip bomb", "a compressed message that is 100 MB when it is inflated", "RESOURCE_EXHAUSTED",
         partial(_ends, partial(_bomb, 31), _CODES.RESOURCE_EXHAUSTED), memory=24, number="E2", quick=True),
    _row("deflate bomb", "the same by deflate", "RESOURCE_EXHAUSTED",
         partial(_ends, partial(_bomb, 15), _CODES.RESOURCE_EXHAUSTED), memory=24, number="E2"),
    _row("200,000 gzip members", "a compressed message of 4 MB in which there is nothing, 200,000 times", "INTERNAL",
         partial(_ends, _members, _CODES.INTERNAL), memory=32, number="E2", quick=True),
    _row("half a gzip message", "a compressed message that ends early", "INTERNAL",
         partial(_ends, lambda: _bomb(31, 1)[:-9], _CODES.INTERNAL), number="E2"),
    _row("60 kB of metadata", "metadata over the library's limit", "RESOURCE_EXHAUSTED",
         partial(_metadata, 60_000), number="E9", quick=True),
    _row("1,000 calls of 200 kB at once", "200 MB in calls at once", "answered, all of them in-band",
         partial(_at_once, 1000, 200_000), seconds=0, memory=320, number="F10"),
    _row("5,000 calls at once", "more calls at once than are served", "answered, all of them in-band",
         partial(_at_once, 5000, 50), seconds=0, memory=48, number="F10"),
    _row("garbage", "a message that is no protobuf", "INTERNAL, and no text of ours",
         partial(_ends, lambda: b"\x01", _CODES.INTERNAL), number="E7", quick=True),
    _row("text that is not UTF-8", "a guid that is not UTF-8", "INTERNAL, and no text of ours",
         partial(_ends, lambda: b"\x0a\x02\xff\xfe", _CODES.INTERNAL), number="E7", quick=True),
    _row("no identity", "no metadata at all", "INVALID_ARGUMENT", partial(_identity, []), number="E9"),
    _row("an identity of 300 bytes", "an id that is too long", "INVALID_ARGUMENT",
         partial(_identity, [(ID[0][0], "x" * 300)]), number="E9", quick=True),
    _row("an unknown method", "a method that does not exist", "UNIMPLEMENTED",
         partial(_path, SEND + "2"), number="E12", quick=True),
    _row("an unknown service", "a service that does not exist", "UNIMPLEMENTED",
         partial(_path, "/a.b.C/SendEvent"), number="E12"),
    _row("a path of 4,000 bytes", "a method with a long name", "UNIMPLEMENTED",
         partial(_path, "/" + "x" * 4000), number="E12"),
    _row("200 clients watch", "200 calls of Health.Watch, over and over", "others are served; at most 16 watch",
         partial(_watchers, 200), seconds=5.0, memory=48, number="F6"),
    _row("20 clients watch", "20 calls of Health.Watch", "others are served; at most 16 watch",
         partial(_watchers, 24), seconds=1.0, memory=24, number="F6"),
    _row("a second server", "a second server on the same port", "does not start: status 2, the port named",
         _second_server, seconds=0, number="A9"),
)  # fmt: skip

_FLOODS = (
    _row("rapid reset", "streams that are reset at once, without end", "others are served",
         partial(_flood, _reset, True), seconds=5.0, memory=96, quick=True),
    _row("rapid reset, answers unread", "the same, and nothing is read", "others are served",
         partial(_flood, _reset, False), seconds=5.0, memory=96),
    _row("rapid reset of whole calls", "calls with their messages that are reset at once", "others are served",
         partial(_flood, _reset_with_message, True), seconds=5.0, memory=96),
    _row("CONTINUATION flood", "headers that never end, in frames of 16 kB", "others are served",
         partial(_flood, _continuation, True), seconds=4.0, memory=320, quick=True),
    _row("empty CONTINUATION flood", "headers that never end, in empty frames", "others are served",
         partial(_flood, _tiny_continuation, True), seconds=4.0, memory=32),
    _row("PING flood", "pings, whose answers are read", "others are served",
         partial(_flood, lambda turn: frame(PING, 0, 0, bytes(8)) * 1000, True), seconds=4.0, memory=32, quick=True),
    _row("PING flood, answers unread", "pings, whose answers are not read", "bounded",
         partial(_flood, lambda turn: frame(PING, 0, 0, bytes(8)) * 1000, False), seconds=5.0, memory=32),
    _row("SETTINGS flood", "SETTINGS, whose acknowledgements are read", "others are served",
         partial(_flood, lambda turn: settings(s4=65535) * 1000, True), seconds=4.0, memory=32, quick=True),
    _row("SETTINGS flood, answers unread", "SETTINGS, whose acknowledgements are not read", "bounded",
         partial(_flood, lambda turn: settings(s4=65535) * 1000, False), seconds=5.0, memory=32),
    _row("PRIORITY flood", "priorities of streams that do not exist", "others are served",
         partial(_flood, lambda turn: frame(PRIORITY, 0, 1, bytes(5)) * 1000, True), seconds=3.0, memory=200),
    _row("WINDOW_UPDATE flood", "credit of one byte, without end", "others are served",
         partial(_flood, lambda turn: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000, True), seconds=3.0, memory=96),
    _row("empty DATA flood", "a call whose message comes in empty frames", "others are served",
         partial(_flood, lambda turn: (b"" if turn else opening(1)) + frame(DATA, 0, 1) * 2000, True),
         seconds=4.0, memory=32),
    _row("unknown frames", "frames of kinds that nobody knows", "others are served",
         partial(_flood, lambda turn: frame(0xEE, 0, 0, bytes(1000)) * 100, True), seconds=3.0, memory=256),
    _row("random frames", "300 connections of random frames", "others are served",
         partial(_random_frames, 300), seconds=0, memory=48),
    _row("some random frames", "20 connections of random frames", "others are served",
         partial(_random_frames, 20), seconds=0, memory=32, quick=True),
    _row("random bytes", "300 connections of random bytes", "others are served",
         partial(_random_bytes, 300), seconds=0, memory=32),
    _row("HTTP/1 on the gRPC port", "a POST by HTTP/1.1", "closed", _http_1, quick=True),
    _row("GOAWAY with line ends", "a goodbye with line ends and escapes", "nothing of it in the log",
         _goaway, number="F1", quick=True),
    _row("silence", "20 connections that say nothing", "closed by the handshake timeout",
         partial(_silent, b""), seconds=0, number="D8"),
    _row("half a preface", "20 connections that say half of what they have to", "closed by the handshake timeout",
         partial(_silent, PREFACE[:10]), seconds=0, number="D8"),
    _row("3,000 raw connections", "3,000 connections that say nothing", "others are served",
         partial(_raw_connections, 3000), seconds=4.0, memory=96, number="D10"),
    _row("2,000 idle connections", "2,000 connections that have greeted", "others are served",
         partial(_idle_connections, 2000), seconds=4.0, memory=160, number="D11"),
    _row("connection churn", "connections for one call each", "others are served",
         _churn, seconds=5.0, memory=32, number="D14", quick=True),
    _row("streams never finished", "4 connections, on each 256 streams of 60 kB of a message of 4 MB",
         "bounded, others are served", partial(_unfinished, 4, 60_000), seconds=8.0, memory=192),
    _row("messages never finished", "100 streams of 60 kB of a message of 4 MB", "bounded, others are served",
         partial(_unfinished, 1, 30_000), seconds=2.0, memory=64, quick=True),
    _row("one byte a frame", "messages of which each frame has one byte", "others are served",
         _bytewise, seconds=4.0, memory=32, number="D9"),
    _row("one byte in 100 ms", "messages of which a byte comes in 100 ms", "others are served",
         _drip, seconds=3.0, memory=32, number="D9"),
    _row("answers that are never taken, window 0", "good calls with a window of 0 bytes, nothing is read",
         "bounded, others are served", partial(_unread, 0, 4), seconds=6.0, memory=128, number="D5", quick=True),
    _row("answers that are never read", "good calls with a wide window, nothing is read",
         "bounded, others are served", partial(_unread, 2**31 - 1, 4), seconds=6.0, memory=128, number="D5"),
)  # fmt: skip

_GOOD = message(MESSAGE)

_ODD = (
    _row("content type text/html", "a call that is no gRPC by its content type", "an error",
         partial(_call, head(kind=b"text/html"), _GOOD, (b"415", b"grpc-status")), number="E8", quick=True),
    _row("content type application/grpc+json", "a call that says its message is JSON", "an end",
         partial(_call, head(kind=b"application/grpc+json"), message(b"{}"), ()), number="E8"),
    _row("a GET", "a call by GET", "an error",
         partial(_call, head().replace(b"\x04POST", b"\x03GET"), _GOOD, ()), number="E12"),
    _row("a compressed flag without encoding", "a message that claims an encoding that is not named", "an end",
         partial(_call, head(), message(MESSAGE, 1), ()), number="E2"),
    _row("an unknown encoding", "a message in an encoding that nobody knows", "UNIMPLEMENTED or an error",
         partial(_call, head(SEND, (b"grpc-encoding", b"zip")), message(MESSAGE, 1), ()), number="E2"),
    _row("two messages", "a call with two messages", "an end",
         partial(_call, head(), _GOOD * 2, ()), number="E7"),
    _row("no message", "a call without a message", "an error",
         partial(_call, head(), b"", (b"grpc-status",)), number="E7"),
    _row("half a message", "a call that ends within its message", "an error",
         partial(_call, head(), _GOOD[:-5], ()), number="E7"),
    _row("a message of 4 GB", "a message that claims 4 GB", "RESOURCE_EXHAUSTED",
         partial(_call, head(), b"\0\xff\xff\xff\xff" + bytes(1000), ()), number="E1", quick=True),
    _row("a deadline of a thousand years", "a call with an absurd deadline", "an end",
         partial(_call, head(SEND, (b"grpc-timeout", b"99999999H")), _GOOD, ()), number="E18"),
    _row("a deadline that is none", "a call with a deadline of no number", "an end",
         partial(_call, head(SEND, (b"grpc-timeout", b"abc")), _GOOD, ()), number="E18"),
    _row("a deadline of 0", "a call whose deadline is over", "an end",
         partial(_call, head(SEND, (b"grpc-timeout", b"0n")), _GOOD, ()), number="E18"),
    _row("control bytes in an id", "an id with line ends", "refused",
         partial(_call, head(client=b"a\nFORGED\x1b[31m"), _GOOD, ()), number="E9", quick=True),
    _row("an id that is not UTF-8", "an id of bytes", "refused",
         partial(_call, head(client=b"\xff\xfe"), _GOOD, ()), number="E9", quick=True),
    _row("1,000 small headers", "metadata in 1,000 pieces", "an error",
         partial(_call, head(SEND, *[(b"a", b"b")] * 1000), _GOOD, ()), number="E9"),
    *(
        _row(name, name, "the server goes on", partial(_violates, sent), number="E19", quick=quick)
        for name, sent, quick in (
            ("a frame over the size allowed", frame(DATA, 0, 1, bytes(20000)), False),
            ("DATA on a stream that nobody opened", frame(DATA, 0, 5, b"x"), True),
            ("HEADERS with an even number", opening(2), False),
            ("HEADERS with a smaller number", opening(5) + opening(3), False),
            ("HEADERS on stream 0", opening(0), False),
            ("headers that HPACK cannot read", frame(HEADERS, END_HEADERS, 1, b"\xff" * 50), True),
            ("a HPACK table of 4 GB", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\xff\xff\x0f"), False),
            ("a HPACK integer without end", frame(HEADERS, END_HEADERS, 1, b"\x7f" + b"\xff" * 5000), False),
            ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), False),
            ("an acknowledgement of nothing", frame(SETTINGS, ACK), False),
            ("a window over 2^31", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, False),
            ("a window update of 0", frame(WINDOW_UPDATE, 0, 0, bytes(4)), False),
            ("an initial window over 2^31", settings(s4=2**32 - 1), False),
            ("a table of 4 GB in SETTINGS", settings(s1=2**32 - 1), False),
            ("a PUSH_PROMISE", frame(5, END_HEADERS, 1, b"\0\0\0\2" + head()), False),
            ("padding longer than the frame", opening(1) + frame(DATA, 8, 1, b"\xffabc"), False),
            ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 99, bytes(4)), False),
            ("a CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, head()), False),
        )
    ),
)  # fmt: skip

ROWS = (*_CALLS, *_FLOODS, *_ODD)
