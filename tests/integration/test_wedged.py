"""A producer that is wedged without an error that says so, and one of several addresses where nobody is."""

from __future__ import annotations

import time
from typing import Any

import pytest_twisted
from confluent_kafka import KafkaError
from twisted.internet.defer import Deferred

from raccoon_tx.clock import pause
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Ack, Outcome, Reply
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.producer import make_producer
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.publishers.watcher import aside, watch
from tests.integration.consume import read_until_end
from tests.integration.kafka_node import free_ports
from tests.integration.load import KIND, Load
from tests.integration.mock_cluster import PRODUCE, MockCluster
from tests.integration.server import Topics, process
from tests.samples import delivery

TOPIC = "clicks"


def publisher(cluster: MockCluster, made: list[object]) -> KafkaPublisher:
    """As the server has it, but less patient; ``made`` gets a word for each producer."""
    from twisted.internet import reactor

    clock: Any = reactor

    def connect(on_error: Any) -> Any:
        made.append(None)
        return make_producer({"bootstrap.servers": cluster.bootstrap}, on_error, lambda report: None, in_reactor)

    def in_reactor(call: Any, *arguments: Any) -> None:
        clock.callFromThread(call, *arguments)

    return KafkaPublisher(
        connect,
        clock,
        Reach(clock, aside(in_reactor)),
        Accounts(Counts(), time.monotonic, time.time),
        watch=watch(in_reactor),
        wedged=2.0,
        publish_timeout=30.0,
    )


@pytest_twisted.ensureDeferred
async def test_wedged() -> None:
    """A broker that never knows the producer stops it for good, and no error says so. Another one takes its place, and
    brings all that was acknowledged, in order."""
    from twisted.internet import reactor

    clock: Any = reactor
    values = [b"%d" % number for number in range(100)]
    made: list[object] = []
    answers: list[Reply] = []
    confirmed: Deferred[Reply] = Deferred()
    with MockCluster() as cluster:
        cluster.create_topic(TOPIC, 1)
        tested = publisher(cluster, made)
        tested.startService()
        first: Deferred[Reply] = Deferred()
        tested.publish(delivery((TOPIC, b"first"), ack=Ack.DELIVERED, answer=first.callback))
        assert (await first).outcome is Outcome.OK

        cluster.push_request_errors(PRODUCE, [KafkaError.UNKNOWN_PRODUCER_ID] * 100_000)
        for value in values:
            tested.publish(delivery((TOPIC, value), ack=Ack.ACCEPTED, answer=answers.append))
        tested.publish(delivery((TOPIC, b"last"), ack=Ack.DELIVERED, answer=confirmed.callback))
        assert [answer.outcome for answer in answers] == [Outcome.OK] * len(values)
        deadline = time.monotonic() + 30
        while len(made) < 2:
            assert time.monotonic() < deadline, "nobody takes its place"
            await pause(clock, 0.02)
        assert not confirmed.called
        cluster.clear_request_errors(PRODUCE)
        assert (await confirmed).outcome is Outcome.OK
        await tested.stopService()
        assert tested.abandoned == {}
        found = read_until_end(cluster.bootstrap, [TOPIC])[TOPIC]
    assert found == [b"first", *values, b"last"]


def test_dead_entry() -> None:
    """One of the addresses of Kafka is that of nobody: the server starts, and delivers."""
    (nobody,) = free_ports(1)
    with MockCluster(2) as cluster:
        topics = Topics(f"127.0.0.1:{nobody},{cluster.bootstrap}")
        cluster.create_topic(topics.topic(KIND), 1)
        began = time.monotonic()
        with process(topics, 1) as server:
            load = Load(server)
            load.wait_for_more(1)
            print(f"from the start to the first deliveries on all ways: {time.monotonic() - began:.2f} s")
            load.finish()
            assert server.stop() == 0
        found = topics.read(KIND)[KIND]
    assert load.unanswered == []
    assert set(load.acknowledged) - set(found) == set()
