"""The server under test is a command line, given by ``--server-command``; all tests of this folder talk to it alone.

``pytest tests/conformance --server-command 'twistd -n raccoon'`` tests another one. Which Kafka it gets is chosen by
``--broker``.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.server import Command, Farm
from tests.conformance.topics import Kafka
from tests.integration.mock_cluster import MockCluster

#: The program of the Python that runs the tests, and the sources beside them.
_PROGRAM = str(Path(sys.executable).with_name("raccoon"))
_CHECKOUT = str(Path(__file__).parents[2])


def _surroundings() -> dict[str, str]:
    """A server of this checkout is the one beside these tests, wherever else it may be installed."""
    path = os.environ.get("PYTHONPATH", _CHECKOUT)
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def server_command(pytestconfig: pytest.Config) -> Command:
    """Runs the server."""
    words = shlex.split(pytestconfig.getoption("--server-command") or f"{shlex.quote(_PROGRAM)} server")
    return Command(words, _surroundings())


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config, server_command: Command) -> Command:
    """Runs the other commands."""
    given = pytestconfig.getoption("--program-command")
    if given:
        words = shlex.split(given)
    elif server_command.words[-1] == "server":
        words = list(server_command.words[:-1])
    else:
        words = [_PROGRAM]
    return Command(words, server_command.environment)


@pytest.fixture(scope="session")
def session_kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the Kafka that most servers write to."""
    if request.config.getoption("--broker") == "kafka":
        yield request.getfixturevalue("kafka_node").bootstrap
        return
    with MockCluster() as cluster:
        yield cluster.bootstrap


@pytest.fixture(scope="session")
def kafka(session_kafka: str) -> Iterator[Kafka]:
    """Reads what stands in the topics."""
    with Kafka(session_kafka) as opened:
        yield opened


@pytest.fixture(scope="session")
def session_farm(
    server_command: Command, session_kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    farm = Farm(server_command, session_kafka, tmp_path_factory.mktemp("servers"))
    yield farm
    farm.close()


@pytest.fixture
def farm(session_farm: Farm) -> Iterator[Farm]:
    """Servers with any settings, shared; no test may leave a traceback in their logs."""
    yield session_farm
    session_farm.assert_quiet()


@pytest.fixture
def faulty(server_command: Command, tmp_path: Path) -> Iterator[Farm]:
    """Servers that write to a mock cluster of the test's own, which can be told what to do wrong."""
    with MockCluster() as cluster:
        farm = Farm(server_command, cluster.bootstrap, tmp_path, cluster=cluster)
        try:
            yield farm
        finally:
            farm.close()


@pytest.fixture(scope="session")
def cluster_of_faults() -> Iterator[MockCluster]:
    """A mock cluster for faults of single topics, whatever ``--broker`` says."""
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_faults(
    server_command: Command, cluster_of_faults: MockCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    farm = Farm(server_command, cluster_of_faults.bootstrap, tmp_path_factory.mktemp("faults"), 3, cluster_of_faults)
    yield farm
    farm.close()
