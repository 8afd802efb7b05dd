"""Section 8: batches that come twice."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from tests.conformance.scrape import scrape
from tests.conformance.server import Farm, Server, eventually
from tests.conformance.topics import Kafka, topic, word
from tests.integration.batches import Batch, Event, Said, success
from tests.integration.clients import WAYS, ask, next_said, post, sender, websocket

ON = {"SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED": "true", "METRIC_PROMETHEUS_ENABLED": "true"}
BY_IDENTITY = {**ON, "SERVER_BATCH_DEDUP_SCOPE": "identity"}


def duplicate(guid: str) -> Said:
    content = success(guid)
    content["data"]["duplicate"] = "true"
    return content


class Story:
    """Sends events of one type, each in a batch, and looks at what stands in the topic."""

    def __init__(self) -> None:
        self.kind = f"twice-{word()}"
        self.client = word()

    def batch(self, guid: str, value: bytes = b"x") -> Batch:
        return Batch(guid, Event(self.kind, value))

    def assert_produced(self, server: Server, kafka: Kafka, *values: bytes) -> None:
        """These, and no more: what is sent after them comes next."""
        last = f"last-{word()}".encode()
        assert post(server, Batch("", Event(self.kind, last)).written("json")).status == 200
        found = kafka.of(self.kind, len(values) + 1)
        assert sorted(found) == sorted([*values, last])


def count(server: Server, group: str) -> float:
    """Of duplicates."""
    return scrape(server).value("events_duplicate_total", conn_group=group, reason="duplicate")


@pytest.mark.parametrize("ack", [0, 1])
def test_s08_in_a_connection(farm: Farm, kafka: Kafka, ack: int) -> None:
    """The same guid again on one connection is answered with success, and produced once."""
    story, server = Story(), farm.get(**ON, EVENT_ACK=ack)
    before = count(server, "dup")
    with websocket(server, story.client, "dup") as connection:
        assert ask(connection, story.batch("1", b"first").written("proto")) == success("1")
        assert ask(connection, story.batch("1", b"again").written("proto")) == duplicate("1")
        assert ask(connection, story.batch("1", b"again").written("json").decode()) == duplicate("1")
        assert ask(connection, story.batch("2", b"other").written("proto")) == success("2")
    assert eventually(lambda: count(server, "dup") == before + 2)
    story.assert_produced(server, kafka, b"first", b"other")


def test_s08_off_by_default(farm: Farm, kafka: Kafka) -> None:
    """Unless it is switched on, everything is produced."""
    story, server = Story(), farm.get()
    with websocket(server, story.client) as connection:
        for _ in range(2):
            assert ask(connection, story.batch("1").written("proto")) == success("1")
    story.assert_produced(server, kafka, b"x", b"x")


def test_s08_scope_alone_does_nothing(farm: Farm, kafka: Kafka) -> None:
    """The scope does not switch it on."""
    story, server = Story(), farm.get(SERVER_BATCH_DEDUP_SCOPE="identity")
    for _ in range(2):
        assert post(server, story.batch("1").written("json"), X_User_ID=story.client).said == success("1")
    story.assert_produced(server, kafka, b"x", b"x")


@pytest.mark.parametrize("settings", [ON, BY_IDENTITY], ids=["connection", "identity"])
def test_s08_empty_guid(farm: Farm, kafka: Kafka, settings: dict[str, str]) -> None:
    """Batches without a guid are never duplicates."""
    story, server = Story(), farm.get(**settings)
    with websocket(server, story.client) as connection:
        for _ in range(3):
            assert ask(connection, story.batch("").written("proto")) == success("")
    story.assert_produced(server, kafka, b"x", b"x", b"x")


def test_s08_other_connection(farm: Farm, kafka: Kafka) -> None:
    """Under ``connection`` another connection knows nothing of it."""
    story, server = Story(), farm.get(**ON)
    for _ in range(2):

        def sent() -> bool:
            with websocket(server, story.client) as connection:
                connection.send(story.batch("1").written("proto"))
                answer = connection.recv(10)
                assert isinstance(answer, bytes)
                return b"duplicated connection" not in answer

        assert eventually(sent)
    story.assert_produced(server, kafka, b"x", b"x")


@pytest.mark.parametrize("way", ["rest-json", "grpc-raystack"])
def test_s08_connection_scope_elsewhere(farm: Farm, kafka: Kafka, way: str) -> None:
    """Under ``connection`` it is WebSocket's alone."""
    story, server = Story(), farm.get(**ON)
    with sender(server, way, story.client) as send:
        for _ in range(2):
            assert send(story.batch("1")) == success("1")
    story.assert_produced(server, kafka, b"x", b"x")


