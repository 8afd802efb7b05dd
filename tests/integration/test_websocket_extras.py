"""What a WebSocket may agree on, and who stays when a client comes twice: contract sections 5.2 and 5.6."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import pytest_twisted
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.integration.batches import TWO_EVENTS, Batch, Event, said, success
from tests.integration.clients import EVENTS, HOST, TIMEOUT, ask, closed, frame, websocket
from tests.integration.load import eventually
from tests.integration.server import Running, in_thread, serving

CROWD = 200


@pytest_twisted.ensureDeferred
async def test_compression(broker: str) -> None:
    """With compression on, a client that offers it sends compressed messages, and gets its answers."""
    batches = [Batch(str(number), Event("squeezed", b"x" * 50_000)) for number in range(3)]
    async with serving(broker, ack=1, settings={"server.websocket.compression": "true"}) as server:

        def send() -> None:
            with websocket(server, "1") as connection:
                (extension,) = connection.protocol.extensions
                assert extension.name == "permessage-deflate"
                for batch in batches:
                    for encoding in "json", "proto":
                        assert ask(connection, frame(batch, encoding)) == success(batch.guid)

        await in_thread(send)
        values = await in_thread(server.topics.read, "squeezed")
        assert values["squeezed"] == [b"x" * 50_000] * 6


@pytest_twisted.ensureDeferred
async def test_bomb(broker: str) -> None:
    """The limit is for what comes out."""
    settings = {"server.websocket.compression": "true", "server.max.body.bytes": 100_000}
    async with serving(broker, settings=settings) as server:

        def send() -> None:
            with websocket(server, "1") as connection:
                answer = ask(connection, Batch("1", Event("large", bytes(2_000_000))).written("proto"))
                assert (answer["code"], answer["data"]["retryable"]) == (2, "false")
                assert closed(connection)[0] == 1009

        await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_no_compression(broker: str) -> None:
    """It is off by default."""
    async with serving(broker) as server:

        def send() -> None:
            with websocket(server, "1") as connection:
                assert connection.protocol.extensions == []

        await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_subprotocol(broker: str) -> None:
    """A browser says who it is in its subprotocols; it is answered with its encoding, and refused in it."""
    offer = [Subprotocol("raccoon.id.YWxpY2U"), Subprotocol("raccoon.json.v1")]
    async with serving(broker) as server:

        def send() -> None:
            with websocket(server, "alice") as first:
                assert ask(first, frame(TWO_EVENTS, "json")) == success("1234")
                with connect(f"ws://{HOST}:{server.http}{EVENTS}", subprotocols=offer, proxy=None) as second:
                    assert second.subprotocol == "raccoon.json.v1"
                    refusal = second.recv(TIMEOUT)
                    assert isinstance(refusal, str)
                    assert said(refusal)["code"] == 5
                    assert closed(second) == (1008, "duplicate connection: alice")

        await in_thread(send)


@pytest.mark.parametrize("policy", ["reject", "replace", "probe"])
@pytest_twisted.ensureDeferred
async def test_crowd(broker: str, policy: str) -> None:
    """Of many connections of one client that come at once, exactly one stays, and is served."""
    async with serving(broker, settings={"server.websocket.duplicate.policy": policy}) as server:
        await in_thread(_crowd, server)
        await in_thread(eventually, lambda: not server.service.parts.http._sockets.open)


def _crowd(server: Running) -> None:
    with ExitStack() as stack:

        def open_one(_: int) -> ClientConnection:
            return stack.enter_context(websocket(server, "1234"))

        with ThreadPoolExecutor(50) as pool:
            connections = list(pool.map(open_one, range(CROWD)))
        eventually(lambda: sum(map(_is_open, connections)) == 1)
        (one,) = filter(_is_open, connections)
        assert ask(one, frame(TWO_EVENTS, "proto")) == success("1234")


def _is_open(connection: ClientConnection) -> bool:
    """Whether it is; reads what came. The library answers pings by itself."""
    try:
        while True:
            connection.recv(0)
    except TimeoutError:
        return True
    except ConnectionClosed:
        return False
