"""Which Kafka the integration tests talk to: ``--broker=mock`` (the default) or ``--broker=kafka``.

A test that asks for `broker` gets the address of either. A test that asks for `kafka_node` needs the real one: it is
marked ``kafka``, and runs only with ``--broker=kafka``. Topics outlive a test: each uses names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.integration import server
from tests.integration.kafka_node import KafkaNode
from tests.integration.mock_cluster import MockCluster

#: Folders of tests with real sockets, processes and brokers. On a busy machine one of their thousands of connections
#: may take longer than anybody should have to wait. Such a test gets a second chance, which is reported as ``RERUN``;
#: one that fails twice has failed.
REAL = {"integration", "conformance"}

#: What tests/api needs beside the rest is installed by `tox -e api` alone.
collect_ignore = [] if find_spec("schemathesis") else ["api"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=["mock", "kafka"],
        default="mock",
        help="what the integration tests talk to: librdkafka's mock cluster, or a real Apache Kafka node",
    )
    parser.addoption(
        "--server-command",
        help="command line of the server that tests/conformance is about (default: this checkout's)",
    )
    parser.addoption(
        "--program-command",
        help="command line of the program of contract section 14 (default: --server-command without `server`, or this "
        "checkout's)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broker: runs against whatever --broker says")
    config.addinivalue_line("markers", "kafka: needs a real Apache Kafka node, so runs only with --broker=kafka")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by these marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if REAL & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=1))
        wanted: list[str] = getattr(item, "fixturenames", [])
        if "broker" in wanted:
            item.add_marker("broker")
        if "kafka_node" in wanted:
            item.add_marker("kafka")
    if config.getoption("--broker") != "kafka":
        deselect(config, items, "kafka")


def deselect(config: pytest.Config, items: list[pytest.Item], mark: str) -> None:
    """Leave out what bears this mark."""
    left_out = [item for item in items if item.get_closest_marker(mark)]
    items[:] = [item for item in items if not item.get_closest_marker(mark)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(params=[True, False], ids=["lane", "stock"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs twice: plain requests have a way of their own, and they go the way of all others."""
    if not request.param and request.config.getoption("--broker") == "kafka":
        pytest.skip("which way a request goes makes no difference to Kafka")
    monkeypatch.setattr(server, "LANE", request.param)


@pytest.fixture(scope="session")
def kafka_node() -> Iterator[KafkaNode]:
    """A real Kafka node, shared by all tests: who stops it starts it again."""
    with KafkaNode() as node:
        yield node


@pytest.fixture(scope="session")
def mock_cluster() -> Iterator[MockCluster]:
    """A mock cluster, shared by all tests: who wants faults makes another one."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """The address of a Kafka."""
    if request.config.getoption("--broker") == "mock":
        cluster: MockCluster = request.getfixturevalue("mock_cluster")
        return cluster.bootstrap
    node: KafkaNode = request.getfixturevalue("kafka_node")
    node.start()  # does nothing, unless a test broke off while it was stopped
    return node.bootstrap
