"""The conformance vectors of contract section 19, by their numbers.

A request is written out as the contract has it, an answer is compared as a whole, and what was produced is read back
by a plain consumer. Vectors 26, 27 and 32 to 37 belong to features that are not there yet.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import grpc
import pytest
import pytest_twisted
from confluent_kafka import KafkaError
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.integration.batches import TWO_EVENTS, Batch, Encoding, Event, Said, success
from tests.integration.clients import (
    EVENTS,
    HOST,
    WAYS,
    Response,
    SilentEnd,
    ask,
    call,
    channel,
    closed,
    curl,
    frame,
    has_curl,
    next_said,
    post,
    request,
    sender,
    stay_silent,
    websocket,
)
from tests.integration.kafka_node import KafkaNode
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import Running, Topics, in_thread, process, serving

VECTOR_2 = (
    b'{"req_guid":"1234","sent_time":{"seconds":1,"nanos":2},"events":['
    b'{"event_bytes":"ZXZlbnRfMQ==","type":"type_a"},{"event_bytes":"ZXZlbnRfMg==","type":"type_b"}]}'
)
PRODUCED = {"type_a": [b"event_1"], "type_b": [b"event_2"]}
NOTHING = {"type_a": [], "type_b": []}

both_modes = pytest.mark.parametrize("ack", [0, 1], ids=["ack-0", "ack-1"])
both_encodings = pytest.mark.parametrize("encoding", ["json", "proto"])


async def exchange(broker: str, ack: int, ask_server: Callable[[Running], Response]) -> tuple[Response, dict]:
    """One request to a server of its own. :return: the response, and what stands in the topics in the end."""
    async with serving(broker, ack) as server:
        response = await in_thread(ask_server, server)
    return response, await in_thread(server.topics.read, *PRODUCED)


def assert_success(response: Response) -> None:
    assert response.status == 200
    assert response.said == success("1234")


@pytest_twisted.ensureDeferred
async def test_vector_01_ping(broker: str) -> None:
    """``/ping`` answers ``pong``."""
    async with serving(broker) as server:
        response = await in_thread(request, server, "GET", "/ping")
    assert (response.status, response.body) == (200, b"pong")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_02_json_by_rest(broker: str, ack: int) -> None:
    """Events posted as JSON stand in the topics of their types, byte for byte."""
    response, produced = await exchange(broker, ack, partial(post, body=VECTOR_2))
    assert_success(response)
    assert response.headers["Content-Type"] == "application/json"
    assert produced == PRODUCED


@pytest.mark.skipif(not has_curl(), reason="this machine has no curl")
@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_02_json_by_curl(broker: str, ack: int) -> None:
    """The same by curl."""
    options = ["--header", "Content-Type: application/json", "--data-binary", VECTOR_2.decode()]
    response, produced = await exchange(broker, ack, lambda server: curl(server, EVENTS, *options))
    assert_success(response)
    assert produced == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_03_charset(broker: str) -> None:
    """A content type may name UTF-8; the answer's does not repeat it."""
    body = partial(post, body=VECTOR_2, content_type="application/json; charset=utf-8")
    response, produced = await exchange(broker, 0, body)
    assert_success(response)
    assert response.headers["Content-Type"] == "application/json"
    assert produced == PRODUCED


async def assert_same(broker: str, **instead: str) -> None:
    """The batch of vector 2 arrives if it is written in another form."""
    body = VECTOR_2.decode()
    for old, new in instead.items():
        assert old in body
        body = body.replace(old, new)
    response, produced = await exchange(broker, 0, partial(post, body=body.encode()))
    assert_success(response)
    assert produced == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_04_camel_case(broker: str) -> None:
    """Names may be as the guide has them."""
    await assert_same(broker, event_bytes="eventBytes", req_guid="reqGuid", sent_time="sentTime")


@pytest_twisted.ensureDeferred
async def test_vector_05_integers(broker: str) -> None:
    """The bytes of an event may be an array, as the official JavaScript client sends them."""
    await assert_same(broker, **{'"ZXZlbnRfMQ=="': "[101,118,101,110,116,95,49]"})


@pytest_twisted.ensureDeferred
async def test_vector_06_rfc_3339(broker: str) -> None:
    """A time may be a text."""
    await assert_same(broker, **{'{"seconds":1,"nanos":2}': '"2021-11-29T03:08:47.376499Z"'})


