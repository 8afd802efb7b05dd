"""Sends batches, each as often as is worth it, and counts what becomes of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from raccoon_tx.bench.tally import Tally
from raccoon_tx.tools.events import Packed
from raccoon_tx.tools.line import Line, Result

#: Seconds before the second attempt, if the server does not say; doubled each time, up to the most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0

#: Seconds that a server can make us wait.
LONGEST_WISH = 60.0


@define(eq=False)
class Count:
    """What became of the events. :ivar accepted: events. :ivar again: attempts beyond the first of a batch.
    :ivar tally: batches that were accepted, and events that were refused. :ivar gave_up: why it ended early."""

    accepted: int = 0
    again: int = 0
    tally: Tally = field(factory=Tally)
    gave_up: str = ""

    @property
    def refused(self) -> int:
        """Events."""
        return sum(self.tally.refused.values())

    @property
    def good(self) -> bool:
        """Whether everything was accepted."""
        return not self.refused and not self.gave_up


@define(eq=False)
class Sender:
    """:ivar next: the next batch; ``None``: that was all. :ivar attempts: for each of them.

    It ends early when a server is gone for all the attempts of a batch: what has not been read then is not lost.
    """

    _clock: Any
    _next: Callable[[], Awaitable[Packed | None]]
    _attempts: int
    _spread: Callable[[float, float], float] = random.uniform
    count: Count = field(init=False, factory=Count)
    _ended: bool = field(init=False, default=False)

    async def run(self, lanes: Sequence[Line]) -> Count:
        """Send everything. :param lanes: each carries one batch at a time; one line may be there several times."""
        await gatherResults([Deferred.fromCoroutine(self._run_lane(line)) for line in lanes], consumeErrors=True)
        return self.count

    async def _run_lane(self, line: Line) -> None:
        while not self._ended:
            batch = await self._next()
            if batch is None:
                self._ended = True
            else:
                await self._send(line, batch)

    async def _send(self, line: Line, batch: Packed) -> None:
        begun = self._clock.seconds()
        for attempt in range(self._attempts):
            result = await line.exchange(batch.guid, batch.body)
            if not result.reason:
                self.count.accepted += batch.count
                self.count.tally.accept(self._clock.seconds() - begun)
                return
            if not result.again or attempt + 1 == self._attempts or self.count.gave_up:
                break
            self.count.again += 1
            await deferLater(self._clock, self._pause(attempt, result))
        self.count.tally.refuse(result.reason, batch.count)
        if result.silent:
            self._ended = True
            self.count.gave_up = self.count.gave_up or result.reason

    def _pause(self, attempt: int, result: Result) -> float:
        if result.pause is not None:
            return min(result.pause, LONGEST_WISH)
        most = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        return self._spread(most / 2, most)
