"""A spool without a thread, and what stands around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import Counts, SpoolCounts
from raccoon_tx.model import Outcome, Refused, Reply
from raccoon_tx.report import Failure
from raccoon_tx.spool.folder import Folder
from raccoon_tx.spool.store import Store
from raccoon_tx.spool.writer import Order, Report, Writer

#: Unix seconds at which the clock of a test begins.
BEGIN = 1_000_000.0
MAX_BYTES = 8 * 1024 * 1024


@define(eq=False)
class ManualBox:
    """Carries orders out when the test says so: a commit that lasts."""

    writer: Writer
    report: Report
    orders: list[Order] = field(factory=list)
    ended: Callable[[], None] | None = None

    def send(self, order: Order) -> None:
        self.orders.append(order)

    def end(self, ended: Callable[[], None]) -> None:
        self.ended = ended
        self.commit()

    def commit(self) -> None:
        """One turn with all that waits."""
        orders, self.orders = self.orders, []
        if orders:
            self.report(*self.writer.turn(orders))
        if self.ended is not None:
            self.ended()


@define(eq=False)
class Spooled:
    """A store whose commits are made by hand."""

    path: Path
    clock: Clock = field(factory=Clock)
    max_bytes: int = MAX_BYTES
    min_free: int = 0
    counts: Counts = field(factory=Counts)
    store: Store = field(init=False)
    box: ManualBox = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counts.spool = SpoolCounts(self.wall)
        folder = Folder(self.path, self.max_bytes, self.min_free)
        self.store = Store(folder, self.clock, self.wall, self.make_box, self.counts.spool)

    def wall(self) -> float:
        return BEGIN + self.clock.seconds()

    def make_box(self, writer: Writer, report: Report) -> ManualBox:
        self.box = ManualBox(writer, report)
        return self.box

    def start(self) -> None:
        self.store.startService()
        self.box.commit()

    def stop(self) -> None:
        if self.store.running:
            self.store.stopService()

    def rows(self) -> list[int]:
        """The numbers of all rows that are on the disk."""
        return [put.id for put in self.box.writer._database.read(0, (), 100_000, 1 << 40)]


@define(eq=False)
class Shelf:
    """A publisher that keeps what it is given until the test says what becomes of it.

    :ivar refusal: what it raises instead. :ivar room: records that it takes now.
    """

    running: bool = True
    refusal: Refused | None = None
    room: int = 100_000
    abandoned: dict[str, int] = field(factory=dict)
    kept: list[Delivery] = field(factory=list)
    able: tuple[bool, str] = (True, "ok")
    gave_up: int = 0

    @property
    def state(self) -> tuple[bool, str]:
        return self.able

    def publish(self, delivery: Delivery) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.kept.append(delivery)
        delivery.taken = len(delivery.records)
        delivery.accepted()

    def give_up(self) -> None:
        self.gave_up += 1

    def end(self, failures: dict[int, Failure] | None = None, position: int = 0) -> Delivery:
        """The reports of one of them."""
        delivery = self.kept.pop(position)
        for index, failure in (failures or {}).items():
            delivery.fail(index, failure)
        delivery.settle(len(delivery.records))
        return delivery

    def turn_away(self, refusal: Refused) -> Delivery:
        """Give up one that waits for room."""
        delivery = self.kept.pop(0)
        delivery.taken = 0
        delivery.answer(refusal.reply(delivery.batch.guid))
        return delivery

    def expire(self, position: int = 0) -> Delivery:
        """Say that the reports of one take long."""
        delivery = self.kept[position]
        delivery.answer(Reply(Outcome.EXPIRED, delivery.batch.guid, "not confirmed in time"))
        return delivery

    def values(self) -> list[list[bytes]]:
        """What it has, by batch."""
        return [[record[1] for record in each.records] for each in self.kept]


def outcomes(replies: Sequence[Reply]) -> list[Outcome]:
    return [reply.outcome for reply in replies]


def nothing(_: Any) -> None:
    """Nobody wants to know."""
