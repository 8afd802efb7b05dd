"""Where a server is, as a URL says it."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen

#: Transport and TLS, by scheme.
SCHEMES = {
    "ws": ("websocket", False),
    "wss": ("websocket", True),
    "http": ("rest", False),
    "https": ("rest", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}

#: Schemes without TLS, by transport.
PLAIN = {transport: scheme for scheme, (transport, tls) in SCHEMES.items() if not tls}

#: Where servers listen, unless told otherwise: gRPC, and the other two.
_GRPC_PORT, _HTTP_PORT = 8081, 8080
EVENTS = "/api/v1/events"


class NoAddress(ValueError):
    """Not the URL of a server; the text says why."""


@frozen
class Address:
    """A server. :ivar transport: ``websocket``, ``rest`` or ``grpc``. :ivar path: of the URL; gRPC has none."""

    transport: str
    host: str
    port: int
    tls: bool = False
    path: str = EVENTS

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """All of it."""
        scheme = PLAIN[self.transport] + ("s" if self.tls else "")
        return f"{scheme}://{self.authority}" + ("" if self.transport == "grpc" else self.path)


def read_address(url: str) -> Address:
    """What a URL says. :raises NoAddress: it is not one of ours."""
    if "://" not in url:
        raise NoAddress(f"{url} has no scheme; for example ws://{url}, http://{url} or grpc://{url}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NoAddress(f"{url} is not a URL: {error}") from None
    if parts.scheme not in SCHEMES:
        raise NoAddress(f"{parts.scheme}:// is not among {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if not parts.hostname:
        raise NoAddress(f"{url} names no host")
    transport, tls = SCHEMES[parts.scheme]
    path = parts.path if parts.path not in ("", "/") else EVENTS
    default = _GRPC_PORT if transport == "grpc" else _HTTP_PORT
    return Address(transport, parts.hostname, port or default, tls, path)
