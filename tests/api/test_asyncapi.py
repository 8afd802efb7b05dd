"""docs/api/asyncapi.yaml is valid, and it is true: clients and a real server do what it says."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from documents import ASYNCAPI, OPENAPI, assert_matches, comparable, fields, load, resolve
from situations import QUICK, connected, server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from tests.integration.clients import EVENTS, HOST, ID_HEADER, TIMEOUT
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import PATIENCE, Process, Topics, process

#: See tests/conftest.py: real sockets and processes.
pytestmark = pytest.mark.flaky(reruns=1)

DOCUMENT = load(ASYNCAPI)
MESSAGES = DOCUMENT["components"]["messages"]
CHANNEL = DOCUMENT["channels"]["events"]

#: The parser of those who make AsyncAPI. In later ones other things may be wrong.
PARSER = "3.6.3"
PARSE = """
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";
const found = await new Parser().validate(readFileSync(process.argv[2], "utf8"));
for (const each of found.filter((each) => each.severity < 2)) console.log(each.path.join("."), each.message);
"""


def parser() -> Path:
    """The folder that it is in, fetched the first time."""
    caches = Path(os.environ.get("RACCOON_KAFKA_CACHE") or Path.home() / ".cache" / "raccoon_tx").absolute()
    cache = caches / f"asyncapi-parser-{PARSER}"
    if not cache.is_dir():
        caches.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=caches, prefix=f".{cache.name}-") as work:
            made = Path(work, "parser")
            made.mkdir()
            (made / "parse.mjs").write_text(PARSE)
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(made)]
            ran = subprocess.run(
                ["npm", "install", *options, f"@asyncapi/parser@{PARSER}"],
                capture_output=True,
                text=True,
                timeout=10 * PATIENCE,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            try:
                made.rename(cache)
            except OSError:
                assert cache.is_dir()  # another process was faster, and what it brought is the same
    return cache


@pytest.mark.skipif(not (shutil.which("npm") and shutil.which("node")), reason="this machine has no Node.js")
def test_valid() -> None:
    """It is AsyncAPI 3, say those who make it."""
    assert DOCUMENT["asyncapi"].startswith("3.")
    command = ["node", str(parser() / "parse.mjs"), str(ASYNCAPI)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


def test_references() -> None:
    """Whatever is referred to is there."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for each in node.values():
                yield from walk(each)
        elif isinstance(node, list):
            for each in node:
                yield from walk(each)

    references = set(walk(DOCUMENT))
    assert len(references) > 15
    for reference in references:
        assert resolve(DOCUMENT, {"$ref": reference}) is not None
    assert {reference.rpartition("/")[2] for reference in references} >= set(MESSAGES)


def test_same_messages() -> None:
    """A batch and its answer are what they are over HTTP."""
    here, there = DOCUMENT["components"]["schemas"], load(OPENAPI)["components"]["schemas"]
    shared = set(here) - {"Refusal"}
    assert shared == {"SendEventRequest", "Event", "Bytes", "Time", "SendEventResponse", "Data"}
    assert {name: here[name] for name in shared} == {name: there[name] for name in shared}


def example(message: str, name: str) -> Any:
    """The payload of an example; of a binary one, its bytes."""
    [payload] = [each["payload"] for each in MESSAGES[message]["examples"] if each["name"] == name]
    return base64.b64decode(payload) if message.endswith("Binary") else payload


def names(message: str) -> set[str]:
    """Of all examples of a message."""
    return {each["name"] for each in MESSAGES[message]["examples"]}


def dial(running: Process, client: str | None = "phone-1", **options: Any) -> ClientConnection:
    """Open a WebSocket. It knows nothing of proxies, and does not hold back pongs."""
    headers = {ID_HEADER: client} if client is not None else {}
    return connect(
        f"ws://{HOST}:{running.http}{EVENTS}",
        sock=socket.create_connection((HOST, running.http), TIMEOUT),
        additional_headers=headers,
        open_timeout=TIMEOUT,
        close_timeout=TIMEOUT,
        max_size=None,
        **options,
    )


def received(opened: ClientConnection) -> Any:
    """The next answer, from either kind of frame."""
    frame = opened.recv(timeout=TIMEOUT)
    return json.loads(frame) if isinstance(frame, str) else fields(frame)


def asked(opened: ClientConnection, message: object) -> Any:
    """What is answered to a message: bytes, text, or what is written as JSON."""
    opened.send(message if isinstance(message, (bytes, str)) else json.dumps(message))
    frame = opened.recv(timeout=TIMEOUT)
    assert isinstance(frame, bytes) == isinstance(message, bytes)
    return json.loads(frame) if isinstance(frame, str) else fields(frame)


