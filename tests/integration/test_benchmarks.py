"""`benchmarks/`: it runs, and it sees through a server that does not do what it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BENCHMARKS = ROOT / "benchmarks"

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc and uses epoll"),
    pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="this machine has no C compiler"),
]

#: What a server of the tests makes of the guid that it was sent.
Answer = Callable[[str], bytes]


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """An environment in which everything is built anew."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}


def test_run(cache: dict[str, str], tmp_path: Path) -> None:
    """A short run of each transport prints its tables and writes its page; nothing is bad, and everything was found."""
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    words = ["--rounds", "1", "--seconds", "0.2", "--json", str(results), "--write", str(page)]
    cases = [word for name in ("websocket-10", "rest-10-json", "grpc-1", "paced-5k") for word in ("--case", name)]
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *cases, *words],
        env=cache,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(results.read_text())["results"]
    assert set(found["raccoon_tx"]) == {"websocket-10", "rest-10-json", "grpc-1", "paced-5k"}
    assert set(found["baselines"]) == {"raw-10-100", "empty-grpc"}
    for rounds in found["raccoon_tx"].values():
        (figures,) = rounds
        assert figures["bad"] == 0
        assert figures["found"] == figures["acknowledged"] > 0
        assert figures["us_per_event"] > 0
    assert "| websocket-10 |" in page.read_text()
    assert str(tmp_path) not in page.read_text()
    assert "rest-10-json" in ended.stdout


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """An HTTP server of which every answer is such."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(body["req_guid"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def saying(status: int = 1, code: int = 1, guid: str = "") -> Answer:
    """An answer that says this, and names the batch unless it is told to name another."""
    return lambda sent: json.dumps(
        {"status": status, "code": code, "data": {"req_guid": guid or sent}}, separators=(",", ":")
    ).encode()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (saying(), "acknowledged"),
        (saying(guid="00000000-0000-0000-0000-000000000000"), "wrong"),
        (saying(status=2, code=3), "refused"),
        (saying(code=2), "refused"),
        (lambda _: b"Gateway says hello", "wrong"),
    ],
    ids=["good", "another batch", "refusal", "bad code", "no answer"],
)
def test_answers_are_read(cache: dict[str, str], answer: Answer, kind: str) -> None:
    """The generator tells a success from everything else that comes with status 200."""
    build = "import generator; print(generator.build())"
    program = subprocess.check_output([sys.executable, "-c", build], cwd=BENCHMARKS, env=cache, text=True).strip()
    with answering(answer) as port:
        ended = subprocess.run(
            [program, "--transport", "rest", "--format", "json", "--port", str(port)],
            input="connect 2\nclosed 0.2\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    connected, said = map(json.loads, ended.stdout.splitlines())
    assert (connected["connected"], connected["failed"]) == (2, 0)
    assert said["sent"] == said[kind] > 0
    assert sum(said[name] for name in ("acknowledged", "refused", "wrong", "unanswered")) == said["sent"]
