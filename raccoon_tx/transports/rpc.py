"""The gRPC server in its threads <-> `Ingest.submit`: contract section 6."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from time import time
from typing import Any

import grpc
from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError as Interrupted
from twisted.internet.defer import Deferred, succeed

from raccoon_tx.codec import PROTOBUF
from raccoon_tx.ingest import Submit
from raccoon_tx.logs import Logger
from raccoon_tx.model import Client, Identity, Malformed, Outcome, Refused, Reply
from raccoon_tx.settings import LAST_WORDS, GrpcSettings, LimitSettings
from raccoon_tx.transports.grpc_compression import OPTION, unpacked
from raccoon_tx.transports.identity import Identify, Sources
from raccoon_tx.transports.listen import PortTaken

#: Stubs shipped with one official client use the older package.
SERVICES = tuple(f"{package}.raccoon.v1beta1.EventService" for package in ("raystack", "odpf"))
METHODS = tuple(f"/{service}/SendEvent" for service in SERVICES)

#: Seconds that a silent connection gets for the HTTP/2 handshake.
HANDSHAKE_TIMEOUT = 10

_log = Logger()


@define(eq=False)
class EventService:
    """Serves one call, in a thread of the pool.

    :ivar call_from_thread: like ``reactor.callFromThread``. :ivar timeout: seconds that an answer may take, so that
        a stopped reactor cannot hold the thread. :ivar largest: bytes of a message without its compression.
    """

    _submit: Submit
    _identify: Identify
    _id_header: str
    _call_from_thread: Callable[..., Any]
    _timeout: float
    _largest: int = LimitSettings().body

    def send_event(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        """:param body: a ``SendEventRequest``. :return: a ``SendEventResponse``."""
        client = Client(self._client(context), "grpc", context.peer().rpartition(":")[0])
        try:
            body = unpacked(body, self._largest)
        except Malformed as refusal:
            context.abort(grpc.StatusCode.INTERNAL, f"cannot deserialize request: {refusal.reason}")
        except Refused as refusal:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal.reason)
        answer: Future[Reply] = Future()
        self._call_from_thread(self._take, body, client, context, answer)
        try:
            reply = answer.result(self._timeout)
        except CancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "the call was over before it was served")
        except FutureTimeout:
            reply = Reply(Outcome.EXPIRED, None, "no answer in time; the events may still be delivered")
        if reply.outcome is Outcome.MALFORMED:
            context.abort(grpc.StatusCode.INTERNAL, f"cannot deserialize request: {reply.reason}")
        return PROTOBUF.encode(reply, int(time()))

    def _take(self, body: bytes, client: Client, context: grpc.ServicerContext, answer: Future[Reply]) -> None:
        """In the reactor thread: what a busy reactor has kept waiting for too long is not published any more."""
        try:
            if context.is_active() and _has_time(context):
                self._submit(body, PROTOBUF, client, answer.set_result)
            else:
                answer.cancel()
        except Exception:
            _log.failure("a batch could not be taken")
            if not answer.done():
                answer.set_result(Reply(Outcome.FAILED, None, "internal error"))

    def _client(self, context: grpc.ServicerContext) -> Identity:
        metadata: dict[str, str | bytes] = {}
        for key, value in context.invocation_metadata():
            metadata.setdefault(key, value)
        if self._id_header.lower() not in metadata:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "connection id header missing")
        try:
            return self._identify(Sources(metadata.get))
        except Refused as refusal:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal.reason)
            raise  # not reached: abort() raises


def _has_time(context: grpc.ServicerContext) -> bool:
    """Whether the deadline of a call, if it has one, is still to come: the library takes a moment to notice."""
    remaining = context.time_remaining()
    return remaining is None or remaining > 0


class _Handlers(grpc.GenericRpcHandler):
    """Both names of the method, with the bytes of its messages as they are."""

    def __init__(self, send_event: Callable[[bytes, Any], bytes]) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(send_event)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method in METHODS else None


@define(eq=False)
class GrpcFront(Service):
    """Owns the gRPC server. Its threads start with the service, since they would not survive a fork.

    :ivar in_thread: like ``deferToThread``. :ivar finish_timeout: seconds that calls under way get at the stop.
    :ivar credentials: for TLS. :ivar more: methods of other services. :ivar pause: waits for so many seconds.
    :ivar drain_delay: seconds for which calls are still served when the stop has begun.
    :ivar shared: other processes have the same port. :ivar port: that is listened on, once the service has started.
    """

    _service: EventService
    _settings: GrpcSettings
    _largest: int
    _in_thread: Callable[..., Deferred[Any]]
    _finish_timeout: float = 5.0
    _credentials: Callable[[], grpc.ServerCredentials] | None = None
    _more: Sequence[grpc.GenericRpcHandler] = ()
    _pause: Callable[[float], Deferred[None]] = lambda seconds: succeed(None)
    _drain_delay: float = 0.0
    _shared: bool = False
    port: int = field(default=0, init=False)
    _delay: Deferred[None] | None = field(default=None, init=False, repr=False)
    _server: Any = field(default=None, init=False, repr=False)

    def startService(self) -> None:
        super().startService()
        host, port = self._settings.host, self._settings.port
        pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="grpc")
        options = [
            ("grpc.so_reuseport", int(self._shared)),
            OPTION,
            ("grpc.max_receive_message_length", self._largest),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT * 1000),
        ]
        self._server = grpc.server(pool, [_Handlers(self._service.send_event), *self._more], options=options)
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

    async def _linger(self) -> None:
        self._delay = self._pause(self._drain_delay)
        with suppress(Interrupted):
            await self._delay
        self._delay = None
