"""The client library against a real server that goes away and comes back, over each transport, for both event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from confluent_kafka import KafkaError

from raccoon_tx.client import Closed, Event, Full, Limits, aio, tx
from raccoon_tx.testing import TestServer
from tests.certificates import Authority
from tests.integration.consume import read_until_end
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import in_thread

#: Seconds that anything may take.
PATIENCE = 30.0

LIMITS = Limits(batch_events=5, batch_age=0.01, backoff=0.02, longest_backoff=0.1)

#: Batches that are sent again are recognised.
SETTINGS = {
    "server.batch.dedup.in.connection.enabled": True,
    "server.batch.dedup.scope": "identity",
    "event.record.headers": "id,group,transport",
}

TRANSPORTS = ("websocket", "rest", "grpc")


def address(server: TestServer, transport: str) -> str:
    """Where a client of a transport goes."""
    return {
        "websocket": server.websocket_url,
        "rest": server.http_url,
        "grpc": f"grpc://{server.grpc_address}",
    }[transport]


#: A test: gets a function that makes a client, and one that calls what blocks.
Script = Callable[[Callable[..., Any], Callable[..., Awaitable[Any]]], Awaitable[None]]


async def _by_asyncio(script: Script) -> None:
    async def blocking(call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(call, *arguments)

    await script(aio.Client, blocking)


async def run(loop: str, script: Script) -> None:
    """Run a script under asyncio, in a thread, or under the reactor of the tests."""
    if loop == "asyncio":
        await in_thread(asyncio.run, _by_asyncio(script))
    else:
        from twisted.internet import reactor

        await script(lambda *arguments, **keywords: tx.Client(reactor, *arguments, **keywords), in_thread)


@define
class Case:
    loop: str
    transport: str


CASES = [Case(loop, transport) for loop in ("asyncio", "twisted") for transport in TRANSPORTS]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.loop}-{case.transport}")


@contextmanager
def server(**more: object) -> Iterator[TestServer]:
    with TestServer({**SETTINGS, **more}) as running:
        yield running


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


@every_case
@pytest_twisted.ensureDeferred
async def test_delivers(case: Case) -> None:
    """Every event arrives once, with who sent it; refused ones are told; and nothing is left at the end."""
    with server() as running:
        refused: list[tuple[Event, str]] = []

        async def script(client_of: Any, blocking: Any) -> None:
            client = client_of(
                address(running, case.transport),
                id="phone-1",
                group="shop",
                limits=LIMITS,
                rejected=lambda event, reason: refused.append((event, reason)),
            )
            for value in numbers(50):
                await client.send("tap", value)
            await client.send("not a topic", b"x")
            client.send_now("tap", b"last")
            await client.flush()
            assert (client.waiting, client.counts.delivered, client.counts.rejected) == (0, 51, 1)
            assert await client.close() == 0
            with pytest.raises(Closed):
                await client.send("tap", b"too late")

        await run(case.loop, script)
        [(event, reason)] = refused
        assert event == Event("not a topic", b"x")
        assert "illegal type" in reason
        records = await in_thread(running.records, "tap", 51)
        assert sorted(record.value for record in records) == sorted([*numbers(50), b"last"])
        who = {tuple(value for _, value in record.headers) for record in records}
        assert who == {(b"phone-1", b"shop", case.transport.encode())}


@every_case
@pytest_twisted.ensureDeferred
async def test_server_restarts(case: Case) -> None:
    """A server that stops in the middle and comes back costs no event. What it took is not lost either."""
    with server() as running:

        async def script(client_of: Any, blocking: Any) -> None:
            client = client_of(address(running, case.transport), id="phone-1", limits=LIMITS)
            for value in numbers(20):
                await client.send("tap", value)
            for start in (20, 60):
                await client.flush()
                for value in numbers(20, start):
                    await client.send("tap", value)
                await blocking(running.stop)
                for value in numbers(20, start + 20):
                    await client.send("tap", value)
                await blocking(running.start)
            await client.flush()
            assert (client.waiting, client.counts.delivered) == (0, 100)
            if case.transport == "websocket":
                assert client.counts.connections == 3
            await client.close()

        await run(case.loop, script)
        assert set(await in_thread(running.values, "tap", 100)) == set(numbers(100))


class Relay:
    """Stands between a client and a server, and cuts connections off: each of the first ones after some bytes of the
    server's answers. What the client sent has arrived by then. :ivar cut: how many were."""

    def __init__(self, port: int, limits: list[int]) -> None:
        self._port = port
        self._limits = limits
        self.cut = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limit = self._limits.pop(0) if self._limits else 1 << 30
        near, far = await asyncio.open_connection("127.0.0.1", self._port)
        there = asyncio.ensure_future(self._copy(reader, far, 1 << 30))
        back = asyncio.ensure_future(self._copy(near, writer, limit))
        try:
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            if back.done() and back.result():
                self.cut += 1
        finally:
            there.cancel()
            back.cancel()
            writer.transport.abort()
            far.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> bool:
        """:return: whether the limit was reached."""
        while limit > 0 and (data := await reader.read(limit)):
            limit -= len(data)
            writer.write(data)
        return limit <= 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest_twisted.ensureDeferred
