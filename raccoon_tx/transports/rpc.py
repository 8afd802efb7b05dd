"""The gRPC server <-> `Ingest.submit`: contract section 6."""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import Lock
from time import time
from typing import Any

import grpc
from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError as Interrupted
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping, pause
from raccoon_tx.codec import PROTOBUF
from raccoon_tx.codec.protobuf import find_guid
from raccoon_tx.ingest import Submit
from raccoon_tx.logs import Logger
from raccoon_tx.model import Client, Identity, Malformed, Outcome, Refused, Reply, Saturated
from raccoon_tx.settings import LAST_WORDS, GrpcSettings, LimitSettings
from raccoon_tx.transports.grpc_calls import Call, Calls, HeldCall, usable
from raccoon_tx.transports.grpc_compression import OPTION, unpacked
from raccoon_tx.transports.identity import BadIdentity, Identify, Sources
from raccoon_tx.transports.listen import PortTaken

#: Stubs shipped with one official client use the older package.
SERVICES = tuple(f"{package}.raccoon.v1beta1.EventService" for package in ("raystack", "odpf"))
METHODS = tuple(f"/{service}/SendEvent" for service in SERVICES)

#: Seconds that a silent connection gets for the HTTP/2 handshake.
HANDSHAKE_TIMEOUT = 10
#: Calls of one connection at once; its client holds back the others.
STREAMS = 256
#: Seconds after which a silent peer is asked for a sign of life, and for how long.
KEEPALIVE, KEEPALIVE_TIMEOUT = 60, 20

OPTIONS = [
    OPTION,
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT * 1000),
    ("grpc.max_concurrent_streams", STREAMS),
    ("grpc.keepalive_time_ms", KEEPALIVE * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
]

#: Calls that may wait for their messages at once.
UNREAD = 4096
#: Bytes that the messages under way may have together.
MOST_BYTES = 256 * 1024 * 1024
#: Pairs of an id and a group whose identity is kept at hand.
IDENTITIES = 4096
#: Refusals that may wait to be counted.
REFUSALS = 65536

OVERLOADED = "overloaded: too many calls at once, try again later"
ABANDONED = Reply(Outcome.EXPIRED, None, "the call was over before it was served")

_log = Logger()


class _Answer:
    """Ends one call, once."""

    __slots__ = ("_call", "_service", "_size")

    def __init__(self, service: EventService, call: Call, size: int) -> None:
        self._service = service
        self._call: Call | None = call
        self._size = size

    def __call__(self, reply: Reply) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._service.end(call, self._size, reply)


