"""Content types and content codings: contract sections 4.1 and 4.2. Plain data."""

from __future__ import annotations

import zlib

from raccoon_tx.codec import JSON, PROTOBUF, Codec
from raccoon_tx.model import Malformed, Outcome, Refused

_PROTOBUF_TYPES = {
    "application/proto",
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
    "application/x-google-protobuf",
}
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}

#: What an answer to an unknown coding says is accepted.
CODINGS = "gzip, deflate"
#: Content codings, one in the other, that a body may have.
_MOST_CODINGS = 3
#: Parts of gzip, one behind the other, that a body may have: each costs as much as a small body.
_MOST_MEMBERS = 1000
#: Bytes that are decompressed at a time, so that what is left over behind a gzip member is little to copy.
_STEP = 8192


class UnknownCoding(Refused):
    """The body is in a content coding that is not understood."""

    outcome = Outcome.UNKNOWN_ENCODING


class TooLarge(Refused):
    """The body is over the limit."""

    outcome = Outcome.TOO_LARGE


def codec_for(content_type: str, text_plain: bool = False) -> Codec | None:
    """The codec that a ``Content-Type`` asks for, or ``None`` if it is refused.

    :param text_plain: read ``text/plain`` as JSON.
    """
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            return None
    if kind in _PROTOBUF_TYPES:
        return PROTOBUF
    if kind in ("application/json", "text/json") or (kind.startswith("application/") and kind.endswith("+json")):
        return JSON
    return JSON if text_plain and kind == "text/plain" else None


def codec_accepted(accept: str) -> Codec | None:
    """The codec that an ``Accept`` header names, if it names exactly one of the two and no wildcard: an HTTP library
    that accepts JSON "and anything else" does not ask for JSON in place of what its user sends."""
    named = set()
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if any(word.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for word in parameters):
            continue
        if kind in ("*/*", "application/*"):
            return None
        named.add(codec_for(kind))
    named.discard(None)
    return named.pop() if len(named) == 1 else None


def too_large(limit: int) -> TooLarge:
    """What a client is told whose body is over the limit."""
    return TooLarge(f"too large: a body may have at most {limit} bytes")


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """``body`` without its content codings.

    :raises UnknownCoding: :raises TooLarge: :raises Malformed: it is not in the coding that it is said to be in.
    """
    names = [part.strip().lower() for part in coding.split(",")]
    if len(names) > _MOST_CODINGS:
        raise UnknownCoding(f"more than {_MOST_CODINGS} content encodings")
    for name in reversed(names):
        if name in ("gzip", "x-gzip"):
            body = _inflate(body, 31, limit)
        elif name == "deflate":
            # RFC 9110 means the zlib format; some clients send the bare one.
            zlib_format = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
            body = _inflate(body, 15 if zlib_format else -15, limit)
        elif name not in ("identity", ""):
            raise UnknownCoding(f"unknown content encoding; accepted are {CODINGS}")
    return body


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    room = limit
    position, members = 0, 1
    inflater = zlib.decompressobj(window)
    while position < len(body):
        if inflater.eof:
            # Several gzip members in a row are one body (RFC 1952, section 2.2).
            if window != 31:
                raise Malformed("there is something behind the compressed body")
            members += 1
            if members > _MOST_MEMBERS:
                raise Malformed(f"more than {_MOST_MEMBERS} parts of gzip in one body")
            inflater = zlib.decompressobj(window)
        step = body[position : position + _STEP]
        try:
            piece = inflater.decompress(step, room + 1)
        except zlib.error:
            raise Malformed("the body is not in its content encoding") from None
        room -= len(piece)
        if room < 0:
            raise too_large(limit)
        pieces.append(piece)
        position += len(step) - len(inflater.unused_data)
    if body and not inflater.eof:
        raise Malformed("the compressed body ends early")
    return b"".join(pieces)
