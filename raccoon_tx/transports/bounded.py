"""A WebSocket as Autobahn makes it, where it does not do as we want: its log, its timers, handshakes that were read
elsewhere, the ends of connections, and clients that do not read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import frozen
from autobahn.twisted.websocket import WebSocketServerProtocol

from raccoon_tx.codec import JSON, PROTOBUF, Codec
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.transports import deflate
from raccoon_tx.transports.upgrade import Handshake

#: What a ping carries, as in the server that this one replaces.
PING = b"--ping--"

#: Seconds that a peer gets to answer a close frame.
CLOSE_TIMEOUT = 1.0

#: Bytes that the text of a close frame may have (RFC 6455, section 5.5).
LONGEST_CLOSE_TEXT = 123

#: Fragments that a message may have, however small; and bytes that each one more has to have.
FRAGMENTS, SMALLEST = 1024, 32

#: What a client hears that sends more of them.
TOO_MANY_FRAGMENTS = 1008, "too many small fragments"

#: Subprotocols that we know, and their encodings.
SUBPROTOCOLS: dict[str, Codec] = {"raccoon.json.v1": JSON, "raccoon.proto.v1": PROTOBUF}

_log = Logger()


class Quiet:
    """Autobahn's own log. It has a line for every frame and for every client that breaks the protocol; what is
    worth a line of ours is said by us."""

    def _nothing(self, *_args: Any, **_values: Any) -> None:
        pass

    trace = debug = info = warn = _nothing

    def error(self, message: str, **values: Any) -> None:
        _log.error("WebSocket library: " + message, **values)

    critical = error


@frozen
class Timers:
    """Autobahn's timers, by our clock. Its own are on the global reactor, and up to a second early."""

    call_later: Callable[..., Any]


def close_text(text: str) -> str:
    """``text`` cut, at a character, to what fits into a close frame."""
    return text.encode("utf-8")[:LONGEST_CLOSE_TEXT].decode("utf-8", "ignore")


def first_codec(subprotocol: str | None) -> Codec:
    """What a client is told in before it has sent anything."""
    return SUBPROTOCOLS[subprotocol] if subprotocol else PROTOBUF


def chosen(offered: Sequence[str]) -> str | None:
    """The first subprotocol that we know. Others carry values, which are not for echoing, or mean nothing to us."""
    return next((name for name in offered if name in SUBPROTOCOLS), None)


class Bounds(Protocol):
    """What the connections of one port share.

    :ivar clock: the reactor. :ivar counts: what is counted. :ivar limit: bytes of a message. :ivar write_wait: seconds,
        and :ivar write_buffer_limit: bytes, that a client gets which does not read. :ivar compression: compressed
        messages are taken.
    """

    clock: Any
    counts: Counts
    limit: int
    write_wait: float
    write_buffer_limit: int
    compression: bool