@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_07_protobuf_by_rest(broker: str, ack: int) -> None:
    """Protobuf is answered in protobuf."""
    body = TWO_EVENTS.written("proto")
    response, produced = await exchange(broker, ack, partial(post, body=body, content_type="application/proto"))
    assert_success(response)
    assert response.headers["Content-Type"] == "application/proto"
    assert produced == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_08_no_content_type(broker: str) -> None:
    """Without a content type nothing is read, and the answer is JSON."""
    response, produced = await exchange(broker, 0, partial(post, body=b"", content_type=None))
    assert response.status == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.said == {"status": 2, "code": 2, "reason": "invalid content type"}
    assert produced == NOTHING


@pytest_twisted.ensureDeferred
async def test_vector_09_garbage(broker: str) -> None:
    """What does not decode is answered without ``data``."""
    response, produced = await exchange(broker, 0, partial(post, body=b"\x01"))
    assert response.status == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.said == {"status": 2, "code": 2, "reason": "deserialization failure"}
    assert produced == NOTHING


@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_10_empty_object(broker: str, ack: int) -> None:
    """An empty object is an empty batch: a success, in which ``data`` names the empty guid."""
    response, produced = await exchange(broker, ack, partial(post, body=b"{}"))
    assert response.status == 200
    assert response.said == success("")
    assert produced == NOTHING


@pytest_twisted.ensureDeferred
async def test_vector_11_null_event(broker: str) -> None:
    """``null`` is no event."""
    response, produced = await exchange(broker, 0, partial(post, body=b'{"req_guid":"x","events":[null]}'))
    assert response.status == 400
    assert response.said == {"status": 2, "code": 2, "reason": "deserialization failure"}
    assert produced == NOTHING


@pytest_twisted.ensureDeferred
async def test_vector_12_empty_protobuf(broker: str) -> None:
    """No bytes are an empty batch in protobuf."""
    response, produced = await exchange(broker, 0, partial(post, body=b"", content_type="application/proto"))
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/proto"
    assert response.said == success("")
    assert produced == NOTHING


@pytest_twisted.ensureDeferred
async def test_vector_13_gzip(broker: str) -> None:
    """A body may be compressed."""
    body = gzip.compress(VECTOR_2)
    response, produced = await exchange(broker, 0, partial(post, body=body, Content_Encoding="gzip"))
    assert_success(response)
    assert produced == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_14_too_large(broker: str) -> None:
    """A body of a byte more than 4 MiB is too large, and the answer names the limit."""
    body = VECTOR_2.ljust(4 * 1024 * 1024 + 1)
    response, produced = await exchange(broker, 0, partial(post, body=body))
    assert response.status == 413
    reason = "too large: a body may have at most 4194304 bytes"
    assert response.said == {"status": 2, "code": 2, "reason": reason}
    assert produced == NOTHING


@pytest_twisted.ensureDeferred
async def test_vector_14_just_not_too_large(broker: str) -> None:
    """A body of 4 MiB is not too large."""
    response, produced = await exchange(broker, 0, partial(post, body=VECTOR_2.ljust(4 * 1024 * 1024)))
    assert_success(response)
    assert produced == PRODUCED


#: Makes a topic that Kafka takes no event for. :return: what Kafka says of such an event.
Forbid = Callable[[str], str]


@pytest.fixture
def forbid(request: pytest.FixtureRequest, broker: str) -> Forbid:
    if request.config.getoption("--broker") == "kafka":
        node: KafkaNode = request.getfixturevalue("kafka_node")

        def too_small(topic: str) -> str:
            node.create_topic(topic, {"max.message.bytes": "10"})
            return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE).str()

        return too_small

    cluster: MockCluster = request.getfixturevalue("mock_cluster")

    def without_permission(topic: str) -> str:
        cluster.topic_error(topic, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED).str()

    return without_permission


def one_failed(index: int, kind: str, complaint: str) -> Said:
    """What is said of two events of which one did not get into its topic."""
    data = {"req_guid": "1234", "failed": str(index), "failed_count": "1", "event_count": "2", "retryable": "false"}
    reason = f"cannot publish events: error when sending messages: event {index} ({kind}): {complaint}"
    return {"status": 2, "code": 3, "reason": reason, "data": data}


