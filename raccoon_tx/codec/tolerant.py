"""JSON as clients really write it: all that contract section 2.2 accepts, and reasons for what it refuses."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from codecs import BOM_UTF8
from datetime import date
from decimal import Decimal
from typing import TypeGuard

from msgspec import Struct

from raccoon_tx.model import Batch, Malformed

_EPOCH = date(1970, 1, 1).toordinal()
#: Values that a body may have to be read here, where each costs a microsecond of the reactor, or two.
MOST_VALUES = 100_000

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_SPACE = b" \t\n\v\f\r"
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class JSONEvent(Struct, gc=False, forbid_unknown_fields=True):
    """One event. Both fields may be absent."""

    event_bytes: bytes = b""
    type: str = ""


def decode(body: bytes) -> Batch:
    """Read one batch, taking every spelling the contract allows.

    :raises Malformed: whatever is wrong with ``body``; it knows the guid if that was right.
    """
    if len(body) > MOST_VALUES:
        check_size(body)
    fields = _parse(body)
    if not isinstance(fields, dict):
        raise Malformed("not a JSON object")
    guid = ""
    try:
        guid = _string(fields.get("req_guid", fields.get("reqguid")), "req_guid")
        sent_time = _sent_time(fields.get("sent_time", fields.get("senttime")))
        events = _events(fields.get("events"))
    except Malformed as wrong:
        wrong.guid = guid
        raise
    return Batch(guid, events, sent_time)


def check_size(body: bytes) -> None:
    """:raises Malformed: it may have more values than are read here. Counted are the characters between them, which
    is quick; what stands in texts is counted with them."""
    if body.count(b",") + body.count(b":") + body.count(b"[") + body.count(b"{") > 2 * MOST_VALUES:
        raise Malformed(f"too many values: at most {MOST_VALUES} are read in JSON of this form")


_NOTHING: dict[str, object] = {}  # one for all: a hostile body has a million of them


def _fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # A null is as good as absent and letter case means nothing, at every level; so neither gets past here.
    return {name.casefold(): value for name, value in pairs if value is not None} if pairs else _NOTHING


def _whole_number(text: str) -> int | Decimal:
    # int() is quadratic in the length, or refuses it; Decimal() is neither.
    return int(text) if len(text) <= 20 else Decimal(text)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_fields, parse_int=_whole_number, parse_float=Decimal, parse_constant=_no_constant
)


def _parse(body: bytes) -> object:
    try:
        return _DECODER.decode(_text(body.removeprefix(BOM_UTF8)))
    except json.JSONDecodeError as error:
        reason = f"{error.msg.removesuffix(' at')} at character {error.pos}"
    except ValueError as error:
        reason = str(error)
    except ArithmeticError:
        reason = "a number with an absurd exponent"
    except RecursionError:
        reason = "nested too deeply"
    raise Malformed(f"not JSON: {reason}")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        # One U+FFFD for each bad byte, where "replace" has one for each truncated sequence. An error handler of our
        # own would be called two million times by a hostile body.
        return _ESCAPED_BYTE.sub("\ufffd", body.decode(errors="surrogateescape"))


def _string(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(f"{name}: not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Malformed(f"{name}: half a surrogate pair") from None
    return value


def _events(elements: object) -> list[JSONEvent]:
    if elements is None:
        return []
    if not isinstance(elements, list):
        raise Malformed("events: not an array")
    events: list[JSONEvent] = []
    for element in elements:
        if not isinstance(element, dict):
            raise Malformed(f"events[{len(events)}]: not an object")
        try:
            payload = _payload(element.get("event_bytes", element.get("eventbytes")))
            events.append(JSONEvent(payload, _string(element.get("type"), "type")))
        except Malformed as wrong:
            raise Malformed(f"events[{len(events)}].{wrong.reason}") from None
    return events


def _payload(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return _base64(value)
    if isinstance(value, dict):
        value = _elements(value)
    if isinstance(value, list):
        return _octets(value)
    raise Malformed("event_bytes: neither base64 nor an array of integers")


def _base64(text: str) -> bytes:
    try:
        padded = text.encode("ascii").translate(_URL_SAFE_TO_STANDARD, _SPACE)
        digits = padded.rstrip(b"=")
        padding = b"=" * (-len(digits) % 4)
        if len(padded) not in (len(digits), len(digits) + len(padding)):
            raise ValueError("neither padded nor unpadded")
        return b64decode(digits + padding, validate=True)
    except ValueError:
        raise Malformed("event_bytes: not base64") from None


def _elements(fields: dict[str, object]) -> object:
    """What a JavaScript typed array or a Node buffer held before it became an object."""
    if fields.get("type") == "Buffer":
        return fields.get("data")
    try:
        return [fields[str(index)] for index in range(len(fields))]
    except KeyError:
        return None


def _octets(values: list[object]) -> bytes:
    try:
        return bytes(_whole([0 if value is None else value for value in values], 0, 255))
    except ValueError:
        raise Malformed("event_bytes: not integers from 0 to 255") from None


def _whole(values: list[object], low: int, high: int) -> list[int]:
    """:raises ValueError: one of them is no number, out of range, or not whole."""
    if not _are_numbers(values):
        raise ValueError("not a number")
    # First the range: int(Decimal("1e999999999")) would take all the memory there is.
    if values and not low <= min(values) <= max(values) <= high:
        raise ValueError("out of range")
    numbers = list(map(int, values))
    if numbers != values:
        raise ValueError("not whole")
    return numbers


def _are_numbers(values: list[object]) -> TypeGuard[list[int | Decimal]]:
    return set(map(type, values)) <= {int, Decimal}  # exactly these: bool is an int too


def _sent_time(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return _part(value, "seconds", 64) + _part(value, "nanos", 32) / 1e9
    if isinstance(value, str):
        return _rfc_3339(value)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise Malformed("sent_time: out of range")
        return float(value) if -(10**11) < value < 10**11 else float(value) / 1000
    raise Malformed("sent_time: neither an object, an RFC 3339 string nor a number")


def _part(timestamp: dict[str, object], name: str, bits: int) -> int:
    value = timestamp.get(name, 0)
    try:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = Decimal(value)
        return _whole([value], -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)[0]
    except (ValueError, ArithmeticError):
        raise Malformed(f"sent_time.{name}: not a {bits}-bit integer") from None


def _rfc_3339(text: str) -> float:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise Malformed("sent_time: not RFC 3339")
    day, hours, minutes, seconds, fraction, sign, offset_hours, offset_minutes = match.groups(default="0")
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH
    except ValueError:
        raise Malformed("sent_time: no such day") from None
    offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-60 if sign == "-" else 60)
    return days * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds) - offset + float(fraction)
