"""A log that cannot be written is no reason to stop serving (reliability matrix, A12)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import pytest
from attrs import frozen

from tests.integration.batches import Batch, Event
from tests.integration.clients import ID_HEADER, WAYS, request, sender
from tests.integration.kafka_node import free_ports
from tests.integration.load import eventually
from tests.integration.server import RACCOON, TWISTD, environment

FULL = Path("/dev/full")


@frozen
class At:
    """Where a server is."""

    http: int
    grpc: int


@contextmanager
def logging_to(output: int | IO[Any], command: tuple[str, ...], folder: Path) -> Iterator[At]:
    """A server that writes its log there, where nobody can read that it is ready. It has to end in good order."""
    at = At(*free_ports(2))
    settings = {
        "server.host": "127.0.0.1",
        "server.websocket.port": at.http,
        "server.grpc.port": at.grpc,
        "server.websocket.conn.id.header": ID_HEADER,
        "server.drain.window.ms": 0,
        "publisher.type": "log",  # a line for each event, too
    }
    started = subprocess.Popen(
        command, cwd=folder, env=environment(settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        eventually(lambda: _ready(at, started))
        yield at
        started.terminate()
        assert started.wait(30) == 0
    finally:
        started.kill()
        started.wait(30)


def _ready(at: At, started: subprocess.Popen[bytes]) -> bool:
    assert started.poll() is None, f"it ended with status {started.returncode}"
    try:
        return request(at, "GET", "/healthz").status == 200
    except (OSError, HTTPException):
        return False


def serves(at: At) -> None:
    """Every client is answered, many times."""
    for way in WAYS:
        with sender(at, way, way) as send:
            for number in range(50):
                assert send(Batch(f"{number}", Event("logged", b"e" * 2000)))["status"] == 1


@pytest.mark.parametrize("command", [RACCOON, TWISTD], ids=["raccoon", "twistd"])
@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_full(command: tuple[str, ...], tmp_path: Path) -> None:
    """The disk of the log is full."""
    with FULL.open("wb") as full, logging_to(full, command, tmp_path) as at:
        serves(at)


@pytest.mark.parametrize("command", [RACCOON, TWISTD], ids=["raccoon", "twistd"])
def test_closed(command: tuple[str, ...], tmp_path: Path) -> None:
    """Whoever read the log has gone."""
    reading, writing = os.pipe()
    try:
        with logging_to(writing, command, tmp_path) as at:
            os.close(reading)
            serves(at)
    finally:
        os.close(writing)
