"""Who sends what when: as fast as answers come, or at a fixed rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from raccoon_tx.bench.batches import Batches
from raccoon_tx.bench.tally import Tally
from raccoon_tx.clock import Clock

#: Seconds that the last answers may take.
PATIENCE = 5.0

#: Seconds between two looks at what is due.
TICK = 0.001

LOST = "the connection was lost"


class Way(Protocol):
    """A connection to the server."""

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch. Its answer goes to `Answers.answered`."""


class Answers(Protocol):
    """Hears what becomes of the batches."""

    def answered(self, guid: str, answer: bytes) -> None:
        """An answer came. :param guid: of its batch, if it is known without reading the answer; else empty."""

    def failed(self, guid: str, reason: str) -> None:
        """A batch got no answer, but an error of the transport."""

    def lost(self, way: Way, reason: str) -> None:
        """A connection is gone."""


@define(eq=False)
class Load:
    """One run over some connections.

    :ivar rate: batches per second; 0: every connection always has ``depth`` batches on their way.
    :ivar depth: most batches that one connection has on their way.
    """

    _clock: Clock
    _batches: Batches
    _seconds: float
    _rate: float
    _depth: int
    tally: Tally = field(init=False, factory=Tally)
    elapsed: float = field(init=False, default=0.0)
    _ways: Sequence[Way] = field(init=False, factory=list)
    _pending: dict[str, tuple[Way, float]] = field(init=False, factory=dict)
    _free: deque[Way] = field(init=False, factory=deque)
    _start: float = field(init=False, default=0.0)
    _sending: bool = field(init=False, default=False)
    _done: Deferred[Tally] = field(init=False, factory=Deferred)

    def run(self, ways: Sequence[Way]) -> Deferred[Tally]:
        """Begin. :return: what came of it, at the latest `PATIENCE` after the end."""
        self._free.extend(way for _ in range(self._depth) for way in ways)
        self._ways, self._start, self._sending = ways, self._clock.seconds(), True
        self._clock.callLater(self._seconds, self._stop_sending)
        if self._rate:
            self._tick()
        else:
            self._send_all()
        return self._done

    def _send_all(self) -> None:
        while self._free and self._sending:
            self._send(self._free.popleft(), self._clock.seconds())

    def _send(self, way: Way, due: float) -> None:
        guid, body = self._batches.next()
        self._pending[guid] = (way, due)
        self.tally.batches += 1
        way.send(guid, body)

    def _tick(self) -> None:
        if self._sending:
            self._send_due()
            self._clock.callLater(TICK, self._tick)

    def _send_due(self) -> None:
        """Send what should have been sent by now; what finds no connection free waits, and its time counts."""
        due = min(self._clock.seconds() - self._start, self._seconds) * self._rate
        while self.tally.batches < due and self._free:
            self._send(self._free.popleft(), self._start + self.tally.batches / self._rate)

    def answered(self, guid: str, answer: bytes) -> None:
        """An answer came. :param guid: of its batch, if it is known without reading the answer; else empty."""
        try:
            said = self._batches.read(answer)
        except (ValueError, AttributeError) as error:
            self._note(guid, f"the answer cannot be read: {error}")
            return
        if guid and not said.reason and said.guid != guid:
            self._note(guid, "the answer is to another batch")
        else:
            self._note(guid or said.guid, said.reason)

    def failed(self, guid: str, reason: str) -> None:
        """A batch got no answer, but an error of the transport."""
        self._note(guid, reason)

    def lost(self, way: Way, reason: str) -> None:
        """A connection is gone, and nothing more is sent on it."""
        for guid in [guid for guid, (on, _) in self._pending.items() if on is way]:
            del self._pending[guid]
            self.tally.refuse(reason or LOST)
        self._free = deque(one for one in self._free if one is not way)
        self._ways = [one for one in self._ways if one is not way]
        self._look_for_the_end()

    def _note(self, guid: str, reason: str) -> None:
        way, due = self._pending.pop(guid, (None, 0.0))
        if way is None:
            self.tally.refuse("an answer to no batch that was sent")
            return
        if reason:
            self.tally.refuse(reason)
        else:
            self.tally.accept(self._clock.seconds() - due)
        self._free.append(way)
        if self._sending:
            if self._rate:
                self._send_due()
            else:
                self._send_all()
        self._look_for_the_end()

    def _stop_sending(self) -> None:
        if not self._sending:
            return
        if self._rate:
            self._send_due()
            self.tally.unsent = max(int(self._seconds * self._rate) - self.tally.batches, 0)
        self._sending = False
        self.elapsed = self._clock.seconds() - self._start
        self._clock.callLater(PATIENCE, self._give_up)
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if not self._ways and self._sending:
            self._sending = False
            self.elapsed = self._clock.seconds() - self._start
        if not self._sending and not self._pending:
            self._end()

    def _give_up(self) -> None:
        self.tally.unanswered += len(self._pending)
        self._pending.clear()
        self._end()

    def _end(self) -> None:
        if not self._done.called:
            self._done.callback(self.tally)
