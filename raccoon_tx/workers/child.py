"""A worker: a server like any other, whose parent knows what it shares with the others."""

from __future__ import annotations

import gc
import pickle
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from attrs import frozen
from msgspec import DecodeError
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from raccoon_tx import logs
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.families import Families
from raccoon_tx.process import ORDERLY, WRONG, problem_at_start
from raccoon_tx.server import Server
from raccoon_tx.settings import Settings
from raccoon_tx.tap import build
from raccoon_tx.workers.link import Link
from raccoon_tx.workers.messages import (
    Change,
    Counted,
    Failed,
    Fresh,
    GiveWay,
    Hurry,
    Known,
    LetIn,
    Message,
    Observation,
    Pending,
    Probe,
    Ready,
    Refuse,
    Replace,
    Scrape,
    Start,
    Stop,
    TooLong,
    Wait,
    to_samples,
)
from raccoon_tx.workers.process import DOWN, UP
from raccoon_tx.workers.remote import RemoteAdmission, RemoteGuids

#: Seconds that the parent gets to take the last words.
LAST = 2.0

_log = Logger()


@frozen
class Shared:
    """What `raccoon_tx.tap.build` is given by a worker. :ivar number: of the worker."""

    number: int
    admission: RemoteAdmission
    guids: RemoteGuids


class Child(Protocol):
    """The worker's end of the stream to its parent, and its life.

    :ivar status: with which the process should end.
    """

    transport: Any

    def __init__(self, number: int, reactor: Any) -> None:
        self._number = number
        self._reactor = reactor
        self.status = ORDERLY
        self._link = Link(reactor, self._write, self._take)
        send = self._link.send
        self._shared = Shared(number, RemoteAdmission(send, reactor), RemoteGuids(send, reactor))
        self._server: Server | None = None
        self._families: Families | None = None
        self._observed = False
        self._stopping = False
        self._lost: Deferred[None] = Deferred()
        admission, guids = self._shared.admission.take, self._shared.guids.take
        self._takes: dict[type[Any], Callable[[Any], None]] = {
            Start: self._start,
            Change: self._change,
            Stop: lambda _: self.stop(),
            Hurry: lambda _: self._hurry(),
            Scrape: self._scrape,
            Fresh: guids,
            Known: guids,
            Pending: guids,
            **dict.fromkeys((LetIn, Refuse, Replace, Probe, GiveWay, Wait), admission),
        }

    # The stream

    def dataReceived(self, data: bytes) -> None:
        try:
            self._link.received(data)
        except (DecodeError, TooLong):
            _log.failure("the parent is not understood")
            self.transport.loseConnection()
            self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._link.close()
        self._shared.admission.lose()
        self._shared.guids.lose()
        self._let_go()
        if not self._stopping:
            _log.error("the parent has gone: finishing what was received, and ending")
            self.stop()

    def _write(self, data: bytes) -> None:
        self.transport.write(data)

    def _take(self, message: Message) -> None:
        self._takes[type(message)](message)

    # Life

    def _start(self, message: Start) -> None:
        settings: Settings = pickle.loads(message.settings)
        logs.begin(message.log_format, settings.log.level, worker=self._number)
        try:
            self._server = server = build(settings, self._reactor, shared=self._shared)
            server.privilegedStartService()
            server.startService()
        except Exception as problem:
            self._fail(problem)
            return
        self._observed = settings.metrics.statsd
        self._families = Families(server.parts.counts, self._reactor.seconds, settings.metrics.sample_interval)
        gc.freeze()  # what is there now stays to the end
        self._link.send(Ready(server.parts.http.port, server.parts.grpc.port))

    def _fail(self, problem: Exception) -> None:
        known = problem_at_start(problem)
        if known is None:
            _log.failure("the worker cannot start")
            known = "a worker cannot start", WRONG
        self.status = known[1]
        self._link.send(Failed(*known))
        self.stop()

    def _change(self, message: Change) -> None:
        if self._server is None:
            return
        try:
            self._server.change(pickle.loads(message.settings))
        except (OSError, SSL.Error) as problem:
            _log.error("the certificates cannot be used, the old ones stay: {problem}", problem=repr(problem))

    def _hurry(self) -> None:
        if self._server is not None:
            self._server.hurry()

    def _scrape(self, message: Scrape) -> None:
        if self._families is not None:
            self._link.send(self._counted(message.number, message.observations))

    def _counted(self, number: int, observations: bool) -> Counted:
        assert self._families is not None
        samples = {family.name: to_samples(family.samples) for family in self._families.snapshot()}
        kept = self._families.observations() if observations else []
        observed = [Observation(each.name, each.labels, each.values, each.kept, each.seen) for each in kept]
        found = self._server.parts.states() if self._server is not None else {}
        states = {name: (bool(part["ok"]), str(part["state"])) for name, part in found.items()}
        return Counted(number, samples, observed, states)

    def stop(self) -> None:
        """Finish what was received, and end the process. Only the first call does anything."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    async def end(self) -> None:
        """Before the reactor stops."""
        self._stopping = True
        server = self._server
        if server is not None and server.running:
            await maybeDeferred(server.stopService)
            self.status = server.status
        if self._families is not None:
            self._link.send(self._counted(0, self._observed))
        self._link.flush()
        self.transport.loseConnection()
        if not self._lost.called:
            self._reactor.callLater(LAST, self._let_go)
            await self._lost

    def _let_go(self) -> None:
        if not self._lost.called:
            self._lost.callback(None)


def main() -> NoReturn:
    """The process."""
    from twisted.internet import reactor, stdio

    running: Any = reactor
    stream: Any = stdio.StandardIO
    child = Child(int(sys.argv[1]), running)

    def handle() -> None:
        # A service manager may send this to all processes as well, so that a second one means nothing.
        signal.signal(signal.SIGTERM, lambda *_: running.callFromThread(child.stop))

    running.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(child.end()))
    running.callWhenRunning(partial(stream, child, DOWN, UP, running))
    running.callWhenRunning(handle)
    running.run()
    sys.exit(child.status)