@pytest.mark.parametrize("again", WAYS)
@pytest.mark.parametrize("first", ["rest-json", "websocket-proto", "grpc-raystack"])
def test_s08_identity(farm: Farm, kafka: Kafka, first: str, again: str) -> None:
    """Under ``identity`` it holds over all transports, and over reconnects."""
    story, server = Story(), farm.get(**BY_IDENTITY)
    with sender(server, first, story.client) as send:
        assert send(story.batch("1", b"first")) == success("1")
    eventually(lambda: _again(server, again, story) == duplicate("1"), 5)
    story.assert_produced(server, kafka, b"first")


def _again(server: Server, way: str, story: Story) -> Said:
    """An identity may be taken for a moment yet."""
    with sender(server, way, story.client) as send:
        content = send(story.batch("1", b"again"))
        assert content["status"] == 1 or content["code"] == 5
        return content


def test_s08_identity_of_somebody_else(farm: Farm, kafka: Kafka) -> None:
    """Another id, or group, is somebody else."""
    story, server = Story(), farm.get(**BY_IDENTITY)
    body = story.batch("1").written("json")
    assert post(server, body, X_User_ID=story.client).said == success("1")
    assert post(server, body, X_User_ID=story.client + "x").said == success("1")
    assert post(server, body, X_User_ID=story.client, X_User_Group="g").said == success("1")
    story.assert_produced(server, kafka, b"x", b"x", b"x")


@pytest.mark.parametrize("way", ["rest-json", "grpc-raystack", "websocket-proto"])
def test_s08_identity_without_id(farm: Farm, kafka: Kafka, way: str) -> None:
    """Under ``identity`` a client without an id is never a duplicate."""
    story, server = Story(), farm.get(**BY_IDENTITY)
    with sender(server, way, "") as send:
        for _ in range(2):
            assert send(story.batch("1")) == success("1")
    story.assert_produced(server, kafka, b"x", b"x")


def test_s08_failed_is_not_remembered(session_faults: Farm) -> None:
    """A batch that failed is tried again."""
    assert session_faults.cluster is not None
    story = Story()
    server = session_faults.get(**ON, EVENT_ACK=1)
    with websocket(server, story.client) as connection:
        session_faults.cluster.topic_error(topic(story.kind), KafkaError.TOPIC_AUTHORIZATION_FAILED)
        assert ask(connection, story.batch("1").written("proto"))["status"] == 2
        session_faults.cluster.topic_error(topic(story.kind), 0)
        content = eventually(
            lambda: (found := ask(connection, story.batch("1").written("proto")))["status"] == 1 and found
        )
        assert content == success("1")
        assert ask(connection, story.batch("1").written("proto")) == duplicate("1")


def test_s08_refused_is_not_remembered(farm: Farm) -> None:
    """Neither is one that was refused."""
    story, server = Story(), farm.get(**ON)
    with websocket(server, story.client) as connection:
        assert ask(connection, Batch("1", Event("a/b", b"")).written("proto"))["code"] == 2
        assert ask(connection, story.batch("1").written("proto")) == success("1")


@pytest.mark.parametrize("fails", [False, True])
def test_s08_in_flight(faulty: Farm, fails: bool) -> None:
    """A duplicate of a batch that is on its way waits for its result, and gets the same."""
    assert faulty.cluster is not None
    story = Story()
    settings = {"PUBLISHER_KAFKA_CLIENT_LINGER_MS": 500, "EVENT_ACK": 1}
    with faulty.own(**ON, **settings) as server, websocket(server, story.client) as connection:
        if fails:
            faulty.cluster.topic_error(topic(story.kind), KafkaError.TOPIC_AUTHORIZATION_FAILED)
        for _ in range(3):
            connection.send(story.batch("1").written("json").decode())
        contents = [next_said(connection, str) for _ in range(3)]
    assert [content["status"] for content in contents] == [2 if fails else 1] * 3
    assert {content["data"]["req_guid"] for content in contents} == {"1"}
    if not fails:
        with Kafka(faulty.bootstrap) as reader:
            assert reader.of(story.kind) == [b"x"]


def test_s08_bounded_in_count(farm: Farm, kafka: Kafka) -> None:
    """Only so many guids are remembered; the oldest is forgotten first."""
    story, server = Story(), farm.get(**ON, SERVER_BATCH_DEDUP_MAX=2)
    with websocket(server, story.client) as connection:
        for guid in ("1", "2", "3"):
            assert ask(connection, story.batch(guid).written("proto")) == success(guid)
        assert ask(connection, story.batch("3").written("proto")) == duplicate("3")
        assert ask(connection, story.batch("1").written("proto")) == success("1")
    story.assert_produced(server, kafka, *[b"x"] * 4)


def test_s08_bounded_in_time(farm: Farm) -> None:
    """And only for so long."""
    story, server = Story(), farm.get(**ON, SERVER_BATCH_DEDUP_TTL_MS=300)
    with websocket(server, story.client) as connection:
        assert ask(connection, story.batch("1").written("proto")) == success("1")
        assert ask(connection, story.batch("1").written("proto")) == duplicate("1")
        assert eventually(lambda: ask(connection, story.batch("1").written("proto")) == success("1"), 3, 0.05)
