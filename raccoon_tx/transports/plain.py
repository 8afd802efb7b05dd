"""Heads of HTTP requests that have nothing remarkable about them, understood once and remembered. Plain data.

`httptools` reads them. What is in any way odd is not understood here, and left to Twisted and Klein, which decide alone
what becomes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, field, frozen
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from raccoon_tx.codec import JSON, Codec
from raccoon_tx.model import Identity, Refused
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.identity import Identify, Sources
from raccoon_tx.transports.media import codec_accepted, codec_for
from raccoon_tx.transports.upgrade import BadHandshake, Handshake, check_handshake

#: First lines of the two requests that may be plain.
POST = b"POST /api/v1/events HTTP/1.1\r\n"
GET = b"GET /api/v1/events HTTP/1.1\r\n"

#: Bytes, and lines, that a plain head may have.
LONGEST = 4096
MOST_LINES = 100
#: Heads that are remembered.
REMEMBERED = 1024

#: Whole lines without anything that parsers disagree about: no folding, no bare CR or LF, no control characters.
_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*")

#: Headers that say where a request ends, or ask for something on the way. `content-length` is looked at.
_FRAMING = {b"transfer-encoding", b"expect", b"trailer", b"te"}
#: Those that a POST must not have beside them.
_ODD = _FRAMING | {b"upgrade", b"content-encoding"}
#: Those that must not come twice; what an identity is read from comes to them.
_SINGLE = {b"host", b"content-length", b"content-type", b"connection", b"accept", b"origin"}

#: Names, in lower case, and values, in the order of the lines.
Lines = list[tuple[bytes, bytes]]


@frozen
class Plain:
    """A POST, as far as its head tells. :ivar length: bytes of its body, at least one. :ivar codec: of the body.
    :ivar back: of the answer. :ivar identity: who sends. :ivar extra: lines that CORS wants in the answer."""

    length: int
    codec: Codec
    back: Codec
    identity: Identity
    extra: bytes


class _Reader:
    """What `httptools` calls."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: Lines = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name.lower(), value.strip(b" \t")))


def read(head: bytes, first: bytes) -> Lines | None:
    """The header lines of a head that begins with the line ``first``; ``None`` if they are not all clean.

    :param head: with the empty line at its end.
    """
    if not _LINES.fullmatch(head, len(first), len(head) - 2):
        return None
    reader = _Reader()
    try:
        HttpRequestParser(reader).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        return None
    return reader.lines if len(reader.lines) <= MOST_LINES else None


@define(eq=False)
class Heads:
    """Understands heads.

    :ivar identify: reads identities. :ivar largest: bytes of a body. :ivar text_plain: read ``text/plain`` as JSON.
    :ivar origins: as in `raccoon_tx.transports.rest.RestApi`. :ivar cors: if that is on.
    """

    _identify: Identify
    _largest: int
    _text_plain: bool
    _origins: Callable[[str], bool] | None
    _cors: Cors | None
    _single: set[bytes] = field(init=False)
    _cookies: bool = field(init=False)
    _known: dict[bytes, Plain] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self._identify.settings
        named = {name.lower().encode() for name in (settings.id_header, settings.group_header) if name}
        self._single = _SINGLE | named
        self._cookies = bool(settings.id_cookie or settings.group_cookie)

    def plain(self, head: bytes) -> Plain | None:
        """What a head says, if it is that of a plain POST."""
        found = self._known.get(head)
        if found is None:
            found = self._understand(head)
            if found is not None:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[head] = found
        return found

    def promising(self, start: bytes) -> bool:
        """Whether what has come of a head may be the beginning of a plain one."""
        if len(start) > LONGEST:
            return False
        if not (start.startswith((POST, GET)) or POST.startswith(start) or GET.startswith(start)):
            return False
        lines = start[: start.rfind(b"\n") + 1]
        if lines.startswith(POST):
            return self._named(lines + b"\r\n") is not None
        return not lines or self._opening(lines + b"\r\n") is not None

    def _named(self, head: bytes) -> dict[bytes, bytes] | None:
        """The headers by their names, if they are those of a plain POST as far as they go."""
        lines = read(head, POST)
        if lines is None:
            return None
        named: dict[bytes, bytes] = {}
        for name, value in lines:
            if name in _ODD or (name in named and name in self._single) or (self._cookies and name == b"cookie"):
                return None
            named[name] = value
        length = named.get(b"content-length", b"1")
        if not length.isdigit() or len(length) > 10 or not 0 < int(length) <= self._largest:
            return None
        if named.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        return named

    def _understand(self, head: bytes) -> Plain | None:
        if len(head) > LONGEST or not head.startswith(POST):
            return None
        named = self._named(head)
        if named is None or b"host" not in named or b"content-length" not in named:
            return None

        def text(name: bytes) -> str:
            return named.get(name, b"").decode("latin-1")

        codec = codec_for(text(b"content-type"), self._text_plain)
        if codec is None:
            return None
        extra = self._by_cors(named.get(b"origin"))
        if extra is None:
            return None
        try:
            identity = self._identify(Sources(lambda name: named.get(name.encode("latin-1"))))
        except Refused:
            return None
        accept = text(b"accept")
        back = (codec_accepted(accept) if accept else None) or codec or JSON
        return Plain(int(named[b"content-length"]), codec, back, identity, extra)

    def _by_cors(self, origin: bytes | None) -> bytes | None:
        """What CORS wants to say in the answer; ``None`` if it is about more than that."""
        if self._cors is None:
            return b""
        verdict = self._cors.judge("POST", None if origin is None else origin.decode("latin-1"), None, "")
        if verdict.foreign or verdict.status is not None:
            return None
        return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in verdict.headers)

    def opening(self, head: bytes) -> tuple[Identity, Handshake] | None:
        """Who opens a WebSocket, and how, if a head is that of a plain upgrade and everything about it is good."""
        named = self._opening(head) if head.startswith(GET) and len(head) <= LONGEST else None
        if named is None or len(named.get("host", ())) != 1:
            return None
        try:
            handshake = check_handshake(named, self._origins)
            identity = self._identify(Sources(lambda name: named.get(name, (None,))[0], handshake.offered))
        except (BadHandshake, Refused):
            return None
        return identity, handshake

    def _opening(self, head: bytes) -> dict[str, list[bytes]] | None:
        """All values of each header by its name, if they are those of a plain upgrade as far as they go."""
        lines = read(head, GET)
        if lines is None:
            return None
        named: dict[str, list[bytes]] = {}
        for name, value in lines:
            if name in _FRAMING or name == b"content-length" or (self._cookies and name == b"cookie"):
                return None
            named.setdefault(name.decode("latin-1"), []).append(value)
        return named
