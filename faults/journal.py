"""What clients know: every event has a number of its own, and is ok, fail, closed or unknown."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise

from attrs import define, field, frozen

from tests.integration.batches import Batch, Event

#: The type of all events, and how many there are in a batch.
KIND, EVENTS = "numbered", 5

#: Success was answered; something else was answered; the WebSocket was closed with 1001 before an answer, which says
#: that it was not taken; nothing was answered (the connection broke, or the time was over).
OK, FAIL, CLOSED, UNKNOWN = "ok", "fail", "closed", "unknown"


@frozen
class Number:
    """An event: who sent it, on which of its connections, as which of all its events. In Kafka it is text."""

    client: str
    connection: int
    serial: int

    def __str__(self) -> str:
        return f"{self.client}/{self.connection}/{self.serial}"

    @classmethod
    def read(cls, value: bytes) -> Number:
        """:raises ValueError: nobody sent that."""
        client, connection, serial = value.decode().split("/")
        return cls(client, int(connection), int(serial))


@define(eq=False)
class Journal:
    """Of one client.

    :ivar answered: every event it sent, and what became of it; UNKNOWN until there is an answer.
    :ivar successes: when (monotonic) success was answered. :ivar took: seconds, of each answer.
    :ivar strange: answers that no server may give.
    """

    client: str
    answered: dict[str, str] = field(factory=dict)
    successes: list[float] = field(factory=list)
    took: list[float] = field(factory=list)
    strange: list[str] = field(factory=list)
    refusals: dict[str, int] = field(factory=dict)
    _began: dict[str, float] = field(factory=dict)
    _serial: int = 0

    @property
    def slowest(self) -> float:
        """Seconds that the slowest answer took."""
        return max(self.took, default=0.0)

    @property
    def connections(self) -> int:
        """On how many it sent something."""
        return len({number.split("/")[1] for number in self.answered})

    def next_batch(self, connection: int, padding: int = 0) -> Batch:
        """One that was not sent before."""
        numbers = [str(Number(self.client, connection, self._serial + index)) for index in range(EVENTS)]
        self._serial += EVENTS
        for number in numbers:
            self.answered[number] = UNKNOWN
        self._began[numbers[0]] = time.monotonic()
        return Batch(numbers[0], *(Event(KIND, number.encode()) for number in numbers))

    def note(self, batch: Batch, outcome: str, reason: str = "") -> None:
        """What was answered to a batch."""
        now = time.monotonic()
        began = self._began.pop(batch.guid)
        if outcome != CLOSED:
            self.took.append(now - began)
        for event in batch.events:
            self.answered[event.value.decode()] = outcome
        if outcome == OK:
            self.successes.append(now)
        elif outcome == FAIL:
            self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def withdraw(self, batch: Batch) -> None:
        """It was never sent: nobody listened. Should it be in Kafka all the same, nobody sent it."""
        self._began.pop(batch.guid)
        for event in batch.events:
            del self.answered[event.value.decode()]


def quantile(journals: Iterable[Journal], part: float) -> float:
    """Seconds within which that part of all answers came."""
    took = sorted(each for journal in journals for each in journal.took)
    return took[min(len(took) - 1, int(len(took) * part))] if took else 0.0


def longest_gap(journals: Iterable[Journal], began: float, ended: float) -> float:
    """Seconds in which nobody was answered with success."""
    moments = sorted(moment for journal in journals for moment in journal.successes if began <= moment <= ended)
    edges = [began, *moments, ended]
    return max(after - before for before, after in pairwise(edges))
