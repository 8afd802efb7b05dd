"""Fewer open files than connections: what is said, and who is served (reliability matrix, A11 and D12)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.batches import Batch, Event
from tests.integration.clients import HOST, WAYS, sender
from tests.integration.load import eventually
from tests.integration.server import RACCOON, Process, Settings, Topics, process

#: Of the server's process.
LIMIT = 200

#: A command that begins with its own limit.
LIMITED = (
    sys.executable,
    "-c",
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2);"
    " os.execv(sys.argv[2], sys.argv[2:])",
    str(LIMIT),
    *RACCOON,
)


@pytest.fixture
def topics(broker: str) -> Topics:
    return Topics(broker)


@pytest.fixture
def limited(topics: Topics, tmp_path: Path) -> Iterator[Process]:
    """A server with a spool that may have few files open."""
    settings: Settings = {"spool.path": tmp_path / "spool", "spool.min_free_bytes": 0}
    with process(topics, 2, settings, command=LIMITED) as server:
        yield server


def test_said(limited: Process) -> None:
    """The start says which setting does not fit, and how many connections are taken."""
    assert f"server.websocket.max_conn is 30000, but the limit of open files is {LIMIT}: 150 WebSocket" in limited.log


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what a process has open")
def test_exhausted(limited: Process, topics: Topics) -> None:
    """Somebody takes every file there is: clients that were there are served, the spool and Kafka have what they
    need, nobody's batch is lost, and new clients are served when he has gone."""
    sent = 0
    with ExitStack() as good:
        ways = [good.enter_context(sender(limited, way, f"good {way}")) for way in WAYS]

        def everybody_sends() -> None:
            nonlocal sent
            for send in ways:
                answer = send(Batch(f"{sent}", Event("exhausted", f"event {sent}".encode())))
                assert answer["status"] == 1, answer
                sent += 1

        everybody_sends()
        with ExitStack() as bad:
            for _ in range(2 * LIMIT):
                bad.enter_context(socket.create_connection((HOST, limited.http)))
            eventually(lambda: len(os.listdir(f"/proc/{limited.pid}/fd")) >= LIMIT - 1)
            for _ in range(20):
                everybody_sends()
        everybody_sends()
    with sender(limited, WAYS[0], "new") as send:
        assert send(Batch("new", Event("exhausted", b"the new one")))["status"] == 1
    assert limited.stop() == 0
    assert sorted(topics.read("exhausted")["exhausted"]) == sorted(
        [*(f"event {n}".encode() for n in range(sent)), b"the new one"]
    )