@pytest.fixture(scope="module")
def running() -> Iterator[Process]:
    with server() as made:
        yield made


@pytest.mark.parametrize("name", sorted(names("BatchText")))
def test_batch(running: Process, name: str) -> None:
    """An example of a batch is right, and is answered by the example of an answer of that name."""
    batch, answer = example("BatchText", name), example("AnswerText", name)
    assert_matches(DOCUMENT, MESSAGES["BatchText"]["payload"], batch)
    with dial(running) as opened:
        assert comparable(asked(opened, batch)) == comparable(answer)


@pytest.mark.parametrize("name", sorted(names("BatchBinary")))
def test_binary_batch(running: Process, name: str) -> None:
    """Likewise in protobuf."""
    batch, answer = example("BatchBinary", name), fields(example("AnswerBinary", name))
    assert SendEventRequest.FromString(batch).events
    with dial(running) as opened:
        assert comparable(asked(opened, batch)) == comparable(answer)


@contextmanager
def with_kafka(settings: dict[str, object]) -> Iterator[tuple[Process, MockCluster, ClientConnection]]:
    """A server whose Kafka can be told to fail, and a client of it."""
    with MockCluster() as cluster, process(Topics(cluster.bootstrap), 1, settings) as made:
        connected(made)
        with dial(made) as opened:
            yield made, cluster, opened


BATCH = example("BatchText", "batch")


def not_decoded(running: Process) -> Any:
    with dial(running) as opened:
        return asked(opened, '{"req_guid":"1234","events":7}')


def illegal_type(running: Process) -> Any:
    with dial(running) as opened:
        return asked(opened, {"req_guid": "1234", "events": [{"type": "page"}, {"type": "no topic"}]})


def too_large(running: Process) -> Any:
    with dial(running) as opened:
        answer = asked(opened, " " * 4194305)
        with pytest.raises(ConnectionClosed) as closed:
            opened.recv(timeout=TIMEOUT)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    return answer


def too_many_unanswered(_running: Process) -> Any:
    with with_kafka({**QUICK, "server.websocket.max_in_flight": 1}) as (_, cluster, opened):
        cluster.set_rtt(60_000)
        opened.send(json.dumps({"req_guid": "before", "events": [{"type": "page"}]}))
        return asked(opened, BATCH)


def unavailable(_running: Process) -> Any:
    with with_kafka({**QUICK, "publisher.publish.timeout.ms": 300}) as (_, cluster, opened):
        cluster.broker_down(1)
        deadline = time.monotonic() + TIMEOUT
        while "not confirmed in time" in (answer := asked(opened, BATCH))["reason"]:
            assert time.monotonic() < deadline
        return answer


def not_delivered(_running: Process) -> Any:
    settings = {**QUICK, "publisher.kafka.client.topic.metadata.propagation.max.ms": 100}
    with with_kafka(settings) as (made, cluster, opened):
        cluster.topic_error(made.topics.topic("order"), KafkaError.UNKNOWN_TOPIC_OR_PART)
        return asked(opened, BATCH)


ANSWERS: dict[str, Callable[[Process], Any]] = {
    "notDecoded": not_decoded,
    "illegalType": illegal_type,
    "tooLarge": too_large,
    "tooManyUnanswered": too_many_unanswered,
    "unavailable": unavailable,
    "notDelivered": not_delivered,
}


@pytest.mark.parametrize("name", sorted(names("AnswerText") - names("BatchText")))
def test_answer(running: Process, name: str) -> None:
    """In this situation a server says just this."""
    found, said = ANSWERS[name](running), example("AnswerText", name)
    for answer in (found, said):
        assert_matches(DOCUMENT, MESSAGES["AnswerText"]["payload"], answer)
    assert comparable(found) == comparable(said)


def closed_by(opened: ClientConnection) -> tuple[int, str]:
    """Code and reason of the close frame that comes, whatever comes before it."""
    try:
        while True:
            opened.recv(timeout=TIMEOUT)
    except ConnectionClosed as closed:
        frame = closed.rcvd
    assert frame is not None
    return frame.code, frame.reason


