"""In the parent: the connections of all workers, as if they were in one process."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from raccoon_tx.model import Identity, Reply
from raccoon_tx.transports.admission import Admission
from raccoon_tx.workers.messages import GiveWay, LetIn, Message, Probe, Refuse, Replace, Told, Wait

Send = Callable[[Message], None]


@define(eq=False)
class Seat:
    """Stands for a connection of a worker.

    :ivar gone: is called when it is refused.
    """

    identity: Identity
    _number: int
    _send: Send
    _gone: Callable[[int], None]

    def let_in(self) -> None:
        self._send(LetIn(self._number))

    def refuse(self, refusal: Reply) -> None:
        self._gone(self._number)
        self._send(Refuse(self._number, Told.of(refusal)))

    def wait(self) -> None:
        self._send(Wait(self._number))

    def pause(self) -> None:
        """It does that by itself."""

    def replaced(self) -> None:
        self._send(Replace(self._number))

    def ask(self) -> None:
        self._send(Probe(self._number))

    def give_way(self) -> None:
        self._send(GiveWay(self._number))


@define(eq=False)
class Seats:
    """The connections of one worker. :ivar admission: of all workers. :ivar send: to this one."""

    _admission: Admission
    _send: Send
    _seats: dict[int, Seat] = field(factory=dict, init=False)

    def enter(self, number: int, identity: Identity) -> None:
        """A client has connected to the worker."""
        seat = self._seats[number] = Seat(identity, number, self._send, self._forget)
        self._admission.enter(seat)

    def heard(self, number: int) -> None:
        """A connection that was probed gave a sign of life."""
        seat = self._seats.get(number)
        if seat is not None:
            self._admission.heard(seat)

    def leave(self, number: int) -> None:
        """A connection has ended."""
        seat = self._seats.pop(number, None)
        if seat is not None:
            self._admission.leave(seat)

    def close(self) -> None:
        """The worker has ended, and all its connections with it."""
        while self._seats:
            self._admission.leave(self._seats.popitem()[1])

    def _forget(self, number: int) -> None:
        del self._seats[number]
