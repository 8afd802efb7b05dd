"""Something that happened, for the tests of what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from raccoon_tx.metrics.counts import Counts, Histogram
from raccoon_tx.routing import Routes
from tests.samples import batch


def known_traffic(histogram: type[Histogram] = Histogram) -> Counts:
    """Two groups: ``app``, which sends over WebSockets, and ``web``, of which nearly nothing is known."""
    counts = Counts("kafka", histogram=histogram)
    routes = Routes("clickstream-%s-log", 10, 1000, counts)
    app, web = counts.group("app"), counts.group("web")

    records = routes.route(batch(("click", b"12345"), ("click", b"123"), ("page", b"1")), app)
    for lane, _ in records:
        lane.delivered += 1
    routes.route(batch(("page", b"22")), web)
    lost = web.lanes["page"]
    lost.undelivered = lost.unknown_topic = 1

    app.read, app.duplicates = 2, 1
    app.could_not_read("serde")
    web.read = 1
    app.connected, app.open = 3, 2
    app.refuse("exists")
    app.ping_failures = 4
    app.pong_failures = 5
    counts.close_errors = 6

    counts.waited.observe(1)
    counts.published.observe(12)
    counts.published.observe(7000)
    counts.worked.observe(4)
    app.processing.observe(33)
    app.latency.observe(5)
    app.batch_processing.observe(99)
    app.batch_latency.observe(15)
    counts.acked.observe(2)
    counts.answered.observe(20)
    app.sessions.observe(90_000)
    app.sessions.observe(4_000_000)

    counts.client = {
        "txmsgs": 4,
        "txmsg_bytes": 11,
        "brokers": {"kafka-1": (7, 1234, 1500), "kafka-2": (1, 40, 0)},
    }
    return counts


class Threads:
    """Keeps what is to be done in a thread, until the test lets it happen."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Callable[..., Any], Iterable[Any]]] = []

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        answered: Deferred[Any] = Deferred()
        self.calls.append((answered, call, arguments))
        return answered

    def finish(self) -> None:
        """Let the oldest call happen."""
        answered, call, arguments = self.calls.pop(0)
        try:
            result = call(*arguments)
        except Exception as problem:
            answered.errback(problem)
        else:
            answered.callback(result)