@pytest.mark.parametrize("content_type", ["application/json", "application/proto"])
@pytest_twisted.ensureDeferred
async def test_vector_15_broker_rejects(broker: str, forbid: Forbid, content_type: str) -> None:
    """The answer says which event Kafka rejected, and the other one is in its topic."""
    topics = Topics(broker)
    complaint = await in_thread(forbid, topics.topic("type_b"))
    body = VECTOR_2 if content_type == "application/json" else TWO_EVENTS.written("proto")
    async with serving(broker, 1, topics=topics) as server:
        response = await in_thread(post, server, body, content_type)
    assert response.status == 500
    assert response.said == one_failed(1, "type_b", complaint)
    assert await in_thread(topics.read, "type_a") == {"type_a": [b"event_1"]}


def assert_overloaded(content: Said) -> None:
    retry_after = content["data"].pop("retry_after_ms")
    assert int(retry_after) >= 1000
    assert content.pop("reason").startswith("overloaded")
    assert content == {"status": 2, "code": 3, "data": {"req_guid": "1234", "retryable": "true"}}


def overfill(server: Running, take_away: Callable[[], None]) -> Said:
    """Let Kafka take nothing any more, fill the producer by one batch, and have others refused, on every way in.

    :return: what is said to the one batch.
    """
    assert post(server, Batch("before", Event("other", b"")).written("json")).said == success("before")
    server.topics.wait_for(1, "other")
    take_away()
    with websocket(server, "first") as first:
        first.send(VECTOR_2.decode())
        assert first.ping().wait(10)  # so it has been read
        response = post(server, VECTOR_2)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert_overloaded(response.said)
        for way in WAYS:
            with sender(server, way) as send:
                assert_overloaded(send(TWO_EVENTS))
        return next_said(first, str)


#: Two events fill the producer, and one more batch the buffer.
TIGHT = {
    "publisher.kafka.client.queue.buffering.max.messages": 2,
    "worker.buffer.channel.size": 1,
    "server.enqueue.timeout.ms": 100,
    "publisher.publish.timeout.ms": 1000,
    "publisher.kafka.flush.interval.ms": 1,
}


@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_16_queue_full(ack: int) -> None:
    """While Kafka takes nothing and no room is left, batches are turned away on every way in, and told to come
    back."""
    with MockCluster() as cluster:
        async with serving(cluster.bootstrap, ack, TIGHT) as server:
            content = await in_thread(overfill, server, lambda: cluster.set_rtt(60_000))
    if ack:
        assert (content["status"], content["code"], content["data"]["req_guid"]) == (2, 3, "1234")
    else:
        assert content == success("1234")


@pytest_twisted.ensureDeferred
async def test_vector_16_queue_full_without_kafka(kafka_node: KafkaNode) -> None:
    """The same with a Kafka that was stopped, in mode 0; in mode 1 nothing is taken then at all."""
    async with serving(kafka_node.bootstrap, 0, TIGHT) as server:
        try:
            assert await in_thread(overfill, server, kafka_node.stop) == success("1234")
        finally:
            await in_thread(kafka_node.start)


async def assert_unread(broker: str, garbage: bytes | str) -> None:
    """A frame that does not decode is answered in its own type, and the connection stays."""

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as connection:
            content = ask(connection, garbage)
            assert content.pop("reason").startswith("cannot deserialize request: ")
            assert content == {"status": 2, "code": 2, "data": {"req_guid": ""}}
            assert ask(connection, VECTOR_2.decode()) == success("1234")

    async with serving(broker) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, *PRODUCED) == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_17_garbage_in_binary(broker: str) -> None:
    """A binary frame that is not protobuf is answered in protobuf."""
    await assert_unread(broker, b"\x01")


@pytest_twisted.ensureDeferred
async def test_vector_18_empty_text(broker: str) -> None:
    """An empty text frame is not JSON, and answered in JSON."""
    await assert_unread(broker, "")


@both_encodings
@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_19_websocket(broker: str, ack: int, encoding: Encoding) -> None:
    """A frame is answered in its own type."""

    def scenario(server: Running) -> Said:
        with websocket(server, "1234") as connection:
            return ask(connection, VECTOR_2.decode() if encoding == "json" else TWO_EVENTS.written("proto"))

    async with serving(broker, ack) as server:
        assert await in_thread(scenario, server) == success("1234")
    assert await in_thread(server.topics.read, *PRODUCED) == PRODUCED


