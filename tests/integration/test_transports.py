"""Every way in, in both modes of acknowledgement: what clients send stands in the topics, byte for byte."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from websockets.sync.client import ClientConnection

from tests.integration.batches import Batch, Encoding, Event, Said, said, success
from tests.integration.clients import (
    EVENTS,
    WAYS,
    Ports,
    ask,
    call_with_bytes,
    channel,
    curl,
    frame,
    has_curl,
    next_said,
    request,
    sender,
    websocket,
)
from tests.integration.server import Running, Topics, in_thread, serving

pytestmark = pytest.mark.usefixtures("both_ways")

both_modes = pytest.mark.parametrize("ack", [0, 1], ids=["ack-0", "ack-1"])
both_encodings = pytest.mark.parametrize("encoding", ["json", "proto"])
every_way = pytest.mark.parametrize("way", WAYS)

_chance = random.Random(3)

#: What might be mistaken for something else, or cut, on its way.
VALUES = [
    b"",
    b"\0",
    b"null",
    b'{"a":1}',
    b"line\r\nline\n",
    bytes(range(256)),
    "Gr\u00fc\u00dfe \U0001f99d".encode(),
    b"\xff\xfe\x00\xd8",
    b"ZXZlbnRfMQ==",
    b"the same twice",
    b"the same twice",
    _chance.randbytes(900_000),
]


@every_way
@both_modes
@pytest_twisted.ensureDeferred
async def test_values(broker: str, ack: int, way: str) -> None:
    """Whatever the bytes of an event are, and whatever its type, they arrive as they are, once."""
    expected = {"plain": VALUES, "With.Dots-and_underscores": VALUES, "9": VALUES[:-1]}
    batch = Batch(
        "g\u00fcid \u2028 <&> \U0001f99d", *(Event(kind, value) for kind in expected for value in expected[kind])
    )

    def scenario(server: Running) -> None:
        with sender(server, way) as send:
            assert send(batch) == success(batch.guid)

    async with serving(broker, ack) as server:
        await in_thread(scenario, server)
    found = await in_thread(server.topics.read, *expected)
    assert {kind: Counter(values) for kind, values in found.items()} == {
        kind: Counter(values) for kind, values in expected.items()
    }


@every_way
@pytest_twisted.ensureDeferred
async def test_order(broker: str, way: str) -> None:
    """The events of one client keep their order within each partition, and have neither key nor headers."""
    batches = [
        Batch(f"batch {number}", *(Event("ordered", b"%06d" % (100 * number + index)) for index in range(100)))
        for number in range(10)
    ]

    def scenario(server: Running) -> None:
        with sender(server, way) as send:
            for batch in batches:
                assert send(batch) == success(batch.guid)

    async with serving(broker, settings={"publisher.kafka.client.batch.num.messages": 7}) as server:
        await in_thread(scenario, server)
    records = (await in_thread(server.topics.read_records, "ordered"))["ordered"]
    assert sorted(record.value for record in records) == [b"%06d" % number for number in range(1000)]
    for partition in {record.partition for record in records}:
        values = [record.value for record in records if record.partition == partition]
        assert values == sorted(values)
    assert {(record.key, record.headers) for record in records} == {(None, ())}


@pytest_twisted.ensureDeferred
async def test_constant_topic(broker: str) -> None:
    """With a pattern without ``%s`` all types go to one topic, an empty one too."""
    batch = Batch("1", Event("a", b"1"), Event("b", b"2"), Event("", b"3"), Event("not/a/topic", b"4"))

    def scenario(server: Running) -> None:
        for way in WAYS:
            with sender(server, way) as send:
                assert send(batch) == success("1")

    topics = Topics(broker)
    pattern = {"event.distribution.publisher.pattern": topics.topic("constant")}
    async with serving(broker, settings=pattern) as server:
        await in_thread(scenario, server)
    found = (await in_thread(topics.read, "constant"))["constant"]
    assert Counter(found) == Counter([b"1", b"2", b"3", b"4"] * len(WAYS))


@both_modes
@pytest_twisted.ensureDeferred
async def test_mixed_frames(broker: str, ack: int) -> None:
    """One WebSocket may change its encoding with every frame."""
    encodings: list[Encoding] = ["json", "proto", "proto", "json", "proto", "json"]

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            for number, encoding in enumerate(encodings):
                batch = Batch(f"{encoding} {number}", Event("mixed", b"%d" % number))
                assert ask(connection, frame(batch, encoding)) == success(batch.guid)

    async with serving(broker, ack) as server:
        await in_thread(scenario, server)
    assert sorted((await in_thread(server.topics.read, "mixed"))["mixed"]) == [b"0", b"1", b"2", b"3", b"4", b"5"]


@both_encodings
@pytest_twisted.ensureDeferred
async def test_unanswered(broker: str, encoding: Encoding) -> None:
    """A client need not wait for one answer before it sends the next batch; each batch is answered once."""
    batches = [Batch(f"batch {number}", Event("pipelined", b"%d" % number)) for number in range(60)]

    def scenario(server: Running) -> list[Said]:
        kind = str if encoding == "json" else bytes
        with websocket(server, "1234") as connection:
            for batch in batches:
                connection.send(frame(batch, encoding))
            return [next_said(connection, kind) for _ in batches]

    async with serving(broker, 1) as server:
        answers = await in_thread(scenario, server)
    assert sorted(answers, key=str) == sorted([success(batch.guid) for batch in batches], key=str)
    found = (await in_thread(server.topics.read, "pipelined"))["pipelined"]
    assert sorted(found) == sorted(batch.events[0].value for batch in batches)


@both_encodings
@pytest_twisted.ensureDeferred
async def test_fragments(broker: str, encoding: Encoding) -> None:
    """A message may come in pieces, empty ones and single bytes among them, with pings between them."""
    batch = Batch("in pieces", Event("fragmented", _chance.randbytes(50_000)))

    def pieces(connection: ClientConnection, message: bytes | str) -> Iterator[bytes | str]:
        yield message[:0]
        yield message[:1]
        pong = connection.ping(b"in between")
        yield message[1:2]
        yield message[2:30_000]
        assert pong.wait(10)
        yield message[30_000:30_000]
        yield message[30_000:]

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            for _ in range(2):
                connection.send(pieces(connection, frame(batch, encoding)))
                assert next_said(connection, str if encoding == "json" else bytes) == success("in pieces")

    async with serving(broker) as server:
        await in_thread(scenario, server)
    assert (await in_thread(server.topics.read, "fragmented"))["fragmented"] == [batch.events[0].value] * 2


@pytest_twisted.ensureDeferred
async def test_pings(broker: str) -> None:
    """A client's ping is answered with what it carries; who answers ours may be idle for as long as it likes."""

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            for payload in (b"", b"x" * 125):
                assert connection.ping(payload).wait(10)
            with pytest.raises(TimeoutError):
                connection.recv(timeout=1.0)
            assert ask(connection, b"") == success("")

    intervals = {"server.websocket.ping.interval.ms": 100, "server.websocket.pong.wait.interval.ms": 300}
    async with serving(broker, settings=intervals) as server:
        await in_thread(scenario, server)


