"""The parts of the spool, put together around a publisher."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from attrs import evolve, frozen

from raccoon_tx.clock import Clock
from raccoon_tx.metrics.counts import Counts, Histogram, SpoolCounts
from raccoon_tx.model import Ack
from raccoon_tx.settings import SpoolSettings
from raccoon_tx.spool.database import FILE
from raccoon_tx.spool.drain import Drain
from raccoon_tx.spool.folder import Folder
from raccoon_tx.spool.ledger import Ledger
from raccoon_tx.spool.publisher import Publisher, SpoolingPublisher
from raccoon_tx.spool.store import MakeBox, Store

#: What is left to live traffic of the records that the publisher holds: all but one in so many.
DRAINED_PART = 4
#: The same for a publisher without a limit.
_PLENTY = 1_000_000


class Roomy(Publisher, Protocol):
    """A publisher that knows how many records it would take now."""

    @property
    def room(self) -> int: ...


@frozen
class Spool:
    """:ivar store: the rows. :ivar publisher: takes batches. :ivar drain: brings rows to the publisher behind it."""

    store: Store
    publisher: SpoolingPublisher
    drain: Drain

    def state(self) -> tuple[bool, str, Mapping[str, float]]:
        """Whether it keeps nobody from taking an event, how it is, and how much there is in it."""
        counts, trouble = self.store.counts, self.store.status.trouble
        figures = {
            "batches": counts.batches,
            "events": counts.events,
            "bytes": counts.bytes,
            "oldest_seconds": round(counts.age, 3),
            "dead_batches": counts.dead,
        }
        if self.store.usable:
            return True, "ok", figures
        return self.publisher.state[0], f"degraded: takes nothing ({trouble or 'stopped'})", figures


def of_worker(settings: SpoolSettings, number: int, workers: int) -> SpoolSettings:
    """The spool of one worker: its part of the bytes, in a folder of its own. That of the first is the one that a
    server with one process has, so that nothing is left behind when there come to be more.

    :param number: of the worker. :param workers: how many there are.
    """
    path = settings.path if number == 0 else os.path.join(settings.path, f"worker-{number}")
    return evolve(settings, path=path, max_bytes=settings.max_bytes // workers)


def left_behind(settings: SpoolSettings, workers: int) -> list[str]:
    """Folders of workers that there no longer are: nobody drains them."""
    found = []
    for path in Path(settings.path).glob("worker-*"):
        number = path.name.removeprefix("worker-")
        if number.isdecimal() and int(number) >= workers and (path / FILE).exists():
            found.append(str(path))
    return sorted(found)


def build_spool(
    settings: SpoolSettings,
    ack: Ack,
    publisher: Roomy,
    capacity: int,
    counts: Counts,
    clock: Clock,
    wall: Callable[[], float],
    make_box: MakeBox,
    histogram: type[Histogram] = Histogram,
) -> Spool:
    """A spool around ``publisher``, which does nothing yet.

    :param capacity: records that the publisher holds. :param wall: Unix seconds.
    """
    figures = counts.spool = SpoolCounts(wall, histogram)
    folder = Folder(Path(settings.path), settings.max_bytes, settings.min_free)
    store = Store(folder, clock, wall, make_box, figures)
    ledger = Ledger(store, clock.seconds)
    drained = min(capacity, _PLENTY) // DRAINED_PART
    front = SpoolingPublisher(publisher, store, ledger, clock, ack)
    reserved = capacity - max(1, drained)
    drain = Drain(store, ledger, publisher.publish, clock, lambda: publisher.room, reserved, lambda: front.came, counts)
    return Spool(store, front, drain)
