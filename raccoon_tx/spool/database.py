"""The file of the spool: rows in SQLite, changed by whole transactions that are on disk when they are done.

Write-ahead log, ``synchronous=FULL``. All of it blocks: one thread owns a `Database`, or a command of the operator.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from attrs import define, field

from raccoon_tx.spool.entry import checksum

#: The name of the file in its folder.
FILE = "spool.db"
#: Says whose database a file is, and in which form.
APPLICATION, VERSION = 0x7261_6363, 1

#: Bytes of the write-ahead log after which its pages go into the file.
LOG_BYTES = 4 * 1024 * 1024
#: Seconds that a transaction waits for somebody who looks at the file.
PATIENCE = 5.0
#: The fewest pages that a file may be limited to: with less there is no room for a single batch.
FEWEST_PAGES = 64

_SCHEMA = """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, events INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY, created REAL NOT NULL, events INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL,
    died REAL NOT NULL, reason TEXT NOT NULL
);
"""

#: Rows of one INSERT. Each statement lets other threads in twice, and may wait long for its next turn: the fewer the
#: better.
_TOGETHER = (64, 16, 4, 1)
#: Rows that one DELETE names.
_NAMED = 500


class Full(Exception):
    """No room: nothing of the transaction was done."""


class Broken(Exception):
    """The transaction was not done; the text is SQLite's."""


class Corrupt(Exception):
    """The file is not, or not wholly, a database."""


class Foreign(Exception):
    """A database, but not one for this program; the text says why."""


class Put(NamedTuple):
    """A row to be. :ivar created: Unix seconds."""

    id: int
    created: float
    events: int
    crc: int
    body: bytes


class Dead(NamedTuple):
    """A row that is given up. :ivar died: Unix seconds."""

    id: int
    created: float
    events: int
    crc: int
    body: bytes
    died: float
    reason: str


@define
class Changes:
    """One transaction. A row may be put, replaced and buried or deleted in the same one.

    :ivar replaced: events, crc, body, id. :ivar buried: died, reason, id.
    """

    put: list[Put] = field(factory=list)
    replaced: list[tuple[int, int, bytes, int]] = field(factory=list)
    buried: list[tuple[float, str, int]] = field(factory=list)
    deleted: list[int] = field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.put or self.replaced or self.buried or self.deleted)


class Figures(NamedTuple):
    """How much there is. :ivar bytes: of the bodies of the batches. :ivar oldest: when the oldest was created, or 0.
    :ivar last: the highest id that was ever used and is still there."""

    batches: int
    events: int
    bytes: int
    oldest: float
    dead: int
    last: int


