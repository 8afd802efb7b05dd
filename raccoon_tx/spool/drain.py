"""Brings what lies in the spool to Kafka, in its order, beside the live traffic and behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping
from raccoon_tx.delivery import Delivery
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, Lane
from raccoon_tx.model import Outcome, Refused, Reply
from raccoon_tx.spool.database import Put
from raccoon_tx.spool.entry import Damaged, checksum, decode
from raccoon_tx.spool.errand import Errand
from raccoon_tx.spool.ledger import Ledger
from raccoon_tx.spool.store import Store
from raccoon_tx.spool.trial import Trial


@frozen
class Gait:
    """How fast it goes. :ivar interval: seconds between two turns. :ivar slice: seconds that one may take.
    :ivar rows: :ivar bytes: read at once; the thread that writes does that as well.
    :ivar away: :ivar away_bytes: events and bytes that are on their way at once: Kafka takes a live batch after
        them."""

    interval: float
    slice: float
    rows: int
    bytes: int
    away: int
    away_bytes: int


#: Rows that are on their way at once, at most.
MOST_ROWS = 256
#: While nobody else wants anything, and beside live traffic: its answers may not wait for us.
ALONE = Gait(0.005, 0.002, 64, 1024 * 1024, 25_600, 8 * 1024 * 1024)
BESIDE = Gait(0.01, 0.0005, 32, 128 * 1024, 1600, 512 * 1024)
#: Seconds between two turns while there is nothing to do.
IDLE_INTERVAL = 0.25
#: Seconds after the last live batch after which we are alone.
LIVE = 0.25
#: Seconds of rest after something that says that Kafka is in trouble, the first time and at most.
FIRST_REST, LONGEST_REST = 0.5, 30.0


@define(eq=False)
class Drain(Service):
    """Reads rows, oldest first, and publishes them like batches that have just come.

    :ivar publish: of the publisher behind the spool. :ivar room: how many records that would take now.
    :ivar reserved: so many of them are left to live traffic. :ivar came: live batches so far. :ivar counts: whose
        lanes the records get.
    """

    _store: Store
    _ledger: Ledger
    _publish: Callable[[Delivery], None]
    _clock: Clock
    _room: Callable[[], int]
    _reserved: int
    _came: Callable[[], int]
    _counts: Counts
    _fetched: deque[Put] = field(factory=deque, init=False, repr=False)
    _reading: bool = field(default=False, init=False)
    _rows: int = field(default=0, init=False)
    _events: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)
    _rest: float = field(default=FIRST_REST, init=False)
    _resting_until: float = field(default=0.0, init=False)
    _gait: Gait = field(default=ALONE, init=False)
    _seen: int = field(default=0, init=False)
    _beside_until: float = field(default=0.0, init=False)
    _trial: Trial | None = field(default=None, init=False, repr=False)
    _turning: LoopingCall | None = field(default=None, init=False, repr=False)

    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._ledger.waiting = self._store.counts.batches
        self._turning = looping(self._clock, self.turn)
        self._turning.start(ALONE.interval, now=False)

    def stopService(self) -> None:
        """Begin nothing new. What is on its way is settled all the same."""
        super().stopService()
        if self._turning is not None:
            self._turning.stop()
        self._put_back()

    def turn(self) -> None:
        """Send a few rows. Never raises: a `LoopingCall` that raises stops for good."""
        now = self._clock.seconds()
        came = self._came()
        if came != self._seen:
            self._seen, self._beside_until = came, now + LIVE
        self._gait = BESIDE if now < self._beside_until else ALONE
        try:
            self._ledger.due()
            if now >= self._resting_until:
                self._send(now + self._gait.slice)
                self._fetch()
        except Exception:
            self._log.failure("the spool could not be drained; trying again")
            self._pause()
        busy = self._fetched or self._reading or self._ledger.waiting > 0
        if self._turning is not None:
            self._turning.interval = self._gait.interval if busy else IDLE_INTERVAL

    def _send(self, until: float) -> None:
        fetched, gait = self._fetched, self._gait
        while fetched and self._rows < MOST_ROWS and self._events < gait.away and self._bytes < gait.away_bytes:
            room = self._room() - self._reserved
            # A row that is larger than all there may be goes when nothing else does.
            if room < fetched[0].events and (self._rows or room <= 0):
                return
            if not self._send_row(fetched.popleft()):
                return
            if self._clock.seconds() >= until:
                return

    def _send_row(self, put: Put) -> bool:
        """:return: whether to go on."""
        ledger, row = self._ledger, put.id
        try:
            if checksum(row, put.body) != put.crc:
                raise Damaged("its checksum does not match")
            batch, records = decode(put.body, self._lane)
        except Damaged as problem:
            self._log.error("batch {row} of the spool is damaged: {problem}", row=row, problem=str(problem))
            self._store.counts.fail("corrupt_row")
            ledger.damaged(row, put.events, len(put.body), f"damaged: {problem}")
            return True
        group = self._counts.group(records[0][0].group)
        errand = Errand(self, batch, records, group, self._since(put.created), row=row, size=len(put.body))
        if row in ledger.suspects:
            return self._try_alone(errand)
        self._rows += 1
        self._events += len(records)
        self._bytes += errand.size
        try:
            self._publish(errand)
        except Refused:
            self._landed(errand)
            self._turned_away(errand)
            return False
        return True

    def _lane(self, topic: str, group: str, kind: str) -> Lane:
        return self._counts.group(group).drained_lane(topic, self._counts.type_label(kind))

    def _since(self, created: float) -> float:
        """When it came, in the seconds of our clock."""
        return self._clock.seconds() - max(0.0, self._store.counts.wall() - created)

    def _try_alone(self, errand: Errand) -> bool:
        if self._trial is not None:
            # One after another: two of them in one message set would again be judged together.
            self._ledger.postpone(errand.row, IDLE_INTERVAL)
            return True
        self._trial = Trial(errand, self._publish, self._tried)
        return self._trial.begin()

    def _tried(self, trial: Trial, refused: bool) -> None:
        self._trial = None
        errand = trial.errand
        if refused:
            self._turned_away(errand)
        else:
            if not trial.left and not trial.lost:
                self._store.counts.drained += 1
            self._ledger.tried_alone(errand, trial.left, trial.lost, trial.reason)

    def _turned_away(self, errand: Errand) -> None:
        self._ledger.release(errand.row)
        self._pause()

    def _pause(self) -> None:
        """Leave Kafka alone for a while, and for longer each time that nothing was delivered in between."""
        now = self._clock.seconds()
        if now >= self._resting_until:
            self._resting_until = now + self._rest
            self._rest = min(LONGEST_REST, self._rest * 2)
            self._put_back()

    def _fetch(self) -> None:
        if self._reading or self._fetched or self._ledger.waiting <= 0 or not self.running:
            return
        self._reading = True
        self._store.read(self._ledger.cursor, self._ledger.hands, self._gait.rows, self._gait.bytes, self._read)

    def _read(self, puts: list[Put]) -> None:
        self._reading = False
        if not puts:
            self._ledger.nothing_found()
        for put in puts:
            if put.id not in self._ledger.hands:
                self._ledger.take(put.id)
                self._fetched.append(put)
        if not self.running:
            self._put_back()

    def _put_back(self) -> None:
        """Let go of what was read and not sent."""
        while self._fetched:
            self._ledger.release(self._fetched.popleft().id)

    def taken(self, errand: Errand) -> None:
        """Nobody waits for that."""

    def told(self, errand: Errand, reply: Reply) -> None:
        """What the publisher has to say of a row."""
        if reply.outcome is Outcome.EXPIRED:
            return
        self._landed(errand)
        if reply.outcome is Outcome.OK:
            self._rest = FIRST_REST
            self._store.counts.drained += 1
            self._ledger.delivered(errand)
        elif reply.outcome is Outcome.FAILED:
            if self._ledger.failed(errand):
                self._pause()
        else:
            self._turned_away(errand)

    def _landed(self, errand: Errand) -> None:
        self._rows -= 1
        self._events -= len(errand.records)
        self._bytes -= errand.size
