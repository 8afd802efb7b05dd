"""In the parent: starts the workers, starts those again that end, and ends them all."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from raccoon_tx.clock import Timer
from raccoon_tx.dedup import Guids
from raccoon_tx.logs import Logger
from raccoon_tx.process import ABANDONED, ORDERLY
from raccoon_tx.settings import LAST_WORDS, Settings
from raccoon_tx.transports.admission import Admission
from raccoon_tx.workers.backoff import Backoff
from raccoon_tx.workers.collect import Collector
from raccoon_tx.workers.messages import Change, Counted, Failed, Hurry, Ready, Start, Stop
from raccoon_tx.workers.ports import reserve_all
from raccoon_tx.workers.process import DOWN, UP, Process

#: Seconds beyond all that a stop may take, after which a worker is ended by force; and after a second signal.
STUCK, STUCK_IN_A_HURRY = 10.0, 5.0

_log = Logger()


def command(number: int) -> list[str]:
    """What starts a worker."""
    return [sys.executable, "-m", "raccoon_tx.workers", str(number)]


def environment() -> dict[str, str]:
    """Of a worker, so that it finds the modules that its parent has found."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",
    }


@define(eq=False)
class Crew(Service):
    """:ivar settings: of the workers; what can change, changes. :ivar admission: :ivar guids: of all of them.
    :ivar relayed: their log lines come through this process. :ivar announce: is called with the ports, once, when
    all of them listen. :ivar give_up: ends the process: they cannot be started. :ivar collector: has to be set before
    the start. :ivar status: with which the process should end."""

    _reactor: Any
    settings: Settings
    _admission: Admission
    _guids: Guids
    _relayed: bool
    _announce: Callable[[int, int], None]
    _give_up: Callable[[], None]
    _spawn: Callable[..., Any]
    collector: Collector = field(init=False)
    status: int = field(default=ORDERLY, init=False)
    failed: bool = field(default=False, init=False)
    _running: dict[int, Process] = field(factory=dict, init=False)
    _backoffs: dict[int, Backoff] = field(factory=dict, init=False)
    _starting: dict[int, Timer] = field(factory=dict, init=False)
    _announced: bool = field(default=False, init=False)
    _kept: list[Any] = field(factory=list, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)
    _stuck: Timer | None = field(default=None, init=False)

    def ready(self) -> list[Process]:
        """Those that can be asked."""
        return [process for process in self._running.values() if process.ready]

    def pids(self) -> dict[str, int]:
        """Of the workers that run, by their names."""
        return {f"worker-{number}": process.pid for number, process in self._running.items() if process.pid}

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._reserve()

    def _reserve(self) -> None:
        if not self._kept:
            self._kept, self.settings = reserve_all(self.settings)

    def startService(self) -> None:
        super().startService()
        self._reserve()
        for number in range(self.settings.workers):
            self._backoffs[number] = Backoff()
            self._start(number)

    def _start(self, number: int) -> None:
        self._starting.pop(number, None)
        form = "json" if self._relayed else self.settings.log.format
        start = Start(pickle.dumps(self.settings), form)
        process = Process(number, self._reactor, self, start, self._admission, self._guids)
        self._running[number] = process
        output: dict[int, Any] = {1: "r", 2: "r"} if self._relayed else {1: 1, 2: 2}
        with open(os.devnull, "rb") as nothing:
            files = {0: nothing.fileno(), **output, DOWN: "w", UP: "r"}
            self._spawn(process, sys.executable, command(number), environment(), childFDs=files)

    def change(self, settings: Settings) -> None:
        """Have all workers take over what can change while they run. Those that are started later have it too, and
        nothing else of the new settings."""
        before = self.settings
        self.settings = evolve(
            before,
            log=evolve(before.log, level=settings.log.level),
            tls=settings.tls,
            routing=evolve(before.routing, allowed_types=settings.routing.allowed_types),
            rate_limit=settings.rate_limit,
        )
        change = Change(pickle.dumps(self.settings))
        for process in self._running.values():
            process.send(change)

    # What a process tells

    def is_ready(self, process: Process, ready: Ready) -> None:
        """A worker listens."""
        if self._announced:
            _log.info("worker {number} is ready again", number=process.number)
        elif len(self.ready()) == self.settings.workers:
            self._announced = True
            self._announce(ready.http, ready.grpc)

    def has_failed(self, process: Process, failed: Failed) -> None:
        """A worker cannot start. If none ever did, it is the configuration or the machine, and the end."""
        if self._announced:
            _log.error("worker {number}: {text}", number=process.number, text=failed.text)
        elif not self.failed:
            self.failed = True
            self.status = failed.status
            _log.critical("{text}", text=failed.text)
            self._give_up()

    def has_counted(self, process: Process, counted: Counted) -> None:
        self.collector.heard(process, counted)

    def has_ended(self, process: Process, how: Any) -> None:
        """A worker has ended: unless all are to end, it is started again."""
        number = process.number
        del self._running[number]
        self.collector.ended(process)
        code, signal = how.exitCode, how.signal
        ending = f"signal {signal}" if code is None else f"status {code}"
        if self._ended is not None or self.failed:
            self._account_for(number, code, ending)
        elif self.running:
            delay = self._backoffs[number].delay(self._reactor.seconds() - process.started)
            tell = _log.info if code == ORDERLY else _log.error
            tell(
                "worker {number} has ended with {ending}; it is started again in {delay:.1f} s",
                number=number,
                ending=ending,
                delay=delay,
            )
            self._starting[number] = self._reactor.callLater(delay, self._start, number)
        self._look_for_end()

    def _account_for(self, number: int, code: int | None, ending: str) -> None:
        if self.failed or code == ORDERLY:
            return
        if code != ABANDONED:
            _log.error("worker {number} has ended with {ending} while it was to stop", number=number, ending=ending)
        self.status = ABANDONED

    # The end

    def stopService(self) -> Deferred[None]:
        """Fires when all workers have ended."""
        super().stopService()
        for timer in self._starting.values():
            timer.cancel()
        self._starting.clear()
        for process in self._running.values():
            process.send(Stop())
        self._ended = Deferred()
        self._limit(self._longest_stop())
        ended = self._ended
        self._look_for_end()
        return ended

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        for process in self._running.values():
            process.send(Hurry())
        if self._stuck is not None:
            self._limit(STUCK_IN_A_HURRY)

    def _longest_stop(self) -> float:
        stop, kafka = self.settings.stop, self.settings.kafka
        finish = 2 * stop.flush_timeout + 2 * LAST_WORDS
        return stop.drain_delay + stop.drain_window + finish + kafka.close_timeout + STUCK

    def _limit(self, seconds: float) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = self._reactor.callLater(seconds, self._kill)

    def _kill(self) -> None:
        self._stuck = None
        for process in self._running.values():
            _log.error("worker {number} does not end; it is ended by force", number=process.number)
            process.kill()

    def _look_for_end(self) -> None:
        if self._ended is not None and not self._running:
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None
            for kept in self._kept:
                kept.close()
            self._kept = []
            self._ended.callback(None)
            self._ended = None
