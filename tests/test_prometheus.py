"""Tests of `raccoon_tx.metrics.prometheus`."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.exposition import CONTENT_TYPE
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.names import COUNTER, Family
from raccoon_tx.metrics.prometheus import IDLE_TIMEOUT, MOST_CONNECTIONS, MetricsSite, PrometheusExporter
from tests.test_exposition import EXPECTED, ours
from tests.traffic import Threads, known_traffic

ERRORS = [
    "# TYPE promhttp_metric_handler_errors_total counter",
    'promhttp_metric_handler_errors_total{cause="encoding"} 0.0',
    'promhttp_metric_handler_errors_total{cause="gathering"} 0.0',
]


@frozen
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


def answers(received: bytes) -> list[Answer]:
    """The answers in what was received, each with a length."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers["content-length"])
        found.append(Answer(int(first.split(" ")[1]), headers, received[:length]))
        received = received[length:]
    return found


class Port:
    """A listening port."""

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()
        self.open = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 9090)

    def stopListening(self) -> Deferred[None]:
        self.open = False
        return self.closed


class Browser:
    """A client's connection."""

    def __init__(self, site: MetricsSite) -> None:
        self.protocol = site.buildProtocol(None)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    def send(self, path: str = "/metrics", method: str = "GET", body: bytes = b"", **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: here"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)

    @property
    def got(self) -> list[Answer]:
        return answers(self.transport.value())


class ExporterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.port, self.sites = Clock(), Port(), []
        self.snapshots = 0

    def exporter(
        self,
        in_thread: Any = maybeDeferred,
        snapshot: Callable[[], Sequence[Family]] | None = None,
        path: str = "/metrics",
    ) -> PrometheusExporter:
        families = Families(known_traffic(), self.clock.seconds, 10.0)

        def count() -> Sequence[Family]:
            self.snapshots += 1
            return families.snapshot()

        def listen(site: MetricsSite) -> Port:
            self.sites.append(site)
            site.doStart()
            return self.port

        exporter = PrometheusExporter(listen, self.clock, path, snapshot or count, in_thread)
        exporter.privilegedStartService()
        exporter.startService()
        return exporter

    def browser(self) -> Browser:
        return Browser(self.sites[0])

    def ask(self, *arguments: Any, **headers: str) -> Answer:
        browser = self.browser()
        browser.send(*arguments, **headers)
        (answer,) = browser.got
        return answer

    def test_known_traffic(self) -> None:
        """A scrape has all of it, line by line, and how many scrapes have failed."""
        self.exporter()
        answer = self.ask()
        self.assertEqual((answer.status, answer.headers["content-type"].encode()), (200, CONTENT_TYPE))
        self.assertEqual(ours(answer.body.decode()), EXPECTED + ERRORS)

    def test_one_format(self) -> None:
        """Whatever else the client would like, there is one format, which every Prometheus reads."""
        self.exporter()
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=1.0.0;q=0.5,*/*;q=0.1"
        answer = self.ask(Accept=accept)
        self.assertEqual(answer.headers["content-type"].encode(), CONTENT_TYPE)
        self.assertNotIn(b"# EOF", answer.body)

    def test_gzip(self) -> None:
        """Who takes gzip gets it."""
        self.exporter()
        for accepted in ("gzip", "deflate, GZIP ; q=0.5"):
            answer = self.ask(Accept_Encoding=accepted)
            self.assertEqual(answer.headers["content-encoding"], "gzip")
            self.assertEqual(ours(gzip.decompress(answer.body).decode()), EXPECTED + ERRORS)
        for accepted in ("identity", "gzip; q=0", "x-gzip", ""):
            self.assertNotIn("content-encoding", self.ask(Accept_Encoding=accepted).headers)

    def test_head(self) -> None:
        """HEAD says how long it would be."""
        self.exporter()
        browser = self.browser()
        browser.send(method="HEAD")
        head = browser.transport.value()
        self.assertTrue(head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n"))
        self.assertRegex(head.lower(), rb"content-length: \d{4}")

    def test_methods(self) -> None:
        """Nothing can be sent here, and whatever is sent is not kept."""
        self.exporter()
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = self.ask("/metrics", method, b"x" * 200_000)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.snapshots, 0)

    def test_paths(self) -> None:
        """There is one path."""
        self.exporter()
        for path in ("/", "/metrics/", "/metrics/x", "/Metrics", "/favicon.ico", "/%6detrics"):
            self.assertEqual((self.ask(path).status, path), (404, path))
        self.assertEqual(self.ask("/metrics?name[]=events_rx_total").status, 200)
        self.assertEqual(self.ask("/nothing", "POST").status, 404)

    def test_other_path(self) -> None:
        """It is the one that is configured, with a slash before it."""
        for path in ("/stats/prom", "stats/prom"):
            self.sites.clear()
            self.exporter(path=path)
            self.assertEqual([self.ask(asked).status for asked in ("/stats/prom", "/metrics")], [200, 404])

    def test_anonymous(self) -> None:
        """No answer says what the server is made of."""
        self.exporter()
        for path in ("/metrics", "/"):
            self.assertNotIn("server", self.ask(path).headers)

    def test_shared(self) -> None:
        """There is one scrape at a time: who asks meanwhile gets its result, who asks later another one."""
        threads = Threads()
        self.exporter(threads)
        browsers = [self.browser() for _ in range(3)]
        for browser in browsers:
            browser.send()
        self.assertEqual((len(threads.calls), self.snapshots), (1, 1))
        threads.finish()
        self.assertEqual([answer.status for browser in browsers for answer in browser.got], [200, 200, 200])
        browsers[0].send()
        self.assertEqual(self.snapshots, 2)
        threads.finish()
        self.assertEqual(len(browsers[0].got), 2)

    def test_gone(self) -> None:
        """Who does not wait for the answer is forgotten, and the others get theirs."""
        threads = Threads()
        self.exporter(threads)
        browsers = [self.browser() for _ in range(2)]
        browsers[0].send()
        browsers[0].transport.loseConnection()
        browsers[1].send()
        self.assertEqual(len(threads.calls), 1)
        threads.finish()
        self.assertEqual([len(browser.got) for browser in browsers], [0, 1])

    def test_cannot_gather(self) -> None:
        """A scrape that fails is told, logged and counted, and the next one may succeed."""
        good = Families(known_traffic(), self.clock.seconds, 10.0).snapshot()
        snapshots: list[Any] = [
            ZeroDivisionError("secret"),
            [Family("bad_total", COUNTER, ("a",), "Bad.", {("1", "2"): 1})],
            good,
        ]

        def snapshot() -> Sequence[Family]:
            found = snapshots.pop(0)
            if isinstance(found, Exception):
                raise found
            return list(found)

        self.exporter(snapshot=snapshot)
        for _ in range(2):
            answer = self.ask()
            self.assertEqual(answer.status, 500)
            self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors()), 2)
        self.assertIn(b'promhttp_metric_handler_errors_total{cause="gathering"} 2.0', self.ask().body)

    def test_cannot_encode(self) -> None:
        """What cannot be written down is another cause."""
        snapshots: list[Any] = [[Family("bad_total", COUNTER, ("a",), "Bad.", {("\ud800",): 1})], []]
        self.exporter(snapshot=lambda: snapshots.pop(0))
        self.assertEqual(self.ask().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)
        self.assertIn(b'promhttp_metric_handler_errors_total{cause="encoding"} 1.0', self.ask().body)

    def test_bounded(self) -> None:
        """There is a bound to open connections; those that do nothing make room."""
        self.exporter()
        for _ in range(MOST_CONNECTIONS):
            self.browser()
        self.assertIsNone(self.sites[0].buildProtocol(None))
        self.clock.pump([1.0] * int(IDLE_TIMEOUT + 1))
        self.assertEqual(self.ask().status, 200)

    def test_listens_once(self) -> None:
        """The port is taken in time to be a privileged one, and only once."""
        exporter = self.exporter()
        self.assertEqual((len(self.sites), exporter.port), (1, 9090))

    def test_stop(self) -> None:
        """Up to the stop there are answers; then port and connections are closed, and nothing is left behind."""
        threads = Threads()
        exporter = self.exporter(threads)
        idle, waiting = self.browser(), self.browser()
        waiting.send()
        stopped = exporter.stopService()
        self.assertFalse(self.port.open)
        self.assertNoResult(stopped)
        self.port.closed.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(idle.transport.connected or waiting.transport.connected)
        threads.finish()
        self.sites[0].doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
