"""WebSocket clients that do not keep to RFC 6455, or to moderation."""

from __future__ import annotations

import struct
import time
import zlib
from functools import partial
from itertools import count

from attacks.attack import BOTH, Attack, require, row
from attacks.raw import BATCH, Raw, frame, handshake
from attacks.target import Target

SUBJECT = "WebSocket"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

#: Bytes of a message, by default.
LIMIT = 4 * 1024 * 1024

_names = count()


def _opened(target: Target, buffer: int | None = None, *lines: bytes) -> Raw:
    raw = target.connect(buffer=buffer)
    raw.open_websocket(*lines, client=b"attacker %d" % next(_names))
    return raw


# Floods


def _flood(start: bytes, burst: bytes, most: int, codes: tuple[int | None, ...], target: Target) -> None:
    """Send ``start``, then ``burst`` for as long as it is taken: the server ends it, having taken so much at most."""
    with _opened(target) as raw:
        raw.socket.settimeout(10.0)
        raw.send(start)
        sent, limit = 0, time.monotonic() + 20.0
        while time.monotonic() < limit and sent < 400 * 2**20 and raw.send(burst):
            sent += len(burst)
        target.notes["MB sent"] = round(sent / 2**20, 1)
        require(sent <= most, f"took {sent / 2**20:.0f} MB")
        code = raw.close_code(10.0)
        # The close frame may be lost when the connection is reset behind it.
        require(code in codes or code is None, f"closed with {code}, not {codes}")


def _unread(burst: bytes, kept: float, target: Target) -> None:
    """Send for as long as it is taken, and never read. :param kept: megabytes that may be taken unread."""
    with _opened(target, 4096) as raw:
        raw.socket.setblocking(False)
        view, sent, ended = memoryview(burst), 0, False
        while target.time_left and not ended:
            try:
                taken = raw.socket.send(view)
                sent += taken
                view = view[taken:] or memoryview(burst)
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                ended = True
        target.notes["MB taken"] = max(target.notes.get("MB taken", 0.0), round(sent / 2**20, 1))


def _read(burst: bytes, target: Target) -> None:
    """Send without end, and read all that comes back."""
    with _opened(target) as raw:
        raw.socket.setblocking(False)
        view, sent, got = memoryview(burst), 0, 0
        while target.time_left:
            idle = True
            try:
                taken = raw.socket.send(view)
                sent, idle = sent + taken, False
                view = view[taken:] or memoryview(burst)
            except BlockingIOError:
                pass
            except OSError:
                break
            try:
                data = raw.socket.recv(262144)
                got, idle = got + len(data), False
                if not data:
                    break
            except BlockingIOError:
                pass
            except OSError:
                break
            if idle:
                time.sleep(0.001)
        target.notes["MB sent"], target.notes["MB answered"] = round(sent / 2**20, 1), round(got / 2**20, 1)


def _endless_handshakes(target: Target) -> None:
    """Thirty handshakes, each with a header that never ends."""
    raws = [target.connect() for _ in range(30)]
    try:
        for raw in raws:
            raw.send(handshake()[:-2] + b"X-A: ")
        sent, left, limit = 0, list(raws), time.monotonic() + 15.0
        while left and time.monotonic() < limit:
            for raw in list(left):
                raw.socket.settimeout(0.2)
                if raw.send(b"x" * 65536):
                    sent += 65536
                else:
                    left.remove(raw)
        target.notes["MB sent"] = round(sent / 2**20, 1)
        require(not left, f"{len(left)} of 30 still taken after 15 s")
    finally:
        for raw in raws:
            raw.socket.close()


def _bomb(target: Target) -> None:
    """A compressed message that is 500 MB when it is inflated."""
    with _opened(target, None, b"Sec-WebSocket-Extensions: permessage-deflate") as raw:
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        zeros = bytes(2**20)
        body = b"".join(squeezer.compress(zeros) for _ in range(500)) + squeezer.flush(zlib.Z_SYNC_FLUSH)[:-4]
        raw.send(_frame(BINARY, body, rsv=4))
        code = raw.close_code(10.0)
        require(code in (1002, 1009), f"closed with {code}")


