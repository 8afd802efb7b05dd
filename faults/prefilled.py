"""A spool that was left by a server before: many rows, numbered like the events of a client, so that the checker asks
for every one of them."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from faults.journal import KIND, OK, Journal, Number
from raccoon_tx.metrics.counts import Lane
from raccoon_tx.model import Batch
from raccoon_tx.spool.database import FILE, Changes, Database, Put
from raccoon_tx.spool.entry import checksum, encode

#: The client that these events are from, and how many there are in a row.
CLIENT, EVENTS = "before", 100
#: Rows of one transaction.
_TOGETHER = 500


def prefill(folder: Path, topic: str, events: int, max_bytes: int = 1 << 30) -> Journal:
    """Make the spool in a folder that is not there yet. :return: what their client knows: all were acknowledged."""
    folder.mkdir(mode=0o700)
    journal = Journal(CLIENT)
    lane = Lane(topic, "--default--", KIND)
    numbers = [str(Number(CLIENT, 1, serial)) for serial in range(events)]
    with closing(Database.open(folder / FILE, max_bytes)) as database:
        rows = [numbers[start : start + EVENTS] for start in range(0, events, EVENTS)]
        for start in range(0, len(rows), _TOGETHER):
            together = enumerate(rows[start : start + _TOGETHER], start + 1)
            database.apply(Changes(put=[_row(identifier, lane, row) for identifier, row in together]))
    journal.answered.update(dict.fromkeys(numbers, OK))
    return journal


def _row(identifier: int, lane: Lane, numbers: list[str]) -> Put:
    body = encode(Batch(numbers[0], (), None), [(lane, number.encode()) for number in numbers])
    return Put(identifier, time.time(), len(numbers), checksum(identifier, body), body)
