"""What the thread of the spool does: everything that waits, in one transaction, and then the next.

Nobody waits for company: while one transaction goes to the disk the next one gathers by itself (group commit).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from attrs import define, field, frozen

from raccoon_tx.logs import Logger
from raccoon_tx.spool.database import Broken, Changes, Corrupt, Database, Full, Put
from raccoon_tx.spool.folder import Folder

#: Bytes and rows after which a transaction is enough: the last one of it has to wait for the first.
LARGEST, MOST = 4 * 1024 * 1024, 500
#: Rows that are deleted at once where every page counts.
STEP = 16
#: Seconds between two looks at what changes slowly.
LOOK_INTERVAL = 0.5
#: Seconds between two attempts to lay the ballast down again.
BALLAST_INTERVAL = 10.0

#: Why nothing can be put. ``full``: it holds what it may, or the disk is full. ``floor``: the disk has less left than
#: is to be left. ``error``: it could not be written.
FULL, FLOOR, ERROR = "full", "floor", "error"


@frozen
class PutOrder:
    """Put a row. :ivar done: is told in the reactor thread whether it is durable."""

    row: Put
    done: Callable[[bool], None]


@frozen
class LazyOrder:
    """Change what is there, at some time."""

    changes: Changes


@frozen
class ReadOrder:
    """Read the next rows. :ivar done: gets them in the reactor thread."""

    after: int
    skip: Collection[int]
    rows: int
    size: int
    done: Callable[[list[Put]], None]


Order = PutOrder | LazyOrder | ReadOrder


@define
class Status:
    """How things are after a turn. :ivar trouble: nothing, or why no row can be put. :ivar text: what the system said.
    :ivar left: changes that could not be made yet. :ivar seconds: that the transaction took; 0 if there was none.
    :ivar oldest: when the oldest batch was created. :ivar file: bytes. :ivar failed: transactions, in this turn."""

    trouble: str = ""
    text: str = ""
    left: int = 0
    seconds: float = 0.0
    oldest: float = 0.0
    file: int = 0
    failed: int = 0


#: Calls that are due in the reactor thread, and how things are.
Report = Callable[[Sequence[tuple[Callable[[Any], None], Any]], Status], None]


@define(eq=False)
class Writer:
    """Carries orders out. It is used by one thread. :ivar now: seconds."""

    _database: Database
    _folder: Folder
    _now: Callable[[], float]
    _left: Changes = field(factory=Changes, init=False)
    _status: Status = field(factory=Status, init=False)
    _looked: float | None = field(default=None, init=False)
    _ballast_due: float = field(default=0.0, init=False)

    def turn(self, orders: Sequence[Order]) -> tuple[list[tuple[Callable[[Any], None], Any]], Status]:
        """Carry out some orders. :return: whom to call with what, and how things are."""
        status = self._status
        status.seconds, status.failed = 0.0, 0
        puts = [order for order in orders if isinstance(order, PutOrder)]
        changes, self._left = self._left, Changes()
        for order in orders:
            if isinstance(order, LazyOrder):
                changes.replaced += order.changes.replaced
                changes.buried += order.changes.buried
                changes.deleted += order.changes.deleted
        durable = self._write(puts, changes)
        calls: list[tuple[Callable[[Any], None], Any]] = [(order.done, durable) for order in puts]
        calls += [(order.done, self._read(order)) for order in orders if isinstance(order, ReadOrder)]
        status.left = len(self._left.deleted) + len(self._left.replaced) + len(self._left.buried)
        self._look()
        return calls, Status(
            status.trouble, status.text, status.left, status.seconds, status.oldest, status.file, status.failed
        )

    def _write(self, puts: list[PutOrder], changes: Changes) -> bool:
        """Make all changes. :return: whether the rows that were to be put are durable."""
        self._recover()
        if puts and not self._status.trouble:
            changes.put = [order.row for order in puts]
            if self._apply(changes):
                return True
            changes.put = []
        if changes and not self._apply(changes):
            # Only deletions make room; what needs some must not keep them from it.
            self._left.deleted += self._delete(changes.deleted)
            rest = Changes(replaced=changes.replaced, buried=changes.buried)
            if rest and not self._apply(rest):
                self._left.replaced += rest.replaced
                self._left.buried += rest.buried
        return False

    def _delete(self, rows: list[int]) -> list[int]:
        """Delete rows; on a disk that is full with the room of the ballast, which was there for this, and in steps
        that need little of it. :return: those that are left."""
        if not rows or self._apply(Changes(deleted=rows)):
            return []
        if self._status.trouble != FULL:
            return rows
        self._ballast_due = self._now() + BALLAST_INTERVAL
        self._folder.drop_ballast()
        for start in range(0, len(rows), STEP):
            if not self._home() or not self._apply(Changes(deleted=rows[start : start + STEP])):
                return rows[start:]
        return []

    def _apply(self, changes: Changes) -> bool:
        began = self._now()
        try:
            self._database.apply(changes)
        except Full as problem:
            self._complain(FULL, str(problem))
            return False
        except (Broken, Corrupt) as problem:
            self._complain(ERROR, str(problem))
            return False
        self._status.seconds = self._now() - began
        if self._status.trouble == ERROR or (
            self._status.trouble == FULL and changes.deleted and self._folder.ballast.exists()
        ):
            self._status.trouble = self._status.text = ""
        return True

    def _complain(self, trouble: str, text: str) -> None:
        self._status.trouble, self._status.text = trouble, text
        self._status.failed += 1

    def _home(self) -> bool:
        try:
            self._database.checkpoint()
        except (Full, Broken, Corrupt):
            return False
        return True

    def _recover(self) -> None:
        """See whether the trouble there was is over."""
        status = self._status
        try:
            has_room = self._folder.has_room()
        except OSError as problem:
            self._complain(ERROR, str(problem))
            return
        if not has_room:
            if status.trouble != FLOOR:
                status.trouble, status.text = FLOOR, "the disk has less room than is to be left"
        elif status.trouble in (FLOOR, ERROR) or (status.trouble == FULL and self._has_room_again()):
            status.trouble = status.text = ""

    def _has_room_again(self) -> bool:
        """Whether what was full is so no more. Without its reserve it would be full for good the next time; the last
        room may be with the write-ahead log, or with a file that has nothing in it."""
        try:
            self._database.checkpoint()
            if not self._folder.put_ballast():
                if self._database.oldest():
                    return False
                self._database.shrink()
                if not self._folder.put_ballast():
                    return False
            return self._folder.free() >= self._folder.reserve // 4 and self._database.has_room()
        except (Full, Broken, Corrupt):
            return False

    def _read(self, order: ReadOrder) -> list[Put]:
        # What could not be deleted was delivered all the same.
        skip = {*order.skip, *self._left.deleted}
        try:
            return self._database.read(order.after, skip, order.rows, order.size)
        except (Full, Broken, Corrupt) as problem:
            self._complain(ERROR, str(problem))
            return []

    def _look(self) -> None:
        now = self._now()
        if self._looked is None or now - self._looked >= LOOK_INTERVAL:
            self._looked = now
            try:
                self._status.oldest = self._database.oldest()
                self._status.file = self._database.size()
            except (Full, Broken, Corrupt, OSError) as problem:
                self._complain(ERROR, str(problem))
        if now >= self._ballast_due:
            self._ballast_due = now + BALLAST_INTERVAL
            if not self._status.trouble:
                self._folder.put_ballast()


class Mailbox:
    """A `Writer` in a thread of its own.

    :ivar call_from_thread: like ``reactor.callFromThread``; it is called once for each turn.
    """

    _log = Logger()

    def __init__(self, writer: Writer, report: Report, call_from_thread: Callable[..., Any]) -> None:
        self._writer = writer
        self._report = report
        self._call_from_thread = call_from_thread
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._ended: Callable[[], None] | None = None
        Thread(target=self._work, name="spool", daemon=True).start()

    def send(self, order: Order) -> None:
        """Have an order carried out, after those that were sent before."""
        self._orders.put(order)

    def end(self, ended: Callable[[], None]) -> None:
        """Carry out what was sent, and end. :param ended: is called in the reactor thread."""
        self._ended = ended
        self._orders.put(None)

    def _work(self) -> None:
        last = False
        while not last:
            orders, last = self._gather()
            if not orders:
                continue
            try:
                calls, status = self._writer.turn(orders)
            except Exception as problem:
                self._log.failure("the spool could not be written")
                calls = [(order.done, False) for order in orders if isinstance(order, PutOrder)]
                calls += [(order.done, []) for order in orders if isinstance(order, ReadOrder)]
                status = Status(ERROR, repr(problem), failed=1)
            self._call_from_thread(self._report, calls, status)
        self._call_from_thread(self._ended)

    def _gather(self) -> tuple[list[Order], bool]:
        """What waits, as much of it as fits into one turn, and whether that was the last."""
        orders: list[Order] = []
        size = 0
        order = self._orders.get()
        while order is not None:
            orders.append(order)
            if isinstance(order, PutOrder):
                size += len(order.row.body)
            if size >= LARGEST or len(orders) >= MOST:
                return orders, False
            try:
                order = self._orders.get_nowait()
            except Empty:
                return orders, False
        return orders, True
