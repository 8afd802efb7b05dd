"""The publisher with a spool before it: what a client was told is in Kafka or on the disk (contract section 7.2)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping
from raccoon_tx.delivery import Delivery
from raccoon_tx.logs import Logger
from raccoon_tx.model import Ack, Draining, Outcome, Refused, Reply, Saturated, Unavailable
from raccoon_tx.spool.entry import encode
from raccoon_tx.spool.errand import Errand
from raccoon_tx.spool.ledger import Ledger
from raccoon_tx.spool.store import NoRoom, Store

#: Seconds between two looks at who has waited long enough for Kafka.
LOOK_INTERVAL = 0.05

_NO_ROOM = {
    "full": "the spool is full",
    "floor": "the disk of the spool has too little room",
    "error": "the spool cannot be written",
    "busy": "the disk of the spool is too slow",
    "stopped": "the spool is closed",
}


class Publisher(Protocol):
    """The publisher behind the spool."""

    running: Any

    @property
    def abandoned(self) -> Mapping[str, int]: ...
    @property
    def state(self) -> tuple[bool, str]: ...
    def publish(self, delivery: Delivery) -> None: ...
    def give_up(self) -> None: ...


@define(eq=False)
class SpoolingPublisher(Service):
    """Takes batches like the publisher behind it, and keeps on the disk what that cannot take.

    :ivar patience: seconds that a client who wants Kafka's word waits for it; after that the disk's has to do.
    :ivar came: batches so far.
    :ivar abandoned: acknowledged events that are neither in Kafka nor on the disk, by topic.
    """

    _publisher: Publisher
    _store: Store
    _ledger: Ledger
    _clock: Clock
    _ack: Ack
    _patience: float = 0.5
    came: int = field(default=0, init=False)
    abandoned: dict[str, int] = field(factory=dict, init=False)
    _hoping: dict[Errand, None] = field(factory=dict, init=False, repr=False)
    _looking: LoopingCall | None = field(default=None, init=False, repr=False)

    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._looking = looping(self._clock, self.look)
        self._looking.start(LOOK_INTERVAL, now=False)

    def stopService(self) -> None:
        """The publisher behind it has stopped before, and the store stops after it."""
        super().stopService()
        if self._looking is not None:
            self._looking.stop()

    @property
    def state(self) -> tuple[bool, str]:
        """Whether it can take an event that will not be lost, and how it is."""
        able, how = self._publisher.state
        if not self._publisher.running:
            return False, how
        usable = self._store.usable
        if self._ack is Ack.DURABLE:
            return usable, how if usable else "the spool takes nothing"
        if able or not usable:
            return able, how
        return True, f"{how}; batches go to the spool"

    def publish(self, delivery: Delivery) -> None:
        """Take one batch.

        :raises Refused: neither Kafka nor the disk has room for it, or the server stops; nothing of it was taken.
        """
        errand = Errand(self, delivery.batch, delivery.records, delivery.group, delivery.received, outer=delivery)
        if not self._publisher.running:
            raise Draining("shutting down, send it again later", retry_after=_retry_after())
        self.came += 1
        if delivery.ack is Ack.DURABLE:
            self._spool(errand)
            return
        try:
            self._send(errand)
        except (Saturated, Unavailable):
            self._spool(errand)
            return
        if delivery.ack is Ack.DELIVERED and not delivery.answered:
            errand.due = self._clock.seconds() + self._patience
            self._hoping[errand] = None

    def _send(self, errand: Errand) -> None:
        errand.away = True
        try:
            self._publisher.publish(errand)
        except Exception:
            errand.away = False
            raise

    def _spool(self, errand: Errand) -> None:
        """Have a batch put on the disk, or those of its events that are left. :raises Saturated: there is no room."""
        # Of what is still on its way nothing is known yet.
        records = errand.records if errand.away or not errand.failures else errand.failed_records
        body = encode(errand.batch, records)
        try:
            errand.row = self._store.put(body, len(records), partial(self._stored, errand))
        except NoRoom as problem:
            raise _saturated(problem.why) from None
        errand.size = len(body)
        self._ledger.hands.add(errand.row)

    def _stored(self, errand: Errand, durable: bool) -> None:
        """The disk has a batch, or will not have it."""
        row, outer, verdict = errand.row, errand.outer, errand.verdict
        errand.durable = durable
        if not durable:
            errand.row = 0
            self._ledger.forget(row)
            if verdict is not None:
                self._ended(errand, verdict)
            elif not errand.away:
                self._lost(errand, _saturated(self._store.status.trouble).reply(errand.batch.guid))
            return
        if outer is not None:
            outer.conclude(Reply(Outcome.OK, errand.batch.guid))
        if verdict is not None:
            self._ended(errand, verdict)
        elif not errand.away:
            self._deliver(errand)

    def _deliver(self, errand: Errand) -> None:
        """What is on the disk can go on to Kafka at once, unless it has failed there before."""
        if errand.taken or self._ack is not Ack.DURABLE:
            if errand.hopeless:
                self._ledger.suspects.add(errand.row)
            self._ledger.release(errand.row)
            return
        try:
            self._send(errand)
        except Refused:
            self._ledger.release(errand.row)

    def look(self) -> None:
        """Put on the disk what has waited long enough for Kafka. Never raises."""
        now = self._clock.seconds()
        ripe = []
        for errand in self._hoping:
            if errand.due > now:
                break
            ripe.append(errand)
        for errand in ripe:
            del self._hoping[errand]
            if errand.failures:
                continue  # The whole batch will be an error, which its client is told when all is known.
            try:
                self._spool(errand)
            except Saturated:
                continue  # It has to wait for Kafka's word after all.
            except Exception:
                self._log.failure("a batch could not be put into the spool")

    def taken(self, errand: Errand) -> None:
        """The producer has all of it: with `Ack.ACCEPTED` that is what the client waits for."""
        outer = errand.outer
        if outer is not None and outer.ack is Ack.ACCEPTED and not outer.answered:
            reply = errand.result()
            errand.acknowledged = reply.outcome is Outcome.OK
            outer.answer(reply)

    def told(self, errand: Errand, reply: Reply) -> None:
        """What the publisher has to say of it."""
        outer = errand.outer
        if reply.outcome is Outcome.EXPIRED:
            if outer is not None and not errand.row:
                outer.answer(reply)
            return
        errand.away = False
        self._hoping.pop(errand, None)
        if errand.row and not errand.durable:
            errand.verdict = reply
        else:
            self._ended(errand, reply)

    def _ended(self, errand: Errand, reply: Reply) -> None:
        """The publisher has done what it could, and what the disk has is known."""
        outer, outcome = errand.outer, reply.outcome
        if errand.row:
            if outcome is Outcome.OK:
                self._ledger.delivered(errand)
            elif outcome is Outcome.FAILED:
                self._ledger.failed(errand)
            else:
                self._ledger.release(errand.row)
            return
        if outcome is Outcome.OK or outer is None:
            if outer is not None:
                outer.conclude(reply)
            return
        # Of what failed, that has to be kept which was acknowledged; and what the publisher had no room for, or gave
        # up because it had to stop, can be acknowledged still.
        if errand.acknowledged or outcome is not Outcome.FAILED or (not outer.answered and not self._publisher.running):
            try:
                self._spool(errand)
            except Saturated as refusal:
                self._lost(errand, refusal.reply(errand.batch.guid) if outcome is not Outcome.FAILED else reply)
        else:
            outer.conclude(reply)

    def _lost(self, errand: Errand, reply: Reply) -> None:
        """Neither Kafka nor the disk has it, or some of it."""
        outer, records = errand.outer, errand.failed_records or errand.records
        assert outer is not None
        if errand.acknowledged or not self._publisher.running:
            for record in records:
                topic = record[0].topic
                self.abandoned[topic] = self.abandoned.get(topic, 0) + 1
            self._log.error(
                "{count} events could not be delivered, and the spool has no room for them", count=len(records)
            )
        outer.conclude(reply)

    def give_up(self) -> None:
        """Answer everybody who waits: whoever asked is about to lose the connection."""
        self._publisher.give_up()


def _retry_after() -> float:
    return random.uniform(1.0, 3.0)


def _saturated(why: str) -> Saturated:
    text = _NO_ROOM.get(why, _NO_ROOM["error"])
    return Saturated(f"overloaded: {text}, try again later", retry_after=_retry_after())
