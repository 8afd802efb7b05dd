"""Where a client sends to, and who it says it is."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import frozen

#: The transport of each scheme, whether it uses TLS, and the port without one in the address.
_SCHEMES = {
    "ws": ("websocket", False, 8080),
    "wss": ("websocket", True, 443),
    "http": ("rest", False, 8080),
    "https": ("rest", True, 443),
    "grpc": ("grpc", False, 8081),
    "grpcs": ("grpc", True, 443),
}
_PATH = "/api/v1/events"


@frozen
class Address:
    """One server.

    :ivar transport: ``websocket``, ``rest`` or ``grpc``. :ivar headers: go with every batch, or with the connection.
    :ivar ca: a file with the certificates to trust, if not those of the system.
    """

    transport: str
    host: str
    port: int
    path: str
    tls: bool
    headers: Mapping[str, str]
    ca: str | None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """For a WebSocket."""
        return f"{'wss' if self.tls else 'ws'}://{self.authority}{self.path}"


def parse(
    url: str,
    client_id: str = "",
    group: str = "",
    headers: Mapping[str, str] | None = None,
    id_header: str = "X-User-ID",
    group_header: str = "X-User-Group",
    ca: str | None = None,
) -> Address:
    """Read an address such as ``ws://events.example``.

    :param id_header: :param group_header: their names, as the server is configured.
    :raises ValueError: it is none, or the file of certificates cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{url!r}: an address begins with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    if not parts.hostname:
        raise ValueError(f"{url!r}: no host")
    if parts.username is not None or parts.fragment:
        raise ValueError(f"{url!r}: more than host, port, path and query")
    transport, tls, port = _SCHEMES[parts.scheme]
    path = (parts.path if parts.path not in ("", "/") else _PATH) + (f"?{parts.query}" if parts.query else "")
    all_headers = dict(headers or {})
    if client_id:
        all_headers[id_header] = client_id
    if group:
        all_headers[group_header] = group
    for name, value in all_headers.items():
        if not (name + value).isprintable():
            raise ValueError(f"header {name!r}: control characters")
    if ca is not None:
        try:
            ssl.create_default_context(cafile=ca)
        except OSError as problem:  # one of TLS is one as well
            words = "no certificates in it" if isinstance(problem, ssl.SSLError) else problem.strerror
            raise ValueError(f"ca {ca!r}: {words}") from problem
    return Address(transport, parts.hostname, parts.port or port, path, tls, all_headers, ca)
