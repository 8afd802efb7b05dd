"""What gRPC has beside its one call: health, reflection, compression, deadlines, TLS. Contract section 6."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_twisted
from attrs import evolve
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import DESCRIPTOR
from raccoon_tx.settings import TlsSettings
from raccoon_tx.transports.grpc_reflection import NAMES, ReflectionMissing, reflection_handlers
from tests.certificates import Authority, Pair
from tests.integration.batches import TWO_EVENTS, Batch, Event, success
from tests.integration.clients import HOST, ID_HEADER, TIMEOUT, call, call_with_bytes, channel
from tests.integration.load import eventually
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import Running, in_thread, serving

OURS = "raystack.raccoon.v1beta1.EventService"
LIMIT = {"server.max.body.bytes": 10_000}
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def check(opened: grpc.Channel, service: str = "") -> int:
    """What the health service says."""
    stub = health_pb2_grpc.HealthStub(opened)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status)


@pytest_twisted.ensureDeferred
async def test_health(broker: str) -> None:
    """The server, and the service by either name, can be asked whether they serve; others are not found."""
    async with serving(broker) as server:

        def ask() -> None:
            with channel(server) as opened:
                for service in "", OURS, OURS.replace("raystack", "odpf"):
                    eventually(lambda service=service: check(opened, service) == SERVING)
                with pytest.raises(grpc.RpcError) as failed:
                    check(opened, "other")
                assert failed.value.code() is grpc.StatusCode.NOT_FOUND

        await in_thread(ask)


@pytest_twisted.ensureDeferred
async def test_health_without_kafka() -> None:
    """Who watches hears within seconds that Kafka has gone, and that it is back; those who send need not wait."""
    with MockCluster() as cluster:
        async with serving(cluster.bootstrap) as server:

            def watch() -> None:
                with channel(server) as opened:
                    stub = health_pb2_grpc.HealthStub(opened)
                    eventually(lambda: check(opened) == SERVING)
                    states = stub.Watch(health_pb2.HealthCheckRequest(service=OURS), timeout=60)
                    assert next(states).status == SERVING
                    cluster.broker_down(1)
                    assert next(states).status == NOT_SERVING
                    assert check(opened) == NOT_SERVING
                    cluster.broker_up(1)
                    assert next(states).status == SERVING
                    states.cancel()

            await in_thread(watch)


@pytest_twisted.ensureDeferred
async def test_health_at_the_stop(broker: str) -> None:
    """From the beginning of the stop the server says that it does not serve, and who watches does not hold it up; it
    takes what comes while the drain delay lasts."""
    async with serving(broker, ack=1, settings={"server.drain.delay.ms": 1500}) as server:
        with channel(server) as opened:
            states = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)

            def until_serving() -> None:
                for state in states:
                    if state.status == SERVING:
                        return

            await in_thread(until_serving)
            start = time.monotonic()
            stopping = server.stop()

            def rest() -> tuple[list[int], dict[str, Any]]:
                last = [next(states).status]
                asked = check(opened)
                return [*last, asked, *(state.status for state in states)], call(opened, TWO_EVENTS)

            told = in_thread(rest)
            await stopping
            assert await told == ([NOT_SERVING, NOT_SERVING], success("1234"))
            assert 1.4 < time.monotonic() - start < 4.5


def first(call: Any) -> grpc.StatusCode | None:
    """Wait for the first message of a stream. :return: the error status that came instead."""
    try:
        next(call)
    except grpc.RpcError:
        code: grpc.StatusCode = call.code()
        return code
    return None


@pytest_twisted.ensureDeferred
async def test_many_watchers(broker: str) -> None:
    """Those who watch, also if they read nothing, keep nobody from sending and nobody from asking."""
    async with serving(broker, settings={"server.grpc.threads": 2}) as server:

        def crowd() -> None:
            with channel(server) as opened:
                stub = health_pb2_grpc.HealthStub(opened)
                calls = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT) for _ in range(20)]
                assert Counter(map(first, calls)) == {None: 16, grpc.StatusCode.RESOURCE_EXHAUSTED: 4}
                assert call(opened, TWO_EVENTS) == success("1234")
                check(opened)
                for each in calls:
                    each.cancel()

        await in_thread(crowd)


@pytest_twisted.ensureDeferred
async def test_reflection(broker: str) -> None:
    """With reflection on, a client finds the services and their messages, dependencies included."""
    async with serving(broker, settings={"server.grpc.reflection": "true"}) as server:

        def look() -> None:
            with channel(server) as opened:
                database = ProtoReflectionDescriptorDatabase(opened)
                assert sorted(database.get_services()) == sorted([OURS, "grpc.health.v1.Health", *NAMES])
                found = database.FindFileContainingSymbol(OURS)
                assert found.SerializeToString() == DESCRIPTOR.serialized_pb
                assert database.FindFileByName("google/protobuf/timestamp.proto").package == "google.protobuf"
                assert database.FindFileContainingSymbol("grpc.health.v1.Health").package == "grpc.health.v1"

        await in_thread(look)


@pytest_twisted.ensureDeferred
async def test_no_reflection(broker: str) -> None:
    """It is off by default."""
    async with serving(broker) as server:

        def look() -> None:
            with channel(server) as opened, pytest.raises(grpc.RpcError) as failed:
                ProtoReflectionDescriptorDatabase(opened).get_services()
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED

        await in_thread(look)


def test_reflection_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package, the setting and the package are named."""
    monkeypatch.setitem(sys.modules, "grpc_reflection.v1alpha", None)
    with pytest.raises(ReflectionMissing, match=r"SERVER_GRPC_REFLECTION .* grpcio-reflection: pip install"):
        reflection_handlers([DESCRIPTOR])