@define(eq=False)
class EventService:
    """Hands calls to the reactor, and their answers back. It takes so many at once, and refuses more.

    :ivar call_from_thread: like ``reactor.callFromThread``. :ivar most: calls under way at once. :ivar most_bytes:
        of their messages together; a message by itself is never too large for it.
    :ivar turned_away: is told the group of each client that was refused for that, in the reactor thread.
    :ivar timeout: seconds that an answer may take where a thread waits for it, so that a stopped reactor cannot hold
        the thread. :ivar largest: bytes of a message without its compression.
    """

    _submit: Submit
    _identify: Identify
    _call_from_thread: Callable[..., Any]
    _most: int
    _turned_away: Callable[[str], None]
    _timeout: float
    _largest: int = LimitSettings().body
    _most_bytes: int = MOST_BYTES
    _id_header: str = field(init=False)
    _group_header: str = field(init=False)
    _identity: Callable[[Any, Any], Identity] = field(init=False, repr=False)
    _lock: Lock = field(factory=Lock, init=False, repr=False)
    _under_way: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _arrivals: deque[tuple[Call, bytes, Client]] = field(factory=deque, init=False, repr=False)
    _refusals: deque[str] = field(factory=lambda: deque(maxlen=REFUSALS), init=False, repr=False)
    _woken: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self._identify.settings
        self._id_header, self._group_header = settings.id_header.lower(), settings.group_header.lower()
        self._identity = lru_cache(IDENTITIES)(self._read_identity)

    # In any thread

    def arrived(self, call: Call, body: bytes) -> None:
        """Take a call.

        :param body: a ``SendEventRequest``.
        """
        try:
            client = self._client(call)
            body = unpacked(body, self._largest)
        except BadIdentity as refusal:
            call.fail(grpc.StatusCode.INVALID_ARGUMENT, refusal.reason)
        except Malformed as refusal:
            call.fail(grpc.StatusCode.INTERNAL, f"cannot deserialize request: {refusal.reason}")
        except Refused as refusal:
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal.reason)
        else:
            if self._enter(len(body)):
                self._arrivals.append((call, body, client))
            else:
                self.refuse(call, OVERLOADED, find_guid(body))
                self._refusals.append(client.identity.group)
            if not self._woken:
                self._woken = True
                self._call_from_thread(self._serve)

    def _enter(self, size: int) -> bool:
        with self._lock:
            if self._under_way and (self._under_way >= self._most or self._bytes + size > self._most_bytes):
                return False
            self._under_way += 1
            self._bytes += size
        return True

    def refuse(self, call: Call, reason: str, guid: str = "") -> None:
        """End a call that is not taken; it may come again."""
        call.answer(_encoded(Saturated(reason, retry_after=random.uniform(1.0, 3.0)).reply(guid)))

    def send_event(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """Serve a call in a thread that waits for the answer. :return: a ``SendEventResponse``."""
        call = HeldCall(context)
        self.arrived(call, body)
        answer = call.wait(self._timeout)
        if answer is None:
            reason = "no answer in time; the events may still be delivered"
            return _encoded(Reply(Outcome.EXPIRED, None, reason))
        return answer

    def _client(self, call: Call) -> Client:
        identifier = group = None
        for key, value in call.metadata():
            if key == self._id_header:
                if identifier is None:
                    identifier = value
            elif key == self._group_header and group is None:
                group = value
        if identifier is None:
            raise BadIdentity("connection id header missing")
        identity = self._identity(identifier, group)
        # A client with an id is not told apart by its address.
        return Client(identity, "grpc", "" if identity.id else call.peer().rpartition(":")[0])

    def _read_identity(self, identifier: Any, group: Any) -> Identity:
        return self._identify(Sources({self._id_header: identifier, self._group_header: group}.get))

    # In the reactor thread

    def _serve(self) -> None:
        # What comes from here on wakes us again.
        self._woken = False
        for _ in range(len(self._arrivals)):
            self._take(*self._arrivals.popleft())
        for _ in range(len(self._refusals)):
            self._turned_away(self._refusals.popleft())

    def _take(self, call: Call, body: bytes, client: Client) -> None:
        answer = _Answer(self, call, len(body))
        try:
            # What a busy reactor has kept waiting for too long is not published any more.
            if call.awaited():
                self._submit(body, PROTOBUF, client, answer)
            else:
                answer(ABANDONED)
        except Exception:
            _log.failure("a batch could not be taken")
            answer(Reply(Outcome.FAILED, None, "internal error"))

    def _leave(self, size: int) -> None:
        with self._lock:
            self._under_way -= 1
            self._bytes -= size

    def end(self, call: Call, size: int, reply: Reply) -> None:
        """End a call that was taken, with a message of this size."""
        self._leave(size)
        if reply is ABANDONED:
            call.fail(grpc.StatusCode.CANCELLED, reply.reason)
        elif reply.outcome is Outcome.MALFORMED:
            call.fail(grpc.StatusCode.INTERNAL, f"cannot deserialize request: {reply.reason}")
        else:
            call.answer(_encoded(reply))


def _encoded(reply: Reply) -> bytes:
    return PROTOBUF.encode(reply, int(time()))


class _Handlers(grpc.GenericRpcHandler):
    """Both names of the method, with the bytes of its messages as they are."""

    def __init__(self, send_event: Callable[[bytes, Any], bytes]) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(send_event)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method in METHODS else None


@contextmanager
def patient_threads() -> Iterator[None]:
    """Threads that begin in here do not interrupt the one that wakes them.

    The reactor wakes those of grpcio with each answer, and can go on with its work; they are to have their turn when
    it waits. Where the system knows no such thing, all is as ever.
    """
    try:
        policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        if policy == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, parameters)
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@define(eq=False)
class GrpcFront(Service):
    """Owns the gRPC server. Its threads start with the service, since they would not survive a fork.

    :ivar in_thread: like ``deferToThread``. :ivar finish_timeout: seconds that calls under way get at the stop.
    :ivar credentials: for TLS. :ivar more: methods of other services.
    :ivar drain_delay: seconds for which calls are still served when the stop has begun.
    :ivar message_timeout: seconds within which the message of a call has to come; it may get twice as long.
    :ivar shared: other processes have the same port. :ivar port: that is listened on, once the service has started.
    """

    _service: EventService
    _settings: GrpcSettings
    _largest: int
    _in_thread: Callable[..., Deferred[Any]]
    _clock: Clock
    _finish_timeout: float = 5.0
    _credentials: Callable[[], grpc.ServerCredentials] | None = None
    _more: Sequence[grpc.GenericRpcHandler] = ()
    _drain_delay: float = 0.0
    _message_timeout: float = 30.0
    _shared: bool = False
    port: int = field(default=0, init=False)
    _delay: Deferred[None] | None = field(default=None, init=False, repr=False)
    _server: Any = field(default=None, init=False, repr=False)
    _pool: ThreadPoolExecutor | None = field(default=None, init=False, repr=False)
    _sweeping: LoopingCall | None = field(default=None, init=False, repr=False)

    def startService(self) -> None:
        super().startService()
        with patient_threads():
            self._start()

    def _start(self) -> None:
        host, port = self._settings.host, self._settings.port
        options = [
            *OPTIONS,
            ("grpc.so_reuseport", int(self._shared)),
            ("grpc.max_receive_message_length", self._largest),
        ]
        self._server = self._make(options)
        address = f"[{host}]:{port}" if ":" in host else f"{host or '[::]'}:{port}"
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._credentials())
        except RuntimeError as problem:
            self._server = None
            raise PortTaken("gRPC", host, port, "Address already in use or not available") from problem
        self._server.start()

    def _make(self, options: list[tuple[str, int]]) -> Any:
        most, service = self._settings.max_in_flight, self._service
        pool = self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="grpc")
        send_event = service.send_event
        handlers = [_Handlers(send_event), *self._more]
        if not usable():
            _log.warn("this version of grpcio is not known: each gRPC call takes a thread")
            return grpc.server(pool, handlers, options=options, maximum_concurrent_rpcs=most)
        calls = Calls(send_event, service.arrived, service.refuse, pool, UNREAD, most)
        self._sweeping = looping(self._clock, calls.sweep)
        self._sweeping.start(self._message_timeout, now=False)
        return grpc.server(calls, handlers, options=options)

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        if self._delay is not None:
            self._delay.cancel()
        if self._server is not None:
            self._server.stop(0)

    def stopService(self) -> Deferred[None]:
        """Fires when the calls under way have been answered, or given up."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._server is not None:
            if self._drain_delay:
                await self._linger()
            # A moment more than the others get, since it is their end at which everybody is answered.
            stopped = self._server.stop(self._finish_timeout + LAST_WORDS)
            await self._in_thread(stopped.wait)
            self._server = None
        if self._sweeping is not None:
            self._sweeping.stop()
            self._sweeping = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    async def _linger(self) -> None:
        self._delay = pause(self._clock, self._drain_delay)
        with suppress(Interrupted):
            await self._delay
        self._delay = None