def _frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    """A frame whose mask is 0, which costs nothing to put together."""
    return frame(opcode, payload, fin=fin, rsv=rsv, mask=None)[:1] + _length(len(payload)) + bytes(4) + payload


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([128 + size])
    return struct.pack("!BH", 254, size) if size < 65536 else struct.pack("!BQ", 255, size)


_MEGA = bytes(2**20)


_row = partial(row, SUBJECT, seconds=0)


_COMPRESSED = {"server__websocket__compression": "true"}

_FLOODS = (
    _row(
        "a frame of 1 TiB",
        "one frame that claims 1 TiB, sent as long as it is taken",
        "1009, closed, at most 32 MB taken",
        partial(_flood, b"\x82\xff" + struct.pack("!Q", 2**40) + bytes(4), _MEGA, 32 * 2**20, (1009,)),
        number="E1",
        quick=True,
    ),
    _row(
        "a text frame of 2^63 - 1 bytes",
        "one text frame that claims 8 EiB",
        "1009 or 1002, closed, at most 32 MB taken",
        partial(_flood, b"\x81\xff" + struct.pack("!Q", 2**63 - 1) + bytes(4), _MEGA, 32 * 2**20, (1009, 1002)),
        number="E1",
    ),
    *(
        _row(
            f"endless fragments of {name}",
            f"a message in fragments of {name}, which never ends",
            f"{1009 if size > 1 else 1008}, closed, at most {most} MB taken",
            partial(
                _flood,
                _frame(BINARY, bytes(size), fin=False),
                _frame(0, bytes(size), fin=False) * times,
                most * 2**20,
                (1009, 1008),
            ),
            number="D7",
            memory=24,
        )
        for name, size, times, most in (
            ("100 kB", 100_000, 10, 30),
            ("1 byte", 1, 20_000, 60),
            ("0 bytes", 0, 20_000, 30),
        )
    ),
    _row(
        "pings between endless fragments",
        "empty pings in a message that never ends, answers read",
        "bounded",
        partial(_read, _frame(BINARY, b"x", fin=False) + _frame(PING) * 5000),
        seconds=4.0,
        number="D7",
    ),
    _row(
        "endless handshake headers",
        "30 handshakes, each with a header that never ends",
        "400, closed, at most 16 kB kept of each",
        _endless_handshakes,
        number="D8",
    ),
    _row(
        "ping flood, never read",
        "pings of 125 bytes without end, whose pongs are not read",
        "closed, or no longer taken",
        partial(_unread, _frame(PING, bytes(125)) * 500, 0),
        seconds=8.0,
        number="D6",
        quick=True,
    ),
    _row(
        "ping flood, read",
        "pings of 125 bytes without end, whose pongs are read",
        "others are served",
        partial(_read, _frame(PING, bytes(125)) * 500),
        seconds=5.0,
        number="D6",
    ),
    _row(
        "empty pings, read",
        "empty pings without end, whose pongs are read",
        "others are served",
        partial(_read, _frame(PING) * 10_000),
        seconds=5.0,
        number="D6",
    ),
    _row(
        "pong flood",
        "pongs that nobody asked for, without end",
        "others are served",
        partial(_read, _frame(PONG, bytes(125)) * 500),
        seconds=5.0,
        number="D6",
    ),
    _row(
        "message flood, never read",
        "batches without end, whose answers are not read",
        "closed, or no longer taken",
        partial(_unread, _frame(TEXT, BATCH) * 500, 0),
        seconds=8.0,
        number="D5",
        quick=True,
    ),
    _row(
        "message flood, read",
        "batches without end, whose answers are read",
        "others are served",
        partial(_read, _frame(TEXT, BATCH) * 500),
        seconds=5.0,
        number="D5",
    ),
    _row(
        "garbage flood, read",
        "messages without end that are no batches",
        "others are served",
        partial(_read, _frame(TEXT, b"{") * 500),
        seconds=5.0,
        number="D5",
    ),
    _row(
        "deflate bomb",
        "a compressed message of 500 kB that is 500 MB inflated; compression is not agreed upon",
        "1002, closed",
        _bomb,
        number="E2",
    ),
    _row(
        "deflate bomb, compression on",
        "the same with `server.websocket.compression`",
        "1009, closed",
        _bomb,
        number="E2",
        **_COMPRESSED,
    ),
)


