"""Servers under test: a command line, settings in the environment, and ports chosen here.

Nothing is known of the server but what the contract says: it is ready when ``/ping`` answers.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TypeVar

from attrs import define, field, frozen

from tests.integration.clients import GROUP_HEADER, HOST, ID_HEADER
from tests.integration.mock_cluster import MockCluster

T = TypeVar("T")

#: Settings, by the names of their environment variables.
Environment = Mapping[str, object]

#: Seconds that a start, and a stop, may take.
PATIENCE = 20.0

#: What a server gets unless a test says otherwise.
DEFAULTS: Environment = {
    "SERVER_WEBSOCKET_CONN_ID_HEADER": ID_HEADER,
    "SERVER_WEBSOCKET_CONN_GROUP_HEADER": GROUP_HEADER,
    "SERVER_HOST": HOST,
    "SERVER_GRPC_HOST": HOST,
    "METRIC_PROMETHEUS_HOST": HOST,
    "SERVER_DRAIN_WINDOW_MS": 0,
    "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 5000,
}

#: Unverified TLS, to see whether a server is there.
_ANY_CERTIFICATE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY_CERTIFICATE.check_hostname = False
_ANY_CERTIFICATE.verify_mode = ssl.CERT_NONE


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range the kernel takes the near end of connections from."""
    free: list[int] = []
    for port in random.sample(range(20000, 32768), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                free.append(port)
        if len(free) == count:
            break
    return free


def eventually(condition: Callable[[], T], patience: float = PATIENCE, pause: float = 0.01) -> T:
    """Wait until something is true. :return: what it was. :raises AssertionError: it does not become true."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not come true within {patience:g} s"
        time.sleep(pause)
    return found


@frozen
class Command:
    """How a server is run. :ivar words: of the command line. :ivar environment: beside the settings."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(factory=dict)

    def run(
        self, *arguments: str, environment: Environment | None = None, files: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, in a folder that has only ``files``, with nothing but ``environment``."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (files or {}).items():
                Path(folder, name).write_text(text)
            return subprocess.run(
                [*self.words, *arguments],
                cwd=folder,
                env=self.surroundings(environment or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )

    def surroundings(self, environment: Environment) -> dict[str, str]:
        """The environment of a process: these settings, and of ours only what it needs to run at all."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        return {**kept, **self.environment, **{name: str(value) for name, value in environment.items()}}


@define(eq=False)
class Server:
    """A server in a process of its own.

    :ivar http: :ivar grpc: :ivar metrics: its ports. :ivar environment: all its settings.
    """

    command: Command
    environment: dict[str, object]
    http: int
    grpc: int
    metrics: int
    _process: subprocess.Popen[bytes]
    _log: Path

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def file(self) -> Path:
        """Its ``config.yaml``."""
        return self._log.with_name("config.yaml")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

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

    def kill(self) -> None:
        """End it at once."""
        if self.alive:
            self._process.kill()
            self._process.wait(PATIENCE)


def assert_quiet(log: str) -> None:
    """Nothing a client does is worth a traceback."""
    assert "Traceback" not in log, log
    assert "Unhandled" not in log, log


def launch(
    command: Command, environment: Environment, folder: Path, arguments: Sequence[str] = (), file: str | None = None
) -> Server:
    """Start a server on free ports, and return at once. :param file: what stands in its ``config.yaml``."""
    http, grpc, metrics = free_ports(3)
    ports = {
        "SERVER_WEBSOCKET_PORT": http,
        "SERVER_GRPC_PORT": grpc,
        "METRIC_PROMETHEUS_PORT": metrics,
    }
    settings = {**DEFAULTS, **ports, **environment}
    settings = {name: value for name, value in settings.items() if value is not None}
    place = Path(tempfile.mkdtemp(dir=folder))
    log = place / "log"
    if file is not None:
        (place / "config.yaml").write_text(file)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command.words, *arguments],
            cwd=place,
            env=command.surroundings(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return Server(command, settings, http, grpc, metrics, process, log)


def wait_until_ready(server: Server) -> None:
    """Poll ``/ping``, and the gRPC port. :raises AssertionError: it ends, or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not _answers(server):
        assert server.alive, f"it ended with status {server.wait()}; it said:\n{server.log}"
        assert time.monotonic() < deadline, f"it is not ready; it said:\n{server.log}"
        time.sleep(0.01)


def _answers(server: Server) -> bool:
    secure = "SERVER_TLS_CERTIFICATE" in server.environment
    connection = (
        HTTPSConnection(HOST, server.http, timeout=5, context=_ANY_CERTIFICATE)
        if secure
        else HTTPConnection(HOST, server.http, timeout=5)
    )
    try:
        if "SERVER_TLS_CLIENT_CA" in server.environment:
            socket.create_connection((HOST, server.http), 5).close()
        else:
            connection.request("GET", "/ping")
            if connection.getresponse().read() != b"pong":
                return False
        socket.create_connection((HOST, server.grpc), 5).close()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


#: Settings as they are told apart.
_Key = tuple[tuple[str, str], ...]


@define(eq=False)
class Farm:
    """Servers that are shared by all tests that need the same settings.

    :ivar bootstrap: the Kafka they write to. :ivar room: how many may run at once.
    :ivar cluster: the same Kafka, if it can be told what to do wrong.
    """

    command: Command
    bootstrap: str
    folder: Path
    room: int = 8
    cluster: MockCluster | None = None
    _running: dict[_Key, Server] = field(factory=dict, init=False)
    _read: dict[int, int] = field(factory=dict, init=False)

    def get(self, **environment: object) -> Server:
        """A running server with these settings; it may have served others before."""
        key = tuple(sorted((name, str(value)) for name, value in environment.items()))
        server = self._running.pop(key, None)
        if server is None or not server.alive:
            while len(self._running) >= self.room:
                self._end(self._running.pop(next(iter(self._running))))
            server = self.launch(**environment)
            wait_until_ready(server)
        self._running[key] = server
        return server

    def launch(self, *arguments: str, file: str | None = None, **environment: object) -> Server:
        """A server of the caller's own, that may not be ready, or never be."""
        bootstrap = {"PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": self.bootstrap}
        return launch(self.command, {**bootstrap, **environment}, self.folder, arguments, file)

    @contextmanager
    def own(self, *arguments: str, file: str | None = None, **environment: object) -> Iterator[Server]:
        """A server of the caller's own, stopped at the end if it still runs."""
        server = self.launch(*arguments, file=file, **environment)
        try:
            wait_until_ready(server)
            yield server
            if server.alive:
                server.signal()
                server.wait()
            assert_quiet(server.log)
        finally:
            server.kill()

    def assert_quiet(self) -> None:
        """What the shared servers have logged since the last call has no traceback, and all are alive."""
        for server in self._running.values():
            log = server.log
            fresh = log[self._read.get(server.pid, 0) :]
            self._read[server.pid] = len(log)
            assert server.alive, f"it ended with status {server.wait()}; it said:\n{fresh}"
            assert_quiet(fresh)

    def _end(self, server: Server) -> None:
        if server.alive:
            server.signal()
            with suppress(AssertionError):
                server.wait(10)
        server.kill()

    def close(self) -> None:
        """Stop all."""
        servers = list(self._running.values())
        self._running.clear()
        for server in servers:
            if server.alive:
                server.signal()
        for server in servers:
            self._end(server)
