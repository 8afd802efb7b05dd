"""docs/api/openapi.yaml is valid, and it is true: a real server does what it says, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import OPENAPI, assert_matches, comparable, fields, load, resolve
from openapi_spec_validator import validate
from situations import JSON_TYPE, PROTO_TYPE, SITUATIONS, encoded
from situations import server as serving

from raccoon_tx.testing import TestServer
from tests.integration.clients import EVENTS, Response, request
from tests.integration.kafka_node import free_ports
from tests.integration.server import PATIENCE, Process

#: See tests/conftest.py: real sockets and processes.
pytestmark = pytest.mark.flaky(reruns=1)

DOCUMENT = load(OPENAPI)
PAGE = "https://shop.example"

POST = DOCUMENT["paths"][EVENTS]["post"]
#: The examples of answers to a POST: their status, and what they say.
ANSWERS = {
    name: (int(status), example["value"])
    for status, response in POST["responses"].items()
    for name, example in response["content"][JSON_TYPE]["examples"].items()
}


class Server(TestServer):
    """Of the routes on the HTTP port."""

    @property
    def http(self) -> int:
        return self.http_port

    @property
    def grpc(self) -> int:
        return self.grpc_port


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def running(metrics_port: int) -> Iterator[Server]:
    settings = {
        "server.cors.enabled": "true",
        "server.cors.allowed.origin": PAGE,
        "event.max.topics": 100000,
        "metric.prometheus.enabled": "true",
        "metric.prometheus.port": metrics_port,
    }
    with Server(settings) as server:
        yield server


def test_valid() -> None:
    """It is OpenAPI 3.1."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_every_situation() -> None:
    """Every example of an answer is the answer in a situation, and every status has one."""
    assert set(ANSWERS) == set(SITUATIONS)
    assert {status for status, _ in ANSWERS.values()} == {int(status) for status in POST["responses"]}


def assert_headers(response: Response, described: dict[str, Any]) -> None:
    """The headers are there that have to be, and those that are there are as they should be."""
    for name, header in described.get("headers", {}).items():
        header = resolve(DOCUMENT, header)
        value = response.headers[name]
        assert value is not None or not header.get("required"), name
        if value is not None:
            assert_matches(DOCUMENT, header["schema"], value)


@pytest.mark.parametrize("media_type", [JSON_TYPE, PROTO_TYPE])
@pytest.mark.parametrize("name", ANSWERS)
def test_answer(name: str, media_type: str) -> None:
    """In this situation a server says just this, in the encoding of the request."""
    status, said = ANSWERS[name]
    described = POST["responses"][str(status)]
    if status == 200 and name in POST["requestBody"]["content"][JSON_TYPE]["examples"]:
        schema = POST["requestBody"]["content"][JSON_TYPE]["schema"]
        assert_matches(DOCUMENT, schema, json.loads(encoded(name, JSON_TYPE)))
    response = SITUATIONS[name](media_type)
    assert response.status == status, response.body
    # Where the content type is not known it is JSON, and likewise where the head did not end.
    expected = JSON_TYPE if name in ("contentType", "lateHead") else media_type
    assert response.headers["Content-Type"] == expected
    found = json.loads(response.body) if expected == JSON_TYPE else fields(response.body)
    for answer in (found, said):
        assert_matches(DOCUMENT, described["content"][JSON_TYPE]["schema"], answer)
    assert comparable(found) == comparable(said)
    assert_headers(response, described)


#: What browsers ask, and are told: method and headers that they would like to send, status, whether they may.
PREFLIGHTS = [
    (PAGE, "POST", "content-type,x-user-id", 200, True),
    (PAGE, "POST", "", 200, True),
    ("https://elsewhere.example", "POST", "content-type", 200, False),
    (None, "POST", "", 200, False),
    (PAGE, None, "", 400, False),
    (PAGE, "POST", "content-type,fake-header", 403, False),
    (PAGE, "DELETE", "", 405, False),
]


