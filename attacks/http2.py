"""HTTP/2 by hand: frames that no client library would write. Plain bytes, and a connection that reads no more than it
has to."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

from attacks.attack import Broken
from attacks.raw import Raw
from attacks.target import Target
from tests.integration.clients import ID_HEADER

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

SEND = "/raystack.raccoon.v1beta1.EventService/SendEvent"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame; names are numbers behind a letter: ``s4=0``."""
    return frame(SETTINGS, payload=b"".join(struct.pack("!HI", int(name[1:]), value) for name, value in values.items()))


def _text(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes([len(value)]) + value
    size, rest = b"\x7f", len(value) - 127
    while rest >= 128:
        size, rest = size + bytes([rest & 127 | 128]), rest >> 7
    return size + bytes([rest]) + value


def field(name: bytes, value: bytes) -> bytes:
    """One header, in HPACK without any compression, and not to be remembered."""
    return b"\x10" + _text(name) + _text(value)


def head(
    path: str = SEND, *more: tuple[bytes, bytes], kind: bytes = b"application/grpc", client: bytes = b"a"
) -> bytes:
    """The headers of a call."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", kind),
        (ID_HEADER.lower().encode(), client),
        *more,
    ]
    return b"".join(field(name, value) for name, value in fields)


def message(body: bytes, flag: int = 0) -> bytes:
    """A gRPC message."""
    return struct.pack("!BI", flag, len(body)) + body


def opening(stream: int, block: bytes | None = None, flags: int = END_HEADERS) -> bytes:
    """The HEADERS frame of a call."""
    return frame(HEADERS, flags, stream, head() if block is None else block)


def streams(first: int = 1) -> Iterator[int]:
    """Numbers that a client may give its streams."""
    return iter(range(first, 2**31, 2))


class Http2:
    """A connection to the gRPC port, which has said who it is."""

    def __init__(self, target: Target, source: str = "127.0.0.1", buffer: int | None = None, **own: int) -> None:
        self.raw: Raw = target.connect(source, buffer, target.grpc)
        self.raw.send(PREFACE + settings(**own))
        self._rest = b""

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.socket.close()

    def send(self, *frames: bytes) -> bool:
        """:return: whether it went, all of it."""
        return self.raw.send(b"".join(frames))

    def frames(self, seconds: float) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of what comes, for so long or until the end of the connection."""
        deadline = time.monotonic() + seconds
        while True:
            while len(self._rest) >= 9 and len(self._rest) >= 9 + (size := int.from_bytes(self._rest[:3], "big")):
                kind, flags, stream = struct.unpack("!BBI", self._rest[3:9])
                payload, self._rest = self._rest[9 : 9 + size], self._rest[9 + size :]
                if kind == SETTINGS and not flags & ACK:
                    self.send(frame(SETTINGS, ACK))
                elif kind == PING and not flags & ACK:
                    self.send(frame(PING, ACK, 0, payload))
                yield kind, flags, stream, payload
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.raw.socket.settimeout(left)
            try:
                data = self.raw.socket.recv(262144)
            except OSError:
                return
            if not data:
                return
            self._rest += data

    def greeted(self) -> None:
        """Wait for the server's own SETTINGS. :raises Broken: they do not come."""
        for kind, _flags, _stream, _payload in self.frames(10.0):
            if kind == SETTINGS:
                return
        raise Broken("no SETTINGS came")

    def ended(self, stream: int, seconds: float = 10.0) -> bytes:
        """Wait for the end of a stream. :return: the headers and data of it. :raises Broken: it does not come."""
        found = b""
        for kind, flags, number, payload in self.frames(seconds):
            if number == stream and kind in (HEADERS, DATA):
                found += payload
                if flags & END_STREAM:
                    return found
            if (number == stream and kind == RST_STREAM) or kind == GOAWAY:
                return found
        raise Broken(f"stream {stream} does not end")