def refusal(opened: ClientConnection, name: str, binary: bool) -> tuple[int, str]:
    """Check that the connection is refused as in the example, and how it is closed."""
    frame = opened.recv(timeout=TIMEOUT)
    assert isinstance(frame, bytes) == binary
    found = json.loads(frame) if isinstance(frame, str) else fields(frame)
    assert_matches(DOCUMENT, MESSAGES["RefusalText"]["payload"], found)
    assert {**found, "sent_time": 0} == {**example("RefusalText", name), "sent_time": 0}
    if name in names("RefusalBinary"):
        assert {**fields(example("RefusalBinary", name)), "sent_time": 0} == {**found, "sent_time": 0}
    return closed_by(opened)


OFFERS = [[], ["raccoon.json.v1"], ["raccoon.proto.v1"]]


@pytest.mark.parametrize("offered", OFFERS, ids=["none", "json", "proto"])
def test_duplicate(running: Process, offered: Any) -> None:
    """The id is connected: the client is told in the encoding that it has offered."""
    with dial(running) as first:
        assert asked(first, {})["code"] == 1
        with dial(running, subprotocols=offered or None) as second:
            assert second.subprotocol == (offered[0] if offered else None)
            closed = refusal(second, "duplicate", offered != ["raccoon.json.v1"])
    assert closed == (1008, "duplicate connection: phone-1")
    assert list(closed) in [[each["code"], each.get("reason")] for each in CHANNEL["x-close-codes"]]


@pytest.mark.parametrize("offered", OFFERS, ids=["none", "json", "proto"])
def test_full(offered: Any) -> None:
    """There is no room for another connection."""
    with server(server__websocket__max_conn=1) as full, dial(full) as first:
        assert asked(first, {})["code"] == 1
        with dial(full, "phone-2", subprotocols=offered or None) as second:
            closed = refusal(second, "full", offered != ["raccoon.json.v1"])
    assert closed == (1008, "Max connection reached")


def test_identity_in_subprotocols(running: Process) -> None:
    """A page can say who it is; a header of the same client is the same client."""
    word = base64.urlsafe_b64encode(b"phone-1").decode().rstrip("=")
    offered = ["raccoon.json.v1", f"raccoon.id.{word}"]
    headers = CHANNEL["bindings"]["ws"]["headers"]["properties"]
    assert headers["Sec-WebSocket-Protocol"]["examples"] == [", ".join(offered)]
    with dial(running) as first:
        assert asked(first, {})["code"] == 1
        with dial(running, None, subprotocols=offered) as second:
            assert second.subprotocol == "raccoon.json.v1"
            refusal(second, "duplicate", binary=False)


def ended(opened: ClientConnection) -> tuple[int, str]:
    opened.close()
    assert opened.protocol.close_rcvd is not None
    return opened.protocol.close_rcvd.code, opened.protocol.close_rcvd.reason


def raw_frame(running: Process, frame: bytes) -> tuple[int, str]:
    """How a connection is closed on which these bytes come."""
    with dial(running) as opened:
        opened.socket.sendall(frame)
        return closed_by(opened)


def close_codes(running: Process) -> Iterator[tuple[int, str | None]]:
    """Those of the table that one client can bring about, and what a server of its own says."""
    with dial(running) as opened:
        yield ended(opened)
    # A masked text frame of one byte that is no UTF-8; and one with a reserved bit.
    yield raw_frame(running, b"\x81\x81\0\0\0\0\xff")[0], None
    yield raw_frame(running, b"\xc1\x81\0\0\0\0x")[0], None
    with dial(running) as opened:
        opened.send(" " * 4194305)
        yield closed_by(opened)
    with server() as stops, dial(stops) as opened:
        assert asked(opened, {})["code"] == 1
        stops.signal()
        yield closed_by(opened)
    with server(server__websocket__duplicate_policy="replace") as replaces, dial(replaces) as opened:
        assert asked(opened, {})["code"] == 1
        with dial(replaces) as second:
            assert asked(second, {})["code"] == 1
            yield closed_by(opened)
    patience = {"server__websocket__pong_wait_interval_ms": 300, "server__websocket__ping_interval_ms": 400}
    with server(**patience) as impatient, dial(impatient, ping_interval=None) as opened:
        yield closed_by(opened)


def test_close_codes(running: Process) -> None:
    """The table of close codes has all that there are, with the words in which they come. Those of refused connections
    are tested above; what remains would take a mistake of the server's, or several workers."""
    table = {(each["code"], each.get("reason")) for each in CHANNEL["x-close-codes"]}
    refused = {(1008, "duplicate connection: phone-1"), (1008, "Max connection reached")}
    found = set(close_codes(running))
    assert found | refused | {(1011, "internal error"), (1013, "try again later")} == table
