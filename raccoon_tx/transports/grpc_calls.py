"""Calls of a gRPC server that hold no thread, and those that do.

The server of grpcio hands each call to a pool. A thread there waits for the message, calls the handler, waits for what
it returns, and sends that: three changes of thread for each call, and a thread held for as long as Kafka takes.
`Calls` stands where the server expects its pool, and starts the same steps itself: the thread in which grpcio hears
from the network says that a message is there, and whoever has the answer sends it.

There is no public way to that. What is used of grpcio's inside has been the same since 1.60, is in this module alone,
and is looked at by `usable` first; a grpcio without it gets threads that wait, as it wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from inspect import signature
from threading import Lock
from typing import Any, Protocol

import grpc
from attrs import define, field

from raccoon_tx.logs import Logger

try:
    from grpc import _server as _inside
    from grpc._cython.cygrpc import ReceiveMessageOperation
except ImportError:  # pragma: no cover  # no grpcio that we know
    _inside = None

_NO_FLAGS = 0

_WORK = ["rpc_event", "state", "behavior", "argument_thunk", "request_deserializer", "response_serializer"]

#: What is used of grpcio's inside, with the names of what it takes.
USED = {
    "_Context": ["rpc_event", "state", "request_deserializer"],
    "_receive_message": ["state", "call", "request_deserializer"],
    "_status": ["rpc_event", "state", "serialized_response"],
    "_stream_response_in_pool": _WORK,
    "_unary_response_in_pool": _WORK,
}

_log = Logger()


def usable(inside: Any = _inside) -> bool:
    """Whether the inside of this grpcio is the one that we know."""
    if not isinstance(getattr(inside, "_RECEIVE_MESSAGE_TOKEN", None), str):
        return False
    for name, parameters in USED.items():
        used = getattr(inside, name, None)
        if used is None or list(signature(used).parameters) != parameters:
            return False
    return True


class Call(Protocol):
    """One call. Nothing of it waits for anything, and each thread may use it; it is ended once."""

    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What came with it, in order."""

    def peer(self) -> str:
        """Where it comes from, with the port."""

    def awaited(self) -> bool:
        """Whether anybody still waits for its end."""

    def answer(self, message: bytes) -> None:
        """End it well."""

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End it with an error status."""


#: Takes a call whose message is there.
Arrived = Callable[[Call, bytes], None]


class _OfServer:
    """What both kinds of calls have. :ivar context: of grpcio."""

    __slots__ = ("context",)

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.context = context

    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        found: Sequence[tuple[str, str | bytes]] = self.context.invocation_metadata()
        return found

    def peer(self) -> str:
        return str(self.context.peer())

    def awaited(self) -> bool:
        # The library takes a moment to notice that a deadline has passed.
        remaining = self.context.time_remaining()
        return (remaining is None or remaining > 0) and bool(self.context.is_active())


class FreeCall(_OfServer):
    """A call that no thread waits for."""

    __slots__ = ("_event", "_state")

    def __init__(self, event: Any, state: Any) -> None:
        super().__init__(_inside._Context(event, state, None))
        self._event = event
        self._state = state

    def answer(self, message: bytes) -> None:
        _inside._status(self._event, self._state, message)

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        self.context.set_code(code)
        self.context.set_details(details)
        _inside._status(self._event, self._state, None)


class HeldCall(_OfServer):
    """A call whose thread waits for its end."""

    __slots__ = ("_ended", "_failure", "_message")

    def __init__(self, context: grpc.ServicerContext) -> None:
        super().__init__(context)
        self._ended = Lock()
        self._ended.acquire()
        self._message = b""
        self._failure: tuple[grpc.StatusCode, str] | None = None

    def answer(self, message: bytes) -> None:
        self._message = message
        self._ended.release()

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        self._failure = code, details
        self._ended.release()

    def wait(self, timeout: float) -> bytes | None:
        """The answer, or ``None`` if there is none in time; raises what ends the call if it has failed."""
        if not self._ended.acquire(timeout=timeout):
            return None
        if self._failure is not None:
            self.context.abort(*self._failure)
        return self._message


@define(eq=False)
class Calls:
    """Where the server expects the pool of its threads.

    :ivar behavior: the method whose calls need no thread. :ivar arrived: takes them, in the thread of grpcio.
    :ivar refuse: ends one of them for a reason. :ivar pool: for the other methods.
    :ivar unread: calls of that method may wait for their messages at once.
    :ivar others: calls of the other methods may wait or run at once.
    """

    _behavior: Callable[..., Any]
    _arrived: Arrived
    _refuse: Callable[[Call, str], None]
    _pool: Executor
    _unread: int
    _others: int
    _waiting: dict[FreeCall, None] = field(factory=dict, init=False, repr=False)
    _sweep: list[FreeCall] = field(factory=list, init=False, repr=False)
    _busy: dict[Future[Any], None] = field(factory=dict, init=False, repr=False)

    def submit(self, run: Callable[..., Any], work: Callable[..., Any], /, *arguments: Any) -> Future[Any] | None:
        """Begin a call. The thread of grpcio must see no exception from us: that would be its end, and the server's.

        :param run: calls ``work`` with the ``arguments``.
        """
        if work is not _inside._unary_response_in_pool and work is not _inside._stream_response_in_pool:
            return self._pool.submit(run, work, *arguments)
        event, state, behavior = arguments[:3]
        if behavior is self._behavior:
            self._begin(event, state)
            return None
        if len(self._busy) >= self._others:
            FreeCall(event, state).fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls at once")
            return None
        future = self._pool.submit(run, work, *arguments)
        self._busy[future] = None
        future.add_done_callback(self._busy.pop)
        return future

    def _begin(self, event: Any, state: Any) -> None:
        call = FreeCall(event, state)
        if len(self._waiting) >= self._unread:
            self._refuse(call, "overloaded: too many calls wait for their messages, try again later")
            return
        receive = _inside._receive_message(state, event.call, None)

        def received(happened: Any) -> Any:
            ended = receive(happened)
            message, state.request = state.request, None
            self._received(call, message)
            return ended

        self._waiting[call] = None
        event.call.start_server_batch((ReceiveMessageOperation(_NO_FLAGS),), received)
        state.due.add(_inside._RECEIVE_MESSAGE_TOKEN)

    def _received(self, call: FreeCall, message: bytes | None) -> None:
        if self._waiting.pop(call, self) is self:
            return  # it was given up
        try:
            if message is None:
                call.fail(grpc.StatusCode.UNIMPLEMENTED, "the call ended without its message")
            else:
                self._arrived(call, message)
        except Exception:
            _log.failure("a call could not be taken")
            with suppress(Exception):
                self._refuse(call, "internal error")

    def sweep(self) -> None:
        """Give up the calls whose messages have not come since the last time that this was called."""
        for call in self._sweep:
            if self._waiting.pop(call, self) is not self:
                self._refuse(call, "the message did not come in time, try again later")
        self._sweep = list(self._waiting)
