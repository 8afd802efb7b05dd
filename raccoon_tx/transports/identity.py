"""Headers, metadata, subprotocols, query and cookies -> `Identity`: contract sections 3 and 5.6. Plain data."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from raccoon_tx.model import Identity, Invalid
from raccoon_tx.settings import IdentitySettings

#: Bytes that each part of an identity may have: it goes into log lines and metric labels.
LONGEST = 256

#: Subprotocols that carry a part of the identity begin so; the part follows in base64url.
ID_PROTOCOL, GROUP_PROTOCOL = "raccoon.id.", "raccoon.group."

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

#: Looks something up by name: its first value, or ``None``. Headers are asked for in lower case.
Lookup = Callable[[str], "bytes | str | None"]


class BadIdentity(Invalid):
    """What a client says of itself cannot be used."""


def nowhere(_name: str) -> None:
    """A place where nothing is found."""


@frozen
class Sources:
    """Where a client may say who it is, the most important first.

    :ivar offered: WebSocket subprotocols.
    """

    header: Lookup
    offered: Sequence[str] = ()
    query: Lookup = nowhere
    cookie: Lookup = nowhere


@frozen
class Identify:
    """Reads the identity of a client from where the settings say that it may be."""

    settings: IdentitySettings

    def __call__(self, sources: Sources) -> Identity:
        """:raises BadIdentity: a value is too long, is not UTF-8 or has control characters, or the id is missing
        although the settings require one."""
        settings = self.settings
        identifier = _first(self._ids(sources))
        if settings.require_id and not identifier:
            raise BadIdentity(f"the header {settings.id_header} with the connection id is missing or empty")
        return Identity(_first(self._groups(sources)) or settings.default_group, identifier)

    def _ids(self, sources: Sources) -> Iterator[tuple[str, bytes | str | None]]:
        settings = self.settings
        return self._values(sources, settings.id_header, ID_PROTOCOL, settings.id_query, settings.id_cookie)

    def _groups(self, sources: Sources) -> Iterator[tuple[str, bytes | str | None]]:
        settings = self.settings
        return self._values(sources, settings.group_header, GROUP_PROTOCOL, settings.group_query, settings.group_cookie)

    def _values(
        self, sources: Sources, header: str, protocol: str, query: str, cookie: str
    ) -> Iterator[tuple[str, bytes | str | None]]:
        if header:
            yield f"the header {header}", sources.header(header.lower())
        if self.settings.subprotocol:
            for entry in sources.offered:
                if entry.startswith(protocol):
                    yield f"the subprotocol {protocol}…", _decoded(entry[len(protocol) :], protocol)
        if query:
            yield f"the query parameter {query}", sources.query(query)
        if cookie:
            yield f"the cookie {cookie}", sources.cookie(cookie)


def _decoded(text: str, protocol: str) -> bytes:
    if _BASE64URL.fullmatch(text) and len(text) % 4 != 1:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    raise BadIdentity(f"what follows {protocol} in a subprotocol is not base64url without padding")


def _first(values: Iterator[tuple[str, bytes | str | None]]) -> str:
    """The first value that is not empty, checked; else nothing."""
    for where, value in values:
        if value:
            return _checked(where, value)
    return ""


def _checked(where: str, value: bytes | str) -> str:
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else value
        size = len(text.encode("utf-8"))
    except UnicodeError:
        raise BadIdentity(f"{where} is not UTF-8") from None
    if size > LONGEST:
        raise BadIdentity(f"{where} is longer than {LONGEST} bytes")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in text):
        raise BadIdentity(f"{where} has control characters")
    return text
