"""What is in the bytes of an event, for people and for programs. Plain data."""

from __future__ import annotations

import json
from typing import Any

from raccoon_tx.publishers.log import show


def read(value: bytes) -> tuple[str, str]:
    """A kind (``json``, ``text``, ``protobuf`` or ``bytes``), and the content as text."""
    kind, content = show(value)
    if kind != "json" and _is_text(value):
        return "text", value.decode("utf-8")
    return kind, content


def _is_text(value: bytes) -> bool:
    """Protobuf may look like text, but for how it begins: with the number of a field, which is seldom a letter."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not text or (text[0].isprintable() and all(each.isprintable() or each in "\t\r\n" for each in text))


def for_programs(value: bytes) -> dict[str, Any]:
    """The same as an object for JSON: what is JSON itself stays so, bytes are base64."""
    kind, content = read(value)
    if kind != "json":
        return {"kind": kind, "value": content}
    try:
        return {"kind": kind, "value": json.loads(content, parse_constant=_refuse)}
    except ValueError:
        return {"kind": "text", "value": content}


def _refuse(word: str) -> None:
    """NaN is JSON to Python only."""
    raise ValueError(word)
