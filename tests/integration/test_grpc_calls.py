"""gRPC calls that hold no thread while they wait, and those that have to: contract section 6."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import pytest_twisted

from raccoon_tx.transports import grpc_calls, rpc
from raccoon_tx.transports.grpc_calls import USED, usable
from tests.integration.batches import TWO_EVENTS, Batch, Event, Said, said, success
from tests.integration.clients import ID_HEADER, TIMEOUT, call, channel
from tests.integration.load import eventually
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import Running, in_thread, serving

SEND = "/raystack.raccoon.v1beta1.EventService/SendEvent"
ID = [(ID_HEADER.lower(), "1234")]
BOTH = pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
#: Until a test says otherwise.
NEVER = 60_000

IN_TIME = {"publisher.publish.timeout.ms": 10_000, "worker.buffer.flush.timeout.ms": 5_000}


def begin(opened: grpc.Channel, guid: str, kind: str = "free") -> Any:
    """A call on its way."""
    return opened.unary_unary(SEND).future(
        Batch(guid, Event(kind, guid.encode())).written("proto"), timeout=TIMEOUT, metadata=ID
    )


def counted(server: Running) -> tuple[int, int]:
    """Batches that were taken, and those that were refused because there were too many."""
    counts = server.service.parts.counts.group("--default--")
    return counts.read, counts.not_read.get("overload", 0)


def assert_refused(answer: Said, guid: str, reason: str) -> None:
    assert (answer["status"], answer["code"], answer["reason"]) == (2, 3, reason)
    assert (answer["data"]["req_guid"], answer["data"]["retryable"]) == (guid, "true")
    assert int(answer["data"]["retry_after_ms"]) > 0


def blocked(flag: threading.Event) -> Iterator[bytes]:
    """Messages of a client that sends none."""
    flag.wait(TIMEOUT)
    yield from ()


def test_usable() -> None:
    """The grpcio that is installed is known; one that takes other things, or lacks something, is not."""
    inside = grpc_calls._inside
    known = {name: getattr(inside, name) for name in (*USED, "_RECEIVE_MESSAGE_TOKEN")}
    assert usable()
    assert usable(SimpleNamespace(**known))
    assert not usable(None)
    for name in known:
        assert not usable(SimpleNamespace(**{**known, name: None}))
    for name in USED:
        assert not usable(SimpleNamespace(**{**known, name: lambda event: None}))


@pytest_twisted.ensureDeferred
async def test_no_threads() -> None:
    """However many calls wait for Kafka, they hold no thread; all are answered, and none is left after the stop."""
    with MockCluster() as cluster:
        before = set(threading.enumerate())
        async with serving(cluster.bootstrap, ack=1, settings=IN_TIME) as server:

            def send() -> None:
                with channel(server) as opened:
                    assert call(opened, TWO_EVENTS) == success("1234")
                    few = threading.active_count()
                    cluster.set_rtt(NEVER)
                    calls = [begin(opened, str(number)) for number in range(200)]
                    eventually(lambda: counted(server)[0] == 201)
                    assert threading.active_count() - few < 10
                    assert not any(each.done() for each in calls)
                    cluster.set_rtt(0)
                    for number, each in enumerate(calls):
                        assert said(each.result()) == success(str(number))

            await in_thread(send)
            await server.stop()

            def left() -> list[str]:
                return [each.name for each in set(threading.enumerate()) - before if "serve" in each.name]

            await in_thread(eventually, lambda: not left())


@pytest_twisted.ensureDeferred
async def test_too_many() -> None:
    """More calls at once than may be are refused at once and in the answer; the others are not harmed, and when they
    have ended there is room again."""
    with MockCluster() as cluster:
        settings = {"server.grpc.max.in.flight": 3, **IN_TIME}
        async with serving(cluster.bootstrap, ack=1, settings=settings) as server:

            def send() -> None:
                with channel(server) as opened:
                    assert call(opened, TWO_EVENTS) == success("1234")
                    cluster.set_rtt(NEVER)
                    taken = [begin(opened, f"taken {number}") for number in range(3)]
                    eventually(lambda: counted(server)[0] == 4)
                    for number in range(20):
                        answer = said(begin(opened, str(number)).result())
                        assert_refused(answer, str(number), "overloaded: too many calls at once, try again later")
                    eventually(lambda: counted(server)[1] == 20)
                    assert not any(each.done() for each in taken)
                    cluster.set_rtt(0)
                    assert [said(each.result())["code"] for each in taken] == [1, 1, 1]
                    assert call(opened, TWO_EVENTS) == success("1234")

            await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_too_many_for_a_busy_reactor(broker: str) -> None:
    """Refusals do not wait for the reactor, and it counts them when it can."""
    from twisted.internet import reactor as running

    reactor: Any = running
    async with serving(broker, settings={"server.grpc.max.in.flight": 2}) as server:

        def send() -> None:
            free = threading.Event()
            with channel(server) as opened:
                assert call(opened, TWO_EVENTS) == success("1234")
                reactor.callFromThread(free.wait, TIMEOUT)
                try:
                    calls = [begin(opened, str(number), "busy") for number in range(5)]
                    eventually(lambda: sum(each.done() for each in calls) == 3)
                    assert counted(server) == (1, 0)
                finally:
                    free.set()
                assert sorted(said(each.result())["code"] for each in calls) == [1, 1, 3, 3, 3]
                eventually(lambda: counted(server) == (3, 3))

        await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_cancelled() -> None:
    """A client that does not wait for its answer any more makes room for others when its batch is through, and that
    is published."""
    with MockCluster() as cluster:
        settings = {"server.grpc.max.in.flight": 2, **IN_TIME}
        async with serving(cluster.bootstrap, ack=1, settings=settings) as server:

            def send() -> None:
                with channel(server) as opened:
                    for turn in range(3):
                        assert call(opened, TWO_EVENTS) == success("1234")
                        cluster.set_rtt(NEVER)
                        before = counted(server)[0]
                        calls = [begin(opened, f"{turn} {number}", "cancelled") for number in range(2)]
                        eventually(lambda before=before: counted(server)[0] == before + 2)
                        for each in calls:
                            assert each.cancel()
                        cluster.set_rtt(0)
                        eventually(lambda: call(opened, TWO_EVENTS) == success("1234"))

            await in_thread(send)
            values = await in_thread(server.topics.read, "cancelled")
            expected = [f"{turn} {number}".encode() for turn in range(3) for number in range(2)]
            assert sorted(values["cancelled"]) == expected


@BOTH
@pytest_twisted.ensureDeferred
async def test_ends(broker: str, held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is wrong ends with its error status, and the next one is served."""
    if held:
        monkeypatch.setattr(rpc, "usable", lambda: False)
    async with serving(broker, ack=1) as server:

        def status(start: Callable[[grpc.Channel], Any]) -> grpc.StatusCode:
            with channel(server) as opened, pytest.raises(grpc.RpcError) as failed:
                start(opened)
            code: grpc.StatusCode = failed.value.code()
            assert call_once() == success("1234")
            return code

        def call_once() -> Said:
            with channel(server) as opened:
                return call(opened, TWO_EVENTS)

        def send() -> None:
            codes = grpc.StatusCode
            body = TWO_EVENTS.written("proto")
            assert status(lambda opened: opened.unary_unary(SEND)(body, timeout=TIMEOUT)) is codes.INVALID_ARGUMENT
            assert (
                status(lambda opened: opened.unary_unary(SEND)(b"\x01", timeout=TIMEOUT, metadata=ID)) is codes.INTERNAL
            )
            nothing: Iterator[bytes] = iter(())
            assert (
                status(lambda opened: opened.stream_unary(SEND)(nothing, timeout=TIMEOUT, metadata=ID))
                is codes.UNIMPLEMENTED
            )

        await in_thread(send)
    if held:
        warning = "this version of grpcio is not known: each gRPC call takes a thread"
        assert any(line.endswith(warning) for line in server.lines)


