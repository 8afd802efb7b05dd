"""Section 6: gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from confluent_kafka import KafkaError

from tests.conformance.server import Farm, Server
from tests.conformance.test_s04_rest import TIGHT, fill
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Event, Said, said, success
from tests.integration.clients import TIMEOUT, call, call_with_bytes, channel

PACKAGES = pytest.mark.parametrize("package", ["raystack", "odpf"])


def one_call(server: Server, batch: Batch, package: str = "raystack") -> Said:
    with channel(server) as opened:
        return call(opened, batch, package)


def status_of(server: Server, path: str, message: bytes, **how: object) -> tuple[grpc.StatusCode, str]:
    """Of a call that fails."""
    with channel(server) as opened, pytest.raises(grpc.RpcError) as failed:
        opened.unary_unary(path)(message, timeout=TIMEOUT, **how)
    return failed.value.code(), failed.value.details()


SEND = "/raystack.raccoon.v1beta1.EventService/SendEvent"
ID = [("x-user-id", "1234")]


@PACKAGES
@pytest.mark.parametrize("ack", [0, 1])
def test_s06_success(farm: Farm, kafka: Kafka, package: str, ack: int) -> None:
    """A call under either package's path, in either mode."""
    two = Two()
    assert one_call(farm.get(EVENT_ACK=ack), two.batch, package) == success("1234")
    two.assert_produced(kafka)


def test_s06_id_absent(farm: Farm) -> None:
    """Without an id the call fails."""
    expected = grpc.StatusCode.INVALID_ARGUMENT, "connection id header missing"
    assert status_of(farm.get(), SEND, Two().batch.written("proto")) == expected


def test_s06_undecodable(farm: Farm) -> None:
    """What is no message is the library's error."""
    code, _ = status_of(farm.get(), SEND, b"\x01", metadata=ID)
    assert code is grpc.StatusCode.INTERNAL


@PACKAGES
def test_s06_publishing_failed(session_faults: Farm, package: str) -> None:
    """What Kafka does not take is said in the answer, with the reason; the call itself is well."""
    two = Two()
    assert session_faults.cluster is not None
    session_faults.cluster.topic_error(topic(two.second), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    content = one_call(session_faults.get(EVENT_ACK=1), two.batch, package)
    assert (content["status"], content["code"]) == (2, 3)
    assert content["reason"].startswith("cannot publish events: error when sending messages: event 1 ")
    assert content["data"]["req_guid"] == "1234"


@pytest.mark.parametrize("ack", [0, 1])
def test_s06_queue_full(faulty: Farm, ack: int) -> None:
    """When there is no room, that is said in the answer, too."""
    with faulty.own(EVENT_ACK=ack, **TIGHT) as server, channel(server) as opened:
        fill(server, faulty)
        waiting = [
            opened.unary_unary(SEND).future(Two().batch.written("proto"), timeout=TIMEOUT, metadata=ID)
            for _ in range(3)
        ]
        deadline = time.monotonic() + TIMEOUT
        # Those that wait may not have got there yet, and then this one is taken, or taken and given up.
        while not (content := call(opened, Two().batch)).get("reason", "").startswith("overloaded"):
            assert time.monotonic() < deadline, content
        for each in waiting:
            each.cancel()
    assert (content["status"], content["code"]) == (2, 3)
    assert content["data"]["retryable"] == "true"


def test_s06_size(farm: Farm) -> None:
    """A message of 4 MiB is taken; a larger one is refused by the library."""
    server = farm.get()
    padding = 4 * 1024 * 1024 - len(b"\x0a\x041234") - 6
    head = b"\x0a\x041234" + b"\xa2\x06"  # a guid, and field 100, which nobody knows
    body = head + bytes([padding & 127 | 128, padding >> 7 & 127 | 128, padding >> 14 & 127 | 128, padding >> 21])
    body += bytes(padding)
    assert len(body) == 4 * 1024 * 1024
    with channel(server) as opened:
        assert said(call_with_bytes(opened, body)) == success("1234")
    code, _ = status_of(server, SEND, body + b"\x08\x00", metadata=ID)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_s06_size_is_a_setting(farm: Farm) -> None:
    """The limit can be chosen."""
    code, _ = status_of(farm.get(SERVER_MAX_BODY_BYTES=1000), SEND, bytes(1001), metadata=ID)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_s06_compressed(farm: Farm, kafka: Kafka, algorithm: grpc.Compression) -> None:
    """A message may be compressed."""
    two = Two()
    with channel(farm.get(), algorithm) as opened:
        assert call(opened, two.batch) == success("1234")
    two.assert_produced(kafka)


def test_s06_compressed_too_large(farm: Farm) -> None:
    """The limit holds for what comes out."""
    with channel(farm.get(), grpc.Compression.Gzip) as opened, pytest.raises(grpc.RpcError) as failed:
        call_with_bytes(opened, bytes(5 * 1024 * 1024))
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "path",
    [
        "/raystack.raccoon.v1beta1.EventService/SendEvents",
        "/raystack.raccoon.v1.EventService/SendEvent",
        "/grpc.reflection.v1alpha.ServerReflection/Nothing",
        "/EventService/SendEvent",
    ],
)
def test_s06_unknown_method(farm: Farm, path: str) -> None:
    """There are no others."""
    code, _ = status_of(farm.get(), path, b"", metadata=ID)
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_s06_deadline_afterwards(faulty: Farm) -> None:
    """A call whose time is over after its batch was taken is published all the same."""
    assert faulty.cluster is not None
    kind = f"late-{word()}"
    with faulty.own(EVENT_ACK=1) as server, channel(server) as opened:
        fill(server, faulty, 1000)
        method = opened.unary_unary(SEND)
        late = method.future(Batch("late", Event(kind, b"late")).written("proto"), timeout=0.3, metadata=ID)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        faulty.cluster.set_rtt(0)
        with Kafka(faulty.bootstrap) as reader:
            assert reader.of(kind) == [b"late"]