def assert_refused(opening: AbstractContextManager[ClientConnection], refusal: Said, text: str) -> None:
    """One binary frame and a close frame."""
    with opening as connection:
        assert next_said(connection, bytes) == refusal
        assert closed(connection) == (1008, text)


@pytest_twisted.ensureDeferred
async def test_vector_20_duplicate(broker: str) -> None:
    """A second connection with the same id and group is refused; the first one goes on, and another one may follow
    it."""
    refusal = {"status": 2, "code": 5, "reason": "duplicated connection: [--default--] 1234,"}

    def scenario(server: Running) -> None:
        with websocket(server, "1234") as first:
            assert_refused(websocket(server, "1234"), refusal, "duplicate connection: 1234")
            assert ask(first, VECTOR_2.decode()) == success("1234")
        with websocket(server, "1234") as next_one:
            assert ask(next_one, b"") == success("")

    async with serving(broker) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, *PRODUCED) == PRODUCED


@pytest_twisted.ensureDeferred
async def test_vector_21_same_id_in_another_group(broker: str) -> None:
    """The same id in another group is somebody else."""

    def scenario(server: Running) -> None:
        refusal = {"status": 2, "code": 5, "reason": "duplicated connection: [group-2] 1234,"}
        with ExitStack() as stack:
            for group in (None, "group-1", "group-2"):
                connection = stack.enter_context(websocket(server, "1234", group))
                assert ask(connection, b"") == success("")
            assert_refused(websocket(server, "1234", "group-2"), refusal, "duplicate connection: 1234")

    async with serving(broker) as server:
        await in_thread(scenario, server)


@pytest_twisted.ensureDeferred
async def test_vector_22_full_table(broker: str) -> None:
    """When as many connections are open as may be, the next one is refused; REST and gRPC are not counted."""
    refusal = {"status": 2, "code": 4, "reason": "max connection reached"}

    def scenario(server: Running) -> None:
        with websocket(server, "1"), websocket(server) as second:
            assert_refused(websocket(server, "3"), refusal, "Max connection reached")
            assert_refused(websocket(server), refusal, "Max connection reached")
            assert ask(second, b"") == success("")
            assert post(server, b"{}").said == success("")
            with channel(server) as opened:
                assert call(opened, Batch("")) == success("")

    async with serving(broker, settings={"server.websocket.max.conn": 2}) as server:
        await in_thread(scenario, server)


@pytest_twisted.ensureDeferred
async def test_vector_23_without_id(broker: str) -> None:
    """Clients without an id are nobody's duplicate."""

    def scenario(server: Running) -> None:
        with websocket(server) as first, websocket(server) as second, websocket(server, ""):
            for connection in (first, second):
                assert ask(connection, VECTOR_2.decode()) == success("1234")

    async with serving(broker) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, *PRODUCED) == {"type_a": [b"event_1"] * 2, "type_b": [b"event_2"] * 2}


@pytest_twisted.ensureDeferred
async def test_vector_24_silent(broker: str) -> None:
    """Who never answers a ping is closed within the pong wait and one ping interval; who does, stays."""

    def scenario(server: Running) -> SilentEnd:
        with websocket(server, "lively") as lively:
            end = stay_silent(server, "silent")
            assert ask(lively, b"") == success("")
        return end

    intervals = {"server.websocket.ping.interval.ms": 200, "server.websocket.pong.wait.interval.ms": 500}
    async with serving(broker, settings=intervals) as server:
        end = await in_thread(scenario, server)
    assert end.code == 1001
    assert 0.4 < end.after < 0.7 + 0.3  # for a busy machine
    assert end.pings
    assert set(end.pings) == {b"--ping--"}


@pytest_twisted.ensureDeferred
async def test_vector_25_origin(broker: str) -> None:
    """A page of another site cannot open a WebSocket, unless origins are not looked at; a page of ours can."""

    def scenario(server: Running, evil_is_welcome: bool) -> None:
        with websocket(server, Origin=f"http://{HOST}:{server.http}"):
            pass
        evil = websocket(server, Origin="http://evil.example")
        if evil_is_welcome:
            with evil:
                return
        with pytest.raises(InvalidStatus) as refused, evil:
            pass
        assert refused.value.response.status_code == 403
        assert refused.value.response.headers["Sec-Websocket-Version"] == "13"

    async with serving(broker) as server:
        await in_thread(scenario, server, False)
    async with serving(broker, settings={"server.websocket.check.origin": "false"}) as server:
        await in_thread(scenario, server, True)


