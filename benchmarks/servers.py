"""The server under test: started by a command, with the settings in its environment, on a core of its own."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import machine
from attrs import frozen

#: Seconds that a server may take to start.
PATIENCE = 60.0


class DoesNotStart(Exception):
    """The text says what it said."""


@frozen
class Target:
    """A server that can be measured.

    :ivar command: starts it. Every setting that it needs is in its environment.
    :ivar pid: of one that runs already, at the ports :ivar http: and :ivar grpc:
    """

    name: str
    command: str = ""
    pid: int = 0
    http: int = 0
    grpc: int = 0


def ours() -> Target:
    """The server of this source tree."""
    return Target("raccoon_tx", f"{shlex.quote(sys.executable)} -c 'from raccoon_tx.cli import main; main()' server")


@frozen
class Running:
    """A server that answers. :ivar start: seconds until it first did; 0 if it ran before."""

    target: Target
    pid: int
    http: int
    grpc: int
    start: float


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(broker: str, ack: int, http: int, grpc: int, more: Mapping[str, object]) -> dict[str, str]:
    """Settings for a server of either make: metrics on, answers after Kafka's one millisecond of linger."""
    settings = {
        "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
        "SERVER_WEBSOCKET_PORT": http,
        "SERVER_GRPC_PORT": grpc,
        "EVENT_ACK": ack,
        "EVENT_DISTRIBUTION_PUBLISHER_PATTERN": "%s",
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": broker,
        "PUBLISHER_KAFKA_CLIENT_LINGER_MS": 1,
        "METRIC_PROMETHEUS_ENABLED": "true",
        "METRIC_PROMETHEUS_PORT": free_port(),
        **more,
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    root = str(Path(__file__).resolve().parent.parent)
    return {**kept, "PYTHONPATH": root, **{name: str(value) for name, value in settings.items()}}


def answers(port: int) -> bool:
    """Whether ``/ping`` is answered."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(200)
    except OSError:
        return False


@contextmanager
def running(target: Target, broker: str, ack: int = 1, more: Mapping[str, object] | None = None) -> Iterator[Running]:
    """A server that answers, and is ended afterwards if it was started here. :raises DoesNotStart: it did not.

    :param more: settings, by the names that they have in an environment.
    """
    if target.pid:
        machine.pin(target.pid, machine.SERVER_CORE)
        yield Running(target, target.pid, target.http, target.grpc, 0.0)
        return
    http, grpc = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            begin = time.monotonic()
            process = subprocess.Popen(
                shlex.split(target.command),
                cwd=folder,
                env=environment(broker, ack, http, grpc, more or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **machine.on(machine.SERVER_CORE),
            )
        try:
            while not answers(http):
                if process.poll() is not None or time.monotonic() > begin + PATIENCE:
                    raise DoesNotStart(f"{target.name} does not start:\n{log.read_text(errors='replace')}")
                time.sleep(0.002)
            start = time.monotonic() - begin
            _wait_for_port(grpc)
            yield Running(target, process.pid, http, grpc, start)
            if "Traceback" in log.read_text(errors="replace"):
                raise DoesNotStart(f"{target.name} had an error of its own:\n{log.read_text(errors='replace')}")
        finally:
            for pid in machine.family(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def _wait_for_port(port: int) -> None:
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.01)
