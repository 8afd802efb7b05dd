"""Pings, spread over the interval, and an end for connections that give no sign of life."""

from __future__ import annotations

import random
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from raccoon_tx.logs import Logger


class Peer(Protocol):
    """A connection to be kept alive. :ivar last_heard: when its last bytes came, in seconds of the clock."""

    last_heard: float

    def ping(self) -> None:
        """Ask for a sign of life."""

    def give_up(self) -> None:
        """There was none: close the connection."""


@define(eq=False)
class KeepAlive(Service):
    """Looks at each connection once in an interval: pings it, or gives it up.

    One timer serves all of them, and each turn of it only the connections of one slot: pinging thousands at once
    would hold the reactor for that long.

    :ivar interval: seconds between two pings of one connection. :ivar patience: seconds without a sign of life.
    """

    _clock: Any
    _interval: float
    _patience: float
    _slots: list[set[Peer]] = field(init=False, repr=False)
    _next: int = field(default=0, init=False)
    _turning: LoopingCall = field(init=False, repr=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._slots = [set() for _ in range(max(1, min(64, int(self._interval / 0.02))))]

    def startService(self) -> None:
        super().startService()
        self._turning = LoopingCall.withCount(self._turns)
        self._turning.clock = self._clock
        self._turning.start(self._interval / len(self._slots), now=False)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._turning.stop()
        return succeed(None)

    def add(self, peer: Peer) -> int:
        """Look after a connection. :return: what `remove` wants to know."""
        slot = random.randrange(len(self._slots))
        self._slots[slot].add(peer)
        return slot

    def remove(self, peer: Peer, slot: int) -> None:
        """The connection has ended."""
        self._slots[slot].discard(peer)

    def _turns(self, count: int) -> None:
        # More than one if the reactor was busy, or the machine asleep: nobody's interval gets longer by that, and
        # nobody is blamed for a silence that was ours.
        ours = (count - 1) * self._interval / len(self._slots)
        overdue = self._clock.seconds() - self._patience - ours
        for _ in range(min(count, len(self._slots))):
            self._turn(overdue)

    def _turn(self, overdue: float) -> None:
        self._next = (self._next + 1) % len(self._slots)
        for peer in list(self._slots[self._next]):
            try:
                if peer.last_heard <= overdue:
                    peer.give_up()
                else:
                    peer.ping()
            except Exception:
                self._log.failure("a connection could not be pinged")