async def exchange_by_grpc(broker: str, ack: int, package: str) -> tuple[Said, dict]:
    def scenario(server: Running) -> Said:
        with channel(server) as opened:
            return call(opened, TWO_EVENTS, package)

    async with serving(broker, ack) as server:
        content = await in_thread(scenario, server)
    return content, await in_thread(server.topics.read, *PRODUCED)


@both_modes
@pytest_twisted.ensureDeferred
async def test_vector_28_grpc(broker: str, ack: int) -> None:
    """A generated stub gets its events into the topics."""
    assert await exchange_by_grpc(broker, ack, "raystack") == (success("1234"), PRODUCED)


@pytest_twisted.ensureDeferred
async def test_vector_29_grpc_without_id(broker: str) -> None:
    """Without id the call fails, and nothing is produced; an empty id is one."""

    def scenario(server: Running) -> None:
        with channel(server) as opened:
            with pytest.raises(grpc.RpcError) as failed:
                call(opened, TWO_EVENTS, client=None)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert failed.value.details() == "connection id header missing"
            assert call(opened, Batch("empty id", Event("type_a", b"x")), client="") == success("empty id")

    async with serving(broker) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, *PRODUCED) == {"type_a": [b"x"], "type_b": []}


@pytest_twisted.ensureDeferred
async def test_vector_30_older_package(broker: str) -> None:
    """The stub of the older package works as well."""
    assert await exchange_by_grpc(broker, 0, "odpf") == (success("1234"), PRODUCED)


@pytest_twisted.ensureDeferred
async def test_vector_31_grpc_broker_rejects(broker: str, forbid: Forbid) -> None:
    """That Kafka rejected an event is said in the answer; the call itself is well."""
    topics = Topics(broker)
    complaint = await in_thread(forbid, topics.topic("type_a"))

    def scenario(server: Running) -> Said:
        with channel(server) as opened:
            return call(opened, TWO_EVENTS)

    async with serving(broker, 1, topics=topics) as server:
        assert await in_thread(scenario, server) == one_failed(0, "type_a", complaint)
    assert await in_thread(topics.read, "type_b") == {"type_b": [b"event_2"]}


@pytest.mark.parametrize("path", [EVENTS, "/ping"])
@pytest_twisted.ensureDeferred
async def test_vector_38_options(broker: str, path: str) -> None:
    """Without CORS there is no OPTIONS, and the answer says what there is."""
    async with serving(broker) as server:
        response = await in_thread(request, server, "OPTIONS", path)
    assert (response.status, response.body) == (405, b"")
    assert "GET" in response.headers["Allow"]
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]


@pytest_twisted.ensureDeferred
async def test_vector_39_no_upgrade(broker: str) -> None:
    """A plain GET of the WebSocket's address is told what is missing."""
    async with serving(broker) as server:
        response = await in_thread(request, server, "GET", EVENTS)
    assert response.status == 400
    assert response.headers["Sec-Websocket-Version"] == "13"
    assert response.body.startswith(b"Bad Request")


@both_encodings
def test_vector_40_sigterm(broker: str, encoding: Encoding) -> None:
    """At SIGTERM a batch that was received is answered, when Kafka has it; then every WebSocket is closed with 1001,
    and the status is 0."""
    slow = {"publisher.kafka.client.linger.ms": 300, "server.drain.window.ms": 100}
    with (
        process(Topics(broker), 1, slow) as server,
        websocket(server, "idle") as idle,
        websocket(server, "1234") as publishing,
    ):
        publishing.send(frame(TWO_EVENTS, encoding))
        assert publishing.ping().wait(10)  # so it has been read
        before = time.monotonic()
        server.signal()
        assert next_said(publishing, str if encoding == "json" else bytes) == success("1234")
        assert time.monotonic() - before > 0.1  # it was still on its way
        for connection in (idle, publishing):
            assert closed(connection) == (1001, "server shutting down")
        assert server.wait() == 0
    assert server.topics.read(*PRODUCED) == PRODUCED
