"""Section 7: when a batch is acknowledged, and what is said of one that is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from tests.conformance.server import Command, Farm
from tests.conformance.topics import Kafka, topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Encoding, Event, success
from tests.integration.clients import WAYS, post, request, sender, websocket
from tests.integration.mock_cluster import PRODUCE

EVERY_WAY = pytest.mark.parametrize("way", WAYS)


def test_s07_2_mode_0(faulty: Farm) -> None:
    """In mode 0 nobody waits for Kafka."""
    assert faulty.cluster is not None
    with faulty.own() as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        faulty.cluster.set_rtt(1500)
        before = time.monotonic()
        assert post(server, two.body("json")).said == success("1234")
        assert time.monotonic() - before < 0.5
        faulty.cluster.set_rtt(0)


@EVERY_WAY
def test_s07_2_mode_1(faulty: Farm, way: str) -> None:
    """In mode 1 the answer comes when Kafka has said that it has the events."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1) as server, sender(server, way) as send:
        two = Two()
        assert send(two.batch) == success("1234")
        faulty.cluster.set_rtt(400)
        before = time.monotonic()
        assert send(two.batch) == success("1234")
        assert time.monotonic() - before > 0.35
        faulty.cluster.set_rtt(0)


@pytest.mark.parametrize("value", ["2", "3", "-1", "on", "1.5"])
def test_s07_2_other_modes(program: Command, value: str) -> None:
    """Other modes are refused at the start; so is mode 2 without a spool."""
    settings = {
        "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "localhost:9092",
        "EVENT_ACK": value,
    }
    run = program.run("config", "check", environment=settings)
    assert run.returncode == 1
    assert "EVENT_ACK (--event.ack)" in run.stderr


def test_s07_2_spool_mode_2(faulty: Farm, tmp_path: Path) -> None:
    """In mode 2 a batch is acknowledged when it is on disk, whatever Kafka does."""
    assert faulty.cluster is not None
    faulty.cluster.broker_down(1)
    with faulty.own(EVENT_ACK=2, SPOOL_PATH=tmp_path / "spool", SPOOL_MIN_FREE_BYTES=0) as server:
        before = time.monotonic()
        assert post(server, Two().body("json")).said == success("1234")
        assert time.monotonic() - before < 1.0
        assert request(server, "GET", "/readyz").status == 200
        faulty.cluster.broker_up(1)


def test_s07_2_spool_mode_1(faulty: Farm, tmp_path: Path) -> None:
    """With a spool, mode 1 answers in time although Kafka does not."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1, SPOOL_PATH=tmp_path / "spool", SPOOL_MIN_FREE_BYTES=0) as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        faulty.cluster.set_rtt(5000)
        before = time.monotonic()
        assert post(server, two.body("json")).said == success("1234")
        assert time.monotonic() - before < 1.0
        faulty.cluster.set_rtt(0)


def failed(faulty: Farm, *failing: int, count: int = 3, way: str = "rest-json") -> dict[str, object]:
    """What is said of a batch of which these events failed."""
    assert faulty.cluster is not None
    kinds = [f"kind{number}-{word()}" for number in range(count)]
    for index in failing:
        faulty.cluster.topic_error(topic(kinds[index]), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    batch = Batch("1234", *(Event(kind, kind.encode()) for kind in kinds))
    with sender(faulty.get(EVENT_ACK=1), way) as send:
        content = send(batch)
    with Kafka(faulty.bootstrap) as reader:
        fine = [kind for index, kind in enumerate(kinds) if index not in failing]
        assert reader.values(*fine, expected=len(fine)) == {kind: [kind.encode()] for kind in fine}
    errors = ", ".join(f"event {index} ({kinds[index]}): Broker: Topic authorization failed" for index in failing)
    assert content["reason"] == f"cannot publish events: error when sending messages: {errors}"
    return content


@EVERY_WAY
@pytest.mark.parametrize("failing", [(0,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_s07_3_some_failed(session_faults: Farm, failing: tuple[int, ...], way: str) -> None:
    """One failed event makes the batch an error; what failed is named, and nothing else of the text is."""
    content = failed(session_faults, *failing, way=way)
    assert (content["status"], content["code"]) == (2, 3)
    assert content["data"] == {
        "req_guid": "1234",
        "failed": ",".join(map(str, failing)),
        "failed_count": str(len(failing)),
        "event_count": "3",
        "retryable": "false",
    }


@EVERY_WAY
def test_s07_3_empty_batch(farm: Farm, way: str) -> None:
    """An empty batch succeeds in mode 1."""
    with sender(farm.get(EVENT_ACK=1), way) as send:
        assert send(Batch("empty")) == success("empty")


def test_s07_4_bounded(session_faults: Farm) -> None:
    """The text of many errors has an end; their indexes are all there."""
    assert session_faults.cluster is not None
    kind = f"refused-{word()}"
    session_faults.cluster.topic_error(topic(kind), KafkaError.TOPIC_AUTHORIZATION_FAILED)
    batch = Batch("1234", *[Event(kind, b"")] * 200)
    content = post(session_faults.get(EVENT_ACK=1), batch.written("json")).said
    assert len(content["reason"].encode()) <= len("cannot publish events: ") + 1024
    assert content["data"]["failed"] == ",".join(map(str, range(200)))
    assert content["data"]["failed_count"] == content["data"]["event_count"] == "200"


def test_s07_4_no_addresses(faulty: Farm) -> None:
    """Neither addresses nor configuration of Kafka are in it."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1, PUBLISHER_KAFKA_CLIENT_MESSAGE_TIMEOUT_MS=500) as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        faulty.cluster.broker_down(1)
        response = post(server, two.body("json"))
    assert response.status in (500, 503, 504)
    text = response.body.decode()
    for secret in (faulty.bootstrap, faulty.bootstrap.split(":")[1], "rdkafka", "bootstrap"):
        assert secret not in text


