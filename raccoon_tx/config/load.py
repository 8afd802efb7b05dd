"""Flags, environment and file -> `Settings`, with every mistake reported at once (contract section 13).

Flags go over the environment, the environment over the file, the file over the defaults. An environment variable that
is set to nothing counts as not set, and so does a name without a value in the file; an empty flag is an empty value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from attrs import define, evolve, field, frozen

from raccoon_tx.config import kafka_properties
from raccoon_tx.config.assemble import assemble
from raccoon_tx.config.file import ConfigurationError, read_file
from raccoon_tx.config.flags import Flags, nearest, parse_flags
from raccoon_tx.config.kafka_properties import BROKERS, ENV_PREFIX, FLAG_PREFIX, NAME_PREFIX
from raccoon_tx.config.keys import BY_ENV, BY_FLAG, BY_NAME, KEYS, Key
from raccoon_tx.config.kinds import Value
from raccoon_tx.config.together import Together
from raccoon_tx.settings import Settings

__all__ = ["ConfigurationError", "Given", "Loaded", "load", "load_command_line"]

#: What a source says of one setting, before anybody has looked at it.
Raw = str | Sequence[str]

_FROM = {"flag": "from a flag", "environment": "from the environment", "file": "from the file", "default": "by default"}

#: How variables of ours begin. Those of other programs may begin alike, so only near misses are worth a word.
_OURS = tuple({env.partition("_")[0] + "_" for env in BY_ENV})
_NEAR = 0.9

_ID_HEADER = BY_NAME["server.websocket.conn.id_header"]
_PUBLISHER = BY_NAME["publisher.type"]


class Given(NamedTuple):
    """A value, and where it came from: ``flag``, ``environment``, ``file`` or ``default``."""

    value: Value
    source: str


@frozen
class Loaded:
    """A configuration that the server can run with.

    :ivar warnings: what the operator should know, a sentence each. :ivar values: every setting by its name in the
        file, the properties of the Kafka client among them. :ivar again: reads the same sources once more, which may
        say something else by now; raises as `load` does.
    """

    settings: Settings
    warnings: list[str]
    values: Mapping[str, Given]
    again: Callable[[], Loaded] | None = None


def load_command_line(
    flags: Sequence[str] | Flags,
    environ: Mapping[str, str],
    cwd: Path,
    defaults: Mapping[str, str] | None = None,
) -> Loaded:
    """`load` for a command line, read already or not, whose own mistakes are reported with all others.

    :raises ConfigurationError: with all mistakes.
    """
    if not isinstance(flags, Flags):
        flags = parse_flags(flags)
    try:
        loaded = load(flags.values, environ, flags.config_file, cwd, defaults)
    except ConfigurationError as error:
        raise ConfigurationError(flags.mistakes + error.mistakes) from None
    if flags.mistakes:
        raise ConfigurationError(flags.mistakes)
    return evolve(loaded, again=partial(load_command_line, flags, environ, cwd, defaults))


def load(
    flags: Mapping[str, Raw],
    environ: Mapping[str, str],
    config_file: str | None,
    cwd: Path,
    defaults: Mapping[str, str] | None = None,
) -> Loaded:
    """Put the configuration together and check all of it.

    :param flags: by name, without dashes. :param config_file: as the operator named it, relative to ``cwd``; ``None``
        for ``config.yaml``, if there is one. :param defaults: instead of the usual ones, by name in the file.
    :raises ConfigurationError: with all mistakes.
    """
    draft = _Draft()
    environ = {name: value for name, value in environ.items() if value}
    in_file: Mapping[str, Raw] = {}
    try:
        in_file = read_file(config_file, cwd)
    except ConfigurationError as error:
        draft.mistakes += error.mistakes
        draft.complete = False
    draft.add("flag", flags, BY_FLAG, FLAG_PREFIX)
    draft.add("environment", environ, BY_ENV, ENV_PREFIX)
    draft.add("file", in_file, BY_NAME, NAME_PREFIX)
    draft.add("default", defaults or {}, BY_NAME, NAME_PREFIX)
    draft.note_unknown(environ, in_file)
    draft.read_values()
    draft.read_properties()
    if draft.mistakes:
        raise ConfigurationError(draft.mistakes)
    settings = assemble({name: value for name, (value, _) in draft.values.items()}, draft.client)
    shown = {kafka_properties.file_name(name): Given(*given) for name, given in draft.properties.items()}
    return Loaded(settings, draft.warnings, {**draft.values, **shown})


@define
class _Draft:
    """A configuration in the making.

    :ivar sources: what each says, by name in the file, the first going over the next; the properties of the Kafka
        client keep their dots. :ivar complete: no source is missing, so what is not there was not given.
    """

    mistakes: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    sources: dict[str, dict[str, Raw]] = field(factory=dict)
    complete: bool = True
    values: dict[str, Given] = field(factory=dict)
    properties: dict[str, tuple[str, str]] = field(factory=dict)
    client: dict[str, str] = field(factory=dict)

    def add(self, source: str, given: Mapping[str, Raw], known: Mapping[str, Key], prefix: str) -> None:
        """Take from a source what we know, under the names of today."""
        found = self.sources[source] = {}
        for name, raw in given.items():
            key = known.get(name)
            if key is not None:
                if name in (key.name, key.env, key.flag):
                    found[key.name] = raw
                else:
                    found.setdefault(key.name, raw)
                    dashes = "--" if source == "flag" else ""
                    self.warnings.append(f"{dashes}{name} {_FROM[source]} is an older name: use {key.title}")
            elif name.startswith(prefix) and name != prefix:
                found[NAME_PREFIX + kafka_properties.property_name(name[len(prefix) :])] = raw

    def note_unknown(self, environ: Mapping[str, str], in_file: Mapping[str, Raw]) -> None:
        """Warn of names that are probably mistakes."""
        for name in in_file:
            if name not in BY_NAME and not name.startswith(NAME_PREFIX):
                close = nearest(name, BY_NAME)
                hint = f"; did you mean {close}?" if close else ""
                self.warnings.append(f"{name} in the file is not a setting and has no effect{hint}")
        for name in environ:
            if name.startswith(_OURS) and name not in BY_ENV and not name.startswith(ENV_PREFIX):
                close = nearest(name, BY_ENV, _NEAR)
                if close:
                    hint = f"did you mean {close}?"
                    self.warnings.append(f"{name} in the environment is not a setting and has no effect; {hint}")

    def read_values(self) -> None:
        """Check each value, and what several of them say together."""
        for key in KEYS:
            self.values[key.name] = self._read(key)
        header = self.values[_ID_HEADER.name]
        if not header.value and header.source and self.complete:
            self.mistakes.append(f"{_ID_HEADER.title} is required")
        together = Together({name: value for name, (value, _) in self.values.items()})
        together.check()
        self.mistakes += together.mistakes
        self.warnings += together.warnings

    def _read(self, key: Key) -> Given:
        """The value of a key; if it is a mistake, the default, which comes from nowhere."""
        for source, found in self.sources.items():
            raw = found.get(key.name)
            if raw is None:
                continue
            try:
                if not isinstance(raw, str) and not key.kind.many:
                    raise ValueError("is a list, but must be one value")
                return Given(key.kind.parse(raw if isinstance(raw, str) else ",".join(raw)), source)
            except ValueError as mistake:
                self.mistakes.append(f"{key.title}: {mistake} ({_FROM[source]})")
                return Given(key.default, "")
        return Given(key.default, "default")

    def read_properties(self) -> None:
        """Check the properties of the Kafka client, if there will be one."""
        for source, found in reversed(self.sources.items()):
            for name, raw in found.items():
                if name.startswith(NAME_PREFIX):
                    text = raw if isinstance(raw, str) else ",".join(raw)
                    self.properties[name[len(NAME_PREFIX) :]] = (text, source)
        self.properties = {name: given for name, given in self.properties.items() if given[0]}
        self.client = {name: text for name, (text, _) in self.properties.items()}
        publisher, source = self.values[_PUBLISHER.name]
        if publisher == "log" or not source:
            return
        self.mistakes += kafka_properties.check(self.client)
        brokers = [name for name in BROKERS if name in self.client]
        if publisher == "embedded":
            for name in brokers:
                del self.client[name]
                self.warnings.append(f"{kafka_properties.title(name)} has no effect on the embedded publisher")
        elif not brokers and self.complete:
            self.mistakes.append(f"{kafka_properties.title(BROKERS[0])} is required")
