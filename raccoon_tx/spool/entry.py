"""A batch as it lies in the spool: records <-> bytes, with a checksum. Plain data.

A batch becomes one MessagePack array, of which a later version may only lengthen the end. Labels lie beside the topics,
so that what is delivered after a restart is counted under its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

from attrs import frozen
from msgspec import MsgspecError
from msgspec.msgpack import Decoder, Encoder

from raccoon_tx.metrics.counts import Lane
from raccoon_tx.model import Batch

#: The layout that is written.
LAYOUT = 1

_ENCODE = Encoder().encode

#: Parts of a record that is a lane and a value; others have a key, a timestamp and headers as well.
PLAIN = 2

#: Layout, guid, sent_time, lanes as topic, group and type, and for each record the position of its lane with the rest.
# msgspec tells no unions of tuples apart, so what is in the records is checked by hand.
_DECODE = Decoder(tuple[int, str, float | None, list[tuple[str, str, str]], list[Any]]).decode

#: The lane of a topic, a group and a type, which are labels.
FindLane = Callable[[str, str, str], Lane]


class Damaged(Exception):
    """The bytes are not what was written; the text says in what way."""


@frozen
class SpooledEvent:
    """An event again: its type is the label under which it is counted."""

    type: str
    event_bytes: bytes


class _Events(Sequence[Any]):
    """The events of records, made when one is asked for, which is when something went wrong with it."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        record = self._records[index]
        return SpooledEvent(record[0].type, record[1])


def part(batch: Batch, records: Sequence[Any]) -> Batch:
    """The batch that has just these records."""
    return Batch(batch.guid, _Events(records), batch.sent_time)


def checksum(row: int, body: bytes) -> int:
    """Of a body in its row: one that has landed in another row does not match."""
    return crc32(body, row & 0xFFFFFFFF)


class _Positions(dict[Lane, int]):
    """Where each lane stands in the list of those that occur."""

    def __missing__(self, lane: Lane) -> int:
        position = self[lane] = len(self)
        return position


def encode(batch: Batch, records: Sequence[Any]) -> bytes:
    """Write records of a batch, all of them or some."""
    at = _Positions()
    written: list[Any]
    if len(records[0]) == PLAIN:
        written = [(at[lane], value) for lane, value in records]
    else:
        written = [(at[lane], *more) for lane, *more in records]
    lanes = [(lane.topic, lane.group, lane.type) for lane in at]
    return _ENCODE((LAYOUT, batch.guid, batch.sent_time, lanes, written))


def decode(body: bytes, lane: FindLane) -> tuple[Batch, list[Any]]:
    """Read them again: a batch with just these events, and its records.

    :raises Damaged: :param lane: finds the lanes.
    """
    try:
        layout, guid, sent_time, names, written = _DECODE(body)
        if layout != LAYOUT:
            raise Damaged(f"layout {layout}, and this version reads {LAYOUT}")
        lanes = [lane(*name) for name in names]
        records = list(_records(written, lanes))
    except (MsgspecError, ValueError, IndexError, TypeError) as problem:
        raise Damaged(f"not a batch: {problem}") from None
    if not records:
        raise Damaged("a batch without records")
    return part(Batch(guid, (), sent_time), records), records


def _records(written: Sequence[Any], lanes: Sequence[Lane]) -> Iterator[Any]:
    for position, value, *more in written:
        if not isinstance(value, bytes) or len(more) not in (0, 3):
            raise Damaged("a record without a value")
        if more:
            key, timestamp, headers = more
            if not isinstance(timestamp, int) or not isinstance(key, bytes | None):
                raise Damaged("a record with an odd key or timestamp")
            headers = [(str(name), bytes(held)) for name, held in headers] if headers else None
            yield lanes[position], value, key, timestamp, headers
        else:
            yield lanes[position], value
