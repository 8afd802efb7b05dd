"""What an operator does with a spool by hand. Looking is safe beside a server that runs; changing is refused then."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

from raccoon_tx.metrics.counts import Lane
from raccoon_tx.spool.database import Broken, Corrupt, Database, Dead, Foreign, Full, Put
from raccoon_tx.spool.entry import Damaged, checksum, decode
from raccoon_tx.spool.folder import Folder, Unusable

#: Rows that are read at once: nobody is kept from writing for longer than that takes.
_ROWS, _BYTES = 100, 4 * 1024 * 1024


def _opened(path: Path, opening: Callable[[Path], Database]) -> Database:
    file = Folder(path, 0, 0).database
    if not file.exists():
        raise Unusable(f"there is no spool in {path}")
    try:
        return opening(file)
    except (Broken, Corrupt, Foreign, Full) as problem:
        raise Unusable(f"the spool {path} cannot be read: {problem}") from None


def status(path: Path) -> dict[str, Any]:
    """How much there is. :raises Unusable:"""
    folder = Folder(path, 0, 0)
    with closing(_opened(path, Database.look_at)) as database:
        figures, size = database.figures(), database.size()
    return {
        "path": str(path),
        "server": folder.owner(),
        "batches": figures.batches,
        "events": figures.events,
        "bytes": figures.bytes,
        "oldest_seconds": round(max(0.0, time() - figures.oldest), 3) if figures.batches else 0,
        "dead_batches": figures.dead,
        "file_bytes": size,
        "disk_free_bytes": folder.free(),
        "corrupt_files": sorted(each.name for each in path.glob("*.corrupt-*") if each.name[-1].isdigit()),
    }


def _rows(path: Path, dead: bool) -> Iterator[Put | Dead]:
    with closing(_opened(path, Database.look_at)) as database:
        after = 0
        while found := database.dead(after, _ROWS) if dead else database.read(after, (), _ROWS, _BYTES):
            yield from found
            after = found[-1].id


def rows(path: Path, dead: bool, values: bool) -> Iterator[dict[str, Any]]:
    """Each batch, oldest first. :param values: with its events. :raises Unusable:"""
    for row in _rows(path, dead):
        yield _shown(row, values)


def _shown(row: Put | Dead, values: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "age_seconds": round(max(0.0, time() - row.created), 3),
        "events": row.events,
        "bytes": len(row.body),
    }
    if isinstance(row, Dead):
        shown["reason"] = row.reason
    try:
        if checksum(row.id, row.body) != row.crc:
            raise Damaged("its checksum does not match")
        batch, records = decode(row.body, Lane)
    except Damaged as problem:
        shown["damaged"] = str(problem)
        if values:
            shown["body"] = base64.b64encode(row.body).decode()
        return shown
    shown["guid"] = batch.guid
    shown["topics"] = sorted({record[0].topic for record in records})
    if values:
        shown["records"] = [_record(*record) for record in records]
    return shown


def _record(
    lane: Lane, value: bytes, key: bytes | None = None, timestamp: int = 0, headers: Any = None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "topic": lane.topic, "group": lane.group, "type": lane.type, "value": base64.b64encode(value).decode()
    }  # fmt: skip
    if key is not None:
        made["key"] = base64.b64encode(key).decode()
    if timestamp:
        made["timestamp"] = timestamp
    if headers:
        made["headers"] = [[name, base64.b64encode(held).decode()] for name, held in headers]
    return made


def change(path: Path, act: Callable[[Database], int]) -> int:
    """Do something with a spool that nobody else has. :return: what that returns. :raises Unusable:"""
    folder = Folder(path, 0, 0)
    if not folder.database.exists():
        raise Unusable(f"there is no spool in {path}")
    folder.take()
    try:
        with closing(_opened(path, lambda file: Database.open(file, 1 << 60))) as database:
            count = act(database)
            database.shrink()
            return count
    except (Broken, Corrupt, Full) as problem:
        raise Unusable(f"the spool {path} cannot be changed: {problem}") from None
    finally:
        folder.leave()


def purge(path: Path, dead: bool) -> int:
    """Forget all batches, or all dead ones. :return: how many there were. :raises Unusable:"""
    return change(path, lambda database: database.empty("dead" if dead else "batches"))


def revive(path: Path) -> int:
    """Let the dead be tried again. :return: how many there were. :raises Unusable:"""
    return change(path, Database.revive)
