"""The WebSocket handshake: contract section 5.1, and RFC 6455 section 4.2. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

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


def check_handshake(header: dict[str, Values], check_origin: bool) -> str:
    """Check the headers of an upgrade.

    :param header: all values of each header, by its name in lower case.
    :return: the ``Sec-WebSocket-Key``.
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
    if check_origin:
        for origin in values("origin")[:1]:
            host = (values("host") or [b""])[0].decode("latin-1")
            if not same_host(origin.decode("latin-1"), host):
                raise BadHandshake(403, "the Origin is not allowed")
    key = (values("sec-websocket-key") or [b""])[0].decode("latin-1").strip()
    if not key:
        raise BadHandshake(400, "the Sec-WebSocket-Key header is missing or blank")
    return key
