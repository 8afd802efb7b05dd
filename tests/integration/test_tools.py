"""`raccoon send`, `raccoon tail` and `raccoon top` as processes of their own, against real servers."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pytest

from tests.certificates import Authority
from tests.integration.clients import GROUP_HEADER, HOST, ID_HEADER
from tests.integration.server import PATIENCE, RACCOON, Process, Settings, Topics, environment, process, run_command

SEND = (RACCOON[0], "send", f"--id-header={ID_HEADER}", f"--group-header={GROUP_HEADER}")
TAIL = (RACCOON[0], "tail")
TOP = (RACCOON[0], "top")


def url(scheme: str, server: Process) -> str:
    return f"--to={scheme}://{HOST}:{server.grpc if scheme == 'grpc' else server.http}"


@contextmanager
def following(*words: str, settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """`raccoon tail` that goes on until the end, or for `PATIENCE`, and what it prints."""
    command = ["timeout", str(PATIENCE), *TAIL, "--json", *words]
    tail = subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE)
    try:
        assert tail.stdout is not None
        yield tail, tail.stdout
    finally:
        tail.terminate()
        tail.communicate()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as nobody:
        return int(nobody.getsockname()[1])


@pytest.mark.parametrize("scheme", ["ws", "http", "grpc"])
def test_send(broker: str, scheme: str, tmp_path: Path) -> None:
    """Over each transport, events from the command line, from a file and from a pipe arrive as they are."""
    topics = Topics(broker)
    path = tmp_path / "events"
    path.write_bytes(b'{"a":1}\n\n{"a":2}\n')
    with process(topics, 1) as server:
        to = url(scheme, server)
        ended = run_command(*SEND, to, "--type=sent", "hello", "größe", "--group=app")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("accepted   2 events in 1 batch")
        assert "\x1b" not in ended.stdout
        ended = run_command(*SEND, to, "--type=sent", "--file", str(path), "--batch=1", "--json")
        found = json.loads(ended.stdout)
        assert (found["accepted"], found["accepted_batches"], found["refused"]) == (2, 2, {})
        assert 0 < found["p50_ms"] <= found["p99_ms"]
        lines = b"".join(b"line %d\n" % number for number in range(2500))
        piped = subprocess.run(
            [*SEND, to, "--type=sent", "-"],
            input=lines,
            env=environment({}),
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        assert b"2,500 events in 25 batches" in piped.stdout
        values = topics.wait_for(2504, "sent")["sent"]
    assert sorted(values) == sorted([b"hello", "größe".encode(), b'{"a":1}', b'{"a":2}', *lines.splitlines()])


@pytest.mark.parametrize("scheme", ["ws", "http", "grpc"])
def test_refused(broker: str, scheme: str) -> None:
    """What is refused for good is told by reason, at once, and the status says so."""
    with process(Topics(broker), settings={"event.allowed.types": "other"}) as server:
        ended = run_command(*SEND, url(scheme, server), "--type=sent", "hello")
    assert ended.returncode == 1
    assert "refused    1 event: invalid events: " in ended.stdout


@pytest.mark.parametrize("scheme", ["ws", "http", "grpc"])
def test_tls(broker: str, scheme: str, tmp_path: Path) -> None:
    """With TLS it trusts whom it is told to trust."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    settings = {"server.tls.certificate": pair.certificate, "server.tls.private.key": pair.key}
    with process(Topics(broker), 1, settings) as server:
        port = server.grpc if scheme == "grpc" else server.http
        to = (f"--to={scheme}s://localhost:{port}", f"--ca={authority.path}")
        ended = run_command(*SEND, *to, "--type=sent", "hello")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("scheme", ["ws", "http", "grpc"])
def test_nobody_there(scheme: str) -> None:
    """Where there is no server, one sentence says so."""
    ended = run_command(*SEND, f"--to={scheme}://{HOST}:{free_port()}", "--type=sent", "hello")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the connection was refused; is a server running there?" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_retries(broker: str) -> None:
    """A server that has no time now is asked again, and everything arrives in the end, once."""
    topics = Topics(broker)
    limits = {"server.rate.limit.events.per.second": 20, "server.rate.limit.burst": 20}
    with process(topics, 1, limits) as server:
        values = [f"{number}" for number in range(30)]
        ended = run_command(*SEND, url("http", server), "--type=sent", "--batch=10", "--json", *values)
        found = json.loads(ended.stdout)
        assert (ended.returncode, found["accepted"]) == (0, 30), ended.stdout
        assert found["retries"] >= 1
        assert sorted(topics.wait_for(30, "sent")["sent"]) == sorted(value.encode() for value in values)


