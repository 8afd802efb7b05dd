"""A connection that is opened when it is needed, and again when it was lost; every batch gets its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock

from raccoon_tx.bench.batches import Said, read_protobuf
from raccoon_tx.bench.dial import CannotConnect, in_words
from raccoon_tx.bench.load import Answers, Way
from raccoon_tx.clock import Clock
from raccoon_tx.model import Code

#: Seconds that an answer may take: longer than a server waits for Kafka by default.
PATIENCE = 15.0

#: With these the same batch may be accepted at another time.
_AGAIN = (Code.INTERNAL_ERROR, Code.MAX_CONNECTION_LIMIT_REACHED)

#: Errors of HTTP and of gRPC, in answers that do not come from the server itself, with which it may be as well.
_AGAIN_HTTP = ("408", "425", "429")
_AGAIN_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")


@frozen
class Result:
    """What became of sending a batch once.

    :ivar reason: why it was not accepted; else empty. :ivar again: it may be another time. :ivar pause: seconds to wait
        before, if the server said. :ivar silent: nothing was heard of it: it may have been accepted, or not.
    :ivar late: it was waited for in vain.
    """

    reason: str = ""
    again: bool = False
    pause: float | None = None
    silent: bool = False
    late: bool = False


class Closable(Way, Protocol):
    """A connection that can be ended."""

    def close(self) -> None:
        """End it."""


@define(eq=False)
class Line:
    """:ivar open: connects; answers go to what it is given. :ivar patience: seconds that an answer may take.
    :ivar ended: fires when the connection that was closed last is gone, where that is told.
    """

    _clock: Clock
    _open: Callable[[Answers], Awaitable[Closable]]
    _patience: float = PATIENCE
    ended: Deferred[None] | None = field(init=False, default=None)
    _way: Closable | None = field(init=False, default=None)
    _gone: Way | None = field(init=False, default=None)
    _farewell: Result | None = field(init=False, default=None)
    _lock: DeferredLock = field(init=False, factory=DeferredLock)
    _pending: dict[str, Deferred[Result]] = field(init=False, factory=dict)

    async def connect(self) -> Closable:
        """Make sure that there is a connection. :raises CannotConnect: there is none to be had."""
        await self._lock.acquire()
        try:
            if self._way is None:
                self._farewell = None
                try:
                    way = await self._open(self)
                except CannotConnect:
                    raise
                except Exception as problem:
                    raise CannotConnect(in_words(problem)) from problem
                if way is not self._gone:
                    self._way = way
                return way
            return self._way
        finally:
            self._lock.release()

    async def exchange(self, guid: str, body: bytes) -> Result:
        """Send a batch once. Never raises."""
        try:
            way = await self.connect()
        except CannotConnect as problem:
            return Result(str(problem), again=True, silent=True)
        if way is self._gone:
            return self._farewell or Result("the connection was closed at once", again=True, silent=True)
        result = self._pending[guid] = Deferred()
        late = self._clock.callLater(self._patience, self._late, guid)
        way.send(guid, body)
        found = await result
        if not found.late:
            late.cancel()
        return found

    def _late(self, guid: str) -> None:
        self._settle(guid, Result(f"no answer within {self._patience:g} s", again=True, silent=True, late=True))
        self.close()

    def _settle(self, guid: str, result: Result) -> None:
        waiting = self._pending.pop(guid, None)
        if waiting is not None:
            waiting.callback(result)

    def answered(self, guid: str, answer: bytes) -> None:
        """See `Answers`. An answer that names no batch is about the connection, or about the one that waits."""
        status: Any = getattr(self._way, "status", "")
        try:
            said = read_protobuf(answer)
        except ValueError as error:
            if status and not status.startswith("200"):
                self.failed(guid, f"HTTP status {status}")
            else:
                self._settle(guid, Result(f"the answer cannot be read: {error}"))
            return
        result = self._judge(said)
        name = guid or said.guid
        if not name and len(self._pending) == 1:
            (name,) = self._pending
        if name:
            self._settle(name, result)
        else:
            self._farewell = result

    def _judge(self, said: Said) -> Result:
        if not said.reason:
            return Result()
        again = said.code in _AGAIN
        return Result(said.reason, again, getattr(self._way, "retry_after", None) if again else None)

    def failed(self, guid: str, reason: str) -> None:
        """See `Answers`."""
        kind, _, rest = reason.partition(": ")
        if reason.startswith("HTTP status "):
            status = reason.split()[2]
            again = not status.startswith("4") or status in _AGAIN_HTTP
            self._settle(guid, Result(reason, again, getattr(self._way, "retry_after", None)))
        else:
            again = kind in _AGAIN_GRPC or not rest
            self._settle(guid, Result(reason, again, silent=kind in _AGAIN_GRPC))

    def lost(self, way: Way, reason: str) -> None:
        """See `Answers`. What waits on it is told, and the next batch opens another."""
        self._gone = way
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended.callback(None)
        if self._way is way or self._way is None:
            self._way = None
            self._fail_all(self._farewell or Result(reason, again=True, silent=True))

    def _fail_all(self, result: Result) -> None:
        for guid in list(self._pending):
            self._settle(guid, result)

    def close(self) -> None:
        """End the connection, if there is one."""
        way, self._way = self._way, None
        if way is not None:
            self._gone = way
            self.ended = Deferred()
            way.close()
            self._fail_all(Result("the connection was closed", again=True, silent=True))