@pytest_twisted.ensureDeferred
async def test_compressed(broker: str) -> None:
    """Messages may be compressed, by gzip or deflate."""
    async with serving(broker, ack=1) as server:

        def send() -> None:
            for way in grpc.Compression.Gzip, grpc.Compression.Deflate:
                with channel(server, way) as opened:
                    batch = Batch(f"{way}", Event("squeezed", b"x" * 100_000))
                    assert call(opened, batch) == success(f"{way}")

        await in_thread(send)
        values = await in_thread(server.topics.read, "squeezed")
        assert values["squeezed"] == [b"x" * 100_000] * 2


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest_twisted.ensureDeferred
async def test_limit(broker: str, compression: grpc.Compression) -> None:
    """The limit is for what comes out of the compression, to the byte."""
    async with serving(broker, ack=1, settings=LIMIT) as server:

        def send() -> None:
            empty = len(Batch("1", Event("large", b"x" * 9000)).written("proto")) - 9000
            with channel(server, compression) as opened:
                fits = Batch("1", Event("large", b"x" * (10_000 - empty)))
                assert len(fits.written("proto")) == 10_000
                assert call_with_bytes(opened, fits.written("proto"))
                for size in 10_001, 5_000_000:
                    with pytest.raises(grpc.RpcError) as failed:
                        call_with_bytes(opened, Batch("1", Event("large", b"x" * (size - empty))).written("proto"))
                    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert call(opened, TWO_EVENTS) == success("1234")

        await in_thread(send)
        values = await in_thread(server.topics.read, "large")
        assert len(values["large"]) == 1


@pytest_twisted.ensureDeferred
async def test_deadline(broker: str) -> None:
    """A call whose deadline passes while the server is busy is not published; the next one is."""
    from twisted.internet import reactor as running

    reactor: Any = running
    async with serving(broker) as server:

        def send() -> None:
            with channel(server) as opened:
                call(opened, Batch("0", Event("early", b"x")))
                reactor.callFromThread(time.sleep, 1.0)
                time.sleep(0.2)
                method = opened.unary_unary(f"/{OURS}/SendEvent")
                late = Batch("1", Event("late", b"x")).written("proto")
                with pytest.raises(grpc.RpcError) as failed:
                    method(late, timeout=0.3, metadata=[(ID_HEADER.lower(), "1234")])
                assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert call(opened, Batch("2", Event("early", b"y"))) == success("2")

        await in_thread(send)
        await server.stop()
        found = await in_thread(server.topics.read, "early", "late")
        assert {kind: sorted(values) for kind, values in found.items()} == {"early": [b"x", b"y"], "late": []}


