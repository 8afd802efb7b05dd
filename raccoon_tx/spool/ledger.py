"""Who has which row of the spool, and what becomes of those that could not be delivered.

A row is *waiting* (on the disk, nobody has it), *in hand* (read, or on its way through the publisher) or *postponed*
(to be tried again at some time). Only numbers are kept here. Plain data but for the store.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field

from raccoon_tx.spool.entry import encode
from raccoon_tx.spool.errand import Errand

#: Seconds until a row is tried again, the first time and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: Rows that may be postponed at once; further ones are given up, and so is one that has failed so many times.
MOST_POSTPONED, MOST_TRIES = 1000, 30


class Rows(Protocol):
    """The part of `raccoon_tx.spool.store.Store` that changes rows."""

    def delete(self, number: int, events: int, size: int) -> None: ...
    def replace(self, number: int, events: int, size: int, body: bytes, left: int) -> None: ...
    def bury(self, number: int, events: int, size: int, reason: str) -> None: ...


@define(eq=False)
class Ledger:
    """:ivar now: seconds. :ivar waiting: rows that nobody has. :ivar hands: rows that are not to be read.
    :ivar cursor: no waiting row has this number or a lower one. :ivar suspects: rows of which something could not be
    delivered as it is: their events are tried alone before they are given up."""

    _rows: Rows
    _now: Callable[[], float]
    waiting: int = 0
    cursor: int = 0
    hands: set[int] = field(factory=set, init=False)
    suspects: set[int] = field(factory=set, init=False)
    _tries: dict[int, int] = field(factory=dict, init=False)
    _postponed: list[tuple[float, int]] = field(factory=list, init=False)

    def take(self, row: int) -> None:
        """A waiting row was read."""
        self.waiting -= 1
        self.hands.add(row)
        self.cursor = max(self.cursor, row)

    def nothing_found(self) -> None:
        """There was no waiting row after the cursor."""
        if self.cursor:
            self.cursor = 0
        else:
            self.waiting = 0

    def release(self, row: int) -> None:
        """Nobody has it any more; it waits."""
        self.hands.discard(row)
        self.waiting += 1
        self.cursor = min(self.cursor, row - 1)

    def forget(self, row: int) -> None:
        """It does not exist any more."""
        self.hands.discard(row)
        self.suspects.discard(row)
        self._tries.pop(row, None)

    def due(self) -> None:
        """Let those that were postponed until now wait like all others."""
        now = self._now()
        while self._postponed and self._postponed[0][0] <= now:
            self.release(heapq.heappop(self._postponed)[1])

    def postpone(self, row: int, seconds: float) -> None:
        """Leave a row alone for a while."""
        heapq.heappush(self._postponed, (self._now() + seconds, row))

    def delivered(self, errand: Errand) -> None:
        """All of a row is in Kafka."""
        self.forget(errand.row)
        self._rows.delete(errand.row, len(errand.records), errand.size)

    def failed(self, errand: Errand) -> bool:
        """Some of a row could not be delivered: keep just that.

        :return: whether it may be Kafka as a whole that is in trouble.
        """
        row = errand.row
        left = errand.failed_records
        self._keep(errand, left)
        if errand.hopeless:
            self.suspects.add(row)
            self.release(row)
            return False
        if not all(failure.unknown_topic for failure in errand.failures.values()):
            self.release(row)
            return True
        self._try_again(errand, len(left))
        return False

    def tried_alone(self, errand: Errand, left: list[Any], lost: list[Any], reason: str) -> None:
        """Every event of a suspect was tried alone.

        :param left: records that may be delivered another time. :param lost: those that will not be.
        """
        if not left and not lost:
            self.delivered(errand)
            return
        self._keep(errand, left + lost)
        if left:
            self._try_again(errand, len(left + lost))
        else:
            self._bury(errand, len(lost), reason)

    def damaged(self, row: int, events: int, size: int, reason: str) -> None:
        """A row cannot be read."""
        self.forget(row)
        self._rows.bury(row, events, size, reason)

    def _keep(self, errand: Errand, records: list[Any]) -> None:
        if len(records) < len(errand.records):
            body = encode(errand.batch, records)
            self._rows.replace(errand.row, len(errand.records), errand.size, body, len(records))
            errand.size = len(body)

    def _try_again(self, errand: Errand, events: int) -> None:
        row = errand.row
        tries = self._tries[row] = self._tries.get(row, 0) + 1
        if tries >= MOST_TRIES or len(self._postponed) >= MOST_POSTPONED:
            self._bury(errand, events, errand.reason or "not delivered")
        else:
            self.postpone(row, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)))

    def _bury(self, errand: Errand, events: int, reason: str) -> None:
        self.forget(errand.row)
        self._rows.bury(errand.row, events, errand.size, reason)
