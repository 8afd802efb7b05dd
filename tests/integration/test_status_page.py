"""The status page in a real browser, and its figures from a real server."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from raccoon_tx.testing import TestServer
from tests.integration.batches import Batch, Event
from tests.integration.chromium import COMMAND, Chromium, chromium
from tests.integration.clients import GROUP_HEADER, ID_HEADER, WAYS, post, sender
from tests.integration.kafka_node import free_ports
from tests.integration.load import eventually
from tests.integration.server import Topics, process

#: A group may have any characters; a page must not take them for its own.
HOSTILE = "<img src=x onerror=hacked=1>'\"&amp;"

needs_browser = pytest.mark.skipif(COMMAND is None, reason="this machine has no Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as running:
        yield running


class Ports:
    """Of a `TestServer`, as the clients want them."""

    def __init__(self, server: TestServer) -> None:
        self.http, self.grpc = server.http_port, server.grpc_port


def send(server: TestServer, times: int = 1, group: str = "web") -> None:
    for number in range(times):
        batch = Batch(f"{number}", Event("page_view", b"x"), Event("click", b"y"))
        headers = {ID_HEADER: "somebody", GROUP_HEADER: group}
        assert post(Ports(server), batch.written("json"), **headers).status == 200


@needs_browser
def test_live(browser: Chromium) -> None:
    """Figures move while events come, names of clients are text and nothing else, and a server that has gone is said to
    have gone, until it is back."""
    (port,) = free_ports(1)
    settings = {
        "server.status.port": port,
        "server.websocket.conn.id.header": ID_HEADER,
        "server.websocket.conn.group.header": GROUP_HEADER,
    }
    with TestServer(settings) as server, browser.tab() as tab:
        tab.ask("Page.enable")
        tab.ask("Page.addScriptToEvaluateOnNewDocument", source=(
            "window.hacked = 0; window.violations = [];"
            "document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));"
        ))  # fmt: skip
        tab.open(f"http://127.0.0.1:{port}/", until="document.getElementById('state')?.textContent === 'counting'")
        text = "document.body.innerText"
        deadline = time.monotonic() + 30.0
        while not tab.run(f"{text}.includes('web / page_view') && /received\\s+[1-9]/.test({text})"):
            send(server, 3)
            assert time.monotonic() < deadline, tab.run(text)
        assert tab.run("document.getElementById('state').textContent") == "live"
        send(server, 1, HOSTILE)
        eventually(lambda: tab.run(f"{text}.includes({json.dumps(HOSTILE)})"))
        assert tab.run("[hacked, violations, document.images.length]") == [0, [], 0]
        server.stop()
        eventually(lambda: "does not answer" in tab.run(text))
        server.start()
        eventually(lambda: tab.run("document.getElementById('state').textContent") in ("counting", "live"))


def test_workers() -> None:
    """With several workers the page has what all of them count."""
    (port,) = free_ports(1)
    settings = {"server.workers": 2, "server.status.port": port, "publisher.type": "log"}

    def look() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    with process(Topics("127.0.0.1:1"), 0, settings) as server:
        assert look()["workers"] == 2

        def counted() -> bool:
            with sender(server, WAYS[0], "somebody") as say:
                say(Batch("one", Event("seen", b"x")))
            return any(each["type"] == "seen" for each in look()["events_per_second"])

        eventually(counted)