class Database:
    """:ivar path: the file."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path, max_bytes: int, log_bytes: int = LOG_BYTES) -> Database:
        """Open a file, make it if there is none, and look at all of it.

        :raises Corrupt: :raises Foreign: :raises Broken: it cannot be read or written. :raises Full: not even empty.
        """
        with _told(path):
            connection = sqlite3.connect(
                path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        try:
            with _told(path):
                _prepare(connection, max_bytes, log_bytes)
        except Exception:
            connection.close()
            raise
        return cls(path, connection)

    @classmethod
    def look_at(cls, path: Path) -> Database:
        """Open a file for reading, while a server may be writing to it."""
        with _told(path):
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None
            )
        try:
            with _told(path):
                _identify(connection)
        except Exception:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """The last to close it leaves no write-ahead log behind."""
        self._connection.close()

    def apply(self, changes: Changes) -> None:
        """Make changes durable, all of them. :raises Full: or :raises Broken: none of them."""
        execute = self._connection.execute
        with _told(self.path):
            try:
                execute("BEGIN IMMEDIATE")
                for puts in _portions(changes.put, _TOGETHER):
                    statement = "INSERT INTO batches VALUES " + ",".join(["(?,?,?,?,?)"] * len(puts))
                    execute(statement, [value for put in puts for value in put])
                for row in changes.replaced:
                    execute("UPDATE batches SET events = ?, crc = ?, body = ? WHERE id = ?", row)
                for died, reason, identifier in changes.buried:
                    execute(
                        "INSERT OR REPLACE INTO dead SELECT id, created, events, crc, body, ?, ? FROM batches "
                        "WHERE id = ?",
                        (died, reason, identifier),
                    )
                    execute("DELETE FROM batches WHERE id = ?", (identifier,))
                self._delete("batches", changes.deleted)
                execute("COMMIT")
            except Exception:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def _delete(self, table: str, identifiers: Sequence[int]) -> None:
        for start in range(0, len(identifiers), _NAMED):
            names = ",".join(map(str, identifiers[start : start + _NAMED]))
            self._connection.execute(f"DELETE FROM {table} WHERE id IN ({names})")

    def read(self, after: int, skip: Collection[int], rows: int, size: int) -> list[Put]:
        """The next batches in their order, without those that are to be left out.

        :param size: bytes after which it is enough, though there is always one if there is one.
        """
        execute = self._connection.execute
        with _told(self.path):
            found = execute(
                "SELECT id FROM batches WHERE id > ? ORDER BY id LIMIT ?", (after, rows + len(skip))
            ).fetchall()
            names = [identifier for (identifier,) in found if identifier not in skip][:rows]
            taken: list[Put] = []
            chosen = f"SELECT id, created, events, crc, body FROM batches WHERE id IN ({','.join(map(str, names))})"
            with closing(execute(chosen + " ORDER BY id")) as cursor:
                for row in cursor:
                    taken.append(Put(*row))
                    size -= len(row[4])
                    if size <= 0:
                        break
        return taken

    def dead(self, after: int = 0, rows: int = 100) -> list[Dead]:
        """The next dead batches in their order."""
        with _told(self.path):
            cursor = self._connection.execute("SELECT * FROM dead WHERE id > ? ORDER BY id LIMIT ?", (after, rows))
            return [Dead(*row) for row in cursor]

    def empty(self, table: str) -> int:
        """Forget all rows of one table. :return: how many there were."""
        with _told(self.path):
            count: int = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            self._connection.execute(f"DELETE FROM {table}")
            return count

    def revive(self) -> int:
        """Make batches of all that are dead. :return: how many there were."""
        with _told(self.path):
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            count = execute("INSERT INTO batches SELECT id, created, events, crc, body FROM dead").rowcount
            execute("DELETE FROM dead")
            execute("COMMIT")
            return count

    def shrink(self) -> None:
        """Give the disk back what is not needed."""
        with _told(self.path):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and make it empty, if that can be done."""
        with _told(self.path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def has_room(self) -> bool:
        """Whether a batch of usual size would fit under the limit."""
        with _told(self.path):
            names = ("max_page_count", "page_count", "freelist_count")
            most, used, free = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
            return bool(most - used + free >= FEWEST_PAGES // 2)

    def size(self) -> int:
        """Bytes of the file, whether they are in use or not, and of its write-ahead log."""
        return sum(path.stat().st_size for path in files(self.path)[:2] if path.exists())

    def oldest(self) -> float:
        """When the oldest batch was created; 0 if there is none."""
        with _told(self.path):
            row = self._connection.execute("SELECT created FROM batches ORDER BY id LIMIT 1").fetchone()
            return float(row[0]) if row else 0.0

    def figures(self) -> Figures:
        """Count everything, which takes a look at each batch."""
        with _told(self.path):
            execute = self._connection.execute
            batches, events, size, last = execute(
                "SELECT count(*), coalesce(sum(events), 0), coalesce(sum(length(body)), 0), coalesce(max(id), 0) "
                "FROM batches"
            ).fetchone()
            dead, last_dead = execute("SELECT count(*), coalesce(max(id), 0) FROM dead").fetchone()
            return Figures(batches, events, size, self.oldest(), dead, max(last, last_dead))


def _prepare(connection: sqlite3.Connection, max_bytes: int, log_bytes: int) -> None:
    execute = connection.execute
    # The first thing that reads the file, and so the first to complain.
    empty = not execute("PRAGMA schema_version").fetchone()[0]
    if not empty:
        _identify(connection)
    (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Foreign(f"its file system has no room for a write-ahead log (journal_mode is {mode})")
    execute("PRAGMA synchronous = FULL")
    # Some builds write zeros over all that is deleted, which a full disk has no room for.
    execute("PRAGMA secure_delete = OFF")
    (page,) = execute("PRAGMA page_size").fetchone()
    execute(f"PRAGMA wal_autocheckpoint = {max(1, log_bytes // page)}")
    execute(f"PRAGMA journal_size_limit = {log_bytes}")
    execute(f"PRAGMA max_page_count = {max(FEWEST_PAGES, max_bytes // page)}")
    if empty:
        execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            execute(statement)
        execute(f"PRAGMA application_id = {APPLICATION}")
        execute(f"PRAGMA user_version = {VERSION}")
        execute("COMMIT")
    else:
        (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Corrupt(verdict)
        # A transaction that changes nothing: whoever may not write hears of it here.
        execute("BEGIN IMMEDIATE")
        execute(f"PRAGMA user_version = {VERSION}")
        execute("COMMIT")


def _identify(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application != APPLICATION:
        raise Foreign("it is the database of another program")
    if version > VERSION:
        raise Foreign(f"it was written by a later version ({version}, and this one knows {VERSION})")
    if tables != {"batches", "dead"}:
        raise Corrupt("tables are missing")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors, as ours. Its codes have no names before Python 3.11, so its texts have to do."""
    try:
        yield
    except sqlite3.DatabaseError as problem:
        text = str(problem)
        if "is full" in text:
            raise Full(text) from None
        if "malformed" in text or "not a database" in text:
            raise Corrupt(text) from None
        raise Broken(text) from None


def _portions(puts: Sequence[Put], sizes: Sequence[int]) -> Iterator[Sequence[Put]]:
    start = 0
    for size in sizes:
        while len(puts) - start >= size:
            yield puts[start : start + size]
            start += size


def files(path: Path) -> list[Path]:
    """The file and what SQLite puts beside it."""
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]


def move_aside(path: Path, moment: float) -> Path:
    """Rename a file that cannot be used, with what belongs to it. :return: its new name."""
    number = int(moment)
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for old, new in zip(files(path), files(aside), strict=True):
        if old.exists():
            os.rename(old, new)
    return aside


def salvage(path: Path) -> Iterator[Put]:
    """What can still be read of a corrupt file: from its beginning until it breaks off, and from its end likewise."""
    seen = 0
    for order in ("ASC", "DESC"):
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
                # Else it would look at nothing in a file that was cut off.
                connection.execute("PRAGMA writable_schema = ON")
                query = f"SELECT id, created, events, crc, body FROM batches WHERE id > ? ORDER BY id {order}"
                for row in connection.execute(query, (seen,)):
                    put = Put(*row)
                    if order == "ASC":
                        seen = put.id
                    if isinstance(put.body, bytes) and checksum(put.id, put.body) == put.crc:
                        yield put
        except sqlite3.Error:
            continue
        break
