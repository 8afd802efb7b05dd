"""The spool as the reactor sees it: rows come and go by calls that return at once; nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from raccoon_tx.clock import Clock, Timer
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import SpoolCounts
from raccoon_tx.spool.database import Changes, Put
from raccoon_tx.spool.entry import checksum
from raccoon_tx.spool.folder import Folder
from raccoon_tx.spool.opening import Opened, open_spool
from raccoon_tx.spool.writer import LazyOrder, Mailbox, Order, PutOrder, ReadOrder, Report, Status, Writer

#: Bytes and rows that may wait for the disk.
MOST_BYTES, MOST_ROWS = 32 * 1024 * 1024, 5000
#: Seconds that a deletion may wait for a transaction to go with, and how many of them wait at most.
LAZY_INTERVAL, MOST_LAZY = 0.1, 500
#: Seconds between two looks at whether a trouble is over.
TROUBLE_INTERVAL = 1.0


class NoRoom(Exception):
    """A row cannot be put. :ivar why: in one word: ``full``, ``floor``, ``error``, ``busy`` or ``stopped``."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Box(Protocol):
    """Carries orders out, elsewhere; `Mailbox` is one."""

    def send(self, order: Order) -> None: ...
    def end(self, ended: Callable[[], None]) -> None: ...


#: Makes a `Box` of a writer and of what its reports go to.
MakeBox = Callable[[Writer, Report], Box]


def threaded(call_from_thread: Callable[..., Any]) -> MakeBox:
    """Boxes with a thread each."""
    return lambda writer, report: Mailbox(writer, report, call_from_thread)


