"""The module for pages in a real browser, on a page of another origin than the server's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import raccoon_tx.client
from raccoon_tx.testing import TestServer
from tests.integration import clients
from tests.integration.chromium import COMMAND, Chromium, Tab, chromium, site

pytestmark = pytest.mark.skipif(COMMAND is None, reason="this machine has no Chromium")

MODULE = Path(raccoon_tx.client.__file__).with_name("raccoon.js").read_text("utf-8")

#: Makes the module known to `Tab.run`.
PAGE = """<!doctype html><title>page</title>
<script type="module">
  import { Raccoon } from "/raccoon.js";
  window.Raccoon = Raccoon;
</script>"""

#: What a server needs for it, but for the origin of the page.
SETTINGS = {
    "server.cors.enabled": True,
    "server.accept.text.plain": True,
    "server.websocket.conn.id.query": "id",
    "server.websocket.conn.group.query": "group",
    "event.record.headers": "id,group,transport",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with site({"/": ("text/html", PAGE), "/raccoon.js": ("text/javascript", MODULE)}) as made:
        yield made


@pytest.fixture
def tab(browser: Chromium, origin: str) -> Iterator[Tab]:
    with browser.tab() as made:
        made.open(f"{origin}/", until="window.Raccoon !== undefined")
        yield made


def server(origin: str, **more: object) -> TestServer:
    return TestServer({**SETTINGS, "server.cors.allowed.origin": origin, **more})


def make(running: TestServer, **options: object) -> str:
    """A script that makes a client."""
    chosen = {"id": "visitor-9", "group": "web", "backoff": 20, "batchAge": 20, **options}
    return f"window.raccoon = new Raccoon({json.dumps(running.http_url)}, {json.dumps(chosen)});"


def arrived(running: TestServer, kind: str, count: int) -> set[tuple[bytes | None, ...]]:
    """Value, id, group and transport of what has arrived."""
    return {(record.value, *(value for _, value in record.headers)) for record in running.records(kind, count)}


#: Sends texts, waits until they are done with, and says how it went.
SEND = """(async (type, values) => {
  for (const value of values) raccoon.send(type, value);
  await raccoon.flush();
  return [raccoon.transport, raccoon.counts.delivered, raccoon.counts.rejected, raccoon.waiting];
})"""


def test_websocket(tab: Tab, origin: str) -> None:
    """Events go by WebSocket, and who sends them goes with it: texts, bytes, and what JSON can say."""
    with server(origin) as running:
        tab.run(make(running))
        assert tab.run(f"{SEND}('page', ['é', new Uint8Array([0, 255]), {{a: [1]}}])") == ["websocket", 3, 0, 0]
        assert arrived(running, "page", 3) == {
            (value, b"visitor-9", b"web", b"websocket") for value in (b"\x00\xff", b'{"a":[1]}', "é".encode())
        }


def test_fetch_when_the_upgrade_is_refused(tab: Tab, origin: str) -> None:
    """Where no WebSocket is to be had, events go by ``fetch``, past the preflight."""
    # Who sends is not believed from a subprotocol, and nobody else gets in.
    refusing = {"server.require.id": True, "server.websocket.conn.subprotocol.identity": False}
    with server(origin, **refusing) as running:
        tab.run(make(running))
        assert tab.run(f"{SEND}('page', ['one', 'two'])") == ["fetch", 2, 0, 0]
        assert arrived(running, "page", 2) == {(value, b"visitor-9", b"web", b"rest") for value in (b"one", b"two")}


def test_fetch_when_the_connection_is_refused(tab: Tab, origin: str) -> None:
    """A WebSocket that is refused in words, as a second one of the same client is, is refused too."""
    with server(origin) as running:

        class Ports:
            http, grpc = running.http_port, running.grpc_port

        with clients.websocket(Ports(), "visitor-9", "web"):
            tab.run(make(running))
            assert tab.run(f"{SEND}('page', ['one'])") == ["fetch", 1, 0, 0]
        assert running.values("page") == [b"one"]


@pytest.mark.parametrize("fetch", [False, True])
def test_refused_events(tab: Tab, origin: str, fetch: bool) -> None:
    """What can never be taken is told, and does not keep the others of its batch back."""
    with server(origin) as running:
        tab.run("window.refused = [];" + make(running))
        tab.run("raccoon.close()")
        options = "{id: 'a', batchAge: 50, rejected: (event, reason) => refused.push([event.type, reason])}"
        tab.run(
            f"window.kept = WebSocket; {'delete window.WebSocket;' if fetch else ''}"
            f"window.raccoon = new Raccoon({json.dumps(running.http_url)}, {options});"
            "raccoon.send('not a topic', 'x'); 0"
        )
        assert tab.run(f"{SEND}('page', ['good'])")[1:] == [1, 1, 0]
        [(kind, reason)] = tab.run("refused")
        assert kind == "not a topic"
        assert "illegal type" in reason
        assert running.values("page") == [b"good"]


def test_beacon(tab: Tab, origin: str) -> None:
    """What has not been sent when the page goes goes by beacon, with the identity in the address."""
    with server(origin) as running:
        tab.run(make(running, batchAge=600000))
        tab.run("raccoon.send('left', 'one'); raccoon.send('left', 'two'); 0")
        tab.open("about:blank")
        assert arrived(running, "left", 2) == {(value, b"visitor-9", b"web", b"rest") for value in (b"one", b"two")}


def test_server_comes_back(tab: Tab, origin: str) -> None:
    """Events wait for a server that is away; none is lost, and with dedup none is there twice."""
    dedup = {"server.batch.dedup.in.connection.enabled": True}
    with server(origin, **dedup) as running:
        tab.run(make(running, longestBackoff=50))
        assert tab.run(f"{SEND}('page', ['0'])")[1:] == [1, 0, 0]
        running.stop()
        tab.run("for (const value of '123') raccoon.send('page', value); 0")
        running.start()
        assert tab.run(f"{SEND}('page', ['4'])")[1:] == [5, 0, 0]
        assert sorted(running.values("page", 5)) == [b"0", b"1", b"2", b"3", b"4"]


def test_page_of_the_documentation(browser: Chromium) -> None:
    """The page that the documentation shows works as it stands, but for the address."""
    text = (Path(__file__).parents[2] / "docs" / "publishing" / "browser-module.md").read_text("utf-8")
    shown = re.search(r"^```html\n(.*?)^```$", text, re.M | re.S)
    assert shown is not None
    files = {"/raccoon.mjs": ("text/javascript", MODULE)}
    with site(files) as origin, server(origin) as running, browser.tab() as tab:
        files["/shop"] = "text/html", shown[1].replace("http://127.0.0.1:8080", running.http_url)
        tab.open(f"{origin}/shop")
        tab.run("document.getElementById('buy').click()")
        assert running.values("buy") == [b'{"article":7}']
        assert running.values("view") == [b"/shop"]


def test_bounded(tab: Tab, origin: str) -> None:
    """While nobody takes events, no more are kept than was said."""
    with server(origin) as running:
        tab.run(make(running, bufferEvents=3))
        running.stop()
        assert tab.run("'12345'.split('').map((value) => raccoon.send('page', value))") == [True] * 3 + [False] * 2
        assert tab.run("[raccoon.waiting, raccoon.counts.dropped]") == [3, 2]
        assert tab.run("raccoon.close(50)") == 3
