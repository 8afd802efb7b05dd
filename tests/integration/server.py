"""Servers to test: one inside the test's own reactor, and the commands that an operator runs.

Both take settings by the names of their flags, and free ports.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from attrs import define, field, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import globalLogPublisher
from twisted.python.threadpool import ThreadPool

from raccoon_tx.config import load
from raccoon_tx.logs import text_line
from raccoon_tx.tap import Options, Server, makeService
from tests.integration.clients import GROUP_HEADER, HOST, ID_HEADER
from tests.integration.consume import Record, read_all, read_records_until_end, read_until_end

T = TypeVar("T")

Settings = Mapping[str, object]

#: Seconds that a start, and a stop, may take.
PATIENCE = 30.0

#: What a test gets unless it says otherwise. The time for Kafka at a stop is for the topics that it has to make.
DEFAULTS: Settings = {
    "server.websocket.conn.id.header": ID_HEADER,
    "server.websocket.conn.group.header": GROUP_HEADER,
    "server.websocket.port": 0,
    "server.grpc.port": 0,
    "server.drain.window.ms": 0,
    "publisher.kafka.flush.interval.ms": 10000,
}

#: The commands are those of the Python that runs the tests.
RACCOON = (str(Path(sys.executable).with_name("raccoon")), "server")
TWISTD = (str(Path(sys.executable).with_name("twistd")), "-n", "raccoon")

_READY = re.compile(r"raccoon_tx .* is ready: HTTP port (\d+) \(REST and WebSocket\), gRPC port (\d+), .*")

_threads = ThreadPool(0, 64, "clients")


def _reactor() -> Any:
    """Not imported before it is needed: by then `pytest_twisted` has chosen one."""
    from twisted.internet import reactor

    return reactor


def in_thread(call: Callable[..., T], *arguments: Any, **keywords: Any) -> Deferred[T]:
    """Call what blocks. The threads are not the reactor's, which the server may need."""
    reactor = _reactor()
    if not _threads.started:
        _threads.start()
        reactor.addSystemEventTrigger("during", "shutdown", _threads.stop)
    return deferToThreadPool(reactor, _threads, call, *arguments, **keywords)


@frozen
class Topics:
    """Topics that no other test uses, named after the types of events."""

    broker: str
    word: str = field(factory=lambda: uuid4().hex[:8])

    @property
    def pattern(self) -> str:
        return f"clickstream-%s-{self.word}-log"

    def topic(self, kind: str) -> str:
        return self.pattern.replace("%s", kind)

    def read(self, *kinds: str) -> dict[str, list[bytes]]:
        """All values that stand there now, by type. Blocks."""
        return self._by_kind(kinds, read_until_end(self.broker, map(self.topic, kinds)))

    def read_records(self, *kinds: str) -> dict[str, list[Record]]:
        """All records that stand there now, by type. Blocks."""
        return self._by_kind(kinds, read_records_until_end(self.broker, map(self.topic, kinds)))

    def wait_for(self, count: int, *kinds: str) -> dict[str, list[bytes]]:
        """The values, by type, as soon as there are ``count`` of them. Blocks."""
        return self._by_kind(kinds, read_all(self.broker, map(self.topic, kinds), count, PATIENCE))

    def _by_kind(self, kinds: Iterable[str], found: Mapping[str, T]) -> dict[str, T]:
        return {kind: found[self.topic(kind)] for kind in kinds}


def _settings(topics: Topics, ack: int, settings: Settings | None) -> dict[str, str]:
    of_test = {
        "event.ack": ack,
        "event.distribution.publisher.pattern": topics.pattern,
        "publisher.kafka.client.bootstrap.servers": topics.broker,
    }
    return {name: str(value) for name, value in {**DEFAULTS, **of_test, **(settings or {})}.items()}


def assert_quiet(log: str) -> None:
    """Nothing a client does is worth a traceback."""
    assert "Traceback" not in log, log
    assert "Unhandled" not in log, log


@define(eq=False)
class Running:
    """A server in this process. :ivar topics: it writes to. :ivar lines: of its log."""

    topics: Topics
    service: Server
    lines: list[str]

    @property
    def http(self) -> int:
        return self.service.parts.http.port

    @property
    def grpc(self) -> int:
        return self.service.parts.grpc.port

    async def stop(self) -> None:
        """As a signal would; does nothing if it has been stopped."""
        if self.service.running:
            await maybeDeferred(self.service.stopService).addTimeout(PATIENCE, _reactor())


@asynccontextmanager
async def serving(
    broker: str, ack: int = 0, settings: Settings | None = None, topics: Topics | None = None
) -> AsyncIterator[Running]:
    """A server in the reactor of this process: what `makeService` makes, which is all of it but the signals.

    When it has stopped, everything it took is in the topics, and its log has no traceback.
    """
    topics = topics or Topics(broker)
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(text_line(event))

    with tempfile.TemporaryDirectory() as folder:
        options = Options()
        options.loaded = load({"server.host": HOST, **_settings(topics, ack, settings)}, {}, None, Path(folder))
    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        service: MultiService = makeService(options, _reactor())
        assert isinstance(service, Server)
        service.privilegedStartService()
        service.startService()
        running = Running(topics, service, lines)
        try:
            yield running
        finally:
            await running.stop()
        gc.collect()  # a failure that nobody handled is logged when it is forgotten
        assert_quiet("\n".join(lines))
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


def environment(settings: Settings) -> dict[str, str]:
    """What a process gets: these settings, and of ours only what it needs to run at all."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "LANG", "TZ") if name in os.environ}
    return {**kept, **{name.replace(".", "_").upper(): str(value) for name, value in settings.items()}}


def run_command(
    *command: str, settings: Settings | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, in an empty folder, with these settings in its environment."""
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment(settings or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@define(eq=False)
class Process:
    """A server in a process of its own. :ivar topics: it writes to. :ivar http: :ivar grpc: its ports."""

    topics: Topics
    http: int
    grpc: int
    _process: subprocess.Popen[bytes]
    _log: Path

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and return at once."""
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end. :return: the exit status."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout:g} s; it said:\n{self.log}") from None

    def stop(self) -> int:
        """Send SIGTERM and wait. :return: the exit status."""
        self.signal()
        return self.wait()


@contextmanager
def process(
    topics: Topics,
    ack: int = 0,
    settings: Settings | None = None,
    flags: Iterable[str] = (),
    command: Iterable[str] = RACCOON,
    loud: bool = False,
) -> Iterator[Process]:
    """A `Process` that is ready, configured by its environment and by ``flags``. It is stopped at the end, if the
    test did not.

    :param loud: its log may have tracebacks.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            started = subprocess.Popen(
                [*command, *flags],
                cwd=folder,
                env=environment(_settings(topics, ack, settings)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            http, grpc = _wait_until_ready(started, log)
            running = Process(topics, http, grpc, started, log)
            yield running
            if started.poll() is None:
                running.stop()
            if not loud:
                assert_quiet(running.log)
        finally:
            if started.poll() is None:
                started.kill()
                started.wait(PATIENCE)
            print(log.read_text(errors="replace"))  # pytest shows it if the test fails


def _wait_until_ready(started: subprocess.Popen[bytes], log: Path) -> tuple[int, int]:
    deadline = time.monotonic() + PATIENCE
    while not (match := _READY.search(log.read_text(errors="replace"))):
        ended = started.poll()
        assert ended is None, f"it ended with status {ended}; it said:\n{log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"it is not ready; it said:\n{log.read_text(errors='replace')}"
        time.sleep(0.01)
    return int(match[1]), int(match[2])