def test_server_goes_away(broker: str) -> None:
    """A pipe whose server has gone is left, with a word about what was not sent."""
    with process(Topics(broker), 1) as server:
        sending = subprocess.Popen(
            [*SEND, url("ws", server), "--type=sent", "--attempts=2", "-"],
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert sending.stdin is not None
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        server.topics.wait_for(1, "sent")
        server.stop()
    sending.stdin.write(b"two\n")
    sending.stdin.flush()
    output, errors = sending.communicate(timeout=PATIENCE)
    assert (sending.returncode, errors) == (1, b"")
    assert b"accepted   1 event in 1 batch" in output
    assert b"stopped early: " in output


def test_mistakes() -> None:
    """Mistakes are told in one sentence, which says what to do."""
    for words, told in (
        ([*SEND, "--type=a"], "--file"),
        ([*SEND, "hello"], "--type"),
        ([*SEND, "--type=a", "--file=/no/such", "--to=http://127.0.0.1:1"], "/no/such cannot be read"),
        ([*SEND, "--type=a", "--to=127.0.0.1:1", "hello"], "http://127.0.0.1:1"),
        ([*SEND, "--type=a", "--id=a\nb", "hello"], "printable"),
        ([*TAIL, "--type=a", "--topic=b"], "either"),
        ([*TAIL, f"--brokers={HOST}:1"], "Kafka does not answer"),
        ([*TOP, f"--from={HOST}:1"], "--metric.prometheus.enabled"),
    ):
        ended = run_command(*words)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("error: ")
        assert told in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_tail(broker: str) -> None:
    """It shows what is there already, and then what comes, of a type, in order of time; then it ends."""
    topics = Topics(broker)
    settings = {
        "publisher.kafka.client.bootstrap.servers": broker,
        "event.distribution.publisher.pattern": topics.pattern,
    }
    with process(topics, 1) as server:

        def send(*events: str) -> None:
            ended = run_command(*SEND, url("http", server), "--type=seen", "--batch=1", "--in-flight=1", *events)
            assert ended.returncode == 0, ended.stdout + ended.stderr

        send('{"old":1}', "old 2")
        ended = run_command(*TAIL, "--type=seen", "-n", "2", settings=settings)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [line.split(maxsplit=2)[1:] for line in ended.stdout.splitlines()] == [
            [topics.topic("seen"), '{"old":1}'],
            [topics.topic("seen"), "old 2"],
        ]
        with following(settings=settings) as (tail, output):
            found = [json.loads(output.readline()) for _ in range(2)]
            send("new 3")
            found.append(json.loads(output.readline()))
            tail.send_signal(signal.SIGINT)
            assert tail.wait(PATIENCE) == 0
    assert [record["value"] for record in found] == [{"old": 1}, "old 2", "new 3"]
    assert {record["topic"] for record in found} == {topics.topic("seen")}


def test_tail_of_a_topic_to_come(broker: str) -> None:
    """Of a topic that comes into being while it looks on, nothing is missed."""
    topics = Topics(broker)
    settings = {"event.distribution.publisher.pattern": topics.pattern}
    with process(topics, 1) as server, following(f"--brokers={broker}", settings=settings) as (tail, output):
        assert tail.poll() is None
        for kind, event in (("first", "0"), ("late", "1"), ("late", "2")):
            ended = run_command(*SEND, url("http", server), f"--type={kind}", event)
            assert ended.returncode == 0
            found = json.loads(output.readline())
            assert (found["topic"], found["value"]) == (topics.topic(kind), int(event))


def test_embedded(tmp_path: Path) -> None:
    """The broker inside a server of this machine is found without a word, as long as it runs."""
    settings = {"publisher.type": "embedded"}
    place = {**environment({}), "TMPDIR": str(tmp_path)}

    def tail(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*TAIL, *words], cwd=tmp_path, env=place, capture_output=True, timeout=PATIENCE, check=False
        )

    command = ("env", f"TMPDIR={tmp_path}", *RACCOON)
    with process(Topics(f"{HOST}:1"), 1, settings, command=command) as server:
        assert run_command(*SEND, url("ws", server), "--type=seen", "hello").returncode == 0
        name = server.topics.topic("seen")
        ended = tail(f"--topic={name}", "-n", "1")
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout.split()[1:] == [name.encode(), b"hello"]
    ended = tail("-n", "1")
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: there is no Kafka to read from: ")


def test_top(broker: str) -> None:
    """It shows what a server does: as text where there is no terminal, and as JSON."""
    port = free_port()
    metrics = {"metric.prometheus.enabled": "true", "metric.prometheus.port": port}
    with process(Topics(broker), 1, metrics) as server:
        assert run_command(*SEND, url("http", server), "--type=seen", "--group=app", "hello").returncode == 0
        ended = run_command(*TOP, f"--from={HOST}:{port}", "--seconds=0.2")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "\x1b" not in ended.stdout
        assert "app  seen" in ended.stdout
        text = run_command(*TOP, f"--from=http://{HOST}:{port}", "--seconds=0.2", "--json").stdout
        found = json.loads(text)
        assert {"group": "app", "type": "seen", "rate": 0.0} in found["events_per_second"]
        assert (found["batches_waiting"], found["batches_in_flight"]) == (0, 0)
        with urlopen(f"http://{HOST}:{port}/metrics", timeout=PATIENCE) as answer:
            assert b"\nbatches_in_flight_current 0" in answer.read()
        wrong = run_command(*TOP, f"--from=http://{HOST}:{server.http}")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "answers 404" in wrong.stderr
