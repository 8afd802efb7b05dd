"""Events of a row that could not be delivered as it was, each tried once alone.

A broker that finds one event too large refuses all that came in the same message set, so a failure says little about
the event it is reported for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Outcome, Refused, Reply
from raccoon_tx.spool.entry import part
from raccoon_tx.spool.errand import Errand


class Trial:
    """:ivar errand: the row. :ivar left: records that may be delivered another time. :ivar lost: those that will not
    be. :ivar reason: why not."""

    def __init__(
        self, errand: Errand, publish: Callable[[Delivery], None], ended: Callable[[Trial, bool], None]
    ) -> None:
        """:param ended: is told when all were tried, or that the publisher takes nothing now."""
        self.errand = errand
        self.left: list[Any] = []
        self.lost: list[Any] = []
        self.reason = ""
        self._publish = publish
        self._ended = ended
        self._records: Iterator[Any] = iter(errand.records)
        self._refused = False
        self._sending = False
        self._again = False

    def begin(self) -> bool:
        """Try the first one. :return: whether the publisher takes anything."""
        self._next()
        return not self._refused

    def _next(self) -> None:
        # A publisher may answer before it returns: a loop, lest the stack grow with the batch.
        if self._sending:
            self._again = True
            return
        self._sending = True
        try:
            self._again = True
            while self._again:
                self._again = False
                self._send()
        finally:
            self._sending = False

    def _send(self) -> None:
        record = next(self._records, None)
        if record is None:
            self._ended(self, False)
            return
        whole = self.errand
        alone = Errand(self, part(whole.batch, [record]), [record], whole.group, whole.received)
        try:
            self._publish(alone)
        except Refused:
            self._refuse()

    def _refuse(self) -> None:
        self._refused = True
        self._ended(self, True)

    def taken(self, errand: Errand) -> None:
        """Nobody waits for that."""

    def told(self, errand: Errand, reply: Reply) -> None:
        """What became of one of them."""
        if reply.outcome is Outcome.EXPIRED:
            return
        if reply.outcome is Outcome.FAILED:
            if errand.hopeless:
                self.lost += errand.records
                self.reason = self.reason or errand.reason
            else:
                self.left += errand.records
        elif reply.outcome is not Outcome.OK:
            self._refuse()
            return
        self._next()
