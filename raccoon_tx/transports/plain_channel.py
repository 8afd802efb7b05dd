"""What every HTTP connection begins as: plain POSTs are answered here, plain upgrades become WebSockets.

Anything else, at the first thing that differs, goes to an `EventChannel`, byte for byte as it came and for the rest of
the life of the connection. So does a request that is late, breaks off, or has come in part when the server stops.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from zope.interface import implementer  # type: ignore[import-untyped, unused-ignore]

from raccoon_tx.ingest import REASONS, Submit
from raccoon_tx.logs import Logger
from raccoon_tx.model import Client, Outcome, Reply
from raccoon_tx.transports.answers import Answers
from raccoon_tx.transports.channel import EventChannel, EventSite
from raccoon_tx.transports.deadlines import Deadlines
from raccoon_tx.transports.direct import write_now
from raccoon_tx.transports.plain import Heads, Plain
from raccoon_tx.transports.rest import BROKEN
from raccoon_tx.transports.websocket import EventSocketFactory

#: Bytes that are kept, before reading stops, of what comes behind a request that is not answered yet.
KEPT = 16 * 1024

#: What a connection is at: reading a head, or a body; handing a batch on; waiting for its answer; given away, or lost.
_HEAD, _BODY, _HANDING, _ASKED, _GONE = range(5)

_log = Logger()


class Shared(Protocol):
    """What the connections of one port share.

    :ivar site: makes the `EventChannel` of what is not plain. :ivar sockets: makes WebSockets. :ivar heads:
        understands heads. :ivar submit: like `Ingest.submit`. :ivar answers: puts answers together. :ivar idle:
        :ivar heads_due: :ivar bodies: times for having no request, for a head, and for a body.
    """

    site: EventSite
    sockets: EventSocketFactory
    heads: Heads
    submit: Submit
    answers: Answers
    idle: Deadlines
    heads_due: Deadlines
    bodies: Deadlines

    def enter(self, channel: PlainChannel) -> None:
        """A connection begins."""

    def leave(self, channel: PlainChannel) -> None:
        """A connection ends, or goes elsewhere."""

    def promises(self, start: bytes, new: bytes) -> bool:
        """Whether what has come of a head may become that of something plain. :param new: the last of it."""


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class PlainChannel:
    """One connection. There is one request under way at a time, for which it has neither a timer nor an object."""

    __slots__ = (
        "_body",
        "_client",
        "_deadlines",
        "_front",
        "_head",
        "_kept",
        "_last",
        "_leaving",
        "_paused",
        "_plain",
        "_reply",
        "_state",
        "_unread",
        "transport",
    )

    transport: Any

    def __init__(self, front: Shared) -> None:
        self._front = front
        self._state = _HEAD
        self._kept = b""  # the beginning of a head, or what came behind the request under way
        self._plain: Plain | None = None  # that request
        self._head = b""  # its head, and
        self._body: bytearray | None = None  # its body, while that comes in pieces
        self._reply: Reply | None = None  # its answer, if that is there at once
        self._client: Client | None = None
        self._deadlines = front.idle
        self._unread = False  # the client does not read what it gets
        self._paused = False  # enough is kept
        self._last = False  # the client sends no more
        self._leaving = False  # the connection ends behind the next answer

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._front.enter(self)
        self._deadlines.begin(self)
        if self._front.site.draining:
            self._to_stock()

    def connectionMade(self) -> None:
        """`makeConnection` is all there is."""

    def connectionLost(self, reason: Any) -> None:
        if self._state == _BODY:
            assert self._plain is not None
            group = self._front.site.counts.group(self._plain.identity.group)
            group.could_not_read(REASONS[Outcome.UNREADABLE])
        self._leave()

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        if self._state == _HEAD and not self._unread:
            self._read(self._kept + data if self._kept else data)
        elif self._state == _BODY:
            self._read_body(data)
        else:
            self._kept += data
            self._bound()

    def _bound(self) -> None:
        if len(self._kept) > KEPT and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _take_kept(self) -> bytes:
        kept, self._kept = self._kept, b""
        if self._paused:
            self._paused = False
            if not self._last:
                self.transport.resumeProducing()
        return kept

    def _read(self, data: bytes) -> None:
        """Serve requests as far as they have come. :param data: begins with what was kept."""
        while data:
            end = data.find(b"\r\n\r\n") + 4
            plain = self._front.heads.plain(data[:end]) if end > 3 else None
            if plain is None:
                self._something_else(data, end)
                return
            stop = end + plain.length
            if stop > len(data):
                self._plain, self._head, self._body, self._kept = plain, data[:end], bytearray(data[end:]), b""
                self._state = _BODY
                self._wait(self._front.bodies)
                return
            self._kept = data[stop:]
            self._submit(plain, data[end:stop])
            if self._state != _HEAD or self._unread:
                return
            data = self._take_kept()

    def _read_body(self, data: bytes) -> None:
        plain, body = self._plain, self._body
        assert plain is not None
        assert body is not None
        missing = plain.length - len(body)
        body += data[:missing]
        if len(data) >= missing:
            self._kept, self._head, self._body = data[missing:], b"", None
            self._submit(plain, bytes(body))
            self._go_on()

    def _something_else(self, data: bytes, end: int) -> None:
        """:param data: begins with what was kept. :param end: of the head; 3 if it has not all come."""
        new = data[len(self._kept) :]
        if end == 3 and self._front.promises(data, new):
            first, self._kept = not self._kept, data
            if first:
                self._wait(self._front.heads_due)
        elif end == 3 or self._last or self._leaving or not self._open(data, end):
            self._to_stock(new)

    def _open(self, data: bytes, end: int) -> bool:
        """Become a WebSocket, if that is what is wanted."""
        opening = self._front.heads.opening(data[:end])
        if opening is None:
            return False
        transport = self.transport
        self._leave()
        transport.unregisterProducer()
        socket = self._front.sockets.take_over(*opening, transport)
        if end < len(data):
            socket.dataReceived(data[end:])
        return True

    # Batches

    def _submit(self, plain: Plain, body: bytes) -> None:
        self._plain, self._state = plain, _HANDING
        client = self._client
        if client is None:
            client = self._client = Client(plain.identity, "rest", self.transport.getPeer().host)
        elif client.identity is not plain.identity:
            client = self._client = Client(plain.identity, "rest", client.source)
        try:
            self._front.submit(body, plain.codec, client, self._answered)
        except Exception:
            _log.failure("a request could not be served")
            if self._state == _HANDING:
                self._write(BROKEN)
            if self._state == _HEAD:
                # Whoever has the batch may still answer it, and is not to be heard here any more.
                self._to_stock()
            return
        reply, self._reply = self._reply, None
        if self._state == _GONE:
            return
        if reply is not None:
            self._write(reply)
        else:
            self._state = _ASKED
            self._bound()

    def _answered(self, reply: Reply) -> None:
        if self._state == _HANDING:
            self._reply = reply
        elif self._state == _ASKED:
            self._write(reply)
            self._go_on()

    def _write(self, reply: Reply) -> None:
        plain = self._plain
        assert plain is not None
        self._plain, self._state = None, _HEAD
        if reply.outcome is Outcome.OK and not self._leaving:
            write_now(self.transport, self._front.answers.success(plain, reply))
            self._wait(self._front.idle)
            return
        answer, self._leaving = self._front.answers.any(plain, reply, self._leaving)
        write_now(self.transport, answer)
        self._wait(self._front.idle)
        if self._leaving:
            self._kept = b""
            self._to_stock().loseConnection()

    def _go_on(self) -> None:
        """Look at what was kept, if nothing is under way."""
        if self._state != _HEAD or self._unread:
            return
        self._read(self._take_kept())
        if self._last and self._state in (_HEAD, _BODY) and not self._unread:
            self._to_stock()

    # Life and end

    def _wait(self, deadlines: Deadlines) -> None:
        if self._deadlines is not deadlines:
            self._deadlines.forget(self)
            self._deadlines = deadlines
        deadlines.begin(self)

    def late(self) -> None:
        """The time for a head or a body, or for having none, is over."""
        if self._state in (_HEAD, _BODY):
            self._to_stock().overdue()

    def readConnectionLost(self) -> None:
        if self._state in (_HANDING, _ASKED) or self._unread:
            self._last = True
        else:
            self._to_stock().readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Does not happen: we close both halves at once."""

    def expect_last(self) -> None:
        """Close behind the request that is under way, or behind the next one."""
        self._leaving = True

    def drain(self) -> None:
        """Finish the request that is under way, if there is one, and close."""
        if self._state in (_HANDING, _ASKED):
            self._leaving = True
        else:
            self._to_stock().drain()

    def forceAbortClient(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def _leave(self) -> None:
        self._state = _GONE
        self._kept, self._head, self._body, self._plain = b"", b"", None, None
        self._deadlines.forget(self)
        self._front.leave(self)

    def _to_stock(self, new: bytes = b"") -> EventChannel:
        """The connection gets an `EventChannel`, which sees what was not served as it came, and then ``new``."""
        transport = self.transport
        kept = self._head + self._body if self._body is not None else self._kept
        # What was not looked at has its time before it.
        fresh = bool(self._kept) and self._deadlines is self._front.idle
        left = self._deadlines.forget(self)
        self._leave()
        channel: Any = self._front.site.buildProtocol(None)
        transport.unregisterProducer()
        if hasattr(transport, "wrappedProtocol"):  # TLS
            transport.wrappedProtocol = channel
        else:
            transport.protocol = channel
        if (self._paused or self._unread) and not self._last:
            transport.resumeProducing()
        channel.makeConnection(transport)
        channel.resume(kept, None if fresh else left)
        if new:
            channel.dataReceived(new)
        if self._last:
            channel.end_of_input()
        return channel  # type: ignore[no-any-return]

    # Clients that do not read

    def pauseProducing(self) -> None:
        self._unread = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._unread = False
        if not self._paused and not self._last:
            self.transport.resumeProducing()
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` follows."""
