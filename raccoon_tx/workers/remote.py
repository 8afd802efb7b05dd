"""In a worker: what one process would know by itself, and the parent knows for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from raccoon_tx.clock import Clock
from raccoon_tx.model import Answer, Identity, Outcome, Reply
from raccoon_tx.transports.admission import Connection
from raccoon_tx.workers.messages import (
    Ask,
    Enter,
    Fresh,
    GiveWay,
    Heard,
    Known,
    Leave,
    LetIn,
    Message,
    Pending,
    Probe,
    Refuse,
    Replace,
    Settled,
    Told,
    Wait,
)
from raccoon_tx.workers.patience import Patience

#: Seconds that the parent gets to answer.
TIMEOUT = 5.0

_SILENT = Reply(Outcome.UNAVAILABLE, None, "overloaded, try again later", {"retryable": "true"}, 1.0)

Send = Callable[[Message], None]


@define(eq=False)
class RemoteAdmission:
    """Stands for the parent's `raccoon_tx.transports.admission.Admission`. Every newcomer pauses for its answer."""

    _send: Send
    _clock: Clock
    _last: int = field(default=0, init=False)
    _numbers: dict[Connection, int] = field(factory=dict, init=False)
    _connections: dict[int, Connection] = field(factory=dict, init=False)
    _patience: Patience = field(init=False)
    _lost: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._patience = Patience(self._clock, TIMEOUT, self._late)

    def enter(self, newcomer: Connection) -> None:
        """Let a connection in, or refuse it, later."""
        if self._lost:
            newcomer.refuse(_SILENT)
            return
        self._last += 1
        number = self._numbers[newcomer] = self._last
        self._connections[number] = newcomer
        newcomer.pause()
        self._patience.begin(number)
        identity = newcomer.identity
        self._send(Enter(number, identity.group, identity.id))

    def heard(self, resident: Connection) -> None:
        """A connection that was asked has given a sign of life."""
        number = self._numbers.get(resident)
        if number is not None:
            self._send(Heard(number))

    def leave(self, connection: Connection) -> None:
        """A connection that was let in, or waits for it, has ended."""
        number = self._numbers.pop(connection, None)
        if number is not None:
            del self._connections[number]
            self._patience.end(number)
            self._send(Leave(number))

    def take(self, message: LetIn | Refuse | Replace | Probe | GiveWay | Wait) -> None:
        """The parent says something of a connection, which may have ended meanwhile."""
        connection = self._connections.get(message.number)
        if connection is None:
            return
        self._patience.end(message.number)
        if isinstance(message, LetIn):
            connection.let_in()
        elif isinstance(message, Wait):
            connection.wait()
        elif isinstance(message, Refuse):
            self._forget(message.number)
            connection.refuse(message.told.reply(None))
        elif isinstance(message, Replace):
            connection.replaced()
        elif isinstance(message, Probe):
            connection.ask()
        else:
            connection.give_way()

    def lose(self) -> None:
        """The parent has gone: who waits is refused, and who comes."""
        self._lost = True
        waiting = self._patience.numbers()
        self._patience.stop()
        for number in waiting:
            self._late(number)

    def _late(self, number: int) -> None:
        self._send(Leave(number))
        self._forget(number).refuse(_SILENT)

    def _forget(self, number: int) -> Connection:
        connection = self._connections.pop(number)
        del self._numbers[connection]
        return connection


class Asking(Protocol):
    """Who asks whether a batch was seen before, and goes on with one of these."""

    def fresh(self, settle: Answer) -> None:
        """It is new. :param settle: where to send its answer, and after `Outcome.EXPIRED` what became of it."""

    def known(self, reply: Reply) -> None:
        """It is a copy, and this is its answer."""

    def silence(self, reply: Reply) -> None:
        """Nobody can tell, and this is its answer."""


class _Open:
    """A batch that is on its way. :ivar answer: its client's, until it has been called."""

    __slots__ = ("answer",)

    def __init__(self, answer: Answer) -> None:
        self.answer: Answer | None = answer


@define(eq=False)
class RemoteGuids:
    """Stands for the parent's `raccoon_tx.dedup.Guids`, the memory of everybody's batches."""

    _send: Send
    _clock: Clock
    _last: int = field(default=0, init=False)
    _asking: dict[int, tuple[Asking, Answer, str]] = field(factory=dict, init=False)
    _open: dict[int, _Open] = field(factory=dict, init=False)
    _patience: Patience = field(init=False)
    _lost: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._patience = Patience(self._clock, TIMEOUT, self._late)

    def ask(self, client: Identity, guid: str, answer: Answer, asking: Asking) -> None:
        """A batch has come. :param answer: its client's, which becomes part of what `Asking.fresh` gets."""
        if self._lost:
            asking.silence(_SILENT)
            return
        self._last += 1
        self._asking[self._last] = asking, answer, guid
        self._patience.begin(self._last)
        self._send(Ask(self._last, client.group, client.id, guid))

    def take(self, message: Fresh | Known | Pending) -> None:
        """The parent has answered; perhaps too late."""
        number = message.number
        self._patience.end(number)
        if isinstance(message, Pending):
            return
        found = self._asking.pop(number, None)
        if isinstance(message, Known):
            if found is not None:
                asking, _, guid = found
                asking.known(message.told.reply(guid))
        elif found is None:
            self._send(Settled(number, Told.of(_SILENT)))
        else:
            asking, answer, _ = found
            self._open[number] = _Open(answer)
            asking.fresh(lambda reply: self._settle(number, reply))

    def lose(self) -> None:
        """The parent has gone: who waits for it is told so, and who comes."""
        self._lost = True
        self._patience.stop()
        for number in list(self._asking):
            self._late(number)

    def _settle(self, number: int, reply: Reply) -> None:
        batch = self._open[number]
        if reply.outcome is not Outcome.EXPIRED:
            del self._open[number]
        self._send(Settled(number) if reply.outcome is Outcome.OK else Settled(number, Told.of(reply)))
        answer, batch.answer = batch.answer, None
        if answer is not None:
            answer(reply)

    def _late(self, number: int) -> None:
        self._asking.pop(number)[0].silence(_SILENT)
