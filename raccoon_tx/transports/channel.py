"""One HTTP connection: its limits, its times, clean paths, and how it becomes a WebSocket."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from io import BytesIO
from time import time
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web.http import RESPONSES, HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer  # type: ignore[import-untyped, unused-ignore]

from raccoon_tx.codec import JSON, Codec
from raccoon_tx.ingest import REASONS
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Outcome, Reply
from raccoon_tx.transports.cors import Cors, Verdict
from raccoon_tx.transports.media import codec_for, too_large
from raccoon_tx.transports.rest import NOBODY, before_decoding, response, response_codec, text_header

#: Bytes of a refused body that are read and thrown away, so that the client gets to read the answer.
DRAINED = 16 * 1024 * 1024
#: Seconds that a client gets to finish sending what was refused.
DRAIN_TIME = 5.0
#: A path that leads nowhere.
NOWHERE = b"/*"

_NOT_HTTP = Reply(Outcome.INVALID, None, "malformed HTTP")
_LATE = Reply(Outcome.LATE_BODY, None, "the body did not arrive in time")


def clean(target: bytes) -> bytes:
    """The path of a request target without scheme and host, ``//``, ``.``, ``..`` and a slash at the end, escaped or
    not; never a reason for a redirect."""
    if not target.startswith(b"/"):
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            return target if target == b"*" else NOWHERE
        target = b"/" + rest.partition(b"/")[2]
    if b"%" in target or not target.isascii():
        try:
            target = quote(unquote_to_bytes(target).decode("utf-8")).encode()
        except UnicodeDecodeError:
            return NOWHERE
    if b"//" in target or b"/." in target or target.endswith(b"/"):
        return b"/" + posixpath.normpath(target).lstrip(b"/")
    return target


class EventRequest(Request):
    """A request whose body has a limit, and is kept in memory.

    :ivar refused: it has been answered before its body was complete. :ivar foreign: it comes from a page of a site
        that CORS does not allow.
    """

    channel: Any
    content: Any
    refused = False
    foreign = False
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
        self.content = BytesIO()
        self.channel.answer_early(before_decoding(too_large(self.channel.factory.largest_body)))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.channel.loseConnection()
        else:
            # As in Twisted, which would also parse the query, and bodies that are forms.
            self.content.seek(0)
            self.method, self.uri, self.clientproto = command, path, version
            self.path = clean(path.partition(b"?")[0])
            self.process()

    def judge(self, cors: Cors, method: str) -> Verdict:
        """What CORS has to say of this request."""
        origin = self.requestHeaders.getRawHeaders(b"Origin")
        asked = text_header(self, "access-control-request-method")
        wanted = text_header(self, "access-control-request-headers")
        return cors.judge(method, origin[0].decode("latin-1") if origin else None, asked, wanted)

    def process(self) -> None:
        cors = self.channel.factory.cors
        if cors is not None:
            verdict = self.judge(cors, self.method.decode("latin-1"))
            self.foreign = verdict.foreign
            for name, value in verdict.headers:
                self.setHeader(name.encode(), value.encode("latin-1"))
            if verdict.status is not None:
                self.setResponseCode(verdict.status)
                self.setHeader(b"Date", datetimeToString())
                self.setHeader(b"Content-Length", b"0")
                self.finish()
                return
        super().process()

    def getRequestHostname(self) -> bytes:
        # No route depends on what a client calls this host, so it need not even be a name.
        return b"localhost"


@implementer(IHalfCloseableProtocol)
class EventChannel(HTTPChannel):
    """One HTTP connection. It has a time for the head of a request, one for its body, and one for having none."""

    factory: EventSite
    transport: Any
    _early = False
    _reading = False
    _last = False
    _successor: Protocol | None = None

    # Twisted has a line for each client that is too slow.
    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def readConnectionLost(self) -> None:
        """The client has sent all it wants to send, and may be waiting for its answers."""
        if self._handlingRequest:
            self._last = True
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Does not happen: we close both halves at once."""

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        # Who asks need not know what this server is made of.
        headers.removeHeader(b"Server")
        if headers.hasHeader(b"Connection"):  # the only thing it ever says is "close"
            self.persistent = False
        super().writeHeaders(version, code, reason, headers)

    def answer_early(self, reply: Reply) -> None:
        """Answer before the request is complete, and close the connection when it is."""
        codec: Codec = JSON
        answer = Headers({b"Date": [datetimeToString()], b"Connection": [b"close"]})
        if self.requests:
            request = self.requests[-1]
            request.refused = True
            codec = response_codec(request, codec_for(text_header(request, "content-type")))
            if self.factory.cors is not None:
                for name, value in request.judge(self.factory.cors, "POST").headers:
                    answer.setRawHeaders(name.encode(), [value.encode("latin-1")])
            reason = REASONS.get(reply.outcome)
            if reason in ("toolarge", "timeout"):
                self.factory.counts.group(NOBODY).could_not_read(reason)
        status, headers, body = response(reply, codec, time())
        for header, content in headers:
            answer.setRawHeaders(header, [content])
        self._early = True
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, RESPONSES[status], answer)
        self.write(body)
        self.setTimeout(None)
        self._abortingCall = self.callLater(DRAIN_TIME, self.forceAbortClient)

    def _respondToBadRequestAndDisconnect(self) -> None:
        if not self._early:
            self.answer_early(_NOT_HTTP)
        self.loseConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a Content-Length with more digits than int() takes
            self._respondToBadRequestAndDisconnect()
            return False

    def _send100Continue(self) -> None:
        if not self._early:
            super()._send100Continue()

    def resetTimeout(self) -> None:
        # Called for whatever comes in. The first bytes of a request start its time; later ones do not prolong it.
        if not (self._reading or self._handlingRequest or self._early):
            self._reading = True
            self.setTimeout(self.factory.head_timeout)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length != 0 and not self._early:
            self._reading = True
            self.setTimeout(self.factory.body_timeout)

    def allContentReceived(self) -> None:
        self._reading = False
        if self.timeOut is not None:
            # This is what comes back when the request is done.
            self.timeOut = self.factory.idle_timeout  # type: ignore[assignment]
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        # Twisted does this only for answers that come later: a client that reads none would get all of them stored.
        if self._waitingForTransport and not self._handlingRequest:
            self.transport.pauseProducing()
        if self._last and not self._handlingRequest:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        if self.requests and self.requests[-1].content is not None:
            self.answer_early(_LATE)
        else:
            super().timeoutConnection()

    def forceAbortClient(self) -> None:
        # Twisted forgets this timer without stopping it.
        if self._abortingCall is not None and self._abortingCall.active():
            self._abortingCall.cancel()
        super().forceAbortClient()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        wishes = text_header(request, "connection").lower().split(",")
        if self.factory.draining or "close" in [wish.strip() for wish in wishes]:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

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
    :ivar idle_timeout: seconds without a request. :ivar head_timeout: for the head of one. :ivar body_timeout: for
        its body. :ivar counts: what is counted. :ivar cors: for browsers on pages of other sites, if that is on.
    """

    protocol = EventChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        resource: IResource,
        largest_body: int,
        clock: Any,
        idle_timeout: float,
        counts: Counts,
        head_timeout: float = 10.0,
        body_timeout: float = 30.0,
        cors: Cors | None = None,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=EventRequest,
            timeout=idle_timeout,
            reactor=clock,
        )
        self.largest_body = largest_body
        self.counts = counts
        self.cors = cors
        self.idle_timeout = idle_timeout
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.channels: set[EventChannel] = set()
        self.draining = False

    def log(self, request: Any) -> None:
        """No access log: a line for each request costs more than the request."""
