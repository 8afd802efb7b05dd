"""WebSocket messages <-> `Ingest.submit`: contract section 5."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory

from raccoon_tx.codec import JSON, PROTOBUF, Codec
from raccoon_tx.ingest import Submit
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.model import Ack, Answer, Client, Draining, Identity, Outcome, Refused, Reply, Saturated
from raccoon_tx.settings import LimitSettings, WebSocketSettings
from raccoon_tx.transports.admission import Admission, Admits
from raccoon_tx.transports.bounded import CLOSE_TIMEOUT, Quiet, Timers, first_codec
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.frames import FramedSocket
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.upgrade import Handshake

GOING_AWAY, POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1008, 1011, 1013

#: Replies from the publisher: what `event_rtt_ms` and `ack_event_rtt_ms` are about.
_PUBLISHED = (Outcome.OK, Outcome.FAILED)

_SHUTTING_DOWN = "shutting down, send it again on a new connection"
_TOO_MANY = "overloaded: too many unanswered batches on this connection"

_log = Logger()


class EventSocket(FramedSocket):
    """One connection. The handshake was checked before, in `raccoon_tx.transports.upgrade`.

    :ivar client: who it is. :ivar last_heard: when its last bytes came.
    """

    factory: EventSocketFactory

    def __init__(self, client: Client, handshake: Handshake, counts: GroupCounts) -> None:
        super().__init__(handshake, counts)
        self.client = client
        self.last_heard = 0.0
        self._opened = 0.0
        self._slot: int | None = None
        self._unanswered = 0
        self._draining = False
        self._given_up = False
        self._replaced = False
        self._asked = False
        self._held: list[tuple[bytes, Codec, Answer]] | None = None
        self._held_bytes = 0
        self._early: bytearray | None = None

    # Admission

    @property
    def identity(self) -> Identity:
        return self.client.identity

    def onOpen(self) -> None:
        self.last_heard = self.factory.clock.seconds()
        self.factory.admission.enter(self)

    def let_in(self) -> None:
        self._counts.connected += 1
        self._counts.open += 1
        self._opened = self.factory.clock.seconds()
        self._slot = self.factory.keepalive.add(self)
        if self not in self.factory.open:
            self._stay()
        self._take_held()
        self._read_on()

    def pause(self) -> None:
        self._early = bytearray()
        self._stay()
        self.transport.pauseProducing()

    def _read_on(self) -> None:
        early, self._early = self._early, None
        if early is not None:
            self.transport.resumeProducing()
            if early:
                self.dataReceived(bytes(early))

    def wait(self) -> None:
        self._held = []
        if self not in self.factory.open:
            self._stay()
        self._read_on()

    def _stay(self) -> None:
        self.factory.open.add(self)
        self.transport.registerProducer(self, True)

    def refuse(self, refusal: Reply) -> None:
        self._held = None
        self.factory.open.discard(self)
        duplicate = refusal.outcome is Outcome.DUPLICATE_CONNECTION
        self._counts.refuse("exists" if duplicate else "serverlimit")
        codec = first_codec(self.subprotocol)
        self._send_reply(codec, codec is PROTOBUF, refusal)
        if refusal.outcome is Outcome.UNAVAILABLE:
            self.close(TRY_AGAIN_LATER, "try again later")
        else:
            text = f"duplicate connection: {self.identity.id}" if duplicate else "Max connection reached"
            self.close(POLICY_VIOLATION, text)
        self._read_on()

    def replaced(self) -> None:
        self._replaced = True
        self.close(POLICY_VIOLATION, "replaced by a new connection of this client")

    def ask(self) -> None:
        self._asked = True
        self.ping()

    def give_way(self) -> None:
        self._given_up = True
        self.abort()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self._slot is not None:
            self.factory.keepalive.remove(self, self._slot)
            self._counts.open -= 1
            self._counts.sessions.observe((self.factory.clock.seconds() - self._opened) * 1000)
            self._count_end(code)
        if self._slot is not None or self._held is not None or self._early is not None:
            self._slot = self._held = self._early = None
            self.factory.admission.leave(self)
        self.factory.open.discard(self)
        super().onClose(wasClean, code, reason)

    def _count_end(self, code: int | None) -> None:
        # An orderly end is no failure (contract section 12.1).
        if self._given_up:
            self._counts.could_not_read("unknown")
        elif self._replaced:
            pass
        elif code in (None, 1005, 1006) and not self._draining:
            self._counts.could_not_read("closeerror")
        elif code not in (None, 1000, 1001, 1005, 1006):
            self._counts.could_not_read("unknown")

    # Messages

    def dataReceived(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
        self.last_heard = self.factory.clock.seconds()
        super().dataReceived(data)
        if self._asked and self.state == self.STATE_OPEN:
            self._asked = False
            self.factory.admission.heard(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        codec: Codec = PROTOBUF if isBinary else JSON
        answer = partial(self._answer, codec, isBinary, self.last_heard)
        self._unanswered += 1
        if self._held is None:
            self._take(payload, codec, answer)
        else:
            self._hold(payload, codec, answer)

    def _take(self, payload: bytes, codec: Codec, answer: Answer) -> None:
        try:
            if self._draining:
                self._turn_away(payload, codec, Draining(_SHUTTING_DOWN, retry_after=1.0), answer)
            elif self._unanswered > self.factory.max_in_flight:
                self._turn_away(payload, codec, Saturated(_TOO_MANY, retry_after=1.0), answer)
            else:
                self.factory.submit(payload, codec, self.client, answer)
        except Exception:
            _log.failure("a batch could not be taken")
            self.close(INTERNAL_ERROR, "internal error")

    def _turn_away(self, payload: bytes, codec: Codec, refusal: Refused, answer: Answer) -> None:
        # Clients find their batch by its guid, which has to be read all the same.
        try:
            guid = codec.decode(payload).guid
        except Refused as mistake:
            answer(mistake.reply())
        else:
            answer(refusal.reply(guid))

    def _hold(self, payload: bytes, codec: Codec, answer: Answer) -> None:
        """Keep a message until the connection is let in: as many as may be unanswered, and no more bytes together than
        one of them may have."""
        assert self._held is not None
        size = self._held_bytes + len(payload)
        if self._unanswered > self.factory.max_in_flight or size > self.factory.limit:
            self._turn_away(payload, codec, Saturated(_TOO_MANY, retry_after=1.0), answer)
        else:
            self._held.append((payload, codec, answer))
            self._held_bytes = size

    def _take_held(self) -> None:
        held, self._held = self._held, None
        for each in held or ():
            self._take(*each)

    def _answer(self, codec: Codec, binary: bool, received: float, reply: Reply) -> None:
        self._unanswered -= 1
        if reply.outcome is Outcome.MALFORMED:
            reply = Reply(reply.outcome, reply.guid, f"cannot deserialize request: {reply.reason}", reply.extra)
        if self.factory.timed and reply.outcome in _PUBLISHED and self.state == self.STATE_OPEN:
            self._send_timed(codec, binary, received, reply)
        else:
            self._send_reply(codec, binary, reply)
        if self._draining and not self._unanswered:
            self._say_goodbye()

    def _send_timed(self, codec: Codec, binary: bool, received: float, reply: Reply) -> None:
        seconds, counts = self.factory.clock.seconds, self.factory.counts
        called = seconds()
        self._send_reply(codec, binary, reply)
        written = seconds()
        counts.acked.observe((written - called) * 1000)
        counts.answered.observe((written - received) * 1000)

    def _send_reply(self, codec: Codec, binary: bool, reply: Reply) -> None:
        if self.state == self.STATE_OPEN:
            # Autobahn's sendMessage() would hold it against the limit for what comes in; a long guid makes it longer.
            self.send_message(codec.encode(reply, int(time())), binary)

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        text = f"too large: a message may have at most {self.factory.limit} bytes"
        if self.state == self.STATE_OPEN:
            codec: Codec = PROTOBUF if self.message_is_binary else JSON
            reply = Reply(Outcome.TOO_LARGE, "", text, {"retryable": "false"})
            self._send_reply(codec, self.message_is_binary, reply)
        super()._max_message_size_exceeded(msg_size, max_msg_size, text)

    # Life and end

    def give_up(self) -> None:
        """There was no sign of life: say so, and close."""
        self._given_up = True
        self.close(GOING_AWAY, "no sign of life")

    def drain(self) -> None:
        """Answer what was received, take no more, and close."""
        self._draining = True
        if self._held is not None or self._early is not None:
            self.factory.admission.leave(self)
            self._take_held()
            self._read_on()
        if not self._unanswered:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self.close(GOING_AWAY, "server shutting down")


class EventSocketFactory(WebSocketServerFactory):
    """Makes the connections, and has what they share.

    :ivar submit: like `Ingest.submit`. :ivar connections: those that were let in. :ivar open: those that are to be
        closed in due form at the end, which may be waiting to be let in. :ivar counts: what is counted.
    :ivar guids: makes the memory of a connection for its batches, if it has one. :ivar ack: when batches are answered.
    :ivar lane: see `raccoon_tx.transports.frames.FramedSocket`.
    """

    log = Quiet()

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
        ack: Ack = Ack.ACCEPTED,
        lane: bool = True,
    ) -> None:
        super().__init__(reactor=clock, server="")
        self._batched_timer = Timers(clock.callLater)
        self.submit = submit
        self.admission: Admits = Admission(connections, settings.duplicate_policy, clock)
        self.keepalive = keepalive
        self.clock = clock
        self.counts = counts
        self.timed = ack is Ack.DELIVERED
        self._guids = guids
        self.open: set[EventSocket] = set()
        self.max_in_flight = settings.max_in_flight
        self.write_wait = settings.write_wait
        self.write_buffer_limit = settings.write_buffer_limit
        self.compression = settings.compression
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
        # Autobahn copies its options to each connection, and prints them for a log line that nobody gets.
        options = {name: getattr(self, name) for name in EventSocket.CONFIG_ATTRS}
        shared = {**options, "CONFIG_ATTRS": (), "factory": self, "lane": lane}
        self._socket: type[EventSocket] = type("EventSocket", (EventSocket,), shared)

    def take_over(self, identity: Identity, handshake: Handshake, transport: Any) -> EventSocket:
        """Make a connection of a transport whose handshake has been read and checked."""
        client = Client(identity, "websocket", guids=self._guids())
        socket = self._socket(client, handshake, self.counts.group(identity.group))
        client.source = f"connection {id(socket)}"
        if hasattr(transport, "wrappedProtocol"):  # TLS
            transport.wrappedProtocol = socket
        else:
            transport.protocol = socket
        socket.makeConnection(transport)
        socket.open()
        return socket
