"""A WebSocket written by hand: what no library would send, and every frame that comes, as it comes."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPResponse

from attrs import define, field, frozen

from tests.integration.clients import EVENTS, HOST, ID_HEADER, TIMEOUT, Ports, Response

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: As in RFC 6455.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}

#: Header lines, in order; a name may occur twice.
Headers = Sequence[tuple[str, str]]


def exchange(port: int, sent: bytes, end: bool = False) -> Response | None:
    """Send bytes and read a response. :param end: say that no more will come. :return: None if there is none."""
    with socket.create_connection((HOST, port), TIMEOUT) as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(sent)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return read_response(connection)


def read_response(connection: socket.socket, method: str = "GET") -> Response | None:
    """Read one response. :return: None if the connection ends instead."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Response(response.status, response.headers, response.read())
    except ConnectionError:
        return None
    finally:
        response.close()


@frozen
class Frame:
    """One frame as it came."""

    opcode: int
    payload: bytes
    final: bool = True
    reserved: int = 0

    @property
    def code(self) -> int | None:
        """Of a close frame."""
        return struct.unpack_from(">H", self.payload)[0] if self.payload else None

    @property
    def text(self) -> str:
        """Of a close frame."""
        return self.payload[2:].decode()


def written(opcode: int, payload: bytes = b"", final: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """The bytes of a frame."""
    first = final << 7 | reserved << 4 | opcode
    flag = 0x80 if mask else 0
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", first, flag | length)
    elif length < 65536:
        head = struct.pack(">BBH", first, flag | 126, length)
    else:
        head = struct.pack(">BBQ", first, flag | 127, length)
    if not mask:
        return head + payload
    key = os.urandom(4)
    pad = (key * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
    return head + key + masked


@define(eq=False)
class Raw:
    """An open connection. :ivar status: :ivar headers: :ivar body: of the answer to the handshake."""

    connection: socket.socket
    status: int
    headers: Message
    body: bytes
    _rest: bytes = field(default=b"", init=False)

    def send(self, opcode: int, payload: bytes = b"", **how: bool | int) -> None:
        """Send one frame."""
        self.connection.sendall(written(opcode, payload, **how))  # type: ignore[arg-type]

    def read(self, patience: float = TIMEOUT) -> Frame | None:
        """The next frame, or None if the connection ends. :raises TimeoutError: neither."""
        deadline = time.monotonic() + patience
        while (frame := self._take()) is None:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.connection.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._rest += data
        return frame

    def _take(self) -> Frame | None:
        data = self._rest
        if len(data) < 2:
            return None
        assert not data[1] & 0x80, "a server masks nothing"
        length, start = data[1], 2
        if length == 126:
            if len(data) < 4:
                return None
            length, start = struct.unpack_from(">H", data, 2)[0], 4
        elif length == 127:
            if len(data) < 10:
                return None
            length, start = struct.unpack_from(">Q", data, 2)[0], 10
        if len(data) < start + length:
            return None
        self._rest = data[start + length :]
        return Frame(data[0] & 15, data[start : start + length], bool(data[0] & 0x80), data[0] >> 4 & 7)

    def read_but(self, *opcodes: int, patience: float = TIMEOUT) -> Frame | None:
        """The next frame that is none of these."""
        deadline = time.monotonic() + patience
        while (frame := self.read(max(0.001, deadline - time.monotonic()))) and frame.opcode in opcodes:
            pass
        return frame

    def at_hand(self) -> list[Frame]:
        """All frames that have come."""
        frames: list[Frame] = []
        try:
            while frame := self.read(0.05):
                frames.append(frame)
        except TimeoutError:
            return frames
        raise AssertionError(f"the connection has ended after {frames}")

    def until_closed(self, patience: float = TIMEOUT) -> list[Frame]:
        """All frames until the connection ends."""
        frames: list[Frame] = []
        deadline = time.monotonic() + patience
        while frame := self.read(max(0.001, deadline - time.monotonic())):
            frames.append(frame)
        return frames


def handshake(server: Ports, headers: Headers, method: str = "GET", path: str = EVENTS) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{server.http}", *(f"{name}: {text}" for name, text in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@contextmanager
def raw(
    server: Ports,
    client: str | None = None,
    *more: tuple[str, str],
    instead: dict[str, str | None] | None = None,
    path: str = EVENTS,
    method: str = "GET",
) -> Iterator[Raw]:
    """A handshake, and what comes of it. :param instead: other values of the headers of the handshake."""
    wanted: dict[str, str | None] = {**HANDSHAKE, **(instead or {})}
    headers = [(name, value) for name, value in wanted.items() if value is not None]
    if client is not None:
        headers.append((ID_HEADER, client))
    with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
        connection.sendall(handshake(server, [*headers, *more], method, path))
        yield _opened(connection)


def _opened(connection: socket.socket) -> Raw:
    """Read the head of the answer by the byte: frames may follow at once."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            raise ConnectionError(f"the connection ended after {head!r}")
        head += data
    status = int(head.split()[1])
    if status == 101:
        rest = b""
    else:
        rest = b""
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(rest) < length and (data := connection.recv(length - len(rest))):
            rest += data
    fields = Message()
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return Raw(connection, status, fields, rest)
