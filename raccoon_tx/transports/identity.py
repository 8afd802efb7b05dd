"""Headers and metadata -> `Identity`: contract section 3. Plain data."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from raccoon_tx.model import Identity, Invalid
from raccoon_tx.settings import IdentitySettings

#: Bytes that each part of an identity may have: it goes into log lines and metric labels.
LONGEST = 256

#: Looks a header up by its name in lower case: its first value, or ``None``.
Lookup = Callable[[str], "bytes | str | None"]


class BadIdentity(Invalid):
    """What a client says of itself cannot be used."""


@frozen
class Identify:
    """Reads the identity of a client from the headers that the settings name."""

    settings: IdentitySettings

    def __call__(self, lookup: Lookup) -> Identity:
        """:raises BadIdentity: a value is too long, is not UTF-8 or has control characters, or the id is missing
        although the settings require one."""
        settings = self.settings
        identifier = _read(lookup, settings.id_header)
        if settings.require_id and not identifier:
            raise BadIdentity(f"the header {settings.id_header} with the connection id is missing or empty")
        group = _read(lookup, settings.group_header) if settings.group_header else None
        return Identity(group or settings.default_group, identifier or "")


def _read(lookup: Lookup, header: str) -> str | None:
    value = lookup(header.lower())
    if value is None:
        return None
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else value
        size = len(text.encode("utf-8"))
    except UnicodeError:
        raise BadIdentity(f"the header {header} is not UTF-8") from None
    if size > LONGEST:
        raise BadIdentity(f"the header {header} is longer than {LONGEST} bytes")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in text):
        raise BadIdentity(f"the header {header} has control characters")
    return text
