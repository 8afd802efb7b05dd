"""The module for pages when things go wrong: a server that is killed, silent, full or away, and a page that may not use
WebSockets. In a real browser, on a page of another origin than the server's.

Where a test is about how long something waits, the page has a clock that the test moves.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from raccoon_tx.testing import TestServer
from tests.integration import clients
from tests.integration.chromium import COMMAND, Chromium, Tab, chromium, site
from tests.integration.kafka_node import free_ports
from tests.integration.load import eventually
from tests.integration.server import Process, Topics, process
from tests.integration.test_browser_module import MODULE, PAGE, SEND, SETTINGS

pytestmark = pytest.mark.skipif(COMMAND is None, reason="this machine has no Chromium")

#: Runs before the page: counts what the module tries, with its outcome, and every error that nobody handles.
WATCH = """
window.tried = [];
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
const Plain = WebSocket;
window.WebSocket = class extends Plain {
  constructor(...all) {
    super(...all);
    this.addEventListener("open", () => tried.push("websocket"));
    this.addEventListener("close", (event) => tried.push("closed " + event.code));
  }
};
const plain = fetch;
window.fetch = async (...all) => {
  try {
    const answer = await plain(...all);
    tried.push(`fetch ${answer.status}`);
    answer.clone().json().then((said) => (window.said = said), () => 0);
    return answer;
  } catch (problem) {
    tried.push("fetch failed");
    throw problem;
  }
};
"""

#: The same for time: it stands still, but for `clock.to_next`.
CLOCK = """
window.clock = { now: 1e12, timers: new Map(), number: 0 };
Date.now = () => clock.now;
window.setTimeout = (call, delay) => {
  clock.timers.set(++clock.number, { call, at: clock.now + delay });
  return clock.number;
};
window.clearTimeout = (number) => clock.timers.delete(number);
clock.wait = () => Math.min(...[...clock.timers.values()].map((timer) => timer.at)) - clock.now;
clock.to_next = () => {
  clock.now += clock.wait();
  for (const [number, timer] of [...clock.timers]) {
    if (timer.at <= clock.now) {
      clock.timers.delete(number);
      timer.call();
    }
  }
};
"""

DEDUP = {"server.batch.dedup.in.connection.enabled": True, "server.batch.dedup.scope": "identity"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as running:
        yield running


@contextmanager
def page(browser: Chromium, page: str = PAGE, clock: bool = False) -> Iterator[tuple[Tab, str]]:
    """A page with the module, and its origin. Nothing that the module does goes wrong loudly."""
    files = {"/": ("text/html", page), "/raccoon.js": ("text/javascript", MODULE)}
    with site(files) as origin, browser.tab() as tab:
        tab.ask("Page.enable")
        tab.ask("Page.addScriptToEvaluateOnNewDocument", source=WATCH + (CLOCK if clock else ""))
        tab.open(f"{origin}/", until="window.Raccoon !== undefined")
        yield tab, origin
        assert tab.run("errors") == []


def make(tab: Tab, url: str, **options: object) -> None:
    chosen = {"id": "visitor-9", "group": "web", "backoff": 20, "longestBackoff": 100, "batchAge": 20, **options}
    tab.run(f"window.raccoon = new Raccoon({json.dumps(url)}, {json.dumps(chosen)}); 0")


def send(tab: Tab, kind: str, values: list[str]) -> None:
    """Without waiting for anything."""
    tab.run(f"for (const value of {json.dumps(values)}) raccoon.send({json.dumps(kind)}, value); 0")


def send_all(tab: Tab, kind: str, values: list[str]) -> Any:
    """And wait until all are done with. :return: transport, delivered, rejected, waiting."""
    return tab.run(f"{SEND}({json.dumps(kind)}, {json.dumps(values)})")


def numbers(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


def counted(values: list[bytes]) -> Counter[str]:
    return Counter(value.decode() for value in values)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def killable(topics: Topics, origin: str, port: int) -> Iterator[Process]:
    """A server in a process of its own, which may be killed. An answer means that Kafka has the events."""
    settings = {**SETTINGS, **DEDUP, "server.cors.allowed.origin": origin, "server.websocket.port": port}
    with process(topics, 1, settings, loud=True) as running:
        yield running


def test_killed(browser: Chromium, broker: str) -> None:
    """Nothing that was taken is lost with a server that is killed, and nothing that was answered goes again."""
    topics, (port,) = Topics(broker), free_ports(1)
    with page(browser) as (tab, origin):
        with killable(topics, origin, port) as server:
            make(tab, url(port), batchEvents=5)
            assert send_all(tab, "page", numbers(0, 50)) == ["websocket", 50, 0, 0]
            server.signal(signal.SIGSTOP)
            send(tab, "page", numbers(50, 80))
            eventually(lambda: tab.run("raccoon.waiting") == 30)
            server.signal(signal.SIGKILL)
            server.wait()
        send(tab, "page", numbers(80, 90))
        eventually(lambda: tab.run("tried.filter((each) => each === 'fetch failed').length > 3"))
        with killable(topics, origin, port):
            assert send_all(tab, "page", numbers(90, 100))[1:] == [100, 0, 0]
            found = counted(topics.wait_for(100, "page")["page"])
    assert set(found) == set(numbers(0, 100))
    # What the killed server had in its sockets can be there twice; what it had answered cannot.
    assert [each for each in numbers(0, 50) if found[each] != 1] == []


def test_silent(browser: Chromium, broker: str) -> None:
    """A server that says nothing is given up after a while. When it goes on, it knows what comes twice by its guid."""
    topics, (port,) = Topics(broker), free_ports(1)
    with page(browser) as (tab, origin), killable(topics, origin, port) as server:
        make(tab, url(port), batchEvents=5, answerTimeout=200)
        assert send_all(tab, "page", numbers(0, 10)) == ["websocket", 10, 0, 0]
        server.signal(signal.SIGSTOP)
        send(tab, "page", numbers(10, 30))
        # Once over the old connection, then over none to be had.
        eventually(lambda: tab.run("tried.includes('fetch failed')"))
        server.signal(signal.SIGCONT)
        assert send_all(tab, "page", numbers(30, 40))[1:] == [40, 0, 0]
        assert counted(topics.wait_for(40, "page")["page"]) == Counter(numbers(0, 40))


def test_backoff(browser: Chromium) -> None:
    """While the server is away, the pauses get longer, up to a limit, and no two pages need have the same ones. When it
    is back, the page is back on its WebSocket."""
    (port,) = free_ports(1)
    with page(browser, clock=True) as (tab, origin):
        make(tab, url(port), backoff=1000, longestBackoff=8000, batchAge=0)
        send(tab, "page", ["0"])
        shares = []
        for failures in range(1, 8):
            failed = f"tried.filter((each) => each === 'fetch failed').length === {failures}"
            eventually(partial(tab.run, f"{failed} && clock.timers.size === 1"))
            longest = min(8000, 1000 * 2 ** (failures - 1))
            shares.append(tab.run("clock.wait()") / longest)
            assert 0.5 <= shares[-1] <= 1.0
            tab.run("clock.to_next()")
        assert len(set(shares)) > 1
        settings = {**SETTINGS, "server.cors.allowed.origin": origin, "server.websocket.port": port}
        eventually(lambda: tab.run("tried.filter((each) => each === 'fetch failed').length") == 8)
        with TestServer(settings) as server:
            tab.run("clock.to_next(); 0")
            assert send_all(tab, "page", ["1"]) == ["websocket", 2, 0, 0]
            assert server.values("page", 2) == [b"0", b"1"]


def test_full(browser: Chromium) -> None:
    """A server that has no room, because it cannot reach Kafka, is asked again when it said, and not before."""
    with page(browser, clock=True) as (tab, origin):
        settings = {**SETTINGS, "server.cors.allowed.origin": origin, "server.require.id": True}
        refusing = {"server.websocket.conn.subprotocol.identity": False}
        with process(Topics("127.0.0.1:1"), 1, {**settings, **refusing}) as server:
            eventually(lambda: "Kafka cannot be reached" in server.log)
            make(tab, url(server.http), batchAge=0)
            send(tab, "page", ["0"])
            eventually(lambda: tab.run("tried.includes('fetch 503') && window.said && clock.timers.size === 1"))
            advised = int(tab.run("said.data.retry_after_ms"))
            assert advised > 100  # more than the back-off would be
            assert advised <= tab.run("clock.wait()") <= 1.5 * advised
            assert tab.run("tried.filter((each) => each.startsWith('fetch'))") == ["fetch 503"]
            tab.run("clock.to_next(); 0")
            eventually(lambda: tab.run("tried.filter((each) => each === 'fetch 503').length") == 2)
            assert tab.run("[raccoon.waiting, raccoon.counts.rejected]") == [1, 0]


@contextmanager
def gateway(origin: str, status: int, **headers: str) -> Iterator[int]:
    """What stands in front of a server and answers for it, in HTML and without any WebSocket. :return: its port."""

    class Answers(BaseHTTPRequestHandler):
        def _answer(self, status: int) -> None:
            body = b"<h1>no</h1>"
            self.send_response(status)
            allowed = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Headers": "*"}
            exposed = {"Access-Control-Expose-Headers": "Retry-After", "Content-Length": str(len(body))}
            for name, value in {**allowed, **exposed, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_OPTIONS(self) -> None:
            self._answer(200)

        def do_GET(self) -> None:
            self._answer(status)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(status)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(("advice", "least", "most"), [("7", 7000, 10500), ("99999999", 300_000, 450_000)])
def test_gateway_that_is_busy(browser: Chromium, advice: str, least: int, most: int) -> None:
    """A gateway's 503 is heeded as the server's own, but no advice keeps a page quiet for more than minutes."""
    with page(browser, clock=True) as (tab, origin), gateway(origin, 503, Retry_After=advice) as port:
        make(tab, url(port), batchAge=0)
        send(tab, "page", ["0"])
        eventually(lambda: tab.run("tried.includes('fetch 503') && clock.timers.size === 1"))
        assert least <= tab.run("clock.wait()") <= most
        assert tab.run("[raccoon.waiting, raccoon.counts.rejected]") == [1, 0]


def test_gateway_that_refuses(browser: Chromium) -> None:
    """What a gateway will never let pass is refused, and does not keep what comes after it back."""
    with page(browser) as (tab, origin), gateway(origin, 403) as port:
        make(tab, url(port))
        tab.run("window.warned = []; console.warn = (text) => warned.push(text); 0")
        assert send_all(tab, "page", ["0", "1"]) == ["fetch", 0, 2, 0]
        assert tab.run("warned") == ["raccoon: an event of type page is refused: HTTP status 403"] * 2


def test_blocked_by_policy(browser: Chromium) -> None:
    """A page whose policy has no room for WebSockets sends by ``fetch``."""
    policy = '<meta http-equiv="Content-Security-Policy" content="connect-src http:">'
    strict = page(browser, PAGE.replace("<script", f"{policy}<script", 1))
    with strict as (tab, origin), TestServer({**SETTINGS, "server.cors.allowed.origin": origin}) as server:
        make(tab, server.http_url)
        assert send_all(tab, "page", ["0", "1"]) == ["fetch", 2, 0, 0]
        assert sorted(server.values("page", 2)) == [b"0", b"1"]


def test_constructor_that_throws(browser: Chromium) -> None:
    """As some browsers' does for a page by https: that is a refusal, and none of the caller's business."""
    with page(browser) as (tab, origin), TestServer({**SETTINGS, "server.cors.allowed.origin": origin}) as server:
        tab.run("window.WebSocket = class { constructor() { throw new DOMException('no', 'SecurityError'); } }; 0")
        make(tab, server.http_url)
        assert send_all(tab, "page", ["0"]) == ["fetch", 1, 0, 0]
        assert server.values("page") == [b"0"]


@pytest.mark.parametrize("code", [4, 5])
def test_refused_connection(browser: Chromium, code: int) -> None:
    """Where the table of connections is full (4), or has this client already (5), events go by ``fetch``."""
    with page(browser) as (tab, origin):
        settings = {
            **SETTINGS,
            "server.cors.allowed.origin": origin,
            "server.websocket.max.conn": 1 if code == 4 else 9,
        }
        with TestServer(settings) as server:

            class Ports:
                http, grpc = server.http_port, server.grpc_port

            with clients.websocket(Ports(), "visitor-1" if code == 4 else "visitor-9", "web"):
                make(tab, server.http_url)
                assert send_all(tab, "page", ["0", "1"]) == ["fetch", 2, 0, 0]
                assert tab.run("tried.slice(0, 2)") == ["websocket", "closed 1008"]
            assert sorted(server.values("page", 2)) == [b"0", b"1"]


def test_part_of_a_batch(browser: Chromium) -> None:
    """Of a batch with an event that can never be taken, the others go again, once and under a guid of their own."""
    with page(browser) as (tab, origin):
        settings = {**SETTINGS, **DEDUP, "server.cors.allowed.origin": origin}
        with TestServer(settings) as server:
            make(tab, server.http_url, batchAge=600000)
            tab.run(
                "window.sent = []; const send = Plain.prototype.send;"
                "Plain.prototype.send = function (text) { sent.push(JSON.parse(text)); send.call(this, text); }; 0"
            )
            send(tab, "page", ["0", "1"])
            send(tab, "not a topic", ["x"])
            assert send_all(tab, "page", ["2"]) == ["websocket", 3, 1, 0]
            first, second = tab.run("sent")
            assert [len(each["events"]) for each in (first, second)] == [4, 3]
            assert first["req_guid"] != second["req_guid"]
            assert counted(server.values("page", 3)) == Counter("012")


def test_bounded_bytes(browser: Chromium) -> None:
    """While nobody takes events, no more bytes are kept than was said: the new event is refused, the old ones stay."""
    (port,) = free_ports(1)
    with page(browser) as (tab, _):
        make(tab, url(port), bufferBytes=10_000)
        taken = tab.run("Array.from({ length: 40 }, () => raccoon.send('page', 'x'.repeat(900)))")
        # In base64, with what wraps it.
        assert taken == [True] * 7 + [False] * 33
        assert tab.run("[raccoon.waiting, raccoon.counts.dropped]") == [7, 33]


def test_beacons(browser: Chromium) -> None:
    """When the page goes, what fits into beacons goes in the order in which it came; the server gets no half batch."""
    with page(browser) as (tab, origin), TestServer({**SETTINGS, "server.cors.allowed.origin": origin}) as server:
        make(tab, server.http_url, batchAge=600000, batchEvents=10)
        tab.run("for (let n = 0; n < 100; n++) raccoon.send('left', String(n).padStart(900, '0')); 0")
        # Nothing can be on its way by WebSocket: that one is not there before the task that sends is over.
        tab.run("dispatchEvent(new PageTransitionEvent('pagehide')); window.kept = raccoon.waiting; 0")
        kept = tab.run("kept")
        assert 0 < kept < 100
        assert kept % 10 == 0
        tab.run("raccoon.flush()")
        found = counted(server.values("left", 100))
        assert set(found) == {str(number).zfill(900) for number in range(100)}
