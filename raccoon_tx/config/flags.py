"""Flags as Go programs take them, for `raccoon server` and `twistd raccoon` alike (contract sections 13.1, 14).

``--name=value`` and ``--name value``; a switch is on by its name alone and takes another value only after ``=``. Names
are never abbreviated, and a flag given twice counts as given last, except that lists add up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from attrs import define, field

from raccoon_tx.config.file import DEFAULT_FILE
from raccoon_tx.config.kafka_properties import FLAG_PREFIX
from raccoon_tx.config.keys import BY_FLAG, SECTIONS, Key
from raccoon_tx.config.kinds import BOOL, shown

_GENERAL_ROWS = [
    ("-c, --config FILE", f"YAML file with settings [default: {DEFAULT_FILE}, if there is one]"),
    ("-h, --help", "show this and end"),
]
_KAFKA_ROW = (
    f"--{FLAG_PREFIX}PROPERTY VALUE",
    f"any property of the Kafka client, such as --{FLAG_PREFIX}bootstrap.servers localhost:9092 "
    "(required for the kafka publisher)",
)


@define
class Flags:
    """What a command line said.

    :ivar values: by flag, without dashes. :ivar config_file: the file named by ``--config``. :ivar help: was asked for.
    :ivar switches: those given of the command's own. :ivar mistakes: one sentence each.
    """

    values: dict[str, str | list[str]] = field(factory=dict)
    config_file: str | None = None
    help: bool = False
    switches: set[str] = field(factory=set)
    mistakes: list[str] = field(factory=list)


def parse_flags(argv: Sequence[str], switches: Iterable[str] = ()) -> Flags:
    """Read flags; whatever is wrong with them ends up in ``mistakes``.

    :param switches: further flags without value, such as ``once``.
    """
    flags = Flags()
    own = frozenset(switches)
    rest = deque(argv)
    last = ""
    while rest:
        argument = rest.popleft()
        name, equals, value = _flag(argument)
        if not name:
            flags.mistakes.append(_stray(argument, last))
        elif name == "help":
            flags.help = True
        elif name in own:
            flags.switches.add(name)
        elif not _is_known(name):
            flags.mistakes.append(f"unknown flag: {argument.partition('=')[0]}{_hint(name, own)}")
            if not equals and rest and not rest[0].startswith("-"):
                rest.popleft()  # its value, presumably
        elif _is_switch(name):
            flags.values[name] = value if equals else "true"
        elif equals or (rest and not _is_known(_flag(rest[0])[0])):
            _store(flags, name, value if equals else rest.popleft())
        else:
            flags.mistakes.append(f"--{name} needs a value")
        last = name or last
    return flags


def help_rows(switches: Mapping[str, str] | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each section of the help its title and its flags, with what each does.

    :param switches: the command's own, with their help.
    """
    own = [(f"--{name}", text) for name, text in (switches or {}).items()]
    rows = [(title, [(usage(key), describe(key)) for key in keys]) for title, keys in SECTIONS.items()]
    return [("Flags", [*own, *_GENERAL_ROWS]), *rows, ("Kafka client", [_KAFKA_ROW])]


def usage(key: Key) -> str:
    """How a flag is written."""
    return f"--{key.flag}[=BOOL]" if key.kind is BOOL else f"--{key.flag} {key.kind.metavar}"


def describe(key: Key) -> str:
    """What a setting does, what it may be and what it is by default."""
    text = key.help
    if key.kind.many and key.kind.choices:
        text += f", of {', '.join(key.kind.choices)}"
    default = ",".join(key.default) if isinstance(key.default, tuple) else str(key.default)
    if default:
        text += f" [default: {default.lower() if key.kind is BOOL else default}]"
    return text + " (accepted, without effect)" if key.ignored else text


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that was probably meant."""
    return next(iter(get_close_matches(name, list(known), 1, cutoff)), None)


def _flag(argument: str) -> tuple[str, bool, str]:
    """Name, whether a value follows after ``=``, and that value; the name is empty if this is no flag."""
    name, equals, value = argument.partition("=")
    if name in ("-c", "-h"):
        return {"-c": "config", "-h": "help"}[name], bool(equals), value
    if len(name) > 1 and name.startswith("-") and not name.startswith("---"):
        return name.lstrip("-") if name.startswith("--") else name, bool(equals), value
    return "", False, ""


def _is_known(name: str) -> bool:
    return name in ("config", "help") or name in BY_FLAG or _is_property(name)


def _is_property(name: str) -> bool:
    return name.startswith(FLAG_PREFIX) and name != FLAG_PREFIX


def _is_switch(name: str) -> bool:
    key = BY_FLAG.get(name)
    return key is not None and key.kind is BOOL


def _store(flags: Flags, name: str, value: str) -> None:
    key = BY_FLAG.get(name)
    if name == "config":
        flags.config_file = value
    elif key is not None and key.kind.many:
        flags.values[name] = [*flags.values.get(name, ()), value]
    else:
        flags.values[name] = value


def _hint(name: str, own: Iterable[str]) -> str:
    close = nearest(name.lstrip("-").replace("-", ".").replace("_", "."), [*BY_FLAG, *own, "config", "help"])
    return f" (did you mean --{close}?)" if close else ""


def _stray(argument: str, last: str) -> str:
    # Once a flag was read, this may be a piece of its value, even of a password, and is not repeated.
    if _is_switch(last):
        return f"unexpected argument after --{last}: a switch takes its value with '=', as in --{last}=false"
    if last:
        return f"unexpected argument after --{last.lstrip('-')}: put a value that has spaces in quotes"
    return f"unexpected argument: {shown(argument)}"
