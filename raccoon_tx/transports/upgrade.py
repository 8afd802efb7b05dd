"""The WebSocket handshake: contract section 5.1, and RFC 6455 section 4.2. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from attrs import frozen

#: Looked up by name in lower case.
Values = Sequence[bytes]


class BadHandshake(Exception):
    """:ivar status: of the HTTP answer. :ivar reason: what was wrong, for its body."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def _tokens(values: Values) -> list[str]:
    return [token.strip().lower() for value in values for token in value.decode("latin-1").split(",")]


def same_host(origin: str, host: str) -> bool:
    """Whether the page that opens the connection came from here; the scheme is not compared."""
    try:
        page = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    return bool(page) and page == host.lower()


def nobody_else(_origin: str) -> bool:
    """Only pages of this host may open a WebSocket."""
    return False


@frozen
class Handshake:
    """A good one. :ivar key: its ``Sec-WebSocket-Key``. :ivar offered: subprotocols. :ivar extensions: as they were
    offered."""

    key: str
    offered: tuple[str, ...] = ()
    extensions: str = ""


def offers(values: Values) -> tuple[str, ...]:
    """The subprotocols that a client offers, in its order."""
    tokens = (token.strip() for value in values for token in value.decode("latin-1").split(","))
    return tuple(filter(None, tokens))


def check_handshake(header: Mapping[str, Values], origins: Callable[[str], bool] | None) -> Handshake:
    """Check the headers of an upgrade.

    :param header: all values of each header, by its name in lower case.
    :param origins: says whether pages of an origin are allowed beside those of this host; ``None``: all are.
    :raises BadHandshake: the first thing that is wrong, in the order of the contract.
    """

    def values(name: str) -> Values:
        return header.get(name, ())

    if "upgrade" not in _tokens(values("connection")):
        raise BadHandshake(400, "this is a WebSocket address: the Connection header does not list 'upgrade'")
    if "websocket" not in _tokens(values("upgrade")):
        raise BadHandshake(400, "this is a WebSocket address: the Upgrade header does not list 'websocket'")
    if "13" not in _tokens(values("sec-websocket-version")):
        raise BadHandshake(400, "the Sec-WebSocket-Version header does not list '13'")
    if origins is not None:
        for value in values("origin")[:1]:
            origin = value.decode("latin-1")
            host = (values("host") or [b""])[0].decode("latin-1")
            if not same_host(origin, host) and not origins(origin):
                raise BadHandshake(403, "the Origin is not allowed")
    key = (values("sec-websocket-key") or [b""])[0].decode("latin-1").strip()
    if not key:
        raise BadHandshake(400, "the Sec-WebSocket-Key header is missing or blank")
    extensions = b", ".join(values("sec-websocket-extensions")).decode("latin-1")
    return Handshake(key, offers(values("sec-websocket-protocol")), extensions)
