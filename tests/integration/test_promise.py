"""The short tier of `faults/`: what was acknowledged is in Kafka, whatever happens meanwhile.

The scenarios with a network need a real Kafka behind the proxy; those with the errors of brokers have the mock cluster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.plan import PLAN, Play
from faults.report import line
from faults.stage import Kafka, Mode, kafka
from tests.integration.clients import WAYS, request
from tests.integration.load import KIND, Load, eventually, summary
from tests.integration.mock_cluster import PRODUCE, MockCluster
from tests.integration.server import Process, Topics, process

#: Error codes of the protocol.
NOT_LEADER, TIMED_OUT, NOT_ENOUGH, NOT_ENOUGH_AFTER_APPEND, STORAGE, OUT_OF_ORDER = 6, 7, 19, 20, 56, 45

SHORT = [(each, mode) for each in PLAN if each.short for mode in each.short_modes]


@pytest.fixture(scope="module")
def proxied() -> Iterator[Kafka]:
    """A real node of this module's own: all traffic goes through the proxy."""
    with kafka() as opened:
        yield opened


@pytest.mark.kafka
@pytest.mark.parametrize(("each", "mode"), SHORT, ids=[f"{each.row}-{mode}" for each, mode in SHORT])
def test_scenario(capsys: pytest.CaptureFixture[str], proxied: Kafka, each: Play, mode: Mode) -> None:
    """Nothing acknowledged is lost, nothing stands there again unless a process died, and no log has a traceback."""
    assert each.short is not None
    outcome = each.run(proxied, mode, seed=1, amount=each.short)
    with capsys.disabled():
        print(f"\n{line(outcome)}")
    assert outcome.faults == []


def under_errors(cluster: MockCluster, spoil: Callable[[Topics], None], ack: int = 1) -> None:
    """Clients send all through; every one of them is served again afterwards, and nothing is lost or doubled."""
    topics = Topics(cluster.bootstrap)
    cluster.create_topic(topics.topic(KIND), 1)
    with process(topics, ack) as server:
        load = Load(server)
        load.wait_for_more()
        spoil(topics)
        load.wait_for_more()
        load.finish()
        assert server.stop() == 0
    found = topics.read(KIND)[KIND]
    print(summary(found, load))
    assert set(load.acknowledged) - set(found) == set()
    assert load.unanswered == []
    assert len(found) == len(set(found))


def test_errors() -> None:
    """Nobody notices what brokers say in passing, nor that another one leads."""
    with MockCluster(3) as cluster:

        def spoil(topics: Topics) -> None:
            passing = [NOT_LEADER] * 3 + [TIMED_OUT] * 2 + [NOT_ENOUGH] * 3 + [NOT_ENOUGH_AFTER_APPEND] * 2
            cluster.push_request_errors(PRODUCE, [*passing, *[STORAGE] * 2])
            for broker in (2, 3, 1):
                cluster.set_leader(topics.topic(KIND), 0, broker)
                time.sleep(0.3)

        under_errors(cluster, spoil)


def test_one_of_three() -> None:
    """A broker goes, another one leads, and clients go on."""
    with MockCluster(3) as cluster:

        def spoil(topics: Topics) -> None:
            cluster.set_leader(topics.topic(KIND), 0, 2)
            time.sleep(0.3)
            cluster.broker_down(2)
            cluster.set_leader(topics.topic(KIND), 0, 3)

        under_errors(cluster, spoil)
        cluster.broker_up(2)


def test_fatal_error(tmp_path: Path) -> None:
    """A producer that is told that its sequence is broken never works again: the server makes another one, and what
    the first one had is delivered."""
    with MockCluster() as cluster:
        topics = Topics(cluster.bootstrap)
        cluster.create_topic(topics.topic(KIND), 1)
        settings: dict[str, object] = {"spool.path": tmp_path / "spool", "spool.min_free_bytes": 0}
        with process(topics, 1, settings) as server:
            load = Load(server)
            load.wait_for_more()
            cluster.push_request_errors(PRODUCE, [OUT_OF_ORDER])
            eventually(lambda: "another one takes its place" in server.log)
            load.wait_for_more()
            load.finish()
            _drained(server)
            assert server.stop() == 0
        found = topics.read(KIND)[KIND]
    print(summary(found, load))
    assert set(load.acknowledged) - set(found) == set()
    assert load.unanswered == []


def _drained(server: Process) -> None:
    """Wait until the spool is empty."""
    eventually(lambda: json.loads(request(server, "GET", "/readyz").body)["parts"]["spool"]["batches"] == 0)


def test_every_way_is_played() -> None:
    """No transport is forgotten."""
    assert {way.split("-")[0] for way in WAYS} == {"rest", "websocket", "grpc"}
