"""Every alert and every panel asks for what real servers show after real traffic."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from confluent_kafka import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from raccoon_tx.metrics.names import KNOWN
from tests.deployed import ITS_OWN, OF_PROMETHEUS, expressions
from tests.integration.batches import Batch, Event, success
from tests.integration.clients import HOST, ID_HEADER, ask, frame, post, websocket
from tests.integration.load import eventually
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import RACCOON, Topics, process, run_command

#: Shown only when the spool is in trouble, which a test of dashboards does not bring about.
TROUBLE = {"spool_refused_batches_total", "spool_failures_total", "producers_replaced_total"}

HEALTH = (RACCOON[0], "health")

#: They come when they come: deliveries, the client's statistics, the end of a connection.
LATE = {
    "kafka_brokers_rtt_average_seconds",
    "kafka_messages_delivered_total",
    "spool_drained_batches_total",
    "user_session_duration_milliseconds_count",
}

Shown = dict[str, set[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def shown(port: int) -> Shown:
    """The names of all series, with their labels."""
    found: Shown = {}
    with build_opener(ProxyHandler({})).open(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def well(cluster: MockCluster, folder: Path) -> Shown:
    """What a server with a spool shows after a little of everything."""
    port = free_port()
    settings = {
        "metric.prometheus.enabled": "true",
        "metric.prometheus.host": HOST,
        "metric.prometheus.port": port,
        "metric.runtime.stats.record.interval.ms": 1,
        "publisher.kafka.client.statistics.interval.ms": 50,
        "event.dead.letter.topic": "raccoon-dead-letters",
        "server.websocket.max.conn": 1,
        "server.batch.dedup.in.connection.enabled": "true",
        "server.batch.dedup.scope": "identity",
        "spool.path": folder / "spool",
    }
    batch = Batch("1", Event("safe", b"1"))
    identity = {ID_HEADER.replace("-", "_"): "me"}
    with process(Topics(cluster.bootstrap), ack=2, settings=settings) as server:
        for _ in range(2):
            assert post(server, batch.written("json"), **identity).status == 200
        assert post(server, b"{", **identity).status == 400
        assert post(server, Batch("2", Event("no topic", b"1")).written("json"), **identity).status == 200
        with websocket(server, "1") as connection:
            assert ask(connection, frame(Batch("3", Event("safe", b"1")), "json")) == success("3")
            with websocket(server, "2") as refused:
                refused.recv(timeout=10)
        found: Shown = {}

        def is_complete() -> bool:
            found.update(shown(port))
            return found.keys() >= LATE

        eventually(is_complete)
        return found


def failing(cluster: MockCluster) -> Shown:
    """What one shows whose topics Kafka does not have."""
    port = free_port()
    settings = {
        "metric.prometheus.enabled": "true",
        "metric.prometheus.host": HOST,
        "metric.prometheus.port": port,
        "publisher.kafka.client.topic.metadata.propagation.max.ms": 50,
        "publisher.kafka.client.topic.metadata.refresh.fast.interval.ms": 50,
    }
    topics = Topics(cluster.bootstrap)
    cluster.topic_error(topics.topic("lost"), KafkaError.UNKNOWN_TOPIC_OR_PART)
    with process(topics, ack=1, settings=settings) as server:
        answer = post(server, Batch("1", Event("lost", b"1")).written("json"))
        assert answer.status == 500, answer
        return shown(port)


def test_shown(tmp_path: Path) -> None:
    """Each name and each label is there."""
    with MockCluster() as cluster:
        found = well(cluster, tmp_path)
        for name, labels in failing(cluster).items():
            found.setdefault(name, set()).update(labels)
    assert not TROUBLE & found.keys()
    labels_of: Mapping[str, set[str]] = {
        **found,
        **{family.name: set(family.labels) for family in KNOWN if family.name in TROUBLE},
        **{name: set() for name in ITS_OWN},
    }
    for expression in expressions():
        labels = set(OF_PROMETHEUS)
        for name, compared in expression.selectors:
            assert name in labels_of, f"{expression.where}: {name} is not shown"
            wanted = {label for label, _, _ in compared} - OF_PROMETHEUS
            assert wanted <= labels_of[name], f"{expression.where}: {name} has {labels_of[name]}"
            labels |= labels_of[name]
        assert expression.grouped <= labels, expression.where


def test_health(broker: str) -> None:
    """`raccoon health` says how the server with the same settings is, and that there is none."""
    with process(Topics(broker)) as server:
        settings = {
            "server.websocket.port": server.http,
            "server.websocket.conn.id.header": ID_HEADER,
            "publisher.kafka.client.bootstrap.servers": broker,
        }
        lives = run_command(*HEALTH, settings=settings)
        assert (lives.returncode, lives.stdout, lives.stderr) == (0, "ok\n", "")
        for _ in range(100):
            if (ready := run_command(*HEALTH, "--ready", settings=settings)).returncode == 0:
                break
        assert ready.stdout.startswith('{"status": "ready"')
    gone = run_command(*HEALTH, settings=settings)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"no answer from http://127.0.0.1:{server.http}/healthz: ")
    wrong = run_command(*HEALTH, settings={})
    assert wrong.returncode == 1
    assert "SERVER_WEBSOCKET_CONN_ID_HEADER" in wrong.stderr


def test_health_not_ready() -> None:
    """A server whose Kafka is away lives, and is not ready."""
    nowhere = "127.0.0.1:1"
    with process(Topics(nowhere), settings={"publisher.kafka.flush.interval.ms": 100}) as server:
        settings = {
            "server.websocket.port": server.http,
            "server.websocket.conn.id.header": ID_HEADER,
            "publisher.kafka.client.bootstrap.servers": nowhere,
        }
        assert run_command(*HEALTH, settings=settings).returncode == 0
        ready = run_command(*HEALTH, "--ready", settings=settings)
        assert ready.returncode == 1
        assert ready.stdout.startswith('{"status": "not ready"')
