"""The standard health service of gRPC, ``grpc.health.v1.Health``: contract section 6.

Its messages are those of the package ``grpcio-health-checking``. The servicer of that package is not used: it holds a
lock while a client reads, so one client that does not read would stop all answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Condition
from typing import Any

import grpc
from attrs import define, field
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping
from raccoon_tx.model import Refused
from raccoon_tx.transports.grpc_compression import unpacked

__all__ = ["GrpcHealth", "health_pb2"]

NAME = "grpc.health.v1.Health"

#: Seconds between two looks at whether events can be taken, and the longest that a client which has gone is watched
#: for.
INTERVAL = 0.5
#: Clients that may watch at once; each takes a thread.
WATCHERS = 16

#: Bytes of a request.
LARGEST = 1024

_Response = health_pb2.HealthCheckResponse


def _service(message: bytes, context: grpc.ServicerContext) -> str:
    """The service that a client asks about."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(unpacked(message, LARGEST)).service)
    except (DecodeError, Refused):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        raise  # not reached: abort() raises


@define(eq=False)
class GrpcHealth(Service):
    """Tells clients whether events can be taken now. From the beginning of its stop they cannot.

    :ivar services: by their full names. :ivar ready: says whether an event can be taken; called in the reactor thread.
    """

    _services: tuple[str, ...]
    _ready: Callable[[], bool]
    _clock: Clock
    _serving: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    _changed: Condition = field(factory=Condition, init=False, repr=False)
    _places: BoundedSemaphore = field(factory=lambda: BoundedSemaphore(WATCHERS), init=False, repr=False)
    _looking: LoopingCall | None = field(default=None, init=False, repr=False)

    def startService(self) -> None:
        super().startService()
        self._over = False
        self._looking = looping(self._clock, self._look)
        self._looking.start(INTERVAL)

    def stopService(self) -> Deferred[None]:
        """The answer is no from now on, and watching ends with it."""
        super().stopService()
        if self._looking is not None:
            self._looking.stop()
            self._looking = None
        self._tell(False, over=True)
        return succeed(None)

    def _look(self) -> None:
        self._tell(self._ready())

    def _tell(self, serving: bool, over: bool = False) -> None:
        if serving != self._serving or over:
            with self._changed:
                self._serving, self._over = serving, over
                self._changed.notify_all()

    def _status(self, service: str) -> int:
        if service and service not in self._services:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if self._serving else _Response.NOT_SERVING)

    # In the threads of the gRPC server

    def check(self, message: bytes, context: grpc.ServicerContext) -> Any:
        """How it is now."""
        status = self._status(_service(message, context))
        if status == _Response.SERVICE_UNKNOWN:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _Response(status=status)

    def watch(self, message: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
        """How it is now, and whenever that changes."""
        service = _service(message, context)
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many clients watch")
        try:
            told = None
            while context.is_active():
                with self._changed:
                    status = self._status(service)
                    if status == told:
                        if self._over:
                            return
                        self._changed.wait(INTERVAL)
                        continue
                told = status
                yield _Response(status=status)
        finally:
            self._places.release()

    def handler(self) -> grpc.GenericRpcHandler:
        """Its methods, for a gRPC server."""

        def watch(message: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
            return self.watch(message, context)

        # So that who watches takes no thread from who sends.
        watch.experimental_thread_pool = ThreadPoolExecutor(  # type: ignore[attr-defined]
            WATCHERS + 1, thread_name_prefix="grpc-health"
        )
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check, None, _Response.SerializeToString),
                "Watch": grpc.unary_stream_rpc_method_handler(watch, None, _Response.SerializeToString),
            },
        )
