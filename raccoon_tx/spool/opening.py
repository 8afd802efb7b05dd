"""A spool at the start: without its folder we do not start, and a corrupt file is moved aside, not trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from raccoon_tx.logs import Logger
from raccoon_tx.spool.database import (
    LOG_BYTES,
    Broken,
    Changes,
    Corrupt,
    Database,
    Figures,
    Foreign,
    Full,
    Put,
    move_aside,
    salvage,
)
from raccoon_tx.spool.folder import Folder, Unusable

#: Bytes that a file may keep while there is nothing in it.
_KEPT = 4 * 1024 * 1024
#: Rows that are saved from a corrupt file at once.
_TOGETHER = 50

_log = Logger()


@frozen
class Opened:
    """:ivar figures: what is in it. :ivar aside: where the corrupt file is now, if it was corrupt.
    :ivar saved: batches that could be read of it."""

    database: Database
    figures: Figures
    aside: Path | None = None
    saved: int = 0


def open_spool(folder: Folder, wall: Callable[[], float]) -> Opened:
    """Take a folder and open what is in it.

    :param wall: Unix seconds. :raises Unusable: it cannot be used.
    """
    folder.take()
    try:
        opened = _open(folder, wall)
        figures = opened.figures
        if not figures.batches and not figures.dead and folder.database.stat().st_size > _KEPT:
            opened.database.shrink()
    except (Corrupt, Foreign, Broken, Full, OSError) as problem:
        folder.leave()
        raise Unusable(f"the spool {folder.path} cannot be used: {problem}") from None
    except BaseException:
        folder.leave()
        raise
    return opened


def _open(folder: Folder, wall: Callable[[], float]) -> Opened:
    try:
        database = _with_ballast(folder)
        return Opened(database, database.figures())
    except Corrupt as problem:
        aside = move_aside(folder.database, wall())
        _log.error(
            "the spool {file} is corrupt ({problem}); it is now {aside}, and the spool begins anew",
            file=str(folder.database),
            problem=str(problem),
            aside=str(aside),
        )
    database = _with_ballast(folder)
    saved = 0
    for rows in _groups(salvage(aside)):
        database.apply(Changes(put=rows))
        saved += len(rows)
    _log.error("{saved} batches could be read of {aside} and are in the spool again", saved=saved, aside=str(aside))
    return Opened(database, database.figures(), aside, saved)


def _with_ballast(folder: Folder) -> Database:
    """Open the file; on a disk that is full, with the room of the ballast."""
    # Half of the reserve is enough to bring home what the write-ahead log has.
    log = min(LOG_BYTES, folder.reserve // 2)
    try:
        return Database.open(folder.database, folder.max_bytes, log)
    except (Full, Broken):
        if not folder.drop_ballast():
            raise
    return Database.open(folder.database, folder.max_bytes, log)


def _groups(puts: Iterator[Put]) -> Iterator[list[Put]]:
    group: list[Put] = []
    for put in puts:
        group.append(put)
        if len(group) == _TOGETHER:
            yield group
            group = []
    if group:
        yield group
