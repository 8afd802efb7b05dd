"""The commands that an operator runs, as processes of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raccoon_tx._version import __version__
from tests.integration.batches import TWO_EVENTS, Batch, Event, success
from tests.integration.clients import HOST, WAYS, post, request, sender, websocket
from tests.integration.load import eventually
from tests.integration.server import RACCOON, TWISTD, Topics, process, run_command

PROGRAM = RACCOON[0]
ID_HEADER_ENV, ID_HEADER_FLAG = "SERVER_WEBSOCKET_CONN_ID_HEADER", "--server.websocket.conn.id.header"
#: For who has set nothing at all yet.
HINT = "hint: `raccoon demo` needs no settings; `raccoon server --help` explains them"
REQUIRED = f"{ID_HEADER_ENV} ({ID_HEADER_FLAG}) is required"

BROKERS_REQUIRED = "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS (--publisher.kafka.client.bootstrap.servers) is required"

#: Enough for a server.
MINIMAL = {"server.websocket.conn.id.header": "X-User-ID", "publisher.type": "log"}

both_commands = pytest.mark.parametrize("command", [RACCOON, TWISTD], ids=["raccoon", "twistd"])


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on, on all interfaces."""
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as listening:
        if socket.has_dualstack_ipv6():
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(("", 0))
        listening.listen()
        yield listening.getsockname()[1]


@both_commands
def test_start_and_stop(broker: str, command: tuple[str, ...]) -> None:
    """Both commands start, serve on all ways in, and end with 0; a flag goes over the environment."""
    topics = Topics(broker)
    with process(topics, 0, flags=["--event.ack=1"], command=command) as server:
        assert "event.ack 1" in server.log
        assert request(server, "GET", "/ping").body == b"pong"
        for way in WAYS:
            with sender(server, way) as send:
                assert send(Batch(way, Event("by_command", way.encode()))) == success(way)
        assert server.stop() == 0
    assert sorted(topics.read("by_command")["by_command"]) == sorted(way.encode() for way in WAYS)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_all_interfaces(broker: str, family: socket.AddressFamily) -> None:
    """Unless a host is named, both ports can be reached by IPv4 and, where there is that, by IPv6."""
    local = HOST if family == socket.AF_INET else "::1"
    with socket.socket(family) as probe:
        try:
            probe.bind((local, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with process(Topics(broker)) as server:
        for port in (server.http, server.grpc):
            socket.create_connection((local, port), timeout=5).close()


def test_file(broker: str, tmp_path: Path) -> None:
    """A file can say what the server needs; the environment goes over it."""
    topics = Topics(broker)
    file = tmp_path / "raccoon.yaml"
    file.write_text(
        "server:\n  websocket:\n    max_conn: 1\n    ping_interval_ms: 1\n"
        f"event:\n  distribution_publisher_pattern: {topics.topic('from_file')}\n"
    )
    settings = {"event.distribution.publisher.pattern": "", "server.websocket.ping.interval.ms": 30000}
    with process(topics, 1, settings, flags=["-c", str(file)]) as server, websocket(server, "1"):
        assert post(server, TWO_EVENTS.written("json")).said == success("1234")
        assert server.stop() == 0
    assert sorted(topics.read("from_file")["from_file"]) == [b"event_1", b"event_2"]


@both_commands
@pytest.mark.parametrize("which", ["server.websocket.port", "server.grpc.port", "server.status.port"])
def test_taken_port(command: tuple[str, ...], which: str) -> None:
    """A port that is taken ends the start with 2 and one line that names it."""
    with taken_port() as port:
        settings = {**MINIMAL, "server.websocket.port": 0, "server.grpc.port": 0, which: port}
        ended = run_command(*command, settings=settings)
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 2, printed
    lines = [line for line in printed.splitlines() if "cannot listen" in line]
    assert len(lines) == 1
    assert f"{port}: Address already in use" in lines[0]
    assert {"grpc": "gRPC", "websocket": "HTTP", "status": "status"}[which.split(".")[1]] in lines[0]
    assert "Traceback" not in printed
    assert "is ready" not in printed


def test_missing_id_header() -> None:
    """Without the one setting that has no default the server says so, in the words of the contract, and ends with 1
    before it looks at any port."""
    with taken_port() as port:
        settings = {"publisher.type": "log", "server.websocket.port": port}
        ended = run_command(*RACCOON, settings=settings)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"error: {REQUIRED}\n{HINT}\n")


def test_missing_id_header_under_twistd() -> None:
    """The same under ``twistd``, which has a line before it."""
    ended = run_command(*TWISTD, settings={"publisher.type": "log"})
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).splitlines()[-1].endswith(f": {REQUIRED}")


@both_commands
def test_all_mistakes(command: tuple[str, ...]) -> None:
    """All mistakes are told at once, each with the names of its setting, and no port is opened."""
    with taken_port() as port:
        settings = {
            "server.websocket.port": port,
            "server.grpc.port": "many",
            "event.ack": 7,
            "log.level": "loud",
            "event.distribution.publisher.pattern": "%s-%s",
            "publisher.kafka.client.acks": "banana",
        }
        ended = run_command(*command, "--publisher.kafka.client.no.such.thing=1", settings=settings)
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert REQUIRED in printed
    assert (
        "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS (--publisher.kafka.client.bootstrap.servers) is required" in printed
    )
    for name in [*settings, "publisher.kafka.client.no.such.thing"][1:]:
        assert f"(--{name}):" in printed
    assert "cannot listen" not in printed
    assert "Traceback" not in printed