# Health

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def about(service: str) -> bytes:
    """A ``HealthCheckRequest``."""
    return b"\x0a" + bytes([len(service)]) + service.encode() if service else b""


@pytest.mark.parametrize("service", ["", "raystack.raccoon.v1beta1.EventService", "odpf.raccoon.v1beta1.EventService"])
def test_s06_health(farm: Farm, service: str) -> None:
    """The standard health service says that it serves."""
    with channel(farm.get()) as opened:
        assert opened.unary_unary(CHECK)(about(service), timeout=TIMEOUT) == SERVING


def test_s06_health_unknown(farm: Farm) -> None:
    """An unknown service is not found."""
    code, _ = status_of(farm.get(), CHECK, about("nothing"))
    assert code is grpc.StatusCode.NOT_FOUND


def test_s06_health_watch(farm: Farm) -> None:
    """It can be watched."""
    with channel(farm.get()) as opened:
        stream = opened.unary_stream(WATCH)(about(""), timeout=TIMEOUT)
        assert next(iter(stream)) == SERVING
        stream.cancel()


# Reflection

LIST_SERVICES = b"\x3a\x00"


def reflected(server: Server, version: str) -> bytes:
    def asked() -> Iterator[bytes]:
        yield LIST_SERVICES

    with channel(server) as opened:
        method = opened.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        answer: bytes = next(iter(method(asked(), timeout=TIMEOUT)))
        return answer


def test_s06_reflection_off(farm: Farm) -> None:
    """Nobody may ask for the services unless that is switched on."""
    with pytest.raises(grpc.RpcError) as failed:
        reflected(farm.get(), "v1alpha")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_s06_reflection_on(farm: Farm) -> None:
    """If it is, it names them."""
    found = reflected(farm.get(SERVER_GRPC_REFLECTION="true"), "v1alpha")
    assert b"raystack.raccoon.v1beta1.EventService" in found
    assert b"grpc.health.v1.Health" in found


@pytest.mark.parametrize("kind", ["a/b", ""])
def test_s06_invalid_event(farm: Farm, kind: str) -> None:
    """An invalid event is said in the answer."""
    content = one_call(farm.get(), Batch("1234", Event("fine", b""), Event(kind, b"")))
    assert (content["status"], content["code"]) == (2, 2)
    assert content["data"]["failed"] == "1"


def test_s06_rate_limit(farm: Farm) -> None:
    """Who sends more than it may is told so in the answer."""
    server = farm.get(SERVER_RATE_LIMIT_EVENTS_PER_SECOND=2, SERVER_RATE_LIMIT_BURST=4)
    client = word()
    with channel(server) as opened:
        contents = [call(opened, Two().batch, client=client) for _ in range(3)]
    assert [content["code"] for content in contents] == [1, 1, 3]
    assert int(contents[-1]["data"]["retry_after_ms"]) > 0


def test_s06_many_at_once(farm: Farm) -> None:
    """Many calls are served over one connection."""
    with channel(farm.get(EVENT_ACK=1)) as opened:
        method = opened.unary_unary(SEND)
        body = Two().batch.written("proto")
        calls = [method.future(body, timeout=TIMEOUT, metadata=ID) for _ in range(100)]
        assert [said(each.result()) for each in calls] == [success("1234")] * 100
