"""Workers and their parent without processes: both ends of each stream, in memory, by one clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from raccoon_tx.dedup import Guids
from raccoon_tx.model import Identity, Reply
from raccoon_tx.transports.admission import Admission
from raccoon_tx.transports.connections import Connections
from raccoon_tx.workers.link import Link
from raccoon_tx.workers.memory import Questions
from raccoon_tx.workers.messages import Ask, Enter, Fresh, Heard, Known, Leave, Message, Pending, Settled
from raccoon_tx.workers.remote import RemoteAdmission, RemoteGuids
from raccoon_tx.workers.table import Seats


class Parent:
    """Keeps the tables."""

    def __init__(self, policy: str = "reject", most: int = 10) -> None:
        self.clock = Clock()
        self.connections = Connections(most)
        self.admission = Admission(self.connections, policy, self.clock)
        self.guids = Guids(100, 60.0, self.clock.seconds)

    def turn(self) -> None:
        """Let everything that is on its way arrive, and what that brings about."""
        for _ in range(6):
            self.clock.advance(0)

    def worker(self) -> Worker:
        return Worker(self)


class Worker:
    """One worker, and what its parent has of it.

    :ivar mute: the parent does not get to answering.
    """

    def __init__(self, parent: Parent) -> None:
        clock: Any = parent.clock
        self.mute = False
        self.down = Link(clock, lambda data: self.up.received(data), self._from_worker)
        self.up = Link(clock, lambda data: self.down.received(data), self._from_parent)
        self.seats = Seats(parent.admission, self.down.send)
        self.questions = Questions(parent.guids, self.down.send)
        self.admission = RemoteAdmission(self.up.send, clock)
        self.guids = RemoteGuids(self.up.send, clock)

    def _from_worker(self, message: Message) -> None:
        if self.mute:
            return
        if isinstance(message, Enter):
            self.seats.enter(message.number, Identity(message.group, message.id))
        elif isinstance(message, Heard):
            self.seats.heard(message.number)
        elif isinstance(message, Leave):
            self.seats.leave(message.number)
        elif isinstance(message, Ask):
            self.questions.ask(message.number, message.group, message.id, message.guid)
        elif isinstance(message, Settled):
            self.questions.settled(message.number, message.told)
        else:
            raise AssertionError(message)

    def _from_parent(self, message: Any) -> None:
        if isinstance(message, (Fresh, Known, Pending)):
            self.guids.take(message)
        else:
            self.admission.take(message)

    def die(self) -> None:
        """The process has ended."""
        self.up.close()
        self.down.close()
        self.seats.close()
        self.questions.close()


class Socket:
    """A connection. :ivar heard: what it was told."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.heard: list[Any] = []

    def let_in(self) -> None:
        self.heard.append("let in")

    def refuse(self, refusal: Reply) -> None:
        self.heard.append(refusal)

    def wait(self) -> None:
        self.heard.append("wait")

    def pause(self) -> None:
        self.heard.append("pause")

    def replaced(self) -> None:
        self.heard.append("replaced")

    def ask(self) -> None:
        self.heard.append("ask")

    def give_way(self) -> None:
        self.heard.append("give way")


class Sender:
    """Asks whether a batch was seen before. :ivar answers: what its client was told. :ivar settle: if it is new."""

    def __init__(self) -> None:
        self.answers: list[Reply] = []
        self.settle: Callable[[Reply], None] | None = None
        self.silent = False

    def fresh(self, settle: Callable[[Reply], None]) -> None:
        self.settle = settle

    def known(self, reply: Reply) -> None:
        self.answers.append(reply)

    def silence(self, reply: Reply) -> None:
        self.silent = True
        self.answers.append(reply)
