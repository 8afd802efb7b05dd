"""Kafka goes away, or the server has to: every batch is answered, and what was acknowledged is in the topic."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
import pytest_twisted
from attrs import frozen

from tests.integration.batches import TWO_EVENTS, Batch, Event, success
from tests.integration.clients import WAYS, ask, post, request, sender, websocket
from tests.integration.kafka_node import KafkaNode
from tests.integration.load import KIND, PIPELINED, Load, eventually, summary
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import RACCOON, TWISTD, Process, Running, Settings, Topics, in_thread, process, serving

both_modes = pytest.mark.parametrize("ack", [0, 1], ids=["ack-0", "ack-1"])
both_commands = pytest.mark.parametrize("command", [RACCOON, TWISTD], ids=["raccoon", "twistd"])


@frozen
class Kafka:
    """A Kafka that can be taken away and brought back, at the same address and with its records.

    :ivar kill: takes it away without a word.
    """

    bootstrap: str
    down: Callable[[], None]
    kill: Callable[[], None]
    up: Callable[[], None]


@pytest.fixture
def kafka(request: pytest.FixtureRequest, broker: str) -> Iterator[Kafka]:
    """Of this test alone, unless it is the real node, which is up again afterwards."""
    if request.config.getoption("--broker") == "kafka":
        node: KafkaNode = request.getfixturevalue("kafka_node")
        yield Kafka(node.bootstrap, node.stop, node.kill, node.start)
        node.start()
        return
    with MockCluster() as cluster:
        down, up = lambda: cluster.broker_down(1), lambda: cluster.broker_up(1)
        yield Kafka(cluster.bootstrap, down, down, up)


@pytest.mark.parametrize(
    ("way_to_go", "settings"),
    [
        pytest.param("down", {}, id="stopped-and-waited-for"),
        pytest.param("kill", {"publisher.publish.timeout.ms": 1000}, id="killed-and-answered-before"),
        pytest.param("kill", {"publisher.kafka.client.message.timeout.ms": 1000}, id="killed-and-events-given-up"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_outage(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    kafka: Kafka,
    way_to_go: str,
    settings: Settings,
) -> None:
    """Kafka goes away under load for seconds, in mode 1: every batch is answered, nothing that was acknowledged is
    lost, and afterwards everything works again, on the same connections."""
    seconds = 5.0 if request.config.getoption("--broker") == "kafka" else 2.0

    def scenario(server: Running) -> list[Load]:
        before = Load(server, "before")
        before.wait_for_more()
        getattr(kafka, way_to_go)()
        gone = time.monotonic()
        eventually(lambda: "Kafka cannot be reached" in "\n".join(server.lines))
        meanwhile = Load(server, "meanwhile")
        eventually(lambda: meanwhile.refused > 20)
        time.sleep(max(0.0, gone + seconds - time.monotonic()))
        kafka.up()
        for load in before, meanwhile:
            load.wait_for_more()
        for load in before, meanwhile:
            load.finish()
        return [before, meanwhile]

    async with serving(kafka.bootstrap, 1, settings) as server:
        loads = await in_thread(scenario, server)
    found = (await in_thread(server.topics.read, KIND))[KIND]
    with capsys.disabled():
        print(f"\nKafka away for {seconds:g} s: {summary(found, *loads)}")
    for load in loads:
        assert set(load.acknowledged) - set(found) == set()
        assert load.unanswered == []
    assert len(found) == len(set(found))  # an idempotent producer repeats nothing
    assert "Kafka can be reached again" in "\n".join(server.lines)


@pytest_twisted.ensureDeferred
async def test_away_at_start(kafka: Kafka) -> None:
    """The server starts without Kafka. In mode 1 the first batch is refused when its time is over, and later ones at
    once; all are worth another try. When Kafka comes, everything works by itself."""
    timeout = 2.0
    kind = f"late-{uuid4().hex[:8]}"  # a second try finds nothing of the first
    overdue = 0

    def away(server: Running) -> None:
        assert request(server, "GET", "/ping").body == b"pong"
        before = time.monotonic()
        response = post(server, TWO_EVENTS.written("json"))
        assert time.monotonic() - before < timeout + 0.5
        assert response.status in (503, 504)
        content = response.said
        assert (content["code"], content["data"]["retryable"]) == (3, "true")
        for way in WAYS:
            with sender(server, way) as send:
                before = time.monotonic()
                content = send(TWO_EVENTS)
                assert time.monotonic() - before < 0.5
            assert content["reason"].startswith("unavailable: ")
            assert (content["status"], content["code"]) == (2, 3)
            assert content["data"]["req_guid"] == "1234"
        response = post(server, TWO_EVENTS.written("json"))
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1

    def back(server: Running) -> None:
        nonlocal overdue
        batch = Batch("at last", Event(kind, b"at last"))

        def taken() -> bool:
            nonlocal overdue
            status = post(server, batch.written("json")).status
            overdue += status == 504
            return status == 200

        eventually(taken)
        for way in WAYS:
            with sender(server, way) as send:
                assert send(batch) == success("at last")

    await in_thread(kafka.down)
    async with serving(kafka.bootstrap, 1, {"publisher.publish.timeout.ms": round(timeout * 1000)}) as server:
        await in_thread(away, server)
        await in_thread(kafka.up)
        await in_thread(back, server)
    found = (await in_thread(server.topics.read, kind))[kind]
    # What was answered with 504 may be there as well.
    assert set(found) == {b"at last"}
    assert 1 + len(WAYS) <= len(found) <= 1 + len(WAYS) + overdue


@both_modes
@both_commands
def test_sigterm_under_load(broker: str, ack: int, command: tuple[str, ...]) -> None:
    """At SIGTERM what was received is finished: nothing that was acknowledged is lost, WebSockets are closed with
    1001, and the status is 0."""
    with process(Topics(broker), ack, command=command) as server:
        load = Load(server)
        load.wait_for_more(20)
        assert server.stop() == 0
        load.finish()
    found = server.topics.read(KIND)[KIND]
    print(summary(found, load))
    assert set(load.acknowledged) - set(found) == set()
    assert len(found) == len(set(found))
    assert [account.close_code for account in load.accounts] == [
        1001 if account.way.startswith(("websocket", PIPELINED)) else None for account in load.accounts
    ]


def strand(server: Process, kafka: Kafka) -> None:
    """Take Kafka away, and leave the server with five events of one type and four of another."""
    assert post(server, TWO_EVENTS.written("json")).status == 200
    server.topics.wait_for(2, "type_a", "type_b")
    kafka.kill()
    for batch in (*[TWO_EVENTS] * 4, Batch("5", Event("type_a", b"5"))):
        response = post(server, batch.written("json"))
        assert (response.status, response.said) == (200, success(batch.guid))


def assert_given_up(server: Process) -> None:
    """The log has counts for each topic."""
    for kind, count in (("type_a", 5), ("type_b", 4)):
        assert f"{count} events for topic {server.topics.topic(kind)} were not delivered before the stop" in server.log


@both_commands
def test_sigterm_without_kafka(kafka: Kafka, command: tuple[str, ...]) -> None:
    """At SIGTERM without Kafka the server tries for as long as it was told, says what it gives up, and ends with 3."""
    times = {"publisher.kafka.flush.interval.ms": 800, "worker.buffer.flush.timeout.ms": 1000}
    with process(Topics(kafka.bootstrap), 0, times, command=command) as server:
        strand(server, kafka)
        before = time.monotonic()
        assert server.stop() == 3
        assert 0.8 < time.monotonic() - before < 0.8 + 1.0 + 1.5
        assert_given_up(server)


def test_kafka_back_before_the_end(kafka: Kafka) -> None:
    """If Kafka comes back while a stop still waits for it, nothing is given up."""
    with process(Topics(kafka.bootstrap), 0, {"publisher.kafka.flush.interval.ms": 60_000}) as server:
        strand(server, kafka)
        server.signal()
        eventually(lambda: "stopping" in server.log)
        kafka.up()
        assert server.wait() == 0
    found = server.topics.read("type_a", "type_b")
    assert {kind: sorted(values) for kind, values in found.items()} == {
        "type_a": [b"5", *[b"event_1"] * 5],
        "type_b": [b"event_2"] * 5,
    }


@pytest.mark.parametrize(
    ("command", "first"),
    [
        pytest.param(RACCOON, signal.SIGTERM, id="raccoon-sigterm"),
        pytest.param(RACCOON, signal.SIGINT, id="raccoon-sigint"),
        pytest.param(RACCOON, signal.SIGQUIT, id="raccoon-sigquit"),
        pytest.param(TWISTD, signal.SIGINT, id="twistd-sigint"),
    ],
)
def test_second_signal(kafka: Kafka, command: tuple[str, ...], first: signal.Signals) -> None:
    """A second signal ends a stop that waits for Kafka; what is given up is still said."""
    with process(Topics(kafka.bootstrap), 0, {"publisher.kafka.flush.interval.ms": 60_000}, command=command) as server:
        strand(server, kafka)
        server.signal(first)
        eventually(lambda: refuses_connections(server))
        with pytest.raises(AssertionError):
            server.wait(0.5)
        before = time.monotonic()
        server.signal()
        assert server.wait() == 3
        assert time.monotonic() - before < 2.0
        assert_given_up(server)


def refuses_connections(server: Process) -> bool:
    """Whether the HTTP port is closed."""
    try:
        request(server, "GET", "/ping")
    except OSError:
        return True
    return False


def test_second_signal_with_kafka(broker: str) -> None:
    """A second signal ends the time over which WebSockets are closed one by one."""
    with process(Topics(broker), 0, {"server.drain.window.ms": 60_000}) as server, ExitStack() as stack:
        connections = [stack.enter_context(websocket(server, f"{number}")) for number in range(10)]
        for connection in connections:
            assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")
        server.topics.wait_for(20, "type_a", "type_b")
        server.signal()
        eventually(lambda: refuses_connections(server))
        with pytest.raises(AssertionError):
            server.wait(0.5)
        before = time.monotonic()
        server.signal()
        assert server.wait() == 0
        assert time.monotonic() - before < 2.0


def test_sighup(broker: str) -> None:
    """SIGHUP ends nothing."""
    with process(Topics(broker)) as server, websocket(server, "1234") as connection:
        server.signal(signal.SIGHUP)
        eventually(lambda: "SIGHUP" in server.log)
        assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")
        assert post(server, b"{}").said == success("")
        assert server.stop() == 0
