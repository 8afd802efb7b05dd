"""Klein requests <-> `Ingest.submit`: contract sections 1 and 4."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Any
from urllib.parse import parse_qs

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import RESPONSES
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from raccoon_tx.codec import JSON, Codec
from raccoon_tx.ingest import REASONS, Submit
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Client, Identity, Outcome, Refused, Reply
from raccoon_tx.transports.health import Health
from raccoon_tx.transports.identity import BadIdentity, Identify, Sources
from raccoon_tx.transports.media import CODINGS, codec_accepted, codec_for, decompress
from raccoon_tx.transports.upgrade import BadHandshake, Handshake, check_handshake, nobody_else, offers, same_host

EVENTS = "/api/v1/events"

_STATUS = {
    Outcome.OK: 200,
    Outcome.MALFORMED: 400,
    Outcome.INVALID: 400,
    Outcome.TOO_LARGE: 413,
    Outcome.UNKNOWN_TYPE: 400,
    Outcome.UNKNOWN_ENCODING: 415,
    Outcome.UNREADABLE: 500,
    Outcome.LATE_BODY: 408,
    Outcome.FAILED: 500,
    Outcome.SATURATED: 503,
    Outcome.UNAVAILABLE: 503,
    Outcome.RATE_LIMITED: 429,
    Outcome.DRAINING: 503,
    Outcome.EXPIRED: 504,
    Outcome.FOREIGN: 403,
}

#: The group under which batches are counted whose client is not known.
NOBODY = "NA"

#: To a batch in an encoding that is not understood.
BAD_TYPE = Reply(Outcome.UNKNOWN_TYPE, None, "invalid content type")
#: To a request that met with a mistake of ours.
BROKEN = Reply(Outcome.FAILED, None, "internal error")
_FOREIGN = Reply(Outcome.FOREIGN, None, "the Origin is not allowed")

_log = Logger()


def header(request: Any, name: str) -> bytes | None:
    """The first value of a header."""
    values = request.requestHeaders.getRawHeaders(name.encode("latin-1"))
    return values[0] if values else None


def text_header(request: Any, name: str) -> str:
    """The values of a header, joined as RFC 9110 section 5.2 says; empty if there is none."""
    values = request.requestHeaders.getRawHeaders(name.encode("latin-1")) or ()
    return b", ".join(values).decode("latin-1")


def response_codec(request: Any, codec: Codec | None) -> Codec:
    """The codec for an answer: what ``Accept`` asks for, else that of the request, else JSON."""
    accept = text_header(request, "accept")
    return (codec_accepted(accept) if accept else None) or codec or JSON


def before_decoding(refusal: Refused) -> Reply:
    """What to say of a body that nobody looked into: such an answer has no ``data`` (contract section 2.2)."""
    return Reply(refusal.outcome, None, refusal.reason, retry_after=refusal.retry_after)


def _retry_after(seconds: float | None) -> bytes:
    return b"%d" % max(1, math.ceil(seconds or 0))


def response(reply: Reply, codec: Codec, now: float) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer to a POST."""
    if reply.outcome is Outcome.MALFORMED:
        reply = Reply(reply.outcome, None, "deserialization failure")
    body = codec.encode(reply, int(now))
    status = _STATUS[reply.outcome]
    headers = [(b"Content-Type", codec.media_type.encode()), (b"Content-Length", b"%d" % len(body))]
    headers.append((b"X-Content-Type-Options", b"nosniff"))
    if status in (429, 503):
        headers.append((b"Retry-After", _retry_after(reply.retry_after)))
    if reply.outcome is Outcome.UNKNOWN_ENCODING:
        headers.append((b"Accept-Encoding", CODINGS.encode()))
    if reply.outcome is Outcome.DRAINING:
        headers.append((b"Connection", b"close"))
    return status, headers, body


