"""The server for other people's tests, as their tests use it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from twisted.python import threadable

from raccoon_tx.config import ConfigurationError
from raccoon_tx.testing import TestServer

#: In a project of its own, which is not under a reactor.
PROJECT = {
    "conftest.py": 'pytest_plugins = ["raccoon_tx.testing.fixtures"]\n',
    "test_theirs.py": """
import asyncio

import pytest

from raccoon_tx.client.aio import Client


@pytest.fixture
def raccoon_settings():
    return {"event.distribution.publisher.pattern": "mine-%s"}


async def signup(url, name):
    async with Client(url, id="shop") as client:
        await client.send("signup", name.encode())


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_signup(raccoon_server, name):
    asyncio.run(signup(raccoon_server.http_url, name))
    [record] = raccoon_server.records("signup")
    assert record.topic == "mine-signup"
    assert record.value == name.encode()


def test_nothing(raccoon_server):
    with pytest.raises(AssertionError, match="0 of 1 records arrived in mine-signup"):
        raccoon_server.records("signup", timeout=0.1)
""",
}


def publish(server: TestServer, kind: str) -> dict[str, object]:
    """What the server answers to one event."""
    body = json.dumps({"req_guid": "g", "events": [{"type": kind, "event_bytes": "eA=="}]}).encode()
    request = Request(server.http_url, body, {"Content-Type": "application/json"})
    with build_opener(ProxyHandler({})).open(request, timeout=15) as answer:
        said: dict[str, object] = json.load(answer)
        return said


def test_fixture(tmp_path: Path) -> None:
    """A project's tests ask for the fixture, configure the server, and read what arrived; each has its own."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:pytest_twisted", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr


def test_restart() -> None:
    """A server that is stopped and started again has the same ports, and what arrived before is still there."""
    with TestServer() as server:
        ports = server.http_port, server.grpc_port
        assert publish(server, "tap")["code"] == 1
        server.stop()
        with pytest.raises(OSError, match="refused"):
            publish(server, "tap")
        assert server.values("tap") == [b"x"]
        server.start()
        assert (server.http_port, server.grpc_port) == ports
        assert publish(server, "tap")["code"] == 1
        assert server.values("tap", 2) == [b"x", b"x"]


def test_two() -> None:
    """Several servers know nothing of each other."""
    with TestServer() as one, TestServer() as other:
        publish(one, "tap")
        assert one.values("tap") == [b"x"]
        assert other.values("tap", 0) == []


def test_leaves_nothing() -> None:
    """Afterwards there is no thread left, and the thread of the test's own reactor is what it was."""
    before, noted = set(threading.enumerate()), threadable.ioThread
    with TestServer() as server:
        assert threadable.ioThread == noted
        publish(server, "tap")
    assert {thread.name for thread in set(threading.enumerate()) - before if not thread.daemon} == set()
    assert not any(thread.name == "raccoon-reactor" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.bootstrap


def test_mistakes() -> None:
    """Wrong settings are told, and leave nothing behind."""
    for settings in ({"event.akc": 1}, {"event.ack": 7}):
        server = TestServer(settings)
        with pytest.raises(ConfigurationError):
            server.start()
        assert not any(thread.name == "raccoon-reactor" for thread in threading.enumerate())
    with TestServer() as server, pytest.raises(RuntimeError, match="runs already"):
        server.start()