class BoundedSocket(WebSocketServerProtocol):
    """A WebSocket that stores so much, and waits so long, for a client that does not read.

    :ivar handshake: as it was checked, in `raccoon_tx.transports.upgrade`. :ivar subprotocol: that was agreed upon.
    """

    factory: Bounds
    transport: Any
    log = Quiet()

    # What Autobahn would have found in a handshake.
    websocket_version = 13
    websocket_extensions: list[Any] = []

    def __init__(self, handshake: Handshake, counts: GroupCounts) -> None:
        super().__init__()
        self.subprotocol = chosen(handshake.offered)
        self._handshake = handshake
        self._counts = counts
        self._unread: int | None = None
        self._write_deadline: Any = None
        self._unwritten_pings = 0
        self._unwritten_pongs = 0
        self._fragments = 0

    def connectionMade(self) -> None:
        # Autobahn would look into the client's certificate, older releases in a way that newer pyOpenSSL does not know,
        # and put its name together for log lines that nobody gets.
        self.peer = ""
        self._connectionMade()

    def open(self) -> None:
        """Answer the handshake, which has been read and checked, and begin."""
        # Any key that is not blank is good enough.
        self._wskey = self._handshake.key
        self.websocket_protocols = [self.subprotocol] if self.subprotocol else []
        headers = {}
        if self.factory.compression and self._handshake.extensions:
            accepted = deflate.accept(self._parseExtensionsHeader(self._handshake.extensions))
            if accepted is not None:
                headers["Sec-WebSocket-Extensions"] = accepted.get_extension_string()
                self._inflate(deflate.Inflater.create_from_offer_accept(True, accepted))
        self.succeedHandshake((self.subprotocol, headers))

    def _inflate(self, inflater: Any) -> None:
        limit = self.factory.limit
        inflater.limit = limit
        inflater.too_large = lambda: self._max_message_size_exceeded(limit + 1, limit, "")
        inflater.corrupt = self._invalid_payload
        self._perMessageCompress = inflater

    def onMessageBegin(self, isBinary: bool) -> None:
        super().onMessageBegin(isBinary)
        self._fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments > FRAGMENTS + self.message_data_total_length // SMALLEST and not self.failedByMe:
            self._fail_connection(*TOO_MANY_FRAGMENTS)

    def onMessageFrameData(self, payload: bytes) -> None:
        if payload:
            super().onMessageFrameData(payload)

    # The end

    def close(self, code: int, text: str) -> None:
        """Say goodbye, if that has not been said. Autobahn's sendClose() keeps most codes to itself."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=close_text(text).encode("utf-8"))

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        # A client's close frame is answered with its code alone.
        super().sendCloseFrame(code=code, reasonUtf8=None if isReply else reasonUtf8, isReply=isReply)

    def abort(self) -> None:
        """Close at once. `onClose` follows; Autobahn, which may be in the middle of writing, gets to know then."""
        self.transport.abortConnection()

    def dropConnection(self, abort: bool = False) -> None:
        # Autobahn aborts when it sees a close frame after its own, and cuts off what it has just written: after a
        # violation of the protocol that is its own. Instead, what is left gets the time that a slow reader gets.
        super().dropConnection(abort=False)
        self._limit_writing()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        closing: Any = self.closeHandshakeTimeoutCall
        if closing is not None:
            closing.cancel()
        self._counts.ping_failures += self._unwritten_pings
        self._counts.pong_failures += self._unwritten_pongs
        self.resumeProducing()

    # Clients that do not read. The transport tells us of them: IPushProducer. Reading goes on meanwhile, or pings
    # would be missed.

    def sendPing(self, payload: bytes | None = None) -> None:
        super().sendPing(payload)
        if self._unread is not None and self.state == self.STATE_OPEN:
            self._unwritten_pings += 1

    def sendPong(self, payload: bytes | None = None) -> None:
        super().sendPong(payload)
        if self._unread is not None and self.state == self.STATE_OPEN:
            self._unwritten_pongs += 1

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self._unread is not None:
            self._unread += len(data)
            if self._unread > self.factory.write_buffer_limit:
                self.abort()
                return
        super().sendData(data, sync, chopsize)

    def pauseProducing(self) -> None:
        """The peer does not read what we send: it gets some time, and some buffer, to catch up."""
        if self._unread is None:
            self._unread = 0
            self._limit_writing()

    def resumeProducing(self) -> None:
        """The peer has read everything, or has gone."""
        self._unread = None
        self._unwritten_pings = self._unwritten_pongs = 0
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def stopProducing(self) -> None:
        """The connection is lost; `onClose` follows."""

    def _limit_writing(self) -> None:
        if self._write_deadline is None:
            self._write_deadline = self.factory.clock.callLater(self.factory.write_wait, self._too_slow)

    def _too_slow(self) -> None:
        self._write_deadline = None
        if self.state != self.STATE_OPEN:
            self.factory.counts.close_errors += 1  # it was closed in due form, but does not take that
        self.abort()
