"""Clients without sockets, for the tests of the transports.

`Loop` is a reactor in which only time passes. `Wire` is Twisted's own transport, buffers and producers included, with
the socket taken out of it; so what a client `received` is what a real one would have, and an aborted connection loses
what was not sent yet. `House` is the front door with everything behind it, up to a publisher that a test plays.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import define, field, frozen
from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from raccoon_tx.dedup import Guids
from raccoon_tx.delivery import Delivery
from raccoon_tx.ingest import Ingest, Submit
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.model import Ack, Batch, Identity, Outcome, Refused, Reply
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.routing import Routes
from raccoon_tx.settings import CorsSettings, DedupSettings, IdentitySettings, LimitSettings, WebSocketSettings
from raccoon_tx.transports import answers, channel, rest, rpc, websocket
from raccoon_tx.transports.channel import EventSite
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.front import FrontFactory
from raccoon_tx.transports.health import Health, Part
from raccoon_tx.transports.http import HttpFront, upgrade
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.plain import Heads
from raccoon_tx.transports.rest import RestApi
from raccoon_tx.transports.upgrade import nobody_else
from raccoon_tx.transports.websocket import EventSocketFactory

#: The wall clock of the tests, in Unix seconds.
NOW = 1638155915

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

JSON_BATCH = b'{"req_guid":"1234","events":[{"event_bytes":"ZXZlbnRfMQ==","type":"type_a"}]}'
JSON_OK = b'{"status":1,"code":1,"sent_time":1638155915,"data":{"req_guid":"1234"}}'
#: ``req_guid`` "1234", one event "event_1" of "type_a".
PROTO_BATCH = b"\n\x041234\x1a\x11\n\x07event_1\x12\x06type_a"
#: ``status`` 1, ``code`` 1, ``sent_time`` 1638155915, ``data`` ``req_guid`` "1234".
PROTO_OK = b"\x08\x01\x10\x01\x18\x8b\x8d\x91\x8d\x06*\x10\n\x08req_guid\x12\x041234"


class Loop(Clock):
    """A reactor: time passes when a test says so, and each wire is served at once."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[Wire, None] = {}
        self._writers: dict[Wire, None] = {}
        self.ports: list[Port] = []

    def addReader(self, wire: Wire) -> None:
        self._readers[wire] = None

    def removeReader(self, wire: Wire) -> None:
        self._readers.pop(wire, None)

    def addWriter(self, wire: Wire) -> None:
        self._writers[wire] = None

    def removeWriter(self, wire: Wire) -> None:
        self._writers.pop(wire, None)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        self.ports.append(Port(port or 40000, factory, backlog, interface))
        return self.ports[-1]

    def spin(self) -> None:
        """Serve the wires until there is nothing to do at this moment."""
        busy = True
        while busy:
            busy = False
            self.advance(0)
            for wire in [*self._readers, *self._writers]:
                busy = wire.serve(wire in self._readers, wire in self._writers) or busy

    def run(self, seconds: float, step: float = 0.01) -> None:
        """Let time pass in small steps."""
        end = self.seconds() + seconds
        while self.seconds() < end - step / 2:
            self.advance(step)
            self.spin()


@define
class Port:
    """A listening port. :ivar stopping: what closing it waits for."""

    number: int
    factory: Any
    backlog: int
    interface: str
    stopping: Any = None
    listening: bool = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self.interface, self.number)

    def stopListening(self) -> Any:
        self.listening = False
        return self.stopping


@implementer(ITCPTransport)
class Wire(FileDescriptor):
    """A connection, seen from the server.

    :ivar read_by_peer: what the client has read. :ivar blocked: the client reads nothing. :ivar reset: the connection
        was aborted. :ivar closed: it has ended.
    """

    def __init__(self, loop: Any, protocol: Any) -> None:
        super().__init__(loop)
        self.protocol = protocol
        self.connected = 1
        self.read_by_peer = bytearray()
        self.blocked = False
        self.reset = False
        self.closed = False
        self.coming: deque[bytes] = deque()
        self.end: Exception | None = None
        self._aborted = False

    def serve(self, readable: bool, writable: bool) -> bool:
        """:return: whether anything was done."""
        why: Any = None
        if writable and not self.blocked and not self._aborted:
            why = self.doWrite()
        elif readable and not self._aborted and self.coming:
            self.protocol.dataReceived(self.coming.popleft())
        elif readable and not self._aborted and self.end is not None:
            self.stopReading()
            half = IHalfCloseableProtocol(self.protocol, None)
            if half is None or self.end is not main.CONNECTION_DONE:
                why = self.end
            else:
                half.readConnectionLost()
        else:
            return False
        if why is not None:
            self.connectionLost(Failure(why))
        return True

    def writeSomeData(self, data: bytes) -> int:
        self.read_by_peer += data
        return len(data)

    def abortConnection(self) -> None:
        if not self._aborted and not self.closed:
            self._aborted = True
            self.stopReading()
            self.stopWriting()
            self.reactor.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        if not self.closed:
            self.closed = True
            self.reset = reason.check(ConnectionAborted) is not None
            super().connectionLost(reason)
            self.protocol.connectionLost(reason)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 8080)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def loseWriteConnection(self) -> None:
        raise NotImplementedError

    def getTcpNoDelay(self) -> bool:
        raise NotImplementedError

    def getTcpKeepAlive(self) -> bool:
        raise NotImplementedError

    def setTcpKeepAlive(self, enabled: bool) -> None:
        raise NotImplementedError


