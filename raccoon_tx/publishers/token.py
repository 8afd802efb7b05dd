"""One object for each batch in the producer, whose end says that all its delivery reports are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raccoon_tx.delivery import Delivery

#: What became of some events of a batch: the batch, how many events, and for each that failed the error, the topic
#: and the value. ``None`` if none failed.
Report = tuple[Delivery, int, "list[tuple[Any, str, bytes]] | None"]


class Token:
    """The delivery-report callback of each event of a batch.

    The producer holds one reference to it for each message, which it drops when it has the report of that message.
    With ``delivery.report.only.error`` it calls back for failures alone, so that success costs no Python at all. When
    the last reference is gone, `reported` gets the `Report`, in whichever thread that was: it may only put it aside.

    Nobody else may keep a reference, and the one who produces has to drop its own. That the producer does its part is
    not in its documentation; ``tests/test_producer.py`` holds it to that.

    :ivar count: events that the producer took with this token.
    """

    __slots__ = ("_delivery", "_errors", "_reported", "count")

    def __init__(self, delivery: Delivery, reported: Callable[[Report], object]) -> None:
        self._delivery = delivery
        self._reported = reported
        self._errors: list[tuple[Any, str, bytes]] | None = None
        self.count = 0

    def __call__(self, error: Any, message: Any) -> None:
        """The report of one event, in the form that the Kafka client calls back with."""
        if error is not None:
            if self._errors is None:
                self._errors = []
            self._errors.append((error, message.topic(), message.value() or b""))

    def __del__(self) -> None:
        if self.count:
            self._reported((self._delivery, self.count, self._errors))
