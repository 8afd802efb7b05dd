"""A batch, or a row of the spool, on its way through the publisher behind the spool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import GroupCounts
from raccoon_tx.model import Ack, Batch, Reply


class Sender(Protocol):
    """Who sends errands, and is told what becomes of them."""

    def taken(self, errand: Errand) -> None:
        """The producer has all of it."""

    def told(self, errand: Errand, reply: Reply) -> None:
        """It is over; or, with `Outcome.EXPIRED`, it takes long, and will be told once more."""


class Errand(Delivery):
    """A `Delivery` that answers to the spool, whatever the client waits for.

    :ivar outer: what the client waits for, if one does. :ivar row: its number in the spool; 0: it is not in it.
    :ivar size: bytes of that row. :ivar durable: the row is on the disk. :ivar away: the publisher has it.
    :ivar acknowledged: its client was told so when the publisher had taken it.
    :ivar verdict: how it ended, if that was known before the row was durable. :ivar due: when the client has waited
        long enough.
    """

    __slots__ = ("_sender", "acknowledged", "away", "due", "durable", "outer", "row", "size", "verdict")

    def __init__(
        self,
        sender: Sender,
        batch: Batch,
        records: Sequence[Any],
        group: GroupCounts,
        received: float,
        outer: Delivery | None = None,
        row: int = 0,
        size: int = 0,
    ) -> None:
        super().__init__(batch, records, group, Ack.DELIVERED, self._told, received, self._told)
        self._sender = sender
        self.outer = outer
        self.row = row
        self.size = size
        self.durable = bool(row)
        self.away = self.acknowledged = False
        self.verdict: Reply | None = None
        self.due = 0.0

    def accepted(self) -> None:
        """The producer has all of it."""
        super().accepted()
        self._sender.taken(self)

    def _told(self, reply: Reply) -> None:
        self._sender.told(self, reply)

    @property
    def failed_records(self) -> list[Any]:
        """Those that were not delivered."""
        return [self.records[index] for index in sorted(self.failures)]

    @property
    def hopeless(self) -> bool:
        """Whether one of them could not be delivered as it is."""
        return any(not failure.retryable for failure in self.failures.values())

    @property
    def reason(self) -> str:
        """What was wrong with the first of them."""
        return next((self.failures[index].text for index in sorted(self.failures)), "")
