"""Which brokers to read from, and which topics: as said, or as the server would do it here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from raccoon_tx.config import ConfigurationError, load_command_line
from raccoon_tx.config.flags import Flags
from raccoon_tx.config.kafka_properties import BROKERS, file_name
from raccoon_tx.publishers import whereabouts
from raccoon_tx.tools.look import Trouble

#: For what a server would insist on, and a tool need not know.
_DEFAULTS = {"server.websocket.conn.id_header": "X-User-ID", "publisher.type": "embedded"}

_NOBODY = (
    "there is no Kafka to read from: start `raccoon demo`, name one with --brokers HOST:PORT, or set "
    "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS"
)


@frozen
class Kafka:
    """:ivar properties: of the Kafka client. :ivar pattern: topic, with ``%s`` for the type."""

    properties: Mapping[str, str]
    pattern: str

    @property
    def brokers(self) -> str:
        """Where it is."""
        return self.properties[BROKERS[0]]


def find(brokers: str | None, config_file: str | None, environ: Mapping[str, str] | None = None) -> Kafka:
    """Find out where Kafka is. :param brokers: as said. :raises Trouble: there is none."""
    try:
        environ = os.environ if environ is None else environ
        loaded = load_command_line(Flags(config_file=config_file), environ, Path.cwd(), _DEFAULTS)
    except ConfigurationError as error:
        raise Trouble(f"the configuration of the server is wrong: {error.mistakes[0]}") from None
    if not brokers:
        publisher = loaded.values["publisher.type"]
        named = [loaded.values[file_name(name)].value for name in BROKERS if file_name(name) in loaded.values]
        if named and not (publisher.value == "embedded" and publisher.source != "default"):
            brokers = str(named[0])
        else:
            brokers = whereabouts.newest()
    if not brokers:
        raise Trouble(_NOBODY)
    properties = {name: value for name, value in loaded.settings.kafka.properties.items() if name not in BROKERS}
    return Kafka({**properties, BROKERS[0]: brokers}, loaded.settings.routing.pattern)


def wanted(pattern: str, kind: str | None, topic: str | None) -> tuple[Callable[[str], bool], str]:
    """Which topics: one, that of a type, or those of all types. :return: what tells them, and words for it."""
    if kind is not None:
        topic = pattern.replace("%s", kind, 1)
    if topic is not None:
        return topic.__eq__, f"topic {topic}"
    before, _, after = pattern.partition("%s")
    matches = re.compile(f"{re.escape(before)}.*{re.escape(after)}", re.S).fullmatch
    return lambda name: matches(name) is not None, f"topics {pattern.replace('%s', '*', 1)}"
