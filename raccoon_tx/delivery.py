"""One batch on its way through a publisher, and the answer at the end of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from raccoon_tx.metrics.counts import GroupCounts
from raccoon_tx.model import Ack, Answer, Batch, Outcome, Reply
from raccoon_tx.report import Failure, failed_entries

_FAILED = "cannot publish events: error when sending messages: "


class Carrier(Protocol):
    """What a `Delivery` tells the publisher that has it."""

    def finished(self, delivery: Delivery) -> None:
        """Nothing of the delivery is on its way any more."""


class Delivery:
    """Counts the reports of the events of one batch, and answers when the acknowledgement mode says so.

    :ivar records: what to produce, in order: a lane, a value, and perhaps more. :ivar group: of its client.
    :ivar received: :ivar launched: when it came, and when its first event went to the producer, in the seconds of the
        publisher's clock. :ivar taken: how many of them the producer has.
    :ivar late: is told what became of the batch after its client was told that time is over.
    :ivar pending: events that have neither been reported nor given up.
    :ivar deadline: until when its reports are waited for, in the seconds of the publisher's clock.
    """

    __slots__ = (
        "_answer",
        "_carrier",
        "_failures",
        "_late",
        "ack",
        "batch",
        "deadline",
        "group",
        "launched",
        "pending",
        "received",
        "records",
        "taken",
    )

    def __init__(
        self,
        batch: Batch,
        records: Sequence[Any],
        group: GroupCounts,
        ack: Ack,
        answer: Answer,
        received: float = 0.0,
        late: Answer | None = None,
    ) -> None:
        self.batch = batch
        self.records = records
        self.group = group
        self.ack = ack
        self.received = self.launched = received
        self.taken = 0
        self.pending = len(records)
        self.deadline = 0.0
        self._answer: Answer | None = answer
        self._late = late
        self._carrier: Carrier | None = None
        self._failures: dict[int, Failure] | None = None

    def carried_by(self, carrier: Carrier) -> None:
        """Name the publisher that is told of the end."""
        self._carrier = carrier

    @property
    def answered(self) -> bool:
        """Whether the client has its answer."""
        return self._answer is None

    @property
    def failures(self) -> dict[int, Failure]:
        """The failed events by index."""
        return self._failures or {}

    def fail(self, index: int, failure: Failure) -> None:
        """Event ``index`` was not delivered; `settle` is still to be called for it."""
        if self._failures is None:
            self._failures = {}
        self._failures[index] = failure

    def settle(self, count: int = 1) -> None:
        """So many more events need no more waiting for. After the last one, the answer goes out."""
        self.pending -= count
        if not self.pending:
            if self._answer is not None and self.taken == len(self.records):
                self.answer(self.result())
            elif self._late is not None:
                self._late(self.result())
            if self._carrier is not None:
                self._carrier.finished(self)

    def accepted(self) -> None:
        """The producer has all of it: with `Ack.ACCEPTED` that is what the client waits for."""
        if self._answer is not None and (self.ack is Ack.ACCEPTED or not self.pending):
            self.answer(self.result())

    def result(self) -> Reply:
        """Success, or which events failed and why."""
        if not self._failures:
            return Reply(Outcome.OK, self.batch.guid)
        reason, extra = failed_entries(_FAILED, self._failures, self.batch.events)
        return Reply(Outcome.FAILED, self.batch.guid, reason, extra)

    def answer(self, reply: Reply) -> None:
        """Give the client its answer, unless it has one."""
        answer, self._answer = self._answer, None
        if answer is not None:
            if reply.outcome is not Outcome.EXPIRED:
                self._late = None
            answer(reply)

    def conclude(self, reply: Reply) -> None:
        """What became of the batch, known by other means than its own reports: answer, or tell whoever still waits."""
        if self._answer is not None:
            self.answer(reply)
        elif self._late is not None:
            late, self._late = self._late, None
            late(reply)
