"""``raccoon tail``: what arrives in the topics, live."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from datetime import datetime

import click
from attrs import frozen

from raccoon_tx.tools.look import Progress, Trouble, paint, printable
from raccoon_tx.tools.payload import for_programs, read
from raccoon_tx.tools.topics import Record, Tail, consumer
from raccoon_tx.tools.where import find, wanted

#: Records of the past that are shown first, if nobody says how many.
PAST = 10

#: Of the column with the topics, unless one is longer.
_WIDTH = 26

_COLOURS = {"json": "", "text": "green", "protobuf": "yellow", "bytes": "magenta"}


@frozen(kw_only=True)
class Order:
    """What is to be shown.

    :ivar kind: the type of the events. :ivar count: of records, after which it ends. :ivar new: leave out the past.
    """

    kind: str | None
    topic: str | None
    brokers: str | None
    config_file: str | None
    count: int | None
    new: bool
    as_json: bool


def run(order: Order) -> int:
    """Show records until there were enough, or Ctrl-C. :raises Trouble: it cannot be done."""
    kafka = find(order.brokers, order.config_file)
    is_wanted, words = wanted(kafka.pattern, order.kind, order.topic)
    client = consumer(kafka.properties)
    try:
        tail = Tail(client, is_wanted, Progress(sys.stderr))
        try:
            past = tail.begin(0 if order.new else PAST if order.count is None else order.count)
        except Trouble as trouble:
            raise Trouble(f"{kafka.brokers}: {trouble}") from None
        _show(order, past, tail, f"{words} at {kafka.brokers}")
    except KeyboardInterrupt:
        pass
    finally:
        client.close()
    return 0


def _show(order: Order, past: list[Record], tail: Tail, where: str) -> None:
    shown = 0
    if sys.stderr.isatty():
        there = "" if tail.found else ", of which there is none yet"
        click.echo(paint(f"{where}{there}; Ctrl-C ends", "bright_black"), err=True)
    for record in _all(past, tail):
        if record is not None:
            click.echo(as_json(record) if order.as_json else as_text(record))
            shown += 1
        if order.count is not None and shown >= order.count:
            break


def _all(past: list[Record], tail: Tail) -> Iterator[Record | None]:
    yield from past
    yield from tail.follow()


def as_text(record: Record) -> str:
    """For people: one line, whatever is in it."""
    at = datetime.fromtimestamp(record.time / 1000).strftime("%H:%M:%S.%f")[:-3] if record.time else "-" * 12
    kind, content = read(record.value)
    topic = paint(f"{printable(record.topic):<{_WIDTH}}", "cyan")
    if kind in ("protobuf", "bytes"):
        topic += paint(f"  {kind}", "bright_black")
    return f"{paint(at, 'bright_black')}  {topic}  {paint(printable(content), _COLOURS[kind])}"


def as_json(record: Record) -> str:
    """For programs: one line."""
    found = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time_ms": record.time,
        "key": None if record.key is None else for_programs(record.key)["value"],
        "headers": {name: _text(value) for name, value in record.headers},
        **for_programs(record.value),
    }
    return json.dumps(found, ensure_ascii=False)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")
