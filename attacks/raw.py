"""A connection by an attacker, who says what he likes."""

from __future__ import annotations

import re
import socket
import time
from types import TracebackType

from attacks.attack import Broken, require
from tests.wire import frame

#: A batch in JSON without events, which every server answers with success.
BATCH = b'{"req_guid":"1"}'

EVENTS = b"/api/v1/events"

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def post(*lines: bytes, body: bytes = BATCH, length: bool = True, host: bool = True) -> bytes:
    """A POST of a batch, with further header lines."""
    head = [b"POST %b HTTP/1.1" % EVENTS, *([b"Host: x"] if host else []), b"Content-Type: application/json"]
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, *lines, b"", b""]) + body


def handshake(*lines: bytes, client: bytes = b"") -> bytes:
    """An upgrade to WebSocket, with further header lines. :param client: its id, if it has one."""
    head = [
        b"GET %b HTTP/1.1" % EVENTS,
        b"Host: x",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([b"X-User-ID: " + client] if client else []),
        *lines,
    ]
    return b"\r\n".join([*head, b"", b""])


class Raw:
    """One connection. It is reset when it is left, so that nothing of it stays behind.

    :ivar opened: when. :ivar received: all that came.
    """

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.opened = time.monotonic()
        self.received = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """:return: whether it went, all of it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def read(self, seconds: float, until: bytes | None = None) -> bool:
        """Take what comes, for at most so long. :param until: this has come. :return: whether the server closed."""
        deadline = time.monotonic() + seconds
        while until is None or until not in self.received:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self.received += data
        return False

    @property
    def statuses(self) -> list[int]:
        """Of all HTTP answers that came."""
        return [int(found) for found in _STATUS.findall(self.received)]

    def require_closed(self, seconds: float) -> float:
        """:return: seconds that it was open. :raises Broken: the server does not close it within so many from now."""
        require(self.read(seconds), f"still open after {time.monotonic() - self.opened:.0f} s")
        return time.monotonic() - self.opened

    def require_answer(self, *statuses: int, seconds: float = 5.0) -> None:
        """:raises Broken: the one answer is not one of these. The head of it has to come in time."""
        self.read(seconds, b"\r\n\r\n")
        if len(self.statuses) != 1 or self.statuses[0] not in statuses:
            raise Broken(f"answered {self.statuses or self.received[:100]!r}, not {' or '.join(map(str, statuses))}")

    def open_websocket(self, *lines: bytes, client: bytes = b"") -> None:
        """:raises Broken: it is not let in."""
        self.send(handshake(*lines, client=client))
        self.read(10.0, b"\r\n\r\n")
        require(self.received.startswith(b"HTTP/1.1 101 "), f"not let in: {self.received[:100]!r}")
        self.received = self.received.partition(b"\r\n\r\n")[2]

    def close_code(self, seconds: float) -> int | None:
        """Wait for the end of a WebSocket. :return: the code of the close frame, if there is one.
        :raises Broken: the end does not come."""
        self.require_closed(seconds)
        data = self.received
        while len(data) >= 2:
            opcode, size, start = data[0] & 15, data[1] & 127, 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            payload, data = data[start : start + size], data[start + size :]
            if opcode == 8:
                return int.from_bytes(payload[:2], "big") if payload else None
        return None


__all__ = ["BATCH", "EVENTS", "Raw", "frame", "handshake", "post"]