class Client:
    """One client. Whatever it does, the server gets to see it before the call returns."""

    def __init__(self, loop: Loop, factory: Any) -> None:
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 50000))
        self.loop = loop
        self.wire = Wire(loop, protocol)
        self._seen = 0
        protocol.makeConnection(self.wire)
        self.wire.startReading()
        loop.spin()

    def send(self, *segments: bytes) -> None:
        """Send each of the segments, and see each arrive before the next."""
        for segment in segments:
            for start in range(0, len(segment), 65536):
                self.wire.coming.append(segment[start : start + 65536])
            self.loop.spin()

    def received(self) -> bytes:
        """What came since the last call."""
        start, self._seen = self._seen, len(self.wire.read_by_peer)
        return bytes(self.wire.read_by_peer[start:])

    def hang_up(self) -> None:
        """Send nothing more: close the connection in the ordinary way, or half of it, which look alike."""
        self.wire.end = main.CONNECTION_DONE
        self.loop.spin()

    def vanish(self) -> None:
        """Be gone, as after a network failure."""
        self.wire.end = main.CONNECTION_LOST
        self.loop.spin()

    @property
    def closed(self) -> bool:
        """The server has closed the connection in the ordinary way."""
        return self.wire.closed and not self.wire.reset

    @property
    def reset(self) -> bool:
        """The server has aborted the connection."""
        return self.wire.reset

    # HTTP

    def ask(self, *segments: bytes) -> Answer:
        """Send a request. :return: the only answer."""
        self.send(*segments)
        (answer,) = self.answers()
        return answer

    def answers(self, *methods: str) -> list[Answer]:
        """What came since the last call. :param methods: of the requests; those not named are no HEAD."""
        return parse_answers(self.received(), methods)


@frozen
class Answer:
    """An HTTP response. :ivar headers: by name in lower case."""

    version: str
    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def reply(self) -> dict[str, Any]:
        """The ``SendEventResponse`` in the body, as its ``Content-Type`` says."""
        assert self.headers["content-length"] == str(len(self.body))
        if self.headers["content-type"] == "application/json":
            return dict(json.loads(self.body))
        assert self.headers["content-type"] == "application/proto"
        return read_protobuf(self.body)