# Violations


def _violates(sent: bytes, codes: tuple[int, ...], target: Target) -> None:
    """Send it: the server says goodbye with one of these codes."""
    with _opened(target) as raw:
        raw.send(sent)
        code = raw.close_code(5.0)
        require(code in codes, f"closed with {code}, not {codes}")
    time.sleep(0.003)


def _tolerates(sent: bytes, target: Target) -> None:
    """Send it, and then a batch, which is answered."""
    with _opened(target) as raw:
        raw.send(sent + _frame(TEXT, BATCH))
        raw.read(5.0, b'"status":1')
        require(b'"status":1' in raw.received, f"not answered: {raw.received[:100]!r}")
    time.sleep(0.003)


def _violation(name: str, sent: bytes, *codes: int, number: str = "E13", quick: bool = False) -> Attack:
    limit = f"close {' or '.join(map(str, codes))}"
    return _row(name, name, limit, partial(_violates, sent, codes), seconds=0.5, number=number, quick=quick)


def _close(code: int, text: bytes = b"") -> bytes:
    return _frame(CLOSE, struct.pack("!H", code) + text)


_VIOLATIONS = (
    _violation("a frame without a mask", frame(TEXT, BATCH, mask=None), 1002, quick=True),
    _violation("a reserved bit", _frame(TEXT, BATCH, rsv=1), 1002, quick=True),
    _violation("the bit of compression that was not agreed upon", _frame(TEXT, BATCH, rsv=4), 1002),
    _violation("a reserved opcode", _frame(3, BATCH), 1002, quick=True),
    _violation("a reserved control opcode", _frame(11), 1002),
    _violation("text that is not UTF-8", _frame(TEXT, b"\xff\xfe"), 1007, quick=True),
    _violation("text that ends within a character", _frame(TEXT, b'"\xc3'), 1007),
    _violation("text with a surrogate", _frame(TEXT, b'"\xed\xa0\x80"'), 1007),
    _violation("a message over the limit", _frame(BINARY, bytes(LIMIT + 1)), 1009, number="E1", quick=True),
    _violation("a text message over the limit", _frame(TEXT, b" " * (LIMIT + 1)), 1009, number="E1"),
    _violation("a ping of 126 bytes", _frame(PING, bytes(126)), 1002),
    _violation("a ping in fragments", _frame(PING, b"x", fin=False), 1002),
    _violation("a continuation of nothing", _frame(0, BATCH), 1002),
    _violation("a message within a message", _frame(TEXT, b"{", fin=False) + _frame(TEXT, BATCH), 1002),
    _violation("a length that is not the shortest", b"\x81\xfe\x00\x02" + bytes(4) + b"{}", 1002),
    _violation("a 64-bit length that is not the shortest", b"\x81\xff" + struct.pack("!Q", 2) + bytes(4) + b"{}", 1002),
    _violation("a length with its highest bit", b"\x82\xff" + struct.pack("!Q", 2**63) + bytes(4), 1002, 1009),
    _violation("a close frame of one byte", _frame(CLOSE, b"x"), 1002),
    _violation("a close code that is reserved", _close(1005), 1002),
    _violation("a close code that nobody has", _close(999), 1002),
    _violation("a close reason that is not UTF-8", _close(1000, b"\xff"), 1007),
    _violation("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    _row(
        "empty messages",
        "10,000 empty messages",
        "answered, and the connection goes on",
        partial(_tolerates, _frame(PONG) * 10_000),
        seconds=0.5,
        number="E4",
    ),
)


# Handshakes


def _refused(sent: bytes, status: int, target: Target) -> None:
    with target.connect() as raw:
        raw.send(sent)
        raw.require_answer(status)
    time.sleep(0.003)


def _handshake(name: str, sent: bytes, status: int, number: str = "D16", quick: bool = False) -> Attack:
    return Attack(
        name=name,
        subject=SUBJECT,
        does=name,
        limit=str(status),
        run=partial(_refused, sent, status),
        seconds=0.5,
        ways=BOTH,
        number=number,
        quick=quick,
    )


