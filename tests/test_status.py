"""Tests of `raccoon_tx.metrics.status` and `raccoon_tx.metrics.view`."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import Counts
from raccoon_tx.metrics.exposition import Exposition
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import Family
from raccoon_tx.metrics.prometheus import MetricsSite
from raccoon_tx.metrics.status import FRESH, PAGE, POLICY, STALE, Status, is_ours
from raccoon_tx.metrics.view import MOST, of_families, view
from raccoon_tx.tools.metrics import read
from tests.test_prometheus import Answer, Browser
from tests.traffic import Threads, known_traffic


def by_number(sample: tuple[Mapping[str, str], float]) -> tuple[dict[str, object], float]:
    """A sample whose bound, if it has one, is a number."""
    labels, value = sample
    return {name: float(text) if name == "le" else text for name, text in labels.items()}, value


class ViewTests(SynchronousTestCase):
    def test_same_as_scraped(self) -> None:
        """The server's own look has every sample that a scrape of it has."""
        families = Families(known_traffic(), lambda: 0.0, 10.0).snapshot()
        scraped = read(Exposition().text(families).decode(), 7.0)
        looked = of_families(families, 7.0)
        self.assertEqual(looked.at, scraped.at)
        for name, samples in looked.samples.items():
            # A counter whose name does not end so is called so by the parser.
            found = scraped.samples.get(name) or scraped.samples[f"{name}_total"]
            self.assertCountEqual(map(by_number, samples), map(by_number, found), name)
        self.assertIn("batch_processing_latency_milliseconds_bucket", looked.samples)

    def test_many_groups(self) -> None:
        """The groups with the most WebSockets are shown, and all are counted."""
        counts = Counts("kafka", MOST + 50)
        for number in range(MOST + 10):
            counts.group(f"g{number}").open = number
        scrape = of_families(Families(counts, lambda: 0.0, 10.0).snapshot(), 0.0)
        found = view(scrape, scrape)
        self.assertEqual(len(found.connections), MOST)
        self.assertEqual(next(iter(found.connections.items())), (f"g{MOST + 9}", MOST + 9))
        self.assertEqual(found.sockets, sum(range(MOST + 10)))


class NameTests(SynchronousTestCase):
    def test_ours(self) -> None:
        """Addresses, localhost and the configured name are meant for this server, whatever the port."""
        for host in (
            "127.0.0.1:80",
            "127.0.0.1",
            "[::1]:8090",
            "[::1]",
            "10.1.2.3",
            "localhost:1",
            "LOCALHOST",
            "Inner",
        ):
            self.assertTrue(is_ours(host, "inner"), host)

    def test_others(self) -> None:
        """Other names lead here only by somebody's trick."""
        for host in (
            "",
            "evil.example",
            "evil.example:8090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1:x",
        ):
            self.assertFalse(is_ours(host, "127.0.0.1"), host)


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.looks, self.counts = Clock(), 0, known_traffic()

    def snapshot(self) -> Sequence[Family]:
        self.looks += 1
        return Families(self.counts, self.clock.seconds, 10.0).snapshot()

    def open(self, in_thread: Any = maybeDeferred, snapshot: Any = None) -> None:
        about = {"version": "1", "parts": {"publisher": {"ok": True, "state": "ok"}}}
        status = Status(snapshot or self.snapshot, in_thread, self.clock.seconds, lambda: about)
        self.site = MetricsSite(status, self.clock)
        self.site.doStart()

    def ask(self, path: str = "/status.json", method: str = "GET", **headers: str) -> Answer:
        browser = Browser(self.site)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {headers.pop('host', '127.0.0.1')}", "", ""]
        browser.protocol.dataReceived("\r\n".join(lines).encode())
        (answer,) = browser.got
        return answer

    def figures(self) -> dict[str, Any]:
        answer = self.ask()
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def test_page(self) -> None:
        """The page is one file, whose script and style are the only ones that a browser will take."""
        self.open()
        answer = self.ask("/")
        self.assertEqual((answer.status, answer.body), (200, PAGE))
        self.assertEqual(answer.headers["content-security-policy"], POLICY)
        for name in (b"script", b"style"):
            self.assertEqual(PAGE.count(b"<%b" % name), 1)
            inside = PAGE.partition(b"<%b>" % name)[2].partition(b"</%b>" % name)[0]
            self.assertIn(f"{name.decode()}-src 'sha256-{b64encode(sha256(inside).digest()).decode()}'", POLICY)
        for part in (b"://", b"src=", b"@import", b'style="', b" onload", b"innerHTML"):
            self.assertNotIn(part, PAGE.replace(b"http://www.w3.org/2000/svg", b""))

    def test_headers(self) -> None:
        """Nothing is kept by a browser, or taken for what it is not, and it is not said what this server is made of."""
        self.open()
        for path in ("/", "/status.json", "/other"):
            headers = self.ask(path).headers
            self.assertEqual(headers["cache-control"], "no-store")
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")
            self.assertNotIn("server", headers)

    def test_rates(self) -> None:
        """The first look counts from now, the next says what came since."""
        self.open()
        first = self.figures()
        self.assertEqual((first["counting"], first["events_received_per_second"], first["version"]), (True, 0.0, "1"))
        self.counts.group("app").lanes["click"].received += 30
        self.clock.advance(2.0)
        second = self.figures()
        self.assertEqual((second["counting"], second["events_received_per_second"]), (False, 15.0))
        self.assertEqual(second["events_per_second"][0], {"group": "app", "type": "click", "rate": 15.0})
        self.assertEqual(second["parts"], {"publisher": {"ok": True, "state": "ok"}})

    def test_many_viewers(self) -> None:
        """However many look at once, the server looks once in a while."""
        threads = Threads()
        self.open(threads)
        browsers = [Browser(self.site) for _ in range(5)]
        for browser in browsers:
            browser.protocol.dataReceived(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual((len(threads.calls), self.looks), (1, 1))
        browsers[0].transport.loseConnection()
        threads.finish()
        bodies = {answer.body for browser in browsers[1:] for answer in browser.got}
        self.assertEqual(len(bodies), 1)
        self.clock.advance(FRESH / 2)
        self.assertIn(self.ask().body, bodies)
        self.assertEqual(self.looks, 1)

    def test_long_pause(self) -> None:
        """What was seen long ago is nothing to compare with."""
        self.open()
        self.figures()
        self.clock.advance(STALE)
        self.assertTrue(self.figures()["counting"])

    def test_others_names(self) -> None:
        """Who comes by a name that is not ours gets nothing."""
        self.open()
        for path in ("/", "/status.json"):
            self.assertEqual(self.ask(path, host="evil.example").status, 403)
        self.assertEqual(self.looks, 0)

    def test_read_only(self) -> None:
        """There are two paths, and nothing can be sent."""
        self.open()
        self.assertEqual(self.ask("/metrics").status, 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = self.ask("/", method)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))

    def test_failure(self) -> None:
        """A look that fails is said, in the log with its cause, and the next one is another."""

        def broken() -> Sequence[Family]:
            self.looks += 1
            raise ValueError("secret")

        self.open(snapshot=broken)
        answer = self.ask()
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(self.ask().status, 500)
        self.assertEqual((self.looks, len(self.flushLoggedErrors(ValueError))), (2, 2))