def _body(request: Any, status: int, media_type: bytes, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", media_type)
    request.setHeader(b"Content-Length", str(len(body)).encode())
    return body


def _text(request: Any, status: int, text: str) -> bytes:
    return _body(request, status, b"text/plain; charset=utf-8", text.encode("utf-8", "replace"))


def allowed(path: bytes) -> bytes:
    """The methods of a path, for ``Allow``."""
    return b"GET, POST" if path == EVENTS.encode() else b"GET, HEAD"


#: Takes the transport of a request over for a WebSocket.
Upgrade = Callable[[Any, Identity, Handshake], None]


def _query(request: Any, name: str) -> str | None:
    try:
        values = parse_qs(request.uri.partition(b"?")[2].decode("ascii"), errors="strict", max_num_fields=100)
    except ValueError:
        raise BadIdentity("the query of the address is not in its usual form") from None
    return values[name][0] if name in values else None


def _cookie(request: Any, name: str) -> bytes | None:
    wanted = name.encode("utf-8")
    for line in request.requestHeaders.getRawHeaders(b"cookie") or ():
        for cookie in line.split(b";"):
            found, _, value = cookie.partition(b"=")
            if found.strip() == wanted:
                value = value.strip()
                quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'
                return bytes(value[1:-1] if quoted else value)
    return None


def _own_page(request: Any) -> bool:
    origin, host = header(request, "origin") or b"", header(request, "host") or b""
    return same_host(origin.decode("latin-1"), host.decode("latin-1"))


def sources(request: Any, offered: Sequence[str] = ()) -> Sources:
    """Where a request may say who sent it. :param offered: WebSocket subprotocols."""
    return Sources(partial(header, request), offered, query=partial(_query, request), cookie=partial(_cookie, request))


@define(eq=False, slots=False)
class RestApi:
    """The routes of the HTTP port.

    :ivar submit: like `Ingest.submit`. :ivar upgrade: takes a checked handshake over, or raises `Refused`.
    :ivar largest: bytes of a body, before and after decompression. :ivar counts: what is counted.
    :ivar health: how the parts of the server are. :ivar text_plain: read ``text/plain`` as JSON.
    :ivar origins: whether the page of this origin may open a WebSocket, beside pages of this host; ``None`` for any.
    :ivar refuse_foreign: pages of other sites, which CORS does not allow, are refused instead of served.
    """

    _submit: Submit
    _identify: Identify
    _upgrade: Upgrade
    _largest: int
    _counts: Counts
    _health: Health
    _text_plain: bool = False
    _origins: Callable[[str], bool] | None = nobody_else
    _refuse_foreign: bool = False

    app = Klein()

    @app.route("/ping", methods=["GET", "HEAD"])
    def ping(self, request: IRequest) -> bytes:
        return _text(request, 200, "pong")

    @app.route("/healthz", methods=["GET", "HEAD"])
    def alive(self, request: IRequest) -> bytes:
        return _text(request, 200, "ok")

    @app.route("/readyz", methods=["GET", "HEAD"])
    def ready(self, request: IRequest) -> bytes:
        ready, body = self._health.report()
        return _body(request, 200 if ready else 503, b"application/json", body)

    @app.route(EVENTS, methods=["POST"])
    def post_events(self, request: Any) -> Any:
        codec = codec_for(text_header(request, "content-type"), self._text_plain)
        if codec is None:
            self._counts.group(NOBODY).could_not_read(REASONS[Outcome.UNKNOWN_TYPE])
            return write_reply(request, JSON, BAD_TYPE)
        back = response_codec(request, codec)
        if request.foreign and self._refuse_foreign and not _own_page(request):
            return write_reply(request, back, _FOREIGN)
        answered: Deferred[Reply] = Deferred()
        answered.addCallback(partial(write_reply, request, back))
        group = NOBODY
        try:
            identity = self._identify(sources(request))
            group = identity.group
            body = request.content.read()
            coding = text_header(request, "content-encoding")
            if coding:
                body = decompress(body, coding, self._largest)
        except Refused as refusal:
            self._counts.group(group).could_not_read(REASONS[refusal.outcome])
            answered.callback(before_decoding(refusal))
        else:
            client = Client(identity, "rest", request.getClientAddress().host)
            self._submit(body, codec, client, answered.callback)
        return answered

    @app.route(EVENTS, methods=["GET"])
    def open_websocket(self, request: Any) -> Any:
        if request.method != b"GET":
            return self.not_allowed(request, None)
        named = {name.decode("latin-1").lower(): values for name, values in request.requestHeaders.getAllRawHeaders()}
        if request.clientproto == b"HTTP/1.0":
            return self._refuse_upgrade(request, 400, "a WebSocket takes HTTP/1.1")
        try:
            handshake = check_handshake(named, self._origins)
            identity = self._identify(sources(request, handshake.offered))
            self._upgrade(request, identity, handshake)
        except BadHandshake as mistake:
            return self._refuse_upgrade(request, mistake.status, mistake.reason)
        except Refused as refusal:
            if refusal.retry_after is not None:
                request.setHeader(b"Retry-After", _retry_after(refusal.retry_after))
            return self._refuse_upgrade(request, _STATUS[refusal.outcome], refusal.reason)
        return Deferred()  # never fires: the request has become a WebSocket

    def _refuse_upgrade(self, request: Any, status: int, reason: str) -> bytes:
        offered = offers(request.requestHeaders.getRawHeaders(b"sec-websocket-protocol") or ())
        self._counts.group(self.group(request, offered)).refuse("ugfailure")
        request.setHeader(b"Sec-Websocket-Version", b"13")
        return _text(request, status, f"{RESPONSES[status].decode()}: {reason}\n")

    def group(self, request: Any, offered: Sequence[str] = ()) -> str:
        """Under which group to count what a request brought, whatever is wrong with it."""
        try:
            return self._identify(sources(request, offered)).group
        except Refused:
            return NOBODY

    @app.handle_errors(NotFound)
    def not_found(self, request: IRequest, failure: Any) -> bytes:
        return _text(request, 404, "404 page not found\n")

    @app.handle_errors(MethodNotAllowed)
    def not_allowed(self, request: Any, failure: Any) -> bytes:
        request.setHeader(b"Allow", allowed(request.path))
        request.setHeader(b"Content-Length", b"0")
        request.setResponseCode(405)
        return b""

    @app.handle_errors(Exception)
    def broken(self, request: Any, failure: Any) -> bytes:
        _log.failure("a request could not be served", failure)
        codec = response_codec(request, codec_for(text_header(request, "content-type")))
        return write_reply(request, codec, BROKEN)


def write_reply(request: Any, codec: Codec, reply: Reply) -> bytes:
    """Set status and headers of the answer. :return: its body."""
    status, headers, body = response(reply, codec, time())
    request.setResponseCode(status)
    for name, value in headers:
        request.setHeader(name, value)
    return body