def parse_answers(data: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    answers: list[Answer] = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, phrase = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"twice: {name}"
            headers[name.lower()] = value
        assert "transfer-encoding" not in headers
        empty = status in ("100", "101") or methods[len(answers) : len(answers) + 1] == ("HEAD",)
        size = 0 if empty else int(headers["content-length"])
        assert len(data) >= size
        answers.append(Answer(version, int(status), phrase, headers, data[:size]))
        data = data[size:]
    return answers


def read_protobuf(body: bytes) -> dict[str, Any]:
    """A ``SendEventResponse`` in the form of its JSON."""
    message = SendEventResponse.FromString(body)
    reply: dict[str, Any] = {"status": message.status, "code": message.code, "sent_time": message.sent_time}
    if message.reason:
        reply["reason"] = message.reason
    if message.data:
        reply["data"] = dict(message.data)
    return reply


def request(
    method: str = "POST",
    target: str = "/api/v1/events",
    body: bytes | None = None,
    version: str = "1.1",
    **headers: str,
) -> bytes:
    """:param headers: with ``_`` for ``-``. A body gets its ``Content-Length``, unless that is given."""
    lines = [f"{method} {target} HTTP/{version}"]
    named = {"Host": "example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None and not {"Content-Length", "Transfer-Encoding"} & named.keys():
        named["Content-Length"] = str(len(body))
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def post(body: bytes = JSON_BATCH, kind: str | None = "application/json", **headers: str) -> bytes:
    """A batch on its way over REST."""
    if kind is not None:
        headers = {"Content_Type": kind, **headers}
    return request(body=body, **headers)


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


# WebSocket


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x37\xfa\x21\x3d"
) -> bytes:
    """A frame as a client sends it: RFC 6455, section 5.2."""
    size = len(payload)
    masked = 0x80 if mask is not None else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 65536:
        length = struct.pack("!BH", masked | 126, size)
    else:
        length = struct.pack("!BQ", masked | 127, size)
    if mask is not None:
        payload = mask + bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + payload


def parse_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame that a server sent."""
    frames = []
    while data:
        first, size = data[0], data[1]
        assert first & 0x70 == 0, "a reserved bit"
        assert first & 0x80, "a fragment"
        assert size < 128, "masked"
        data = data[2:]
        if size == 126:
            size, data = int.from_bytes(data[:2], "big"), data[2:]
        elif size == 127:
            size, data = int.from_bytes(data[:8], "big"), data[8:]
        assert len(data) >= size
        frames.append((first & 15, data[:size]))
        data = data[size:]
    return frames


def close(code: int | None = None, text: str = "") -> bytes:
    """The payload of a close frame."""
    return b"" if code is None else struct.pack("!H", code) + text.encode()


def handshake(**headers: str) -> bytes:
    """An upgrade request. :param headers: with ``_`` for ``-``; an empty one is left out."""
    named = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "X_User_ID": "1234",
        **headers,
    }
    return request("GET", **{name: value for name, value in named.items() if value})


class SocketClient(Client):
    """A WebSocket client."""

    def __init__(self, loop: Loop, factory: Any, *also: bytes, **headers: str) -> None:
        super().__init__(loop, factory)
        self.send(handshake(**headers) + b"".join(also))
        head, _, self._rest = self.received().partition(b"\r\n\r\n")
        self.head = head.decode("latin-1").split("\r\n")

    def tell(self, opcode: int, payload: bytes = b"", **details: Any) -> list[tuple[int, bytes]]:
        """Send one frame. :return: the frames that came since the last call."""
        self.send(frame(opcode, payload, **details))
        return self.frames()

    def frames(self) -> list[tuple[int, bytes]]:
        """What came since the last call."""
        rest, self._rest = self._rest, b""
        return parse_frames(rest + self.received())


@define(eq=False)
class House:
    """The front door, and behind it a publisher that a test plays.

    :ivar identity: where clients say who they are. :ivar cors: if it is on. :ivar rate: events a second of a client.
    :ivar dedup: batches of everybody are remembered, or of each connection.
    :ivar counts: what was counted. :ivar parts: of the server, which ``/readyz`` asks.
    :ivar taken: the batches that were published, with their clients. :ivar waiting: those not yet answered.
    :ivar submit: in place of all that is behind the door.
    :ivar held: they are not answered for now. :ivar refusal: raised instead of taking one. :ivar outcome: of them.
    :ivar lane: the fast lanes are open, in all houses that are built from now on.
    """

    lane: ClassVar[bool] = True
    limits: LimitSettings = field(factory=lambda: LimitSettings(body=1000))
    settings: WebSocketSettings = field(factory=WebSocketSettings)
    identity: IdentitySettings = field(
        factory=lambda: IdentitySettings(id_header="X-User-ID", group_header="X-User-Group")
    )
    cors: CorsSettings = field(factory=CorsSettings)
    dedup: DedupSettings = field(factory=DedupSettings)
    rate: int = 0
    text_plain: bool = False
    held: bool = False
    refusal: Exception | None = None
    outcome: Reply | None = None
    submit: Submit | None = None
    loop: Loop = field(factory=Loop, init=False)
    counts: Counts = field(factory=Counts, init=False)
    parts: dict[str, Callable[[], Part]] = field(factory=dict, init=False)
    taken: list[tuple[list[bytes], Identity]] = field(factory=list, init=False)
    waiting: list[Delivery] = field(factory=list, init=False)
    keepalive: KeepAlive = field(init=False)
    connections: Connections = field(init=False)
    sockets: EventSocketFactory = field(init=False)
    site: EventSite = field(init=False)
    first: Any = field(init=False)
    _routes: Routes = field(init=False)
    _sender: Identity = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._routes = Routes("%s", 100, 1_000_000, self.counts)
        everybodys, of_one = self._guids()
        ingest = Ingest(
            self._publish,
            self._route,
            Ack.DELIVERED,
            5000,
            self.counts,
            self.loop.seconds,
            RateLimit(self.rate, 0, self.loop.seconds),
            everybodys,
        )
        submit = self.submit or ingest.submit
        self.keepalive = KeepAlive(self.loop, self.settings.ping_interval, self.settings.pong_wait)
        self.connections = Connections(self.settings.max_connections)
        self.sockets = EventSocketFactory(
            submit,
            self.connections,
            self.keepalive,
            self.settings,
            self.limits,
            self.loop,
            self.counts,
            of_one,
            Ack.DELIVERED,
            self.lane,
        )
        own = [self.identity.id_header, self.identity.group_header]
        cors = Cors(self.cors, own) if self.cors.enabled else None
        identify = Identify(self.identity)
        origins = (cors.allows if cors else nobody_else) if self.settings.check_origin else None
        api = RestApi(
            submit,
            identify,
            lambda *details: upgrade(self.sockets, *details),
            self.limits.body,
            self.counts,
            Health(self.parts),
            self.text_plain,
            origins,
            self.cors.refuse,
        )
        self.site = EventSite(
            api.app.resource(), self.limits.body, self.loop, 60.0, self.counts, cors=cors, group_of=api.group
        )
        heads = Heads(identify, self.limits.body, self.text_plain, origins, cors)
        first = FrontFactory(self.site, self.sockets, heads, submit, self.loop)
        self.first = first if self.lane else self.site

    def _guids(self) -> tuple[Guids | None, Callable[[], Guids | None]]:
        if not self.dedup.enabled:
            return None, lambda: None
        make = partial(Guids, self.dedup.most, self.dedup.lifetime, self.loop.seconds)
        return (make(), lambda: None) if self.dedup.scope == "identity" else (None, make)

    def _route(self, batch: Batch, group: GroupCounts, client: Any) -> list[Any]:
        self._sender = client.identity
        return self._routes.route(batch, group, client)

    def _publish(self, delivery: Delivery) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(([value for _, value in delivery.records], self._sender))
        self.waiting.append(delivery)
        if not self.held:
            self.answer()

    def counted(self) -> dict[str, dict[str, int]]:
        """Everything that was counted, by group: batches by reason, connections refused with ``refused:`` before it."""
        found: dict[str, dict[str, int]] = {}
        for group in self.counts.groups():
            numbers = {"success": group.read, "duplicate": group.duplicates, **group.not_read}
            numbers.update({f"refused:{reason}": number for reason, number in group.refused.items()})
            found[group.name] = {reason: number for reason, number in numbers.items() if number}
        return {name: numbers for name, numbers in found.items() if numbers}

    def answer(self) -> None:
        """Answer the batches that wait."""
        waiting, self.waiting = self.waiting, []
        for delivery in waiting:
            delivery.answer(self.outcome or Reply(Outcome.OK, delivery.batch.guid))
        self.loop.spin()

    def client(self) -> Client:
        return Client(self.loop, self.first)

    def socket(self, *also: bytes, **headers: str) -> SocketClient:
        """:param also: sent in the same segment as the handshake."""
        return SocketClient(self.loop, self.first, *also, **headers)

    def front(self, **times: Any) -> HttpFront:
        """The service that owns the port; it has started."""
        first = self.first if self.lane else None
        front = HttpFront(self.loop, self.site, self.sockets, "", 8080, first=first, **times)
        front.startService()
        return front


def in_both_lanes(cases: dict[str, Any]) -> None:
    """Have every test case in a module's names run a second time, with the fast lanes closed."""
    for name, case in list(cases.items()):
        if isinstance(case, type) and issubclass(case, WireTestCase) and name.endswith("Tests"):
            cases[f"Stock{name}"] = type(f"Stock{name}", (case,), {"lane": False, "__module__": case.__module__})


class WireTestCase(SynchronousTestCase):
    """The wall clock stands still, and at the end nothing may have been logged that a test does not know of.

    :ivar noise: lines of the log, from level ``info``. :ivar lane: whether the fast lanes are open.
    """

    lane = True

    def setUp(self) -> None:
        self.patch(House, "lane", self.lane)
        for module in (answers, channel, rest, rpc, websocket):
            self.patch(module, "time", lambda: NOW + 0.9)
        self.noise: list[str] = []
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(globalLogPublisher.removeObserver, self._hear)

    def _hear(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.info:
            self.noise.append(formatEvent(event))

    def tearDown(self) -> None:
        self.assertEqual(self.noise, [])

    def assert_reply(
        self,
        reply: Mapping[str, Any],
        code: int,
        reason: str | None = None,
        data: Mapping[str, str] | None = None,
        status: int = 2,
    ) -> None:
        expected: dict[str, Any] = {"status": status, "code": code, "sent_time": NOW}
        if reason is not None:
            expected["reason"] = reason
        if data is not None:
            expected["data"] = data
        self.assertEqual(reply, expected)


def batch(guid: str, *payloads: bytes) -> bytes:
    """A protobuf batch."""
    message = SendEventRequest(req_guid=guid)
    for payload in payloads or (b"event",):
        message.events.add(event_bytes=payload, type="type_a")
    return bytes(message.SerializeToString())


class Refusal(Refused):
    """A refusal with whatever outcome a test wants."""

    def __init__(self, outcome: Outcome, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.outcome = outcome