_plain = handshake()

_HANDSHAKES = (
    _handshake("a foreign Origin", handshake(b"Origin: http://evil.example"), 403, quick=True),
    _handshake("Origin: null", handshake(b"Origin: null"), 403, quick=True),
    _handshake("an Origin that begins with ours", handshake(b"Origin: http://x.evil.example"), 403),
    _handshake("two Origin, the second ours", handshake(b"Origin: http://evil.example", b"Origin: http://x"), 403),
    _handshake("a handshake without Host", _plain.replace(b"Host: x\r\n", b""), 400, "E11", quick=True),
    _handshake("a handshake with two Host", handshake(b"Host: y"), 400, "E11"),
    _handshake("a handshake of HTTP/1.0", _plain.replace(b"HTTP/1.1", b"HTTP/1.0"), 400, "E11"),
    _handshake("version 8", _plain.replace(b": 13", b": 8"), 400, "E11"),
    _handshake("no key", _plain.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b""), 400, "E11"),
    _handshake("a handshake by POST", _plain.replace(b"GET", b"POST", 1), 400, "E11"),
    _handshake("an identity with a control byte", handshake(b"X-User-ID: a\x01b"), 400, "E9"),
    _handshake("an identity of 300 bytes", handshake(b"X-User-ID: " + b"x" * 300), 400, "E9"),
    _handshake("a subprotocol that is no base64", handshake(b"Sec-WebSocket-Protocol: raccoon.id.!"), 400, "E9"),
    _handshake("a plain GET", b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 400, "F5"),
)


def _nothing_reflected(target: Target) -> None:
    """No part of a handshake that could carry a header of its own is in its answer."""
    for line in (
        b"Sec-WebSocket-Protocol: evil%0d%0aX-Evil: 1",
        b"Sec-WebSocket-Extensions: evil; x=1",
        b"Origin: http://x",
        b"X-User-ID: evil",
        b"Sec-WebSocket-Key: evil\tevil",
    ):
        with target.connect() as raw:
            raw.send(handshake(line))
            raw.read(5.0, b"\r\n\r\n")
            require(raw.statuses, "no answer")
            require(b"evil" not in raw.received.lower(), f"answered with {raw.received!r}")


def _vanished(target: Target) -> None:
    """Answer no ping, send nothing, and do not say goodbye: the server has to find out by itself."""
    with _opened(target) as raw:
        code = raw.close_code(10.0)
        target.notes["closed after s"] = round(time.monotonic() - raw.opened, 1)
        require(code in (1001, None), f"closed with {code}")


def _too_many(target: Target) -> None:
    """Open more than may be: those over the limit are told so in due form."""
    raws, refused = [], 0
    try:
        for _ in range(60):
            raw = _opened(target)
            raws.append(raw)
            raw.read(0.02, b"\x88")
            if raw.received:
                refused += 1
                require(raw.close_code(5.0) == 1008, "not closed with 1008")
        target.notes["refused"] = refused
        require(refused == 11, f"{refused} of 60 were refused")  # a good client has one of 50
    finally:
        for raw in raws:
            raw.socket.close()
    time.sleep(0.3)


_OTHERS = (
    _row(
        "header injection in a handshake",
        "handshakes with line ends and words in all that could be reflected",
        "nothing of it in the answer",
        _nothing_reflected,
        seconds=0.5,
        number="E10",
        quick=True,
    ),
    _row(
        "a peer that vanished",
        "a connection that answers no ping, with pings every second and a patience of 2 s",
        "1001, closed within 4 s",
        _vanished,
        number="D4",
        server__websocket__ping__interval__ms=1000,
        server__websocket__pong__wait__interval__ms=2000,
    ),
    _row(
        "too many connections",
        "60 connections where 50 may be",
        "code 4 and close 1008 for 11 of them",
        _too_many,
        seconds=2.0,
        number="D1",
        server__websocket__max__conn=50,
    ),
)

ROWS = (*_FLOODS, *_VIOLATIONS, *_HANDSHAKES, *_OTHERS)
