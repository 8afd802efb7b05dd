"""One HTTP connection: its times, what is answered early, and how it becomes a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web.http import RESPONSES, HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer  # type: ignore[import-untyped, unused-ignore]

from raccoon_tx.codec import JSON, Codec
from raccoon_tx.ingest import REASONS
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Outcome, Reply
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.http_request import EventRequest, clean
from raccoon_tx.transports.media import codec_for, too_large
from raccoon_tx.transports.rest import BAD_TYPE, EVENTS, NOBODY, before_decoding, response, response_codec, text_header

#: Seconds that a client gets to finish sending what was refused.
DRAIN_TIME = 5.0

_NOT_HTTP = Reply(Outcome.INVALID, None, "malformed HTTP")
_LATE_HEAD = Reply(Outcome.LATE_BODY, None, "the head of the request did not arrive in time")
_LATE_BODY = Reply(Outcome.LATE_BODY, None, "the body did not arrive in time")
_BROKEN_OFF = Reply(Outcome.UNREADABLE, None, "deserialization failure")


def _ignore(_data: bytes) -> None:
    """For what comes when nobody listens any more."""


def nobody_known(_request: Any) -> str:
    """The group of a request where nothing is known of it."""
    return NOBODY


@implementer(IHalfCloseableProtocol)
class EventChannel(HTTPChannel):
    """One HTTP connection. It has a time for the head of a request, one for its body, and one for having none.

    :ivar early: what it sends was answered before it was complete.
    """

    factory: EventSite
    transport: Any
    _path: Any
    early = False
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
        if self._in_body:
            self._count(Outcome.UNREADABLE)
        super().connectionLost(reason)

    @property
    def _in_body(self) -> bool:
        """Whether a body has begun and not come to an end."""
        return bool(self._reading and self.requests and self.requests[-1].content is not None and not self.early)

    def _brings_batch(self) -> bool:
        return bool(self._command == b"POST" and clean(self._path.partition(b"?")[0]) == EVENTS.encode())

    def _count(self, outcome: Outcome) -> None:
        """Count the batch that will not be read, if there is one in the request that is under way."""
        if self._brings_batch():
            group = self.factory.group_of(self.requests[-1])
            self.factory.counts.group(group).could_not_read(REASONS[outcome])

    def answer_too_large(self) -> None:
        """The body of the request that is under way is over the limit."""
        content_type = text_header(self.requests[-1], "content-type")
        if self._brings_batch() and codec_for(content_type, self.factory.text_plain) is None:
            # A batch that would not be read anyway is told so first (contract section 4.3).
            self.factory.counts.group(NOBODY).could_not_read(REASONS[Outcome.UNKNOWN_TYPE])
            self.answer_early(BAD_TYPE)
        else:
            self.answer_early(before_decoding(too_large(self.factory.largest_body)), Outcome.TOO_LARGE)

    def resume(self, data: bytes, left: float | None) -> None:
        """Go on where another protocol left off.

        :param data: of a request that was not served. :param left: seconds for the rest of it, or until there is one;
            ``None`` if its time has not begun.
        """
        if data:
            self.dataReceived(data)
        if left is not None and self.timeOut is not None:
            self.setTimeout(max(left, 0.001))

    def overdue(self) -> None:
        """What is waited for is late."""
        if self.timeOut is not None:
            self.setTimeout(None)
            self.timeoutConnection()

    def readConnectionLost(self) -> None:
        """The client has sent all it wants to send, and may be waiting for its answers."""
        if self._in_body:
            self.answer_early(_BROKEN_OFF, Outcome.UNREADABLE)
        self.end_of_input()

    def end_of_input(self) -> None:
        """Close, behind the answers that are still to come."""
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

    def answer_early(self, reply: Reply, counted: Outcome | None = None) -> None:
        """Answer before the request is complete, and close the connection when it is.

        :param counted: how to count the batch that the request was to bring, if it was to bring one.
        """
        codec: Codec = JSON
        answer = Headers({b"Date": [datetimeToString()], b"Connection": [b"close"]})
        if self.requests:
            request = self.requests[-1]
            request.refused = True
            if reply is not BAD_TYPE:
                codec = response_codec(request, codec_for(text_header(request, "content-type")))
            if self.factory.cors is not None:
                for name, value in request.judge(self.factory.cors, "POST").headers:
                    answer.setRawHeaders(name.encode(), [value.encode("latin-1")])
            if counted is not None:
                self._count(counted)
        status, headers, body = response(reply, codec, time())
        for header, content in headers:
            answer.setRawHeaders(header, [content])
        self.early = True
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, RESPONSES[status], answer)
        self.write(body)
        self.setTimeout(None)
        self._abortingCall = self.callLater(DRAIN_TIME, self.forceAbortClient)

    def _respondToBadRequestAndDisconnect(self) -> None:
        if not self.early:
            self.answer_early(_NOT_HTTP, Outcome.UNREADABLE if self._in_body else None)
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
        if not self.early:
            super()._send100Continue()

    def resetTimeout(self) -> None:
        # Called for whatever comes in. The first bytes of a request start its time; later ones do not prolong it.
        if not (self._reading or self._handlingRequest or self.early):
            self._reading = True
            self.setTimeout(self.factory.head_timeout)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length != 0 and not self.early:
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
        # What was answered at once has others behind it, whose turn comes when Twisted is back in its loop.
        if self._last and not self._handlingRequest and not self._busyReceiving:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        if self._in_body:
            self.answer_early(_LATE_BODY, Outcome.LATE_BODY)
        elif self._reading and (self.requests or b" " in self._buffer):
            # As much of the head is there as to say that it is one.
            self.answer_early(_LATE_HEAD, Outcome.LATE_BODY)
        else:
            super().timeoutConnection()

    def loseConnection(self) -> None:
        # TLS waits for the other side to say goodbye too, and says what it sends meanwhile.
        self.dataReceived = _ignore  # type: ignore[method-assign]
        if self._abortingCall is None and self in self.factory.channels:
            self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        super().loseConnection()

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

    def expect_last(self) -> None:
        """Close behind the request that is under way, or behind the next one; see `checkPersistence`."""
        if self.requests:
            self.persistent = False
            self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def drain(self) -> None:
        """Finish the request that is under way, if there is one, and close."""
        if self.requests:
            self.expect_last()
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

    :ivar largest_body: bytes. :ivar channels: those that are open, whichever protocol they have. :ivar draining: they
        are to be closed. :ivar idle_timeout: seconds without a request. :ivar head_timeout: for the head of one.
        :ivar body_timeout: for its body. :ivar counts: what is counted. :ivar cors: for browsers on pages of other
        sites, if that is on. :ivar group_of: under which group to count what a request brought.
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
        group_of: Callable[[Any], str] = nobody_known,
        text_plain: bool = False,
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
        self.group_of = group_of
        self.text_plain = text_plain
        self.idle_timeout = idle_timeout
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.channels: set[Any] = set()
        self.draining = False

    def acceptableProtocols(self) -> list[bytes]:
        """For clients that ask in their TLS handshake. Twisted would offer HTTP/2 too where it finds the libraries."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """No access log: a line for each request costs more than the request."""
