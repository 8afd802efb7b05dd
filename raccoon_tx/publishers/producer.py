"""What the Kafka client is told beside the operator's own properties, and what follows from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Producer
from twisted.logger import LogLevel

from raccoon_tx.logs import Logger
from raccoon_tx.routing import RECORD_OVERHEAD

_log = Logger()

#: Set unless the operator sets them.
DEFAULTS = {
    "acks": "-1",
    "statistics.interval.ms": "0",
    # librdkafka's ten seconds would keep clients waiting that much longer than Kafka was away.
    "reconnect.backoff.max.ms": "1000",
    # Nor would its thirty seconds for a topic that does not exist be waited for.
    "topic.metadata.propagation.max.ms": "5000",
}

#: The names of one property, ours first (contract section 13.3).
_ALIASES = {
    "acks": "request.required.acks",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "retries": "message.send.max.retries",
    "bootstrap.servers": "metadata.broker.list",
}


def _given(properties: Mapping[str, str], name: str, default: str) -> str:
    return properties.get(name, properties.get(_ALIASES.get(name, name), default))


def number(text: str) -> int:
    """An integer property, in the notations that librdkafka reads: ``10``, ``0xa``, ``012``."""
    try:
        return int(text, 0)
    except ValueError:
        return int(text, 8)


def idempotent(properties: Mapping[str, str]) -> bool:
    """Whether nothing the operator set speaks against an idempotent producer, which alone repeats no event."""
    return (
        "enable.idempotence" not in properties
        and _given(properties, "acks", "-1").strip().lower() in ("-1", "all")
        and number(_given(properties, "max.in.flight", "5")) <= 5
        and number(_given(properties, "retries", "1")) > 0
        and properties.get("queuing.strategy", "fifo") == "fifo"
        and "transactional.id" not in properties
    )


def complete(properties: Mapping[str, str]) -> dict[str, str]:
    """The operator's properties and ours."""
    ours = {name: value for name, value in DEFAULTS.items() if _ALIASES.get(name) not in properties}
    if idempotent(properties):
        ours["enable.idempotence"] = "true"
    return {**ours, **properties}


def never_giving_up(properties: Mapping[str, str]) -> dict[str, str]:
    """The operator's properties, and that events may wait for Kafka as long as it takes, unless they say otherwise.

    An event that was given up may be in Kafka all the same, and there twice if it is sent again.
    """
    names = ("message.timeout.ms", "delivery.timeout.ms", "topic.message.timeout.ms", "topic.delivery.timeout.ms")
    return {**properties} if set(names) & set(properties) else {**properties, "message.timeout.ms": "0"}


def capacity(properties: Mapping[str, str]) -> int:
    """Messages that the producer's queue holds."""
    return number(properties.get("queue.buffering.max.messages", "100000")) or sys.maxsize


def largest_value(properties: Mapping[str, str]) -> int:
    """Bytes that the value of one record may have."""
    return number(properties.get("message.max.bytes", "1000000")) - RECORD_OVERHEAD


class _Lines:
    """librdkafka's log lines, in ours. It calls back with a ``logging`` level, as a ``logging.Logger`` would."""

    def __init__(self, in_reactor: Callable[..., Any]) -> None:
        self._in_reactor = in_reactor

    def log(self, level: int, form: str, *values: Any) -> None:
        """Take one line."""
        kind = LogLevel.error if level >= 40 else LogLevel.warn if level >= 30 else LogLevel.debug
        # Lost connections come in floods, and `Reach` says in one line what they mean.
        if kind is LogLevel.error and values and str(values[0]) in ("FAIL", "ERROR"):
            kind = LogLevel.debug
        text = form % values if values else form
        self._in_reactor(lambda: _log.emit(kind, "Kafka client: {text}", text=text))


def make_producer(
    properties: Mapping[str, str],
    on_error: Callable[[KafkaError], None],
    on_statistics: Callable[[str], None] = lambda report: None,
    in_reactor: Callable[..., Any] = lambda call, *arguments: call(*arguments),
) -> Producer:
    """A producer with these properties and ours. When it is polled, it calls back.

    :param on_error: with each error that is not about one message. :param on_statistics: with its own statistics, in
        JSON, as often as ``statistics.interval.ms`` says. :param in_reactor: like ``reactor.callFromThread``, for who
        polls in another thread.
    """
    return Producer(
        {
            **complete(properties),
            # The binding's own. A report of success then costs no call; see `raccoon_tx.publishers.token`.
            "delivery.report.only.error": True,
            "error_cb": lambda error: in_reactor(on_error, error),
            "stats_cb": lambda report: in_reactor(on_statistics, report),
            "logger": _Lines(in_reactor),
        }
    )
