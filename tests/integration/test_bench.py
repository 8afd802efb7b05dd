"""`raccoon bench` as a process of its own, against real servers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.integration.clients import HOST, ID_HEADER
from tests.integration.server import RACCOON, Topics, process, run_command

BENCH = (RACCOON[0], "bench", "--seconds=1", "--connections=4")


@pytest.mark.parametrize("transport", ["websocket", "rest", "grpc"])
def test_own_server(transport: str) -> None:
    """Without an address it starts a server, over each transport, and everything that it sends is accepted."""
    ended = run_command(*BENCH, f"--transport={transport}", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert found["transport"] == transport
    assert found["accepted"] == found["accepted_batches"] * 10 > 0
    assert (found["refused_batches"], found["unanswered_batches"]) == ({}, 0)
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["slowest_ms"]


@pytest.mark.parametrize("scheme", ["ws", "http", "grpc"])
def test_running_server(broker: str, scheme: str) -> None:
    """What it says was accepted by a server that runs, and no more, stands in the topic: whole, of its size."""
    topics = Topics(broker)
    with process(topics, 1) as server:
        port = server.grpc if scheme == "grpc" else server.http
        words = ["--batch=3", "--size=20", "--type=sent", "--rate=300", "--in-flight=2", f"--id-header={ID_HEADER}"]
        ended = run_command(*BENCH, f"--to={scheme}://{HOST}:{port}", *words, "--json")
        assert (ended.returncode, ended.stderr) == (0, "")
        accepted = json.loads(ended.stdout)["accepted"]
        values = topics.wait_for(accepted, "sent")["sent"]
    assert 0 < len(values) == accepted <= 300
    assert {len(value) for value in values} == {20}


@pytest.mark.parametrize("scheme", ["wss", "https", "grpcs"])
def test_tls(broker: str, scheme: str, tmp_path: Path) -> None:
    """With TLS it trusts whom it is told to trust, and nobody else."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    settings = {"server.tls.certificate": pair.certificate, "server.tls.private.key": pair.key}
    with process(Topics(broker), 1, settings) as server:
        port = server.grpc if scheme == "grpcs" else server.http
        trusting = run_command(*BENCH, f"--to={scheme}://localhost:{port}", f"--ca={authority.path}")
        assert (trusting.returncode, trusting.stderr) == (0, "")
        if scheme != "grpcs":  # whose client library takes its time to say so
            wary = run_command(*BENCH, f"--to={scheme}://localhost:{port}")
            assert wary.returncode == 1
            assert wary.stderr.startswith("error: cannot connect to ")


def test_refusals(broker: str) -> None:
    """What a server refuses is told with its reason, and the status says that not everything was accepted."""
    with process(Topics(broker), settings={"event.allowed.types": "other"}) as server:
        ended = run_command(*BENCH, f"--to=http://{HOST}:{server.http}", "--format=json")
    assert ended.returncode == 1
    assert "invalid events: " in ended.stdout
    assert "accepted                0 events" in ended.stdout


def test_nobody_there() -> None:
    """Where there is no server, one sentence says so, and what to do."""
    with socket.create_server((HOST, 0)) as nobody:
        port = nobody.getsockname()[1]
    for scheme in ("ws", "http"):
        ended = run_command(*BENCH, f"--to={scheme}://{HOST}:{port}")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "the connection was refused" in ended.stderr
        assert "--to" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
