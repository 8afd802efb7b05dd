"""In the parent: one worker while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from msgspec import DecodeError
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from raccoon_tx.clock import Clock
from raccoon_tx.dedup import Guids
from raccoon_tx.logs import LEVELS, Logger, one_line
from raccoon_tx.model import Identity
from raccoon_tx.transports.admission import Admission
from raccoon_tx.workers.link import Link
from raccoon_tx.workers.memory import Questions
from raccoon_tx.workers.messages import (
    Ask,
    Counted,
    Enter,
    Failed,
    Heard,
    Leave,
    Message,
    Ready,
    Settled,
    Start,
    TooLong,
)
from raccoon_tx.workers.table import Seats

#: File descriptors of a worker: what it reads from the parent, and what it writes to it.
DOWN, UP = 3, 4

#: Bytes of a line of its log.
_LONGEST_LINE = 1024 * 1024

_log = Logger()


class Crew(Protocol):
    """Who is told of a process."""

    def is_ready(self, process: Process, ready: Ready) -> None: ...
    def has_failed(self, process: Process, failed: Failed) -> None: ...
    def has_counted(self, process: Process, counted: Counted) -> None: ...
    def has_ended(self, process: Process, how: Any) -> None: ...


class Process(ProcessProtocol):
    """:ivar number: of the worker. :ivar started: in seconds of the clock. :ivar ready: it listens.
    :ivar end: how it ended, an exception of Twisted's."""

    transport: Any

    def __init__(
        self,
        number: int,
        clock: Clock,
        crew: Crew,
        start: Start,
        admission: Admission,
        guids: Guids,
    ) -> None:
        self.number = number
        self.started = clock.seconds()
        self.ready = False
        self._crew = crew
        self._start = start
        self._link = Link(clock, self._write, self._take)
        self._lines: dict[int, bytes] = {}
        self.send: Callable[[Message], None] = self._link.send
        self._seats = Seats(admission, self.send)
        self._questions = Questions(guids, self.send)
        self._takes: dict[type[Any], Callable[[Any], None]] = {
            Enter: self._enter,
            Heard: lambda message: self._seats.heard(message.number),
            Leave: lambda message: self._seats.leave(message.number),
            Ask: lambda message: self._questions.ask(message.number, message.group, message.id, message.guid),
            Settled: lambda message: self._questions.settled(message.number, message.told),
            Ready: self._ready,
            Failed: partial(crew.has_failed, self),
            Counted: partial(crew.has_counted, self),
        }

    @property
    def pid(self) -> int | None:
        """While it runs."""
        pid: int | None = self.transport.pid
        return pid

    def connectionMade(self) -> None:
        self.send(self._start)
        self._link.flush()

    def kill(self) -> None:
        """End it at once."""
        if self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != UP:
            self._print(childFD, data)
            return
        try:
            self._link.received(data)
        except (DecodeError, TooLong):
            _log.failure("worker {number} is not understood; it is ended", number=self.number)
            self.kill()

    def childConnectionLost(self, childFD: int) -> None:
        if childFD == DOWN:
            self._link.close()

    def processEnded(self, reason: Failure) -> None:
        self._link.close()
        self._seats.close()
        self._questions.close()
        self._crew.has_ended(self, reason.value)

    def _write(self, data: bytes) -> None:
        self.transport.writeToChild(DOWN, data)

    def _take(self, message: Message) -> None:
        self._takes[type(message)](message)

    def _enter(self, message: Enter) -> None:
        self._seats.enter(message.number, Identity(message.group, message.id))

    def _ready(self, message: Ready) -> None:
        self.ready = True
        self._crew.is_ready(self, message)

    # The log of a worker comes this way only if the parent's log is not simply a stream.

    def _print(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._lines.pop(fd, b"") + data).split(b"\n")
        for line in lines:
            relay(self.number, line)
        self._lines[fd] = rest[:_LONGEST_LINE]


def relay(number: int, line: bytes) -> None:
    """Log what a worker has logged, as `raccoon_tx.logs.json_line` writes it, or printed."""
    text = line.decode("utf-8", "replace")
    try:
        said = json.loads(text)
        level, words = LEVELS[said["level"]], said["msg"]
        namespace, traceback = said.get("logger", ""), said.get("traceback", "")
    except (ValueError, KeyError, TypeError):
        level, words, namespace, traceback = LogLevel.warn, one_line(text), __name__, ""
    if traceback:
        words = f"{words}\n{traceback}"
    logger = TwistedLogger(namespace=namespace or __name__)
    # Twisted's own form of a line, which ``twistd`` writes, has no place for the number.
    logger.emit(level, "worker {number}: {words}", number=number, words=words)
