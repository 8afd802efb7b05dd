"""Which Kafka the integration tests talk to: ``--broker=mock`` (the default) or ``--broker=kafka``.

A test that asks for `broker` gets the address of either. A test that asks for `kafka_node` needs the real one: it is
marked ``kafka``, and runs only with ``--broker=kafka``. Topics outlive a test: each uses names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kafka_node import KafkaNode
from tests.integration.mock_cluster import MockCluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=["mock", "kafka"],
        default="mock",
        help="what the integration tests talk to: librdkafka's mock cluster, or a real Apache Kafka node",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broker: runs against whatever --broker says")
    config.addinivalue_line("markers", "kafka: needs a real Apache Kafka node, so runs only with --broker=kafka")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by these marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        wanted: list[str] = getattr(item, "fixturenames", [])
        if "broker" in wanted:
            item.add_marker("broker")
        if "kafka_node" in wanted:
            item.add_marker("kafka")
    if config.getoption("--broker") != "kafka":
        left_out = [item for item in items if item.get_closest_marker("kafka")]
        items[:] = [item for item in items if not item.get_closest_marker("kafka")]
        config.hook.pytest_deselected(items=left_out)


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