@pytest.mark.parametrize("code", [1000, 1001, 3333])
@pytest_twisted.ensureDeferred
async def test_close(broker: str, code: int) -> None:
    """A client's close frame is answered with its code alone, and the identity is free at once."""

    def scenario(server: Running) -> None:
        for _ in range(3):
            with websocket(server, "1234") as connection:
                assert ask(connection, b"") == success("")
                connection.close(code, "that is all")
                assert (connection.close_code, connection.close_reason) == (code, "")

    async with serving(broker) as server:
        await in_thread(scenario, server)


@both_modes
@pytest_twisted.ensureDeferred
async def test_together(broker: str, ack: int) -> None:
    """Many clients at once, of all kinds: each gets its own answers, and nothing is lost, added or mixed up."""
    batches, clients = 25, [(way, f"{way} {number}") for way in WAYS for number in range(3)]

    def one(server: Ports, way: str, client: str) -> None:
        with sender(server, way, client) as send:
            for number in range(batches):
                name = f"{client} {number}"
                assert send(Batch(name, Event("common", name.encode()), Event(way, name.encode()))) == success(name)

    async with serving(broker, ack) as server:
        await gatherResults([in_thread(one, server, way, client) for way, client in clients], consumeErrors=True)
    found = await in_thread(server.topics.read, "common", *WAYS)
    for kind, values in found.items():
        names = [
            f"{client} {number}" for way, client in clients for number in range(batches) if kind in ("common", way)
        ]
        assert sorted(values) == sorted(name.encode() for name in names)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
@pytest_twisted.ensureDeferred
async def test_grpc_compression(broker: str, algorithm: grpc.Compression) -> None:
    """gRPC messages may be compressed."""
    batch = Batch("squeezed", Event("compressed", b"x" * 100_000))

    def scenario(server: Running) -> Said:
        with channel(server, algorithm) as opened:
            return said(call_with_bytes(opened, batch.written("proto")))

    async with serving(broker) as server:
        assert await in_thread(scenario, server) == success("squeezed")
    assert (await in_thread(server.topics.read, "compressed"))["compressed"] == [b"x" * 100_000]


@pytest.mark.skipif(not has_curl(), reason="this machine has no curl")
@pytest_twisted.ensureDeferred
async def test_curl(broker: str) -> None:
    """curl asks first whether it may send a large body, and is told to go on."""
    batch = Batch("by curl", Event("curl", b"x" * 900_000), Event("curl", b"y" * 900_000))
    options = ["--header", "Content-Type: application/json", "--header", "Expect: 100-continue", "--data-binary", "@-"]
    async with serving(broker) as server:
        response = await in_thread(curl, server, EVENTS, *options, stdin=batch.written("json"))
    assert (response.status, response.said) == (200, success("by curl"))
    found = (await in_thread(server.topics.read, "curl"))["curl"]
    assert sorted(found) == [event.value for event in batch.events]


@pytest_twisted.ensureDeferred
async def test_paths(broker: str) -> None:
    """A slash at the end, and a path that is not clean, lead to the same place; other paths and methods nowhere."""

    def scenario(server: Running) -> None:
        for path in ("/api/v1/events/", "//api/v1/events", "/api/./v1//x/../events", "/api/v1/events?x=1"):
            response = request(server, "POST", path, b"{}", {"Content-Type": "application/json"})
            assert (response.status, response.said) == (200, success(""))
        for path in ("/ping/", "//ping"):
            assert request(server, "GET", path).body == b"pong"
        head = request(server, "HEAD", "/ping")
        assert (head.status, head.body) == (200, b"")
        missing = request(server, "GET", "/api/v1/event")
        assert (missing.status, missing.body) == (404, b"404 page not found\n")
        for method in ("PUT", "DELETE", "PATCH"):
            response = request(server, method, EVENTS)
            assert (response.status, response.body) == (405, b"")
            assert set(response.headers["Allow"].split(", ")) == {"GET", "POST"}

    async with serving(broker) as server:
        await in_thread(scenario, server)