@pytest_twisted.ensureDeferred
async def test_overload(broker: str) -> None:
    """When there is no room, the call succeeds and the answer says so: an error status would crash one client."""
    settings = {
        "publisher.kafka.client.queue.buffering.max.messages": 1,
        "publisher.kafka.client.linger.ms": 1000,
        "server.enqueue.timeout.ms": 100,
    }
    async with serving(broker, settings=settings) as server:

        def send() -> None:
            with channel(server) as opened:
                assert call(opened, Batch("1", Event("many", b"x"))) == success("1")
                answer = call(opened, Batch("2", Event("many", b"y")))
                assert (answer["status"], answer["code"]) == (2, 3)
                assert answer["reason"].startswith("overloaded")
                assert (answer["data"]["req_guid"], answer["data"]["retryable"]) == ("2", "true")

        await in_thread(send)


@contextmanager
def secure(server: Running, authority: str, client: Pair | None = None) -> Iterator[grpc.Channel]:
    """A gRPC connection by TLS."""
    pair = (Path(client.key).read_bytes(), Path(client.certificate).read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes(), *pair)
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"{HOST}:{server.grpc}", credentials, options) as opened:
        yield opened


def assert_unavailable(opened: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        call(opened, TWO_EVENTS)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest_twisted.ensureDeferred
async def test_tls(broker: str, tmp_path: Path) -> None:
    """With certificates, the port speaks TLS and nothing else. They can be exchanged while connections are open:
    those go on, and new ones are shown the new certificate."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    first, second = old.issue("first"), new.issue("second")
    tls = {"server.tls.certificate": first.certificate, "server.tls.private.key": first.key}
    async with serving(broker, settings=tls) as server:

        def before() -> None:
            with channel(server) as plain:
                assert_unavailable(plain)
            with secure(server, new.path) as stranger:
                assert_unavailable(stranger)

        await in_thread(before)
        with secure(server, old.path) as opened:
            assert await in_thread(call, opened, TWO_EVENTS) == success("1234")
            certificates = server.service.parts.certificates
            assert certificates is not None
            certificates.load(TlsSettings(certificate=second.certificate, private_key=second.key))
            assert await in_thread(call, opened, TWO_EVENTS) == success("1234")

            def after() -> None:
                with secure(server, new.path) as newcomer:
                    assert call(newcomer, TWO_EVENTS) == success("1234")
                with secure(server, old.path) as latecomer:
                    assert_unavailable(latecomer)

            await in_thread(after)
            assert await in_thread(call, opened, TWO_EVENTS) == success("1234")


@pytest_twisted.ensureDeferred
async def test_client_certificates(broker: str, tmp_path: Path) -> None:
    """Where clients have to show a certificate, those without one, or with another's, get nowhere; who may sign them
    can be exchanged too."""
    ours, theirs, other = (Authority(tmp_path, name) for name in ("ours", "theirs", "other"))
    pair, friend, stranger = ours.issue("server"), theirs.issue("friend"), other.issue("stranger")
    tls = {
        "server.tls.certificate": pair.certificate,
        "server.tls.private.key": pair.key,
        "server.tls.client.ca": theirs.path,
    }
    async with serving(broker, settings=tls) as server:

        def before() -> None:
            with secure(server, ours.path, friend) as opened:
                assert call(opened, TWO_EVENTS) == success("1234")
            for shown in None, stranger:
                with secure(server, ours.path, shown) as opened:
                    assert_unavailable(opened)

        await in_thread(before)
        certificates = server.service.parts.certificates
        assert certificates is not None
        certificates.load(evolve(certificates.settings, client_ca=other.path))

        def after() -> None:
            with secure(server, ours.path, stranger) as opened:
                assert call(opened, TWO_EVENTS) == success("1234")
            with secure(server, ours.path, friend) as opened:
                assert_unavailable(opened)

        await in_thread(after)
