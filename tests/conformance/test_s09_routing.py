"""Section 9: topics and records."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaError

from tests.conformance.scrape import scrape
from tests.conformance.server import Command, Farm, Server, eventually
from tests.conformance.test_s04_rest import TIGHT, fill
from tests.conformance.topics import Kafka, Record, topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Event, Said, success
from tests.integration.clients import WAYS, post, sender

NEEDED = {
    "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
    "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "localhost:9092",
}


def records(kafka: Kafka, name: str, expected: int = 1) -> list[Record]:
    return kafka.records([name], expected)[name]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("clickstream-%s-log", "clickstream-KIND-log"),
        ("%s", "KIND"),
        ("WORD-%s", "WORD-KIND"),
        ("%s.WORD_x", "KIND.WORD_x"),
        ("constant-WORD", "constant-WORD"),
    ],
)
def test_s09_pattern(farm: Farm, kafka: Kafka, pattern: str, expected: str) -> None:
    """The first ``%s`` of the pattern is replaced by the type."""
    unique, kind = word(), f"kind-{word()}"
    with farm.own(EVENT_DISTRIBUTION_PUBLISHER_PATTERN=pattern.replace("WORD", unique)) as server:
        assert post(server, Batch("g", Event(kind, b"x")).written("json")).status == 200
        name = expected.replace("WORD", unique).replace("KIND", kind)
        assert [record.value for record in records(kafka, name)] == [b"x"]


@pytest.mark.parametrize("pattern", ["%s-%s", "a b-%s", "a/b", "%d-%s", "__%s"])
def test_s09_bad_pattern(program: Command, pattern: str) -> None:
    """A pattern that makes no legal topic is refused at the start."""
    run = program.run("config", "check", environment={**NEEDED, "EVENT_DISTRIBUTION_PUBLISHER_PATTERN": pattern})
    assert run.returncode == 1
    assert "EVENT_DISTRIBUTION_PUBLISHER_PATTERN" in run.stderr


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)), b"x" * 100_000], ids=["none", "NUL", "all", "long"])
def test_s09_value(farm: Farm, kafka: Kafka, way: str, value: bytes) -> None:
    """The value of a record is the bytes of the event."""
    kind = f"value-{word()}"
    with sender(farm.get(), way) as send:
        assert send(Batch("g", Event(kind, value))) == success("g")
    (record,) = records(kafka, topic(kind))
    assert (record.value, record.key, record.headers) == (value, None, {})


def test_s09_time_of_produce(farm: Farm, kafka: Kafka) -> None:
    """Its time is that of producing."""
    kind = f"time-{word()}"
    assert post(farm.get(), f'{{"sent_time":1,"events":[{{"type":"{kind}"}}]}}'.encode()).status == 200
    (record,) = records(kafka, topic(kind))
    assert record.time is not None
    assert abs(record.time - time.time()) < 5


KEYS = {
    "none": None,
    "identity": b"app:somebody",
    "group": b"app",
    "guid": b"the guid",
    "type": b"KIND",
}


@pytest.mark.parametrize("choice", KEYS)
@pytest.mark.parametrize("way", ["rest-json", "websocket-proto", "grpc-raystack"])
def test_s09_key(farm: Farm, kafka: Kafka, choice: str, way: str) -> None:
    """The key is what was chosen."""
    kind = f"key-{word()}"
    server = farm.get(EVENT_PARTITION_KEY=choice, SERVER_WEBSOCKET_CONN_GROUP_DEFAULT="app")
    client = word()
    with sender(server, way, client) as send:
        assert send(Batch("the guid", Event(kind, b"x"))) == success("the guid")
    (record,) = records(kafka, topic(kind))
    expected = KEYS[choice]
    if expected is not None:
        expected = expected.replace(b"somebody", client.encode()).replace(b"KIND", kind.encode())
    assert record.key == expected


ALL_HEADERS = "time,guid,index,id,group,type,transport,content_type"


@pytest.mark.parametrize("way", ["rest-json", "rest-proto", "websocket-json", "websocket-proto", "grpc-raystack"])
def test_s09_headers(farm: Farm, kafka: Kafka, way: str) -> None:
    """The headers are those that were chosen."""
    kind, client = f"headers-{word()}", word()
    with sender(farm.get(EVENT_RECORD_HEADERS=ALL_HEADERS), way, client) as send:
        assert send(Batch("the guid", Event(kind, b"0"), Event(kind, b"1"))) == success("the guid")
    found = {record.value: dict(record.headers) for record in records(kafka, topic(kind), 2)}
    for index in (0, 1):
        headers = found[b"%d" % index]
        moment = headers.pop("raccoon-time")
        assert moment
        transport, content_type = headers.pop("raccoon-transport"), headers.pop("raccoon-content_type", b"")
        assert transport.decode() == way.split("-")[0]
        assert content_type or headers.pop("raccoon-content-type")
        assert headers == {
            "raccoon-guid": b"the guid",
            "raccoon-index": b"%d" % index,
            "raccoon-id": client.encode(),
            "raccoon-group": b"--default--",
            "raccoon-type": kind.encode(),
        }


@pytest.mark.parametrize("choice", ["time", "guid", "index", "id", "group", "type", "transport", "content_type"])
def test_s09_one_header(farm: Farm, kafka: Kafka, choice: str) -> None:
    """There are no others."""
    kind = f"header-{word()}"
    with farm.own(EVENT_RECORD_HEADERS=choice) as server:
        assert post(server, Batch("g", Event(kind, b"x")).written("json"), X_User_ID="1").status == 200
        (record,) = records(kafka, topic(kind))
    assert set(record.headers) == {f"raccoon-{choice}"}


def test_s09_time_of_receipt(faulty: Farm) -> None:
    """The time of a record may be that of receipt."""
    assert faulty.cluster is not None
    kind = f"received-{word()}"
    with faulty.own(EVENT_TIMESTAMP="receive") as server:
        before = time.time()
        assert post(server, Batch("g", Event(kind, b"x")).written("json")).status == 200
        after = time.time()
        with Kafka(faulty.bootstrap) as reader:
            (record,) = records(reader, topic(kind))
    assert record.time is not None
    assert before - 0.002 <= record.time <= after + 0.002


def test_s09_sent_time_absent(farm: Farm, kafka: Kafka) -> None:
    """Without a ``sent_time`` the record has a time all the same."""
    kind = f"unsent-{word()}"
    assert post(farm.get(EVENT_TIMESTAMP="sent_time"), f'{{"events":[{{"type":"{kind}"}}]}}'.encode()).status == 200
    (record,) = records(kafka, topic(kind))
    assert record.time is not None
    assert abs(record.time - time.time()) < 5


ILLEGAL = {
    "empty": "",
    "slash": "a/b",
    "space": "a b",
    "colon": "a:b",
    "percent": "%s",
    "not ASCII": "naïve",
    "NUL": "a\0b",
    "NUL at the end": "a\0",
    "line feed": "a\n",
    "250 characters": "x" * (250 - len("clickstream--log")),
}


@pytest.mark.parametrize("row", ILLEGAL)
@pytest.mark.parametrize("way", ["rest-json", "websocket-proto", "grpc-raystack"])
def test_s09_illegal_type(farm: Farm, row: str, way: str) -> None:
    """A type that makes no legal topic is invalid."""
    with sender(farm.get(), way) as send:
        content = send(Batch("1234", Event(ILLEGAL[row], b"x")))
    assert (content["status"], content["code"]) == (2, 2)
    assert content["data"]["failed"] == "0"


def test_s09_longest_topic(farm: Farm, kafka: Kafka) -> None:
    """A topic has up to 249 characters."""
    kind = word().ljust(249 - len("clickstream--log"), "x")
    assert post(farm.get(), Batch("g", Event(kind, b"x")).written("json")).said == success("g")
    assert kafka.of(kind) == [b"x"]


@pytest.mark.parametrize("kind", [".", "..", "__consumer_offsets", "__x"])
def test_s09_reserved_topic(farm: Farm, kind: str) -> None:
    """Kafka's own topics, and names that are none, are nobody's."""
    response = post(farm.get(EVENT_DISTRIBUTION_PUBLISHER_PATTERN="%s"), Batch("1", Event(kind, b"")).written("json"))
    assert (response.status, response.said["code"]) == (400, 2)


def test_s09_too_large_for_the_producer(farm: Farm, kafka: Kafka) -> None:
    """An event that the producer would not take is invalid, and nothing of its batch is produced."""
    server, two = farm.get(PUBLISHER_KAFKA_CLIENT_MESSAGE_MAX_BYTES=2000), Two()
    batch = Batch("1234", Event(two.first, b"small"), Event(two.second, b"x" * 3000))
    response = post(server, batch.written("json"))
    assert (response.status, response.said["code"]) == (400, 2)
    assert response.said["data"]["failed"] == "1"
    assert post(server, two.body("json")).status == 200
    two.assert_produced(kafka)


ALLOWED = {"EVENT_ALLOWED_TYPES": "click, page,TYPE"}


@pytest.mark.parametrize(("kind", "status"), [("click", 200), ("page", 200), ("TYPE", 200), ("scroll", 400)])
def test_s09_allow_list(farm: Farm, kind: str, status: int) -> None:
    """If there is a list of types, no others are taken."""
    response = post(farm.get(**ALLOWED), Batch("1", Event(kind, b"")).written("json"))
    assert response.status == status
    if status == 400:
        assert (response.said["code"], response.said["data"]["failed"]) == (2, "0")


@pytest.mark.parametrize("row", ["a/b", "", "not listed"])
@pytest.mark.parametrize("ack", [0, 1])
def test_s09_dead_letter(farm: Farm, kafka: Kafka, row: str, ack: int) -> None:
    """If there is a topic for them, invalid events go there, with the reason; the others go their way."""
    dead, fine = f"dead-{word()}", f"fine-{word()}"
    settings = {"EVENT_DEAD_LETTER_TOPIC": dead, "EVENT_ALLOWED_TYPES": fine, "EVENT_ACK": ack}
    kind = "unlisted" if row == "not listed" else row
    with farm.own(**settings) as server:
        batch = Batch("1234", Event(fine, b"fine"), Event(kind, b"dead"))
        assert post(server, batch.written("json")).said == success("1234")
        found = kafka.records([dead, topic(fine)], 2)
    (record,) = found[dead]
    assert record.value == b"dead"
    assert record.headers["raccoon-type"] == kind.encode()
    assert record.headers["raccoon-reason"]
    assert [each.value for each in found[topic(fine)]] == [b"fine"]


def test_s09_topic_cap(farm: Farm) -> None:
    """A batch that would open more topics than may be is refused; open ones go on."""
    with farm.own(EVENT_MAX_TOPICS=2) as server:
        two = Two()
        assert post(server, two.body("json")).status == 200
        response = post(server, Batch("1", Event(two.first, b""), Event(word(), b"")).written("json"))
        assert (response.status, response.said["code"]) == (400, 2)
        assert post(server, two.body("json")).status == 200


@pytest.mark.parametrize("reported", ["at once", "late"])
def test_s09_unknown_topic(session_faults: Farm, reported: str) -> None:
    """A topic that Kafka does not know is counted, whenever that comes out."""
    assert session_faults.cluster is not None
    kind = f"unknown-{word()}"
    server = session_faults.get(EVENT_ACK=1, METRIC_PROMETHEUS_ENABLED="true", PUBLISHER_PUBLISH_TIMEOUT_MS=5000)
    session_faults.cluster.topic_error(topic(kind), KafkaError.UNKNOWN_TOPIC_OR_PART)
    for expected in range(1, 3 if reported == "at once" else 2):
        content = _outcome(server, kind)
        assert content["code"] == 3
        labels = {"topic": topic(kind), "event_type": kind, "conn_group": "--default--"}
        assert eventually(
            lambda: scrape(server).value("kafka_unknown_topic_failure_total", **labels) == expected,  # noqa: B023
            3,
        )


def _outcome(server: Server, kind: str) -> Said:
    return post(server, Batch("1", Event(kind, b"")).written("json")).said


def test_s09_local_queue_full_mode_0(faulty: Farm) -> None:
    """When the producer's own queue is full, a later batch is refused, not lost."""
    with faulty.own(**TIGHT) as server:
        fill(server, faulty)
        statuses = [post(server, Two().body("json")).status for _ in range(3)]
    assert statuses[0] == 200
    assert statuses[-1] == 503
