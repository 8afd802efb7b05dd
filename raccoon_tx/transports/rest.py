"""Klein requests <-> `Ingest.submit`: contract sections 1 and 4."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import RESPONSES
from twisted.web.iweb import IRequest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from raccoon_tx.codec import JSON, Codec
from raccoon_tx.ingest import Submit
from raccoon_tx.model import Identity, Outcome, Refused, Reply
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.media import CODINGS, codec_accepted, codec_for, decompress
from raccoon_tx.transports.upgrade import BadHandshake, check_handshake

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
}

_BAD_TYPE = Reply(Outcome.UNKNOWN_TYPE, None, "invalid content type")

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


def _text(request: Any, status: int, text: str) -> bytes:
    body = text.encode("utf-8", "replace")
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Content-Length", str(len(body)).encode())
    return body


#: Takes the transport of a request over for a WebSocket.
Upgrade = Callable[[Any, Identity, str], None]


@define(eq=False, slots=False)
class RestApi:
    """The routes of the HTTP port.

    :ivar submit: like `Ingest.submit`. :ivar upgrade: takes a checked handshake over, or raises `Refused`.
    :ivar largest: bytes of a body, before and after decompression.
    """

    _submit: Submit
    _identify: Identify
    _upgrade: Upgrade
    _largest: int
    _text_plain: bool = False
    _check_origin: bool = True

    app = Klein()

    @app.route("/ping", methods=["GET", "HEAD"])
    def ping(self, request: IRequest) -> bytes:
        return _text(request, 200, "pong")

    @app.route(EVENTS, methods=["POST"])
    def post_events(self, request: Any) -> Any:
        codec = codec_for(text_header(request, "content-type"), self._text_plain)
        if codec is None:
            return write_reply(request, JSON, _BAD_TYPE)
        back = response_codec(request, codec)
        answered: Deferred[Reply] = Deferred()
        answered.addCallback(partial(write_reply, request, back))
        try:
            client = self._identify(partial(header, request))
            body = request.content.read()
            coding = text_header(request, "content-encoding")
            if coding:
                body = decompress(body, coding, self._largest)
        except Refused as refusal:
            answered.callback(before_decoding(refusal))
        else:
            self._submit(body, codec, client, answered.callback)
        return answered

    @app.route(EVENTS, methods=["GET"])
    def open_websocket(self, request: Any) -> Any:
        if request.method != b"GET":
            return self.not_allowed(request, None)
        named = {name.decode("latin-1").lower(): values for name, values in request.requestHeaders.getAllRawHeaders()}
        try:
            key = check_handshake(named, self._check_origin)
            client = self._identify(partial(header, request))
            self._upgrade(request, client, key)
        except BadHandshake as mistake:
            return self._refuse_upgrade(request, mistake.status, mistake.reason)
        except Refused as refusal:
            if refusal.retry_after is not None:
                request.setHeader(b"Retry-After", _retry_after(refusal.retry_after))
            return self._refuse_upgrade(request, _STATUS[refusal.outcome], refusal.reason)
        return Deferred()  # never fires: the request has become a WebSocket

    def _refuse_upgrade(self, request: Any, status: int, reason: str) -> bytes:
        request.setHeader(b"Sec-Websocket-Version", b"13")
        return _text(request, status, f"{RESPONSES[status].decode()}: {reason}\n")

    @app.handle_errors(NotFound)
    def not_found(self, request: IRequest, failure: Any) -> bytes:
        return _text(request, 404, "404 page not found\n")

    @app.handle_errors(MethodNotAllowed)
    def not_allowed(self, request: Any, failure: Any) -> bytes:
        request.setHeader(b"Allow", b"GET, HEAD" if request.path == b"/ping" else b"GET, POST")
        request.setHeader(b"Content-Length", b"0")
        request.setResponseCode(405)
        return b""

    @app.handle_errors(Exception)
    def broken(self, request: Any, failure: Any) -> bytes:
        _log.failure("a request could not be served", failure)
        codec = response_codec(request, codec_for(text_header(request, "content-type")))
        return write_reply(request, codec, Reply(Outcome.FAILED, None, "internal error"))


def write_reply(request: Any, codec: Codec, reply: Reply) -> bytes:
    """Set status and headers of the answer. :return: its body."""
    status, headers, body = response(reply, codec, time())
    request.setResponseCode(status)
    for name, value in headers:
        request.setHeader(name, value)
    return body
