"""Properties of the Kafka client: their names here, and what the client itself says of them (contract section 13.3)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from raccoon_tx.config.keys import env_name, is_secret
from raccoon_tx.config.kinds import NOT_TEXT, is_text, shown

#: What stands before a property in the file, in flags and in the environment.
NAME_PREFIX = "publisher.kafka.client."
FLAG_PREFIX = NAME_PREFIX
ENV_PREFIX = env_name(NAME_PREFIX)

#: Which brokers to ask first, by either name.
BROKERS = ("bootstrap.servers", "metadata.broker.list")

#: Two names of one property.
ALIASES = (
    ("acks", "request.required.acks"),
    ("retries", "message.send.max.retries"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    BROKERS,
)

_BROKER = re.compile(r"([A-Za-z_+]+://)?(\[[^\[\]\s]+\]|[^:\[\]\s]+)(:(?P<port>[0-9]{1,5}))?")

#: How librdkafka begins its complaints: of a name, and of properties that do not fit together, or this machine.
_UNKNOWN = "No such configuration property"
_TOGETHER = "Failed to create producer: "


def property_name(name: str) -> str:
    """The property that ``name`` stands for, written with underscores in the file and in the environment."""
    return name.lower().replace("_", ".")


def file_name(name: str) -> str:
    """The name of a property in the file."""
    return NAME_PREFIX + name.replace(".", "_")


def title(name: str) -> str:
    """How messages call a property."""
    return f"{env_name(file_name(name))} (--{FLAG_PREFIX}{name})"


def check(properties: Mapping[str, str]) -> list[str]:
    """What is wrong with these properties, one sentence each; connects to nothing."""
    mistakes = []
    for name, other in ALIASES:
        if name in properties and other in properties and properties[name] != properties[other]:
            mistakes.append(f"{title(name)} and {title(other)} are one property but differ: set only one of them")
    mistakes += [
        f"{title(name)}: {shown(properties[name])} names no broker: write host:port, with commas between several"
        for name in BROKERS
        if name in properties and not _are_brokers(properties[name])
    ]
    unfit = [name for name, value in properties.items() if not is_text(name + value)]
    mistakes += [f"{title(name)}: {NOT_TEXT}" for name in unfit]
    # Nothing is found out by knowing the brokers, and without them the client has nobody to connect to.
    left_out = {*BROKERS, *unfit}
    return mistakes + _ask_client({name: value for name, value in properties.items() if name not in left_out})


def _are_brokers(text: str) -> bool:
    matches = [_BROKER.fullmatch(broker.strip()) for broker in text.split(",") if broker.strip()]
    return bool(matches) and all(match and 0 < int(match["port"] or 9092) < 65536 for match in matches)


def _ask_client(properties: Mapping[str, str]) -> list[str]:
    if _refusal(properties) is None:
        return []
    alone = {name: _refusal({name: value}) for name, value in properties.items()}
    bad = {name: text for name, text in alone.items() if text is not None and not text.startswith(_TOGETHER)}
    mistakes = [f"{title(name)}: {text}{_value(name, text, properties)}" for name, text in bad.items()]
    rest = _refusal({name: value for name, value in properties.items() if name not in bad})
    if rest is not None:
        where = next((title(name) for name, text in alone.items() if text == rest), f"{ENV_PREFIX}* (--{FLAG_PREFIX}*)")
        mistakes.append(f"{where}: {rest.removeprefix(_TOGETHER)}")
    return [_hushed(mistake, properties) for mistake in mistakes]


def _refusal(properties: Mapping[str, str]) -> str | None:
    """What the client says against these properties.

    The producer made for it, and its threads, are gone when this returns: a later fork is safe.
    """
    from confluent_kafka import KafkaException, Producer  # slow to import, and not every command gets here

    if "logger" in properties:  # the binding's own, not a property
        return f'{_UNKNOWN}: "logger"'
    silent = logging.Logger("quiet", logging.CRITICAL + 1)
    try:
        Producer({**properties, "logger": silent})
    except KafkaException as mistake:
        return " ".join(mistake.args[0].str().split())
    except (TypeError, ValueError, AttributeError):  # what the binding does not hand on to librdkafka
        return "the client cannot take this"
    return None


def _value(name: str, text: str, properties: Mapping[str, str]) -> str:
    # A name that the client does not know may be that of a secret, misspelled.
    return "" if is_secret(name) or text.startswith(_UNKNOWN) else f" (it is {shown(properties[name])})"


def _hushed(text: str, properties: Mapping[str, str]) -> str:
    for name, value in properties.items():
        if is_secret(name) and value:
            text = text.replace(value, "***")
    return text
