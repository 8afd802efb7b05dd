"""Autobahn frames <-> `Ingest.submit`: contract section 5."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

from attrs import frozen
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.logger import Logger

from raccoon_tx.codec import JSON, PROTOBUF, Codec
from raccoon_tx.ingest import Submit
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.model import Answer, Client, Draining, Identity, Outcome, Refused, Reply, Saturated
from raccoon_tx.settings import LimitSettings, WebSocketSettings
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.upgrade import Handshake

GOING_AWAY, POLICY_VIOLATION, INTERNAL_ERROR = 1001, 1008, 1011

#: What a ping carries, as in the server that this one replaces.
PING = b"--ping--"

#: Seconds that a peer gets to answer a close frame.
CLOSE_TIMEOUT = 1.0

#: Bytes that the text of a close frame may have (RFC 6455, section 5.5).
LONGEST_CLOSE_TEXT = 123

_SHUTTING_DOWN = "shutting down, send it again on a new connection"
_TOO_MANY = "overloaded: too many unanswered batches on this connection"

_log = Logger()


class _Quiet:
    """Autobahn's own log. It has a line for every frame and for every client that breaks the protocol; what is
    worth a line of ours is said by us."""

    def _nothing(self, *_args: Any, **_values: Any) -> None:
        pass

    trace = debug = info = warn = _nothing

    def error(self, message: str, **values: Any) -> None:
        _log.error("WebSocket library: " + message, **values)

    critical = error


@frozen
class _Timer:
    """Autobahn's timers, by our clock. Its own are on the global reactor, and up to a second early."""

    call_later: Callable[..., Any]


def close_text(text: str) -> str:
    """``text`` cut, at a character, to what fits into a close frame."""
    return text.encode("utf-8")[:LONGEST_CLOSE_TEXT].decode("utf-8", "ignore")


class EventSocket(WebSocketServerProtocol):
    """One connection. The handshake was checked before, in `raccoon_tx.transports.upgrade`.

    :ivar client: who it is. :ivar handshake: as it was checked.
    """

    factory: EventSocketFactory
    transport: Any
    log = _Quiet()

    def __init__(self, client: Client, handshake: Handshake, counts: GroupCounts) -> None:
        super().__init__()
        self.client = client
        self.last_heard = 0.0
        self._handshake = handshake
        self._counts = counts
        self._opened = 0.0
        self._slot: int | None = None
        self._unanswered = 0
        self._draining = False
        self._given_up = False
        self._unread: int | None = None
        self._write_deadline: Any = None

    def succeedHandshake(self, res: Any) -> None:
        # Any key that is not blank is good enough; Autobahn was shown one of the usual form.
        self._wskey = self._handshake.key
        super().succeedHandshake(res)

    def onOpen(self) -> None:
        refusal = self.factory.connections.admit(self.client.identity)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._counts.connected += 1
        self._counts.open += 1
        self._opened = self.last_heard = self.factory.clock.seconds()
        self._slot = self.factory.keepalive.add(self)
        self.factory.open.add(self)
        self.transport.registerProducer(self, True)

    def _refuse(self, refusal: Reply) -> None:
        duplicate = refusal.outcome is Outcome.DUPLICATE_CONNECTION
        self._counts.refuse("exists" if duplicate else "serverlimit")
        text = f"duplicate connection: {self.client.identity.id}" if duplicate else "Max connection reached"
        self._send_reply(PROTOBUF, True, refusal)
        self._close(POLICY_VIOLATION, close_text(text))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self._slot is not None:
            self.factory.keepalive.remove(self, self._slot)
            self.factory.connections.release(self.client.identity)
            self._counts.open -= 1
            self._counts.sessions.observe((self.factory.clock.seconds() - self._opened) * 1000)
            self._count_end(code)
            self.factory.open.discard(self)
            self._slot = None
        closing: Any = self.closeHandshakeTimeoutCall
        if closing is not None:
            closing.cancel()
        self.resumeProducing()

    def _count_end(self, code: int | None) -> None:
        # An orderly end is no failure (contract section 12.1).
        if self._given_up:
            self._counts.could_not_read("unknown")
        elif code in (None, 1005, 1006) and not self._draining:
            self._counts.could_not_read("closeerror")
        elif code not in (None, 1000, 1001, 1005, 1006):
            self._counts.could_not_read("unknown")

    def dataReceived(self, data: bytes) -> None:
        self.last_heard = self.factory.clock.seconds()
        super().dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN or self._slot is None:
            return
        codec: Codec = PROTOBUF if isBinary else JSON
        answer = partial(self._answer, codec, isBinary)
        self._unanswered += 1
        try:
            if self._draining:
                self._turn_away(payload, codec, Draining(_SHUTTING_DOWN, retry_after=1.0), answer)
            elif self._unanswered > self.factory.max_in_flight:
                self._turn_away(payload, codec, Saturated(_TOO_MANY, retry_after=1.0), answer)
            else:
                self.factory.submit(payload, codec, self.client, answer)
        except Exception:
            _log.failure("a batch could not be taken")
            self._close(INTERNAL_ERROR, "internal error")

    def _turn_away(self, payload: bytes, codec: Codec, refusal: Refused, answer: Answer) -> None:
        # Clients find their batch by its guid, which has to be read all the same.
        try:
            guid = codec.decode(payload).guid
        except Refused as mistake:
            answer(mistake.reply())
        else:
            answer(refusal.reply(guid))

    def _answer(self, codec: Codec, binary: bool, reply: Reply) -> None:
        self._unanswered -= 1
        if reply.outcome is Outcome.MALFORMED:
            reply = Reply(reply.outcome, reply.guid, f"cannot deserialize request: {reply.reason}", reply.extra)
        self._send_reply(codec, binary, reply)
        if self._draining and not self._unanswered:
            self._say_goodbye()

    def _send_reply(self, codec: Codec, binary: bool, reply: Reply) -> None:
        if self.state == self.STATE_OPEN:
            # sendMessage() would hold the answer against the limit for what comes in; a long guid makes it longer.
            self.sendFrame(2 if binary else 1, codec.encode(reply, int(time())))

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        text = f"too large: a message may have at most {self.factory.limit} bytes"
        if self.state == self.STATE_OPEN:
            codec: Codec = PROTOBUF if self.message_is_binary else JSON
            reply = Reply(Outcome.TOO_LARGE, "", text, {"retryable": "false"})
            self._send_reply(codec, self.message_is_binary, reply)
        super()._max_message_size_exceeded(msg_size, max_msg_size, text)

    def _close(self, code: int, text: str) -> None:
        # Autobahn's sendClose() keeps these codes to itself.
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=text.encode("utf-8"))

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        # A client's close frame is answered with its code alone.
        super().sendCloseFrame(code=code, reasonUtf8=None if isReply else reasonUtf8, isReply=isReply)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.sendPing(PING)

    def give_up(self) -> None:
        """There was no sign of life: say so, and close."""
        self._given_up = True
        self._close(GOING_AWAY, "no sign of life")

    def drain(self) -> None:
        """Answer what was received, take no more, and close."""
        self._draining = True
        if not self._unanswered:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self._close(GOING_AWAY, "server shutting down")

    def abort(self) -> None:
        """Close at once. `onClose` follows; Autobahn, which may be in the middle of writing, gets to know then."""
        self.transport.abortConnection()

    def dropConnection(self, abort: bool = False) -> None:
        # Autobahn aborts when it sees a close frame after its own, and cuts off what it has just written: after a
        # violation of the protocol that is its own. Instead, what is left gets the time that a slow reader gets.
        super().dropConnection(abort=False)
        self._limit_writing()

    def onMessageFrameData(self, payload: bytes) -> None:
        if payload:  # nothing limits the number of empty fragments
            super().onMessageFrameData(payload)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self._unread is not None:
            self._unread += len(data)
            if self._unread > self.factory.write_buffer_limit:
                self.abort()
                return
        super().sendData(data, sync, chopsize)

    # The transport tells us when the peer is slow to read: IPushProducer. Reading goes on meanwhile, or pings would
    # be missed.

    def pauseProducing(self) -> None:
        """The peer does not read what we send: it gets some time, and some buffer, to catch up."""
        if self._unread is None:
            self._unread = 0
            self._limit_writing()

    def resumeProducing(self) -> None:
        """The peer has read everything, or has gone."""
        self._unread = None
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
        self.abort()


