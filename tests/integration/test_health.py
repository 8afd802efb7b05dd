"""``/healthz`` and ``/readyz``, from the start to the stop: contract sections 13.5 and 15."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest_twisted
from twisted.internet.defer import maybeDeferred

from tests.integration.batches import Batch, Event, success
from tests.integration.clients import TIMEOUT, Ports, ask, frame, post, request, websocket
from tests.integration.server import Running, in_thread, serving

BATCH = Batch("1234", Event("safe", b"1"))


def readiness(server: Ports) -> tuple[int, dict[str, Any]]:
    """Status of ``/readyz``, and the parts it names."""
    response = request(server, "GET", "/readyz")
    assert response.headers["Content-Type"] == "application/json"
    head = request(server, "HEAD", "/readyz")
    assert (head.status, head.body) == (response.status, b"")
    assert head.headers["Content-Length"] == str(len(response.body))
    body = json.loads(response.body)
    assert body["status"] == ("ready" if response.status == 200 else "not ready")
    return response.status, body["parts"]


def wait_for(server: Ports, status: int) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT
    while (found := readiness(server))[0] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found[1]


@pytest_twisted.ensureDeferred
async def test_ready(broker: str) -> None:
    """With its Kafka there, a server is ready, and says of which parts."""

    def scenario(server: Running) -> None:
        parts = wait_for(server, 200)
        assert {"listeners", "publisher"} <= parts.keys()
        assert all(part["ok"] for part in parts.values())
        assert request(server, "GET", "/healthz").status == 200

    async with serving(broker) as server:
        await in_thread(scenario, server)


@pytest_twisted.ensureDeferred
async def test_kafka_away() -> None:
    """Without one it starts, lives, and is not ready; in mode 0 it takes events all the same, as long as it can hold
    them."""

    def scenario(server: Running) -> None:
        parts = wait_for(server, 503)
        assert parts["listeners"]["ok"]
        assert not parts["publisher"]["ok"]
        assert request(server, "GET", "/healthz").status == 200
        assert request(server, "GET", "/ping").body == b"pong"

    async with serving("127.0.0.1:1", settings={"publisher.kafka.flush.interval.ms": 100}) as server:
        await in_thread(scenario, server)


@pytest_twisted.ensureDeferred
async def test_stop(broker: str) -> None:
    """From the first moment of the stop it is not ready, while everything is served until the delay is over: requests,
    new connections, those that are open."""

    def scenario(server: Running) -> None:
        parts = wait_for(server, 503)
        assert parts["listeners"] == {"ok": False, "state": "stopping"}
        assert request(server, "GET", "/healthz").status == 200
        assert post(server, BATCH.written("json")).said == success("1234")
        with websocket(server, "1") as connection:
            assert ask(connection, frame(BATCH, "json")) == success("1234")

    async with serving(broker, 1, {"server.drain.delay.ms": 2000}) as server:
        await in_thread(wait_for, server, 200)
        stopped = maybeDeferred(server.service.stopService)
        await in_thread(scenario, server)
        await stopped
    assert await in_thread(server.topics.read, "safe") == {"safe": [b"1"] * 2}
