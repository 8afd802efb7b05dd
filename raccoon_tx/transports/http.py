"""The listening port that REST and WebSocket share, and its orderly end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater

from raccoon_tx.model import Draining, Identity
from raccoon_tx.settings import LAST_WORDS
from raccoon_tx.transports.channel import EventSite
from raccoon_tx.transports.front import FrontFactory
from raccoon_tx.transports.listen import listen_tcp
from raccoon_tx.transports.upgrade import Handshake
from raccoon_tx.transports.websocket import EventSocketFactory

__all__ = ["EventSite", "HttpFront", "upgrade"]

#: Connections that may wait to be accepted.
BACKLOG = 4096
#: Seconds in which a connection without a request may still bring one, before it is closed. A client that sends all the
#: time then learns from an answer that it has to connect again, and loses no request that was on the wire.
LAST_REQUEST = 0.3


@define(eq=False)
class HttpFront(Service):
    """Listens, and at the end lets everybody finish.

    :ivar drain_window: seconds over which WebSockets are closed, so that their clients do not all come back at once.
    :ivar finish_timeout: seconds that requests and batches under way get. :ivar give_up: has those answered that are
        still under way then.
    :ivar encrypt: wraps the factory of connections in TLS. :ivar first: makes what connections begin as; without it
        that is an `EventChannel`. :ivar shared: other processes have the same port.
    :ivar stopping: it is about to close its port.
    :ivar port: that is listened on, once the service has started.
    """

    _clock: Any
    _site: EventSite
    _sockets: EventSocketFactory
    _host: str
    _port: int
    _drain_delay: float = 0.0
    _drain_window: float = 2.0
    _finish_timeout: float = 5.0
    _give_up: Callable[[], None] = field(default=lambda: None)
    _encrypt: Callable[[Any, Any], Any] | None = None
    _first: FrontFactory | None = None
    _shared: bool = False
    stopping: bool = field(default=False, init=False)
    _hurried: bool = field(default=False, init=False)
    _listening: Any = field(default=None, init=False)

    @property
    def port(self) -> int:
        return int(self._listening.getHost().port)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        super().startService()
        self._listen()

    def _listen(self) -> None:
        if self._listening is None:
            factory: Any = self._first or self._site
            if self._encrypt is not None:
                factory = self._encrypt(factory, self._clock)
            self._listening = listen_tcp(self._clock, self._host, self._port, factory, BACKLOG, shared=self._shared)

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        self._hurried = True

    def stopService(self) -> Deferred[None]:
        """Fires when the last connection has been closed."""
        super().stopService()
        self.stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._pause(self._drain_delay)
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        self._site.draining = True
        for channel in list(self._site.channels):
            channel.expect_last()
        until = self._clock.seconds() + LAST_REQUEST
        sockets = list(self._sockets.open)
        step = self._drain_window / len(sockets) if sockets else 0.0
        start = self._clock.seconds()
        for position, socket in enumerate(sockets):
            due = start + position * step
            if due > self._clock.seconds():
                await self._pause(max(due - self._clock.seconds(), 0.01))
            socket.drain()
        finish = self._clock.seconds() + self._finish_timeout
        await self._until_all_left(until)
        for channel in list(self._site.channels):
            channel.drain()
        await self._until_all_left(finish)
        self._give_up()
        await self._until_all_left(self._clock.seconds() + LAST_WORDS)
        for socket in list(self._sockets.open):
            socket.abort()
        for channel in list(self._site.channels):
            channel.forceAbortClient()

    async def _until_all_left(self, limit: float) -> None:
        while (self._sockets.open or self._site.channels) and self._clock.seconds() < limit and not self._hurried:
            await deferLater(self._clock, 0.01)

    async def _pause(self, seconds: float) -> None:
        limit = self._clock.seconds() + seconds
        while self._clock.seconds() < limit and not self._hurried:
            await deferLater(self._clock, min(0.05, limit - self._clock.seconds()))


def upgrade(sockets: EventSocketFactory, request: Any, identity: Identity, handshake: Handshake) -> None:
    """Make a WebSocket of a request whose handshake is good.

    :raises Draining: it would not live long.
    """
    if request.channel.factory.draining:
        raise Draining("shutting down, connect again later", retry_after=1.0)
    request.channel.hand_over(partial(sockets.take_over, identity, handshake))