@pytest_twisted.ensureDeferred
async def test_message_does_not_come(broker: str) -> None:
    """Clients that begin calls and send no message keep nobody from sending; they are told after a while, in the
    answer."""
    settings = {"server.grpc.max.in.flight": 2, "server.grpc.threads": 1, "server.body.timeout.ms": 1000}
    async with serving(broker, settings=settings) as server:

        def send() -> None:
            flag = threading.Event()
            try:
                with channel(server) as opened:
                    method = opened.stream_unary(SEND)
                    calls = [method.future(blocked(flag), timeout=TIMEOUT, metadata=ID) for _ in range(20)]
                    assert call(opened, TWO_EVENTS) == success("1234")
                    for each in calls:
                        answer = said(each.result())
                        assert_refused(answer, "", "the message did not come in time, try again later")
                    assert call(opened, TWO_EVENTS) == success("1234")
            finally:
                flag.set()

        await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_too_many_without_messages(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be so many such clients; who comes after them is refused in the answer, until they have gone."""
    monkeypatch.setattr(rpc, "UNREAD", 3)
    async with serving(broker) as server:

        def send() -> None:
            flag = threading.Event()
            try:
                with channel(server) as opened:
                    method = opened.stream_unary(SEND)
                    calls = [method.future(blocked(flag), timeout=TIMEOUT, metadata=ID) for _ in range(3)]
                    reason = "overloaded: too many calls wait for their messages, try again later"
                    eventually(lambda: call(opened, TWO_EVENTS).get("reason") == reason)
                    for each in calls:
                        each.cancel()
                    eventually(lambda: call(opened, TWO_EVENTS) == success("1234"))
            finally:
                flag.set()

        await in_thread(send)


@pytest_twisted.ensureDeferred
async def test_bug(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours does not end the thread of grpcio, and its client is told to come again."""

    def broken(self: Any, call: Any) -> Any:
        raise ZeroDivisionError

    lines: list[str] = []
    monkeypatch.setattr(grpc_calls._log, "failure", lines.append)
    async with serving(broker) as server:

        def send() -> None:
            with channel(server) as opened:
                with monkeypatch.context() as patch:
                    patch.setattr(rpc.EventService, "_client", broken)
                    answer = call(opened, TWO_EVENTS)
                    assert_refused(answer, "", "internal error")
                assert call(opened, TWO_EVENTS) == success("1234")

        await in_thread(send)
    assert lines == ["a call could not be taken"]


@BOTH
@pytest_twisted.ensureDeferred
async def test_stop(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls under way when the stop begins are answered."""
    if held:
        monkeypatch.setattr(rpc, "usable", lambda: False)
    with MockCluster() as cluster:
        async with serving(cluster.bootstrap, ack=1, settings=IN_TIME) as server:
            with channel(server) as opened:
                assert await in_thread(call, opened, TWO_EVENTS) == success("1234")
                cluster.set_rtt(NEVER)
                calls = [begin(opened, str(number)) for number in range(5)]
                await in_thread(eventually, lambda: counted(server)[0] == 6)
                stopping = server.stop()
                cluster.set_rtt(0)
                for number, each in enumerate(calls):
                    assert said(await in_thread(each.result)) == success(str(number))
                await stopping


@BOTH
@pytest_twisted.ensureDeferred
async def test_stop_without_kafka(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that Kafka does not let end are given up in time, and told so."""
    if held:
        monkeypatch.setattr(rpc, "usable", lambda: False)
    with MockCluster() as cluster:
        settings = {**IN_TIME, "worker.buffer.flush.timeout.ms": 300, "publisher.kafka.flush.interval.ms": 1}
        async with serving(cluster.bootstrap, ack=1, settings=settings) as server:
            with channel(server) as opened:
                assert await in_thread(call, opened, TWO_EVENTS) == success("1234")
                cluster.set_rtt(NEVER)
                waiting = begin(opened, "1")
                await in_thread(eventually, lambda: counted(server)[0] == 2)
                begun = time.monotonic()
                await server.stop()
                assert time.monotonic() - begun < TIMEOUT
                answer = said(await in_thread(waiting.result))
                assert (answer["status"], answer["code"]) == (2, 3)
