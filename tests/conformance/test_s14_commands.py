"""Section 14: the command line."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.conformance.keys import KEYS
from tests.conformance.server import DEFAULTS, Command, Farm, eventually, free_ports, launch, wait_until_ready
from tests.conformance.test_s13_configuration import NEEDED, flag
from tests.conformance.vectors import Two
from tests.integration.batches import success
from tests.integration.clients import HOST, post

COMMANDS = ["server", "completion", "reference", "help", "version", "config"]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)], ids=lambda words: " ".join(words) or "nothing")
def test_s14_help(program: Command, arguments: tuple[str, ...]) -> None:
    """Without a command there is help."""
    run = program.run(*arguments)
    assert run.returncode == 0
    for command in COMMANDS:
        assert command in run.stdout


@pytest.mark.parametrize("arguments", [("server", "--help"), ("help", "server")], ids=" ".join)
def test_s14_server_help(program: Command, arguments: tuple[str, ...]) -> None:
    """The help of the server names every flag."""
    run = program.run(*arguments)
    assert run.returncode == 0
    assert [name for name, _, _ in KEYS if flag(name) not in run.stdout] == []


def test_s14_reference(program: Command) -> None:
    """The reference names every command and every flag."""
    run = program.run("reference")
    assert run.returncode == 0
    assert [command for command in COMMANDS if f"raccoon {command}" not in run.stdout] == []
    assert [name for name, _, _ in KEYS if flag(name) not in run.stdout] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_s14_completion(program: Command, shell: str) -> None:
    """There is completion for shells."""
    run = program.run("completion", shell)
    assert run.returncode == 0
    assert "raccoon" in run.stdout


def test_s14_version(program: Command) -> None:
    """There is a version."""
    run = program.run("version")
    assert run.returncode == 0
    assert any(character.isdigit() for character in run.stdout)


def test_s14_config_check(program: Command) -> None:
    """A good configuration is said to be one."""
    assert program.run("config", "check", environment=NEEDED).returncode == 0


def test_s14_config_print(program: Command) -> None:
    """A configuration is printed."""
    run = program.run("config", "print", environment=NEEDED)
    assert run.returncode == 0
    assert "id_header: X-User-ID" in run.stdout


MISTAKES = {
    "unknown command": ("serve",),
    "unknown flag": ("server", "--no.such.flag", "1"),
    "unknown flag of the program": ("--nothing",),
    "missing value": ("server", "--log.level"),
    "bad value": ("server", "--log.level", "loud"),
    "unknown shell": ("completion", "csh"),
    "nothing configured": ("server",),
    "nothing configured, check": ("config", "check"),
    "nothing configured, print": ("config", "print"),
}


@pytest.mark.parametrize("row", MISTAKES)
def test_s14_status_1(program: Command, row: str) -> None:
    """Mistakes of the command line and the configuration are status 1, without a traceback."""
    run = program.run(*MISTAKES[row])
    assert run.returncode == 1
    assert run.stderr
    assert "Traceback" not in run.stderr


def test_s14_status_1_server(server_command: Command) -> None:
    """So it is for the server's own command line."""
    run = server_command.run()
    assert run.returncode == 1
    assert "SERVER_WEBSOCKET_CONN_ID_HEADER" in run.stdout + run.stderr


@pytest.mark.parametrize("port", ["SERVER_WEBSOCKET_PORT", "SERVER_GRPC_PORT", "METRIC_PROMETHEUS_PORT"])
def test_s14_status_2(farm: Farm, port: str) -> None:
    """A port that is taken is said, and status 2."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        number = taken.getsockname()[1]
        server = farm.launch(**{"METRIC_PROMETHEUS_ENABLED": "true", port: number})
        try:
            assert server.wait() == 2
            assert str(number) in server.log
        finally:
            server.kill()


def test_s14_status_2_publisher(server_command: Command) -> None:
    """A publisher that cannot start ends the server, and not with 0."""
    environment = {**NEEDED, "PUBLISHER_KAFKA_CLIENT_SECURITY_PROTOCOL": "ssl"}
    environment["PUBLISHER_KAFKA_CLIENT_SSL_CA_LOCATION"] = "/nonexistent/ca.pem"
    run = server_command.run(environment={**environment, "SERVER_WEBSOCKET_PORT": "0", "SERVER_GRPC_PORT": "0"})
    assert run.returncode in (1, 2)
    assert "ssl.ca.location" in run.stdout + run.stderr


def test_s14_status_0(farm: Farm) -> None:
    """An orderly stop is status 0."""
    with farm.own() as server:
        assert post(server, Two().body("json")).status == 200
        assert server.stop() == 0


def test_s14_status_3(faulty: Farm) -> None:
    """A stop that gave up events is status 3."""
    assert faulty.cluster is not None
    with faulty.own(PUBLISHER_KAFKA_FLUSH_INTERVAL_MS=200) as server:
        two = Two()
        faulty.cluster.set_rtt(60_000)
        assert post(server, two.body("json")).status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 3


def test_s14_quick_start(program: Command, farm: Farm) -> None:
    """The quick start works as it is written."""
    http, grpc = free_ports(2)
    kept = dict.fromkeys(DEFAULTS)
    ports = {"SERVER_WEBSOCKET_PORT": http, "SERVER_GRPC_PORT": grpc}
    words = ["server", "--publisher.type", "log", "--server.websocket.conn.id.header", "x-user-id"]
    server = launch(program, {**kept, **ports}, farm.folder, words)
    server.http, server.grpc = http, grpc
    try:
        wait_until_ready(server)
        two = Two()
        assert post(server, two.body("json"), x_user_id="1").said == success("1234")
        assert eventually(lambda: two.second in server.log)
        assert server.stop() == 0
    finally:
        server.kill()