@define(eq=False)
class Store(Service):
    """Rows by their numbers, which only grow. It opens its file at the start of the service, or does not start.

    :ivar wall: Unix seconds. :ivar make_box: where its orders go. :ivar counts: its figures.
    :ivar status: how the disk is.
    """

    _folder: Folder
    _clock: Clock
    _wall: Callable[[], float]
    _make_box: MakeBox
    counts: SpoolCounts
    status: Status = field(factory=Status, init=False)
    _box: Box | None = field(default=None, init=False, repr=False)
    _next: int = field(default=1, init=False)
    _queued_bytes: int = field(default=0, init=False)
    _queued: int = field(default=0, init=False)
    _lazy: Changes = field(factory=Changes, init=False, repr=False)
    _flushing: Timer | None = field(default=None, init=False, repr=False)
    _looking: Timer | None = field(default=None, init=False, repr=False)
    _opened: Opened | None = field(default=None, init=False, repr=False)

    _log = Logger()

    def startService(self) -> None:
        """:raises Unusable: its folder or its file cannot be used."""
        opened = self._opened = open_spool(self._folder, self._wall)
        super().startService()
        figures, counts = opened.figures, self.counts
        counts.batches, counts.events, counts.bytes = figures.batches, figures.events, figures.bytes
        counts.dead, counts.oldest = figures.dead, figures.oldest
        if opened.aside is not None:
            counts.fail("corrupt_file")
        self._next = figures.last + 1
        self._box = self._make_box(Writer(opened.database, self._folder, self._clock.seconds), self._report)
        # The first look of the writer, so that it is known from the beginning how the disk is.
        self._box.send(LazyOrder(Changes()))
        if figures.batches:
            self._log.info(
                "the spool {path} has {batches} batches ({bytes} bytes) that Kafka has not confirmed",
                path=str(self._folder.path),
                batches=figures.batches,
                bytes=figures.bytes,
            )

    @property
    def usable(self) -> bool:
        """Whether a row can be put now."""
        return self._why() == ""

    @property
    def waiting(self) -> int:
        """Rows that were put and are not on the disk yet."""
        return self._queued

    def _why(self) -> str:
        if not self.running or self._box is None:
            return "stopped"
        if self.status.trouble:
            return self.status.trouble
        if self._queued >= MOST_ROWS or self._queued_bytes >= MOST_BYTES:
            return "busy"
        return ""

    def put(self, body: bytes, events: int, done: Callable[[bool], None], created: float | None = None) -> int:
        """Make a row durable.

        :param done: is called later with whether it is. :param created: if not now. :return: its number.
        :raises NoRoom: nothing was done.
        """
        why = self._why()
        if why or self._box is None:
            self.counts.refuse(why)
            raise NoRoom(why)
        number = self._next
        self._next += 1
        row = Put(number, self._wall() if created is None else created, events, checksum(number, body), body)
        self._queued += 1
        self._queued_bytes += len(body)
        self._send_lazy()
        self._box.send(PutOrder(row, _Done(self, row, done)))
        return number

    def stored(self, row: Put, durable: bool) -> None:
        """A row that was put is on the disk, or never will be."""
        self._queued -= 1
        self._queued_bytes -= len(row.body)
        counts = self.counts
        if durable:
            if not counts.batches:
                counts.oldest = row.created
            counts.batches += 1
            counts.events += row.events
            counts.bytes += len(row.body)
            counts.written += 1
        else:
            counts.refuse(self.status.trouble or "error")

    def delete(self, number: int, events: int, size: int) -> None:
        """Forget a row, whose figures these are."""
        self._lazy.deleted.append(number)
        self._forget(events, size)
        self._later(len(self._lazy.deleted))

    def replace(self, number: int, events: int, size: int, body: bytes, left: int) -> None:
        """Keep only a part of a row. :param left: events of ``body``."""
        self._lazy.replaced.append((left, checksum(number, body), body, number))
        self.counts.events += left - events
        self.counts.bytes += len(body) - size
        self._later(len(self._lazy.replaced))

    def bury(self, number: int, events: int, size: int, reason: str) -> None:
        """Give a row up: it is kept among the dead."""
        self._lazy.buried.append((self._wall(), reason, number))
        self._forget(events, size)
        self.counts.dead += 1
        self.counts.buried += 1
        self._later(len(self._lazy.buried))

    def _forget(self, events: int, size: int) -> None:
        counts = self.counts
        counts.batches -= 1
        counts.events -= events
        counts.bytes -= size

    def read(self, after: int, skip: Collection[int], rows: int, size: int, done: Callable[[list[Put]], None]) -> None:
        """Read the next rows. :param skip: is copied. :param size: bytes that are enough."""
        self._send_lazy()
        if self._box is not None:
            self._box.send(ReadOrder(after, frozenset(skip), rows, size, done))

    def _later(self, waiting: int) -> None:
        if waiting >= MOST_LAZY:
            self._send_lazy()
        elif self._flushing is None and self._box is not None:
            self._flushing = self._clock.callLater(LAZY_INTERVAL, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        self._send_lazy()

    def _send_lazy(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._lazy and self._box is not None:
            lazy, self._lazy = self._lazy, Changes()
            self._box.send(LazyOrder(lazy))

    def _report(self, calls: Sequence[tuple[Callable[[Any], None], Any]], status: Status) -> None:
        """One turn of the writer is over."""
        self._tell(status)
        self.counts.file = status.file
        if status.oldest:
            self.counts.oldest = status.oldest
        if status.seconds:
            self.counts.commits.observe(status.seconds * 1000)
        for call, result in calls:
            try:
                call(result)
            except Exception:
                self._log.failure("what the spool had to say could not be heard")

    def _tell(self, status: Status) -> None:
        before, self.status = self.status, status
        self.counts.usable = not status.trouble
        for _ in range(status.failed):
            self.counts.fail("write")
        if status.trouble and status.trouble != before.trouble:
            self._log.error(
                "the spool {path} takes nothing ({trouble}): {text}",
                path=str(self._folder.path),
                trouble=status.trouble,
                text=status.text,
            )
        elif before.trouble and not status.trouble:
            self._log.info("the spool {path} takes batches again", path=str(self._folder.path))
        if (status.trouble or status.left) and self._looking is None and self._box is not None:
            self._looking = self._clock.callLater(TROUBLE_INTERVAL, self._look_again)

    def _look_again(self) -> None:
        self._looking = None
        if self._box is not None:
            self._box.send(LazyOrder(Changes()))

    def stopService(self) -> Deferred[None]:
        """Fires when all that was put is on the disk and the file is closed."""
        super().stopService()
        self.counts.usable = False
        self._send_lazy()
        stopped: Deferred[None] = Deferred()
        box, self._box = self._box, None
        assert box is not None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        box.end(lambda: self._ended(stopped))
        return stopped

    def _ended(self, stopped: Deferred[None]) -> None:
        assert self._opened is not None
        self._opened.database.close()
        self._opened = None
        self._folder.leave()
        stopped.callback(None)


class _Done:
    """Tells the store, and then whoever has put the row."""

    __slots__ = ("_done", "_row", "_store")

    def __init__(self, store: Store, row: Put, done: Callable[[bool], None]) -> None:
        self._store = store
        self._row = row
        self._done = done

    def __call__(self, durable: bool) -> None:
        self._store.stored(self._row, durable)
        self._done(durable)