def test_s07_4_too_large_for_the_broker(session_faults: Farm) -> None:
    """An event that only the broker finds too large is a failed event, and not worth another try."""
    assert session_faults.cluster is not None
    two = Two()
    server = session_faults.get(EVENT_ACK=1)
    assert post(server, two.body("json")).status == 200
    single = Batch("1234", Event(two.first, b"x"))
    session_faults.cluster.push_request_errors(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
    response = post(server, single.written("json"))
    session_faults.cluster.clear_request_errors(PRODUCE)
    assert response.status == 500
    assert (response.said["code"], response.said["data"]["retryable"]) == (3, "false")
    assert response.said["data"]["failed"] == "0"


@EVERY_WAY
@pytest.mark.parametrize("ack", [0, 1])
def test_s07_5_only_the_guid(farm: Farm, way: str, ack: int) -> None:
    """On success there is the guid and nothing else."""
    with sender(farm.get(EVENT_ACK=ack), way) as send:
        assert send(Two().batch) == success("1234")


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_s07_5_invalid_events(farm: Farm, encoding: Encoding) -> None:
    """Invalid events are named by their indexes."""
    batch = Batch("1234", Event("a/b", b""), Event("fine", b""), Event("", b""))
    kind = "application/json" if encoding == "json" else "application/proto"
    data = post(farm.get(), batch.written(encoding), kind).said["data"]
    expected = {"req_guid": "1234", "failed": "0,2", "failed_count": "2", "event_count": "3", "retryable": "false"}
    assert data == expected


def test_s07_5_retry_after(farm: Farm) -> None:
    """Whoever has to wait is told how long."""
    server = farm.get(SERVER_RATE_LIMIT_EVENTS_PER_SECOND=2, SERVER_RATE_LIMIT_BURST=4)
    client = word()
    responses = [post(server, Two().body("json"), X_User_ID=client) for _ in range(3)]
    data = responses[-1].said["data"]
    assert data.pop("retry_after_ms").isdecimal()
    assert data == {"req_guid": "1234", "retryable": "true"}


def test_s07_order_in_a_batch(farm: Farm, kafka: Kafka) -> None:
    """Events of a batch are produced in their order."""
    kind = f"order-{word()}"
    batch = Batch("1234", *(Event(kind, b"%d" % number) for number in range(100)))
    settings = {"EVENT_PARTITION_KEY": "type", "EVENT_ACK": 1}
    with websocket(farm.get(**settings)) as connection:
        connection.send(batch.written("proto"))
        connection.recv(10)
    assert kafka.of(kind, 100) == [b"%d" % number for number in range(100)]