def test_publisher_that_cannot_start() -> None:
    """A publisher that is not there is a mistake, not a traceback."""
    ended = run_command(*RACCOON, settings={**MINIMAL, "publisher.type": "pigeon"})
    assert ended.returncode == 1
    assert "unknown publisher: pigeon" in ended.stderr


@both_commands
def test_unknown_flag(command: tuple[str, ...]) -> None:
    """A flag that does not exist ends the start with 1 and names the one that was probably meant."""
    ended = run_command(*command, "--server.websocket.prot=1", settings=MINIMAL)
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "unknown flag: --server.websocket.prot (did you mean --server.websocket.port?)" in printed


def test_quick_start() -> None:
    """The image's quick start works without any Kafka: every event becomes a line of the log."""
    flags = ["--publisher.type", "log", "--server.websocket.conn.id.header", "x-user-id"]
    batch = Batch("1", Event("click", b'{"page": "/"}'), Event("odd", b"\xff\xfe"))
    with process(Topics("unused:9092"), flags=flags) as server:
        for way in WAYS:
            with sender(server, way) as send:
                assert send(batch) == success("1")
        eventually(lambda: server.log.count("event_type = odd") == len(WAYS))
        assert server.log.count("[LogPublisher]") == 2 * len(WAYS)
        assert server.stop() == 0


def test_embedded() -> None:
    """The broker inside the server says its address, and that it forgets; any Kafka client can read from it."""
    with process(Topics(""), 1, {"publisher.type": "embedded"}) as server:
        announcement = next(line for line in server.log.splitlines() if "EMBEDDED BROKER at " in line)
        assert "in memory" in announcement
        address = announcement.partition("EMBEDDED BROKER at ")[2].partition(":")
        topics = Topics(f"{HOST}:{address[2].split(':')[0]}", server.topics.word)
        assert post(server, TWO_EVENTS.written("json")).said == success("1234")
        assert topics.read("type_a", "type_b") == {"type_a": [b"event_1"], "type_b": [b"event_2"]}
        assert server.stop() == 0


def test_demo() -> None:
    """The demo shows events on their way through every transport, and ends with 0 when all have arrived."""
    ended = run_command(PROGRAM, "demo", "--once", settings={"server.websocket.port": 0, "server.grpc.port": 0})
    assert (ended.returncode, ended.stderr) == (0, "")
    for name in ("REST", "WebSocket", "gRPC", "clickstream-", '"status":1'):
        assert name in ended.stdout
    assert "Everything arrived." in ended.stdout


def test_demo_without_kafka() -> None:
    """If the events cannot arrive, the demo says so and ends with 1."""
    with socket.create_server((HOST, 0)) as nobody:
        address = f"{HOST}:{nobody.getsockname()[1]}"
    flags = ["--publisher.type=kafka", f"--publisher.kafka.client.bootstrap.servers={address}"]
    ended = run_command(PROGRAM, "demo", "--once", *flags, settings={"server.websocket.port": 0, "server.grpc.port": 0})
    assert ended.returncode == 1
    assert "Kafka does not answer" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_version() -> None:
    """``raccoon version`` prints it."""
    ended = run_command(PROGRAM, "version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"raccoon_tx {__version__}\n", "")


def test_config_check() -> None:
    """``raccoon config check`` looks at what a server would look at, and opens nothing."""
    with taken_port() as port:
        good = run_command(PROGRAM, "config", "check", settings={**MINIMAL, "server.websocket.port": port})
    bad = run_command(PROGRAM, "config", "check", settings={"publisher.type": "log"})
    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "", f"error: {REQUIRED}\n{HINT}\n")


def test_config_print() -> None:
    """``raccoon config print`` shows every setting and no secret, wherever it comes from."""
    secrets = {
        "publisher.kafka.client.sasl.password": "hunter2-env",
        "publisher.kafka.client.sasl.oauthbearer.client.secret": "hunter2-client",
    }
    flag = "--publisher.kafka.client.ssl.key.password=hunter2-flag"
    settings = {**MINIMAL, **secrets, "publisher.type": "kafka", "publisher.kafka.client.bootstrap.servers": "k:9092"}
    ended = run_command(PROGRAM, "config", "print", flag, settings=settings)
    assert ended.returncode == 0
    assert "hunter2" not in ended.stdout + ended.stderr
    assert ended.stdout.count("***") == 3
    assert "id_header: X-User-ID" in ended.stdout


def test_help() -> None:
    """``raccoon`` alone prints its help, and so does every command when asked; each names all commands or flags."""
    alone = run_command(PROGRAM)
    assert alone.returncode == 0
    for name in ("server", "version", "config", "demo", "bench", "completion"):
        assert name in alone.stdout
    for command in (RACCOON, TWISTD, (PROGRAM, "demo")):
        ended = run_command(*command, "--help")
        assert ended.returncode == 0
        assert ID_HEADER_FLAG in ended.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """There is a completion script for each of the usual shells."""
    ended = run_command(PROGRAM, "completion", shell)
    assert ended.returncode == 0
    assert "_RACCOON_COMPLETE" in ended.stdout
