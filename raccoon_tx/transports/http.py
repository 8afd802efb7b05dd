"""The listening port that REST and WebSocket share: limits, clean paths, an orderly end."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import partial
from io import BytesIO
from time import time
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from raccoon_tx.model import Identity
from raccoon_tx.transports.listen import listen_tcp
from raccoon_tx.transports.media import codec_for, too_large
from raccoon_tx.transports.rest import response, response_codec, text_header
from raccoon_tx.transports.websocket import EventSocketFactory

#: Connections that may wait to be accepted.
BACKLOG = 4096
#: Bytes of a refused body that are read and thrown away, so that the client gets to read the answer.
DRAINED = 16 * 1024 * 1024
#: Seconds that a client gets to finish sending what was refused.
DRAIN_TIME = 5.0


def clean(path: bytes) -> bytes:
    """``path`` without scheme and host, ``//``, ``.``, ``..`` and a slash at the end; never a reason for a redirect."""
    if path[:7].lower() == b"http://":
        path = b"/" + path[7:].partition(b"/")[2]
    if path.startswith(b"/") and (b"//" in path or b"/." in path or path.endswith(b"/")):
        return b"/" + posixpath.normpath(path).lstrip(b"/")
    return path


class EventRequest(Request):
    """A request whose body has a limit, and is kept in memory.

    :ivar refused: it has been answered before its body was complete.
    """

    channel: Any
    refused = False
    _received = 0

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self.channel.factory.largest_body:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self.refused:
            if self._received > DRAINED:
                self.channel.forceAbortClient()
        elif self._received > self.channel.factory.largest_body:
            self._refuse()
        else:
            self.content.write(data)

    def _refuse(self) -> None:
        self.refused = True
        self.content = BytesIO()
        codec = response_codec(self, codec_for(text_header(self, "content-type")))
        reply = too_large(self.channel.factory.largest_body).reply()
        status, headers, body = response(reply, codec, time())
        self.channel.answer_early(status, headers, body)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def getRequestHostname(self) -> bytes:
        # No route depends on what a client calls this host, so it need not even be a name.
        return b"localhost"

    def process(self) -> None:
        self.path = clean(self.path)
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            self.path = b"/not-utf-8"
        super().process()

    def render(self, resrc: IResource) -> None:
        # Who asks need not know what this server is made of.
        self.responseHeaders.removeHeader(b"Server")
        super().render(resrc)


class EventChannel(HTTPChannel):
    """One HTTP connection."""

    factory: EventSite
    _early = False
    _successor: Protocol | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Any) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def answer_early(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer before the request is complete, and close the connection when it is."""
        self._early = True
        self.persistent = False
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, RESPONSES[status], [*headers, (b"Connection", b"close")])
        self.write(body)
        self.setTimeout(None)
        self._abortingCall = self.callLater(DRAIN_TIME, self.forceAbortClient)

    def _send100Continue(self) -> None:
        if not self._early:
            super()._send100Continue()

    def resetTimeout(self) -> None:
        if not self._early:
            super().resetTimeout()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        if self.factory.draining:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return super().checkPersistence(request, version)

    def drain(self) -> None:
        """Finish the request that is under way, if there is one, and close."""
        if self.requests:
            self.persistent = False
            self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])
        else:
            self.loseConnection()

    def rawDataReceived(self, data: bytes) -> None:
        if self._successor is not None:
            self._successor.dataReceived(data)
        else:
            super().rawDataReceived(data)

    def hand_over(self, succeed: Callable[[Any], Protocol]) -> None:
        """Give the transport away, and what the client sent after the request.

        :param succeed: makes the protocol that has the transport from now on.
        """
        transport, rest = self.transport, b"".join(self._dataBuffer)
        self.factory.channels.discard(self)
        self.setTimeout(None)
        self._networkProducer.unregisterProducer()
        self._dataBuffer = []
        self.transport = None
        self.requests.clear()
        self._successor = succeed(transport)
        transport.resumeProducing()
        if rest:
            self._successor.dataReceived(rest)


class EventSite(Site):
    """The HTTP connections.

    :ivar largest_body: bytes. :ivar channels: those that are open. :ivar draining: they are to be closed.
    """

    protocol = EventChannel  # type: ignore[assignment]
    noisy = False

    def __init__(self, resource: IResource, largest_body: int, clock: Any, idle_timeout: float) -> None:
        super().__init__(
            resource,
            requestFactory=EventRequest,
            timeout=idle_timeout,
            reactor=clock,
            parsePOSTFormSubmission=False,
        )
        self.largest_body = largest_body
        self.channels: set[EventChannel] = set()
        self.draining = False

    def log(self, request: Any) -> None:
        """No access log: a line for each request costs more than the request."""


@define(eq=False)
class HttpFront(Service):
    """Listens, and at the end lets everybody finish.

    :ivar drain_window: seconds over which WebSockets are closed, so that their clients do not all come back at once.
    :ivar finish_timeout: seconds that requests and batches under way get.
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
            self._listening = listen_tcp(self._clock, self._host, self._port, self._site, BACKLOG)

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        self._hurried = True

    def stopService(self) -> Deferred[None]:
        """Fires when the last connection has been closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._pause(self._drain_delay)
        await self._listening.stopListening()
        self._listening = None
        self._site.draining = True
        for channel in list(self._site.channels):
            channel.drain()
        sockets = list(self._sockets.open)
        step = self._drain_window / len(sockets) if sockets else 0.0
        start = self._clock.seconds()
        for position, socket in enumerate(sockets):
            due = start + position * step
            if due > self._clock.seconds():
                await self._pause(max(due - self._clock.seconds(), 0.01))
            socket.drain()
        limit = self._clock.seconds() + self._finish_timeout
        while (self._sockets.open or self._site.channels) and self._clock.seconds() < limit and not self._hurried:
            await deferLater(self._clock, 0.01)
        for socket in list(self._sockets.open):
            socket.abort()
        for channel in list(self._site.channels):
            channel.forceAbortClient()

    async def _pause(self, seconds: float) -> None:
        limit = self._clock.seconds() + seconds
        while self._clock.seconds() < limit and not self._hurried:
            await deferLater(self._clock, min(0.05, limit - self._clock.seconds()))


def upgrade(sockets: EventSocketFactory, request: Any, client: Identity, key: str) -> None:
    """Make a WebSocket of a request whose handshake is good."""
    request.channel.hand_over(partial(sockets.take_over, client, key))
