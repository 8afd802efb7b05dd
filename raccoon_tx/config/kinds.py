"""What a value of a setting may be: text in, checked value out. Plain data (contract section 13.1).

A `Kind` reads the text that a flag, an environment variable or the file gave. Where the text will not do, it raises
`ValueError`, whose message names the text and says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

Value = bool | int | str | tuple[str, ...]

#: The longest a whole number may be: the timers and the C libraries below count no further.
_INT32 = 2**31 - 1
_INT64 = 2**63 - 1

_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})
_INTEGER = re.compile(r"[+-]?[0-9](_?[0-9]){0,18}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_TOPIC = re.compile(r"(?!__)(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}")
_UNFIT = re.compile(r"[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

#: What is said of what is not `is_text`. It may be a secret, and is not shown.
NOT_TEXT = "is not UTF-8 or has a NUL character"

_MISSING_PUBLISHERS = {"pubsub": "google-cloud-pubsub", "kinesis": "boto3"}
_LEVELS = ("debug", "info", "warn", "error", "fatal", "panic")
_OTHER_LEVELS = {"trace": "debug", "warning": "warn"}


@frozen
class Kind:
    """One kind of value.

    :ivar metavar: stands for the value in help texts. :ivar parse: raises `ValueError`.
    :ivar choices: all there is, if that can be listed. :ivar many: a list is meant.
    """

    metavar: str
    parse: Callable[[str], Value]
    choices: tuple[str, ...] = ()
    many: bool = False


def shown(text: str) -> str:
    """``text`` as an error message quotes it: in quotes, and not endless."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def is_text(text: str) -> bool:
    """Whether everybody can take ``text``: the environment may have any bytes, and in C a NUL ends it."""
    return not _UNFIT.search(text)


def is_topic(name: str) -> bool:
    """Whether Kafka takes a topic of this name from a client."""
    return bool(_TOPIC.fullmatch(name))


def integer(low: int, high: int = _INT32, metavar: str = "N") -> Kind:
    """A whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if _INTEGER.fullmatch(text.strip()) and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"{shown(text)} is not a whole number from {low} to {high}")

    return Kind(metavar, parse)


def one_of(*choices: str) -> Kind:
    """One of a few words, in upper or lower case."""
    return Kind("|".join(choices), lambda text: _choose(text, choices), choices)


def several_of(*choices: str) -> Kind:
    """A list of some of a few words."""
    return Kind("LIST", lambda text: tuple(_choose(word, choices) for word in _split(text)), choices, many=True)


def _choose(text: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if text.strip().lower() == choice.lower():
            return choice
    raise ValueError(f"{shown(text)} is not one of {', '.join(choices)}")


def _split(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in _text(text).split(",") if item.strip())


def _text(text: str) -> str:
    if not is_text(text):
        raise ValueError(NOT_TEXT)
    return text


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{shown(text)} is neither true nor false")
    return word in _TRUE


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text.strip()):
        raise ValueError(f"{shown(text)} is not the name of an HTTP header: use letters, digits and '-'")
    return text.strip()


def _group(text: str) -> str:
    if _CONTROL.search(text) or not is_text(text) or len(text.encode()) > 256:
        raise ValueError(f"{shown(text)} is not a group: use at most 256 bytes and no control characters")
    return text


def _pattern(text: str) -> str:
    if text.count("%s") > 1:
        raise ValueError(f"{shown(text)} has a second %s, but only the first one is replaced by the event's type")
    if not is_topic(text.replace("%s", "x")):
        raise ValueError(
            f"{shown(text)} gives no topic that Kafka takes: besides one %s use 1 to 249 letters, digits, '.', '_' "
            "and '-', neither '.' nor '..' alone, and no '__' at the beginning"
        )
    return text


def _topic(text: str) -> str:
    if text and not is_topic(text):
        raise ValueError(
            f"{shown(text)} is no topic that Kafka takes: use 1 to 249 letters, digits, '.', '_' and '-', "
            "neither '.' nor '..' alone, and no '__' at the beginning"
        )
    return text


def _url_path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(" ?#"):
        raise ValueError(f"{shown(text)} is not the path of an address, such as /metrics")
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535 or " " in host:
        raise ValueError(f"{shown(text)} is not of the form host:port or :port")
    return text


def _publisher(text: str) -> str:
    name = text.strip()
    package = _MISSING_PUBLISHERS.get(name)
    if package is not None:
        raise ValueError(
            f"publisher {name} is not available in this release, which does not use {package} yet: "
            f"use one of {', '.join(PUBLISHER.choices)}"
        )
    if name not in PUBLISHER.choices:
        raise ValueError(f"unknown publisher: {name} (known are {', '.join(PUBLISHER.choices)})")
    return name


def _ack(text: str) -> int:
    if text.strip() not in ACK.choices:
        raise ValueError(f"{shown(text)} is not a mode of acknowledgement: use 0 (taken), 1 (delivered) or 2 (durable)")
    return int(text)


def _level(text: str) -> str:
    word = text.strip().lower()
    return _choose(_OTHER_LEVELS.get(word, text), _LEVELS)


BOOL = Kind("BOOL", _boolean)
TEXT = Kind("TEXT", _text)
PATH = Kind("PATH", _text)
LIST = Kind("LIST", _split, many=True)
PORT = integer(0, 65535, "PORT")
COUNT = integer(1)
COUNT_OR_NONE = integer(0)
MILLISECONDS = integer(1, metavar="MS")
MILLISECONDS_OR_NONE = integer(0, metavar="MS")
BYTES = integer(1, metavar="BYTES")
DISK_BYTES = integer(1, _INT64, "BYTES")
DISK_BYTES_OR_NONE = integer(0, _INT64, "BYTES")
HEADER = Kind("HEADER", _header)
GROUP = Kind("TEXT", _group)
PATTERN = Kind("PATTERN", _pattern)
TOPIC = Kind("TOPIC", _topic)
URL_PATH = Kind("PATH", _url_path)
ADDRESS = Kind("HOST:PORT", _address)
PUBLISHER = Kind("kafka|embedded|log", _publisher, ("kafka", "embedded", "log"))
ACK = Kind("0|1|2", _ack, ("0", "1", "2"))
LEVEL = Kind("|".join(_LEVELS), _level, _LEVELS)