class EventSocketFactory(WebSocketServerFactory):
    """Makes the connections, and has what they share.

    :ivar submit: like `Ingest.submit`. :ivar connections: who is let in. :ivar open: those who were.
    :ivar counts: what is counted. :ivar guids: makes the memory of a connection for its batches, if it has one.
    """

    log = _Quiet()

    def __init__(
        self,
        submit: Submit,
        connections: Connections,
        keepalive: KeepAlive,
        settings: WebSocketSettings,
        limits: LimitSettings,
        clock: Any,
        counts: Counts,
        guids: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(reactor=clock, server="")
        self._batched_timer = _Timer(clock.callLater)
        self.submit = submit
        self.connections = connections
        self.keepalive = keepalive
        self.clock = clock
        self.counts = counts
        self._guids = guids
        self.open: set[EventSocket] = set()
        self.max_in_flight = settings.max_in_flight
        self.write_wait = settings.write_wait
        self.write_buffer_limit = settings.write_buffer_limit
        self.limit = limits.body
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxMessagePayloadSize=limits.body,
            failByDrop=False,
            echoCloseCodeReason=True,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            openHandshakeTimeout=0,
            tcpNoDelay=True,
        )

    def take_over(self, identity: Identity, handshake: Handshake, transport: Any) -> EventSocket:
        """Make a connection of a transport whose handshake has been read and checked."""
        client = Client(identity, "websocket", guids=self._guids())
        socket = EventSocket(client, handshake, self.counts.group(identity.group))
        client.source = f"connection {id(socket)}"
        socket.factory = self
        if hasattr(transport, "wrappedProtocol"):  # TLS
            transport.wrappedProtocol = socket
        else:
            transport.protocol = socket
        socket.makeConnection(transport)
        socket.dataReceived(_HANDSHAKE)
        return socket


#: Stands for every handshake: what counts in the real one has been looked at before.
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