@pytest.mark.parametrize(("origin", "method", "headers", "status", "granted"), PREFLIGHTS)
def test_preflight(
    running: Server, origin: str | None, method: str | None, headers: str, status: int, granted: bool
) -> None:
    """Browsers are told as the document says."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers or None,
    }
    response = request(running, "OPTIONS", EVENTS, None, {name: value for name, value in asked.items() if value})
    assert response.status == status
    assert response.headers["Access-Control-Allow-Origin"] == (origin if granted else None)
    assert_headers(response, DOCUMENT["paths"][EVENTS]["options"]["responses"][str(status)])


def test_preflight_without_cors() -> None:
    """Where CORS is off, OPTIONS is not served."""
    with Server() as server:
        response = request(server, "OPTIONS", EVENTS, None, {"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert response.status == 405
    assert_headers(response, DOCUMENT["paths"][EVENTS]["options"]["responses"]["405"])


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("noUpgrade", {}),
        ("foreignPage", {"Origin": "https://elsewhere.example", "Connection": "Upgrade", "Upgrade": "websocket"}),
    ],
)
def test_refused_handshake(running: Server, name: str, headers: dict[str, str]) -> None:
    """What is not a handshake, or a foreign one, is told so in these words."""
    described = DOCUMENT["paths"][EVENTS]["get"]["responses"]
    [(status, said)] = [
        (int(status), response["content"]["text/plain"]["examples"][name]["value"])
        for status, response in described.items()
        if name in response.get("content", {}).get("text/plain", {}).get("examples", {})
    ]
    response = request(running, "GET", EVENTS, None, {"Sec-WebSocket-Version": "13", **headers})
    assert (response.status, response.body.decode()) == (status, said)
    assert_headers(response, described[str(status)])


@pytest.mark.parametrize("path", ["/ping", "/healthz", "/readyz"])
def test_health(running: Server, path: str) -> None:
    """The examples are what is answered."""
    response = request(running, "GET", path)
    [(media_type, described)] = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"].items()
    [example] = [example["value"] for example in described["examples"].values()]
    assert response.status == 200
    assert response.headers["Content-Type"].partition(";")[0] == media_type
    assert (json.loads(response.body) if "json" in media_type else response.body.decode()) == example


def test_not_ready() -> None:
    """Without its Kafka a server says that it is not ready, and why, as in the example."""
    described = DOCUMENT["paths"]["/readyz"]["get"]["responses"]["503"]["content"][JSON_TYPE]
    with serving(publisher__kafka__client__bootstrap__servers=f"127.0.0.1:{free_ports(1)[0]}") as server:
        deadline = time.monotonic() + PATIENCE
        while (found := not_ready(server)) != described["examples"]["kafkaAway"]["value"]:
            assert_matches(DOCUMENT, described["schema"], found)
            assert found["parts"]["publisher"] == {"ok": False, "state": "connecting to Kafka"}
            assert time.monotonic() < deadline
            time.sleep(0.05)


def not_ready(server: Process) -> object:
    """What such a server says."""
    response = request(server, "GET", "/readyz")
    assert response.status == 503
    return json.loads(response.body)


def test_metrics(running: Server, metrics_port: int) -> None:
    """Metrics are where it says."""

    class Metrics:
        http, grpc = metrics_port, 0

    response = request(Metrics(), "GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert b"# TYPE conn_close_err_count counter\n" in response.body


def test_schemathesis(running: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Requests that the document allows are served, requests that it forbids are refused, and no answer is one that it
    does not have: some hundreds of them, the same ones each time."""
    program = Path(sys.executable).with_name("schemathesis")
    here = Path(__file__).parent
    settings = ["--config-file", str(here / "schemathesis.toml")]
    options = ["--url", f"http://127.0.0.1:{running.http_port}", "--checks", "all", "--no-color"]
    ran = subprocess.run(
        [str(program), *settings, "run", str(OPENAPI), *options],
        cwd=tmp_path,  # it leaves things behind
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]), "NO_PROXY": "*"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counted = re.search(r"(\d+) generated, (\d+) passed", ran.stdout)
    assert counted is not None, ran.stdout
    assert int(counted[1]) > 100
    assert "Tested: 9" in ran.stdout, ran.stdout
    assert len((tmp_path / "protobuf-answers").read_text().splitlines()) > 20
    with capsys.disabled():
        print("\n" + ran.stdout[ran.stdout.index("= SUMMARY =") :])