async def test_lost_answers(transport: str) -> None:
    """Batches whose answers are lost with their connections go again, and are recognised: each event is there once."""
    with server() as running:

        async def main() -> None:
            port = running.grpc_port if transport == "grpc" else running.http_port
            relay = Relay(port, [400, 700, 500])
            async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as listening:
                port = listening.sockets[0].getsockname()[1]
                scheme = {"websocket": "ws", "rest": "http", "grpc": "grpc"}[transport]
                async with aio.Client(f"{scheme}://127.0.0.1:{port}", id="phone-1", limits=LIMITS) as client:
                    for value in numbers(300):
                        await client.send("tap", value)
                    await client.flush()
                    assert client.counts.delivered == 300
                    assert client.counts.sent_again > 0
                assert relay.cut == 3

        await in_thread(asyncio.run, main())
        assert sorted(await in_thread(running.values, "tap", 300)) == sorted(numbers(300))


@every_case
@pytest_twisted.ensureDeferred
async def test_bounded(case: Case) -> None:
    """Without a server no more is kept than was said: to send waits, to send now is refused, to close gives up."""
    with server() as running:

        async def script(client_of: Any, blocking: Any) -> None:
            await blocking(running.stop)
            limits = Limits(buffer_events=3, batch_events=1, backoff=0.02, longest_backoff=0.1)
            client = client_of(address(running, case.transport), id="phone-1", limits=limits)
            for value in numbers(3):
                client.send_now("tap", value)
            with pytest.raises(Full):
                client.send_now("tap", b"3")
            started = threading.Event()

            def start() -> None:
                started.set()
                running.start()

            starting = blocking(start)
            if case.loop == "asyncio":
                starting = asyncio.ensure_future(starting)
            await client.send("tap", b"3")
            assert started.is_set()
            await client.flush()
            await starting
            await blocking(running.stop)
            client.send_now("tap", b"lost")
            assert await client.close(0.05) == 1

        await run(case.loop, script)
        assert sorted(await in_thread(running.values, "tap", 4)) == numbers(4)


@every_case
@pytest_twisted.ensureDeferred
async def test_too_large(case: Case) -> None:
    """A batch that is too large for the server is divided; an event that is, is told, and does no harm to others."""
    with server(**{"server.max.body.bytes": 4000, "event.record.headers": ""}) as running:
        refused: list[Event] = []

        async def script(client_of: Any, blocking: Any) -> None:
            client = client_of(
                address(running, case.transport),
                id="phone-1",
                limits=Limits(batch_age=1.0, backoff=0.02, longest_backoff=0.1),
                rejected=lambda event, reason: refused.append(event),
            )
            for value in ("a", "b", "c"):
                await client.send("tap", value.encode() * 1500)
            await client.send("tap", b"d" * 5000)
            await client.flush()
            await client.close()

        await run(case.loop, script)
        assert [event.value[:1] for event in refused] == [b"d"]
        assert sorted(value[:1] for value in await in_thread(running.values, "tap", 3)) == [b"a", b"b", b"c"]


@every_case
@pytest_twisted.ensureDeferred
async def test_some_failed(case: Case) -> None:
    """Of a batch that Kafka takes only in part, what it will never take is told, and the rest is there once."""
    with MockCluster() as cluster, server(**{"publisher.kafka.client.bootstrap.servers": cluster.bootstrap}) as running:
        good, bad = running.topic("good"), running.topic("bad")
        cluster.create_topic(bad)
        cluster.topic_error(bad, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        refused: list[Event] = []

        async def script(client_of: Any, blocking: Any) -> None:
            client = client_of(
                address(running, case.transport),
                id="phone-1",
                limits=LIMITS,
                rejected=lambda event, reason: refused.append(event),
            )
            for value in (b"1", b"2"):
                client.send_now("good", value)
                client.send_now("bad", value)
            assert await client.close(PATIENCE) == 0
            assert (client.counts.delivered, client.counts.rejected, client.counts.sent_again) == (2, 2, 0)

        await run(case.loop, script)
        assert refused == [Event("bad", b"1"), Event("bad", b"2")]
        found = await in_thread(read_until_end, cluster.bootstrap, [good])
        assert sorted(found[good]) == [b"1", b"2"]


SECURE = {
    "websocket": "wss://{host}:{http}/api/v1/events",
    "rest": "https://{host}:{http}",
    "grpc": "grpcs://{host}:{grpc}",
}


@every_case
@pytest_twisted.ensureDeferred
async def test_tls(tmp_path: Path, case: Case) -> None:
    """Over TLS a client trusts the authority that it was given, by name and by address; with another one it sends
    nothing at all, and goes on trying."""
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = authority.issue("server")
    settings = {"server.tls.certificate": pair.certificate, "server.tls.private.key": pair.key}

    async def script(make: Callable[..., Any], blocking: Callable[..., Awaitable[Any]]) -> None:
        for host in ("localhost", "127.0.0.1"):
            url = SECURE[case.transport].format(host=host, http=running.http_port, grpc=running.grpc_port)
            client = make(url, id=f"secure {host}", limits=LIMITS, ca=authority.path)
            client.send_now("secure", host.encode())
            await client.close()
            assert client.counts.delivered == 1
        distrustful = make(url, id="distrustful", limits=LIMITS, ca=other.path)
        distrustful.send_now("secure", b"for nobody")
        await distrustful.close(timeout=1.0)
        assert (distrustful.counts.delivered, distrustful.waiting) == (0, 1)
        assert sorted(await blocking(running.values, "secure", 2)) == [b"127.0.0.1", b"localhost"]

    with server(**settings) as running:
        await run(case.loop, script)
