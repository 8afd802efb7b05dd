"""Section 11: publishers other than Kafka."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.conformance.scrape import scrape
from tests.conformance.server import Command, Farm, eventually
from tests.conformance.topics import word
from tests.integration.batches import Batch, Event, success
from tests.integration.clients import WAYS, post, sender

LOG = {
    "PUBLISHER_TYPE": "log",
    "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": None,
    "METRIC_PROMETHEUS_ENABLED": "true",
}

PROTOBUF = b"\x0a\x05hello\x10\x07"

CONTENTS = {
    "object": (b'{"page": "home"}', "json", "home"),
    "number": (b"17", "json", "17"),
    "text": ('"ü"'.encode(), "json", None),
    "protobuf": (PROTOBUF, "protobuf", "hello"),
    "neither": (b"\xff\xff\xff\xff", "bytes", b64encode(b"\xff\xff\xff\xff").decode()),
    "half an object": (b'{"page"', "bytes", b64encode(b'{"page"').decode()),
}


@pytest.mark.parametrize("ack", [0, 1])
@pytest.mark.parametrize("row", CONTENTS)
def test_s11_line(farm: Farm, row: str, ack: int) -> None:
    """Every event is a line of the log, and none fails."""
    value, kind, shown = CONTENTS[row]
    server, name = farm.get(**LOG, EVENT_ACK=ack), f"logged-{word()}"
    assert post(server, Batch("g", Event(name, value)).written("json")).said == success("g")
    line = eventually(lambda: next((each for each in server.log.splitlines() if name in each), ""))
    assert "[LogPublisher]" in line
    assert "event_type" in line
    assert "kind" in line
    assert kind in line
    assert shown is None or shown in line


def test_s11_no_forged_lines(farm: Farm) -> None:
    """An event cannot forge a line."""
    server, name = farm.get(**LOG), f"forged-{word()}"
    value = b'{"x":\n"1"}\n2026-01-01 [LogPublisher] forged\n'
    assert post(server, Batch("g", Event(name, value)).written("json")).status == 200
    eventually(lambda: name in server.log)
    assert not [line for line in server.log.splitlines() if line.startswith("2026-01-01 [LogPublisher] forged")]


@pytest.mark.parametrize("way", WAYS)
def test_s11_every_way(farm: Farm, way: str) -> None:
    """Events of every way in are printed."""
    server, name = farm.get(**LOG), f"way-{word()}"
    with sender(server, way) as send:
        assert send(Batch("g", Event(name, b"{}"))) == success("g")
    assert eventually(lambda: name in server.log)


def test_s11_metrics(farm: Farm) -> None:
    """It has metrics of its own, in the shapes of Kafka's."""
    server, name = farm.get(**LOG), f"counted-{word()}"
    assert post(server, Batch("g", Event(name, b"{}")).written("json")).status == 200
    labels = {"topic": f"clickstream-{name}-log", "conn_group": "--default--", "event_type": name}
    assert eventually(lambda: scrape(server).value("log_messages_delivered_total", **labels) == 1)
    found = scrape(server)
    assert found.types["log_producebulk_tt_ms"] == "histogram"
    assert found.value("log_producebulk_tt_ms_count") >= 1


def test_s11_invalid_events(farm: Farm) -> None:
    """Illegal types are illegal here, too."""
    assert post(farm.get(**LOG), Batch("g", Event("a/b", b"{}")).written("json")).status == 400


NEEDED = {"SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID"}


@pytest.mark.parametrize("name", ["nats", "KAFKA", ""])
def test_s11_unknown_publisher(program: Command, name: str) -> None:
    """Another type is refused at the start."""
    run = program.run("config", "check", environment={**NEEDED, "PUBLISHER_TYPE": name})
    assert run.returncode == 1
    if name:
        assert "PUBLISHER_TYPE (--publisher.type)" in run.stderr


@pytest.mark.parametrize(
    ("name", "settings", "package"),
    [
        ("pubsub", {"PUBLISHER_PUBSUB_PROJECT_ID": "p", "PUBLISHER_PUBSUB_CREDENTIALS": "/dev/null"}, "pubsub"),
        ("kinesis", {"PUBLISHER_KINESIS_CREDENTIALS": "/dev/null", "PUBLISHER_KINESIS_AWS_REGION": "x"}, "boto"),
    ],
)
def test_s11_optional_publishers(server_command: Command, name: str, settings: dict[str, str], package: str) -> None:
    """Those that are not installed end the start, and name the package."""
    run = server_command.run(environment={**NEEDED, "PUBLISHER_TYPE": name, **settings})
    assert run.returncode in (1, 2)
    assert package in run.stdout + run.stderr
