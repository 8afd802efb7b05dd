"""Turns the answers of `Core` into deeds: opens connections, sends, and wakes up when something is due.

It knows neither asyncio nor Twisted: both give it their clock and their connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from attrs import define, field

from raccoon_tx.client import wire
from raccoon_tx.client.core import Answer, Closed, Core, Event

_log = logging.getLogger("raccoon_tx.client")

#: Of the time for an answer, what a request of its own may take: one that is late is to be noticed before it makes the
#: whole connection look dead.
REQUEST_SHARE = 0.8


class Link(Protocol):
    """A connection. Everything that it is asked returns at once."""

    def send(self, guid: str, body: bytes) -> None: ...

    def close(self) -> None:
        """End it. It may say nothing more."""


class Time(Protocol):
    """A clock of an event loop."""

    def now(self) -> float: ...

    def call_later(self, delay: float, call: Callable[[], object]) -> Any:
        """:return: something to ``cancel``."""


#: Begins to connect, and reports what comes of it: a link through `Engine.connected`, or `Engine.lost`.
Dial = Callable[["Session"], object]


@define(eq=False)
class Session:
    """One attempt to be connected, and the connection that comes of it. What an old one still says is not heard."""

    _engine: Engine
    link: Link | None = None
    refusal: str = ""

    @property
    def current(self) -> bool:
        return self._engine.session is self

    def connected(self, link: Link) -> None:
        """It is there."""
        if not self.current:
            link.close()
            return
        self.link = link
        self._engine.core.connected()
        self._engine.turn()

    def answered(self, body: bytes, guid: str = "") -> None:
        """An answer. :param guid: of the batch, where the transport knows."""
        try:
            named, answer = wire.read(body)
        except ValueError as problem:
            self.lost(str(problem))
            return
        self.take(guid or named, answer)

    def take(self, guid: str, answer: Answer) -> None:
        """An answer that has been read."""
        if self.current:
            if not guid:
                self.refusal = answer.reason  # about the connection, which will be closed
            else:
                self._engine.answered(guid, answer)
            self._engine.turn()

    def unknown(self, guid: str, reason: str) -> None:
        """There will be no answer for this batch, but perhaps for others."""
        if self.current:
            self._engine.trouble("a batch got no answer", reason)
            self._engine.core.unknown(guid, self._engine.time.now())
            self._engine.turn()

    def lost(self, reason: str, too_large: bool = False) -> None:
        """The connection ended, or there was none to be had. :param too_large: because of what we sent."""
        if self.current:
            self._engine.end_session(self.refusal or reason, too_large)
            self._engine.turn()


@define(eq=False)
class Engine:
    """:ivar dial: connects. :ivar time: tells it, and wakes us. :ivar changed: called when events may be done with.
    :ivar rejected: is told of each event that the server will never take, and why."""

    core: Core
    dial: Dial
    time: Time
    changed: Callable[[], object]
    rejected: Callable[[Event, str], object]
    session: Session | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)
    _timer: Any = field(default=None, init=False)
    _turning: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    _warned: bool = field(default=False, init=False)

    def add(self, event: Event) -> None:
        """Take an event. :raises Full: :raises Closed:"""
        if self.closed:
            raise Closed("this client is closed")
        self.core.add(event, self.time.now())
        self.turn()

    def hurry(self) -> None:
        """Send what is there."""
        self.core.close_batch()
        self.turn()

    def close(self) -> None:
        """Take nothing more; send what is there."""
        self.closed = True
        self.hurry()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be answered."""
        return self.core.idle

    def stop(self) -> None:
        """Let go of everything. What is not answered by now is lost, as far as we know."""
        self.closed = True
        self._cancel()
        session, self.session = self.session, None
        if session is not None and session.link is not None:
            session.link.close()

    def answered(self, guid: str, answer: Answer) -> None:
        """The server has said what became of a batch, so it is there."""
        self._warned = False
        self.core.answered(guid, answer, self.time.now())

    def trouble(self, what: str, reason: str) -> None:
        """Say that the server is not to be had: aloud once, until it answers again."""
        _log.log(logging.DEBUG if self._warned else logging.WARNING, "%s, trying again: %s", what, reason)
        self._warned = True

    def end_session(self, reason: str, too_large: bool = False) -> None:
        """This connection is over."""
        session, self.session = self.session, None
        self.trouble("not connected", reason)
        now = self.time.now()
        if too_large:
            self.core.too_large(now, reason)
        else:
            self.core.lost(now)
        if session is not None and session.link is not None:
            session.link.close()

    def turn(self) -> None:
        """Do what is due, and see to it that what is due later is done."""
        self._again = True
        if self._turning:  # a connection that reports something while it is told something
            return
        self._turning = True
        try:
            while self._again:
                self._again = False
                self._work()
        finally:
            self._turning = False
        self._wake()
        refused, self.core.rejected = self.core.rejected, []
        for event, reason in refused:
            self._tell(event, reason)
        self.changed()

    def _tell(self, event: Event, reason: str) -> None:
        _log.warning("an event of type %r is refused: %s", event.type, reason)
        try:
            self.rejected(event, reason)
        except Exception:
            _log.exception("the function that is told of refused events failed")

    def _work(self) -> None:
        core, now = self.core, self.time.now()
        if core.overdue(now):
            self.end_session("no answer in time")
        if self.session is None and core.wants_connection(now):
            self.session = Session(self)
            self.dial(self.session)
        session = self.session
        if session is not None and session.link is not None:
            for batch in core.to_send(now):
                session.link.send(batch.guid, wire.write(batch.guid, batch.events, time()))

    def _wake(self) -> None:
        """Be called when the next thing is due."""
        self._cancel()
        core, now = self.core, self.time.now()
        due: float | None = None
        if self.session is None:
            due = None if core.idle else core.pause
        elif self.session.link is not None:
            due = core.next_time(now)
        if due is not None:
            self._timer = self.time.call_later(max(0.0, due - now), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.turn()

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
