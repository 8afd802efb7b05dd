"""Batches as POST requests over connections that are kept."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from raccoon_tx.bench.address import Address
from raccoon_tx.bench.dial import CannotConnect, endpoint, in_words
from raccoon_tx.bench.load import LOST, Answers

#: Bytes that the head of an answer may have.
_HEAD = 16384


@implementer(IHandshakeListener)
@define(eq=False)
class Poster(Protocol):
    """One connection, with one request at a time.

    :ivar opened: fires when a request may be sent: with TLS, once both sides are content.
    :ivar status: of the last answer. :ivar retry_after: seconds that it asks to wait before trying again.
    """

    _head: bytes
    _load: Answers
    _tls: bool = False
    opened: Deferred[None] = field(init=False, factory=Deferred)
    transport: Any = field(init=False, default=None)
    _guid: str = field(init=False, default="")
    _received: bytes = field(init=False, default=b"")
    _body_at: int = field(init=False, default=0)
    _end: int = field(init=False, default=0)
    status: str = field(init=False, default="")
    retry_after: float | None = field(init=False, default=None)

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch."""
        self._guid = guid
        self.transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))

    def connectionMade(self) -> None:
        if not self._tls:
            self.opened.callback(None)

    def handshakeCompleted(self) -> None:
        self.opened.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if not self._end and not self._read_head():
            return
        if len(self._received) < self._end:
            return
        body, guid = self._received[self._body_at : self._end], self._guid
        self._received, self._end, self._guid = self._received[self._end :], 0, ""
        if not body:
            self._load.failed(guid, f"HTTP status {self.status}")
        else:
            self._load.answered(guid, body)

    def _read_head(self) -> bool:
        head, found, _ = self._received.partition(b"\r\n\r\n")
        if not found:
            if len(self._received) > _HEAD:
                self._give_up("the head of an answer is too long")
            return False
        lines = head.split(b"\r\n")
        self.status = lines[0].partition(b" ")[2].decode("latin-1")
        fields = dict(line.lower().split(b":", 1) for line in lines[1:] if b":" in line)
        length, pause = (fields.get(name, b"").strip() for name in (b"content-length", b"retry-after"))
        self.retry_after = float(pause) if pause.isdigit() else None
        if not lines[0].startswith(b"HTTP/1.1 ") or not length.isdigit():
            self._give_up("an answer that is not HTTP/1.1 with a Content-Length")
            return False
        self._body_at = len(head) + 4
        self._end = self._body_at + int(length)
        return True

    def close(self) -> None:
        """End it at once."""
        self.transport.abortConnection()

    def _give_up(self, reason: str) -> None:
        if self._guid:
            self._load.failed(self._guid, reason)
            self._guid = ""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.opened.called:
            self._load.lost(self, LOST)
        else:
            self.opened.errback(CannotConnect(in_words(reason.value)))


async def open_poster(
    reactor: Any, address: Address, ca: str | None, headers: dict[str, str], load: Answers, media_type: str
) -> Poster:
    """Connect. :raises Exception: it cannot be done."""
    lines = {"Host": address.authority, "User-Agent": "raccoon-bench", "Content-Type": media_type, **headers}
    head = f"POST {address.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    factory = Factory.forProtocol(lambda: Poster(f"{head}Content-Length: ".encode(), load, address.tls))
    factory.noisy = False
    poster: Poster = await endpoint(reactor, address, ca).connect(factory)
    await poster.opened
    return poster
