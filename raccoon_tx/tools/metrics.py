"""What a running server has counted, read from its ``/metrics``, and what that comes to per second. Plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from attrs import frozen
from prometheus_client.parser import text_string_to_metric_families

from raccoon_tx.tools.look import Trouble

#: Seconds that an answer may take, and bytes that it may have.
TIMEOUT, LARGEST = 5.0, 32_000_000

#: How many types and groups, and how many reasons, are shown.
MOST = 100

#: Is there even if nothing has ever happened.
_ALWAYS = "conn_close_err_count"

Labels = Mapping[str, str]


@frozen
class Scrape:
    """All samples at one moment. :ivar at: seconds of a clock that never goes back. :ivar samples: by name."""

    at: float
    samples: Mapping[str, list[tuple[Labels, float]]]

    def each(self, name: str) -> Iterator[tuple[Labels, float]]:
        """The samples of this name; ``*`` at its beginning stands for the publisher."""
        if name.startswith("*"):
            for found, samples in self.samples.items():
                if found.endswith(name[1:]):
                    yield from samples
        else:
            yield from self.samples.get(name, ())

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The sums of samples that are alike in these labels."""
        found: dict[tuple[str, ...], float] = {}
        for of, value in self.each(name):
            key = tuple(of.get(label, "") for label in labels)
            found[key] = found.get(key, 0.0) + value
        return found

    def total(self, name: str) -> float:
        """Of all samples."""
        return sum(value for _, value in self.each(name))


def scrape(url: str) -> Scrape:
    """Ask a server. Blocks. :raises Trouble: there is no answer, or none of ours."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT) as answer:
            text = answer.read(LARGEST).decode("utf-8", "replace")
    except HTTPError as error:
        raise Trouble(f"{url} answers {error.code}: is it the address of the metrics?") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        hint = "start the server with --metric.prometheus.enabled, or say where with --from"
        raise Trouble(f"no metrics from {url}: {words}; {hint}") from None
    return read(text, time.monotonic(), url)


def read(text: str, at: float, url: str = "it") -> Scrape:
    """What a server has written. :raises Trouble: it is something else."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError):
        raise Trouble(f"what {url} answers are not metrics") from None
    if not any(name.startswith(_ALWAYS) for name in samples):
        raise Trouble(f"{url} has metrics, but not those of raccoon_tx")
    return Scrape(at, samples)


@frozen(kw_only=True)
class View:
    """What is shown: per second, unless it says otherwise.

    :ivar types: events received, by group and type. :ivar refused: batches, by reason. :ivar connections: open
        WebSockets, by group. :ivar turned_away: WebSockets that were not let in, by reason. :ivar waiting: batches that
        wait for room. :ivar in_flight: batches that are not confirmed. :ivar latency: seconds from the arrival of a
        batch to its delivery: p50 and p99, at most so many; ``None`` where none was delivered.
    """

    seconds: float
    received: float
    delivered: float
    undelivered: float
    batches: float
    duplicates: float
    types: Mapping[tuple[str, ...], float]
    refused: Mapping[str, float]
    connections: Mapping[str, float]
    turned_away: Mapping[str, float]
    waiting: float
    in_flight: float
    latency: tuple[float, float] | None


def view(before: Scrape, now: Scrape) -> View:
    """What happened between two moments."""
    seconds = max(now.at - before.at, 1e-9)

    def rate(count: Callable[[Scrape], float]) -> float:
        return max(count(now) - count(before), 0.0) / seconds  # a server that was started anew begins at 0

    def rates(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        old = before.by(name, *labels)
        found = {key: max(value - old.get(key, 0.0), 0.0) / seconds for key, value in now.by(name, *labels).items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST])

    read_ = rates("batches_read_total", "status", "reason")
    return View(
        seconds=seconds,
        received=rate(lambda scrape: scrape.total("events_rx_total")),
        delivered=rate(lambda scrape: scrape.total("*_messages_delivered_total")),
        undelivered=rate(lambda scrape: scrape.total("*_messages_undelivered_total")),
        batches=read_.get(("success", "NA"), 0.0),
        duplicates=rate(lambda scrape: scrape.total("events_duplicate_total")),
        types=rates("events_rx_total", "conn_group", "event_type"),
        refused={reason: value for (status, reason), value in read_.items() if status != "success"},
        connections={group: value for (group,), value in now.by("connections_count_current", "conn_group").items()},
        turned_away={key[0]: value for key, value in rates("user_connection_failure_total", "reason").items()},
        waiting=now.total("batches_waiting_current"),
        in_flight=now.total("batches_in_flight_current"),
        latency=_latency(before, now),
    )


def _latency(before: Scrape, now: Scrape) -> tuple[float, float] | None:
    name = "batch_processing_latency_milliseconds_bucket"
    old = before.by(name, "le")
    buckets = sorted((float(key[0]), value - old.get(key, 0.0)) for key, value in now.by(name, "le").items())
    if not buckets or buckets[-1][1] <= 0:
        return None
    return _share(buckets, 0.5), _share(buckets, 0.99)


def _share(buckets: list[tuple[float, float]], share: float) -> float:
    """Within which time this share was delivered: between the bounds of a bucket it is taken to be spread evenly."""
    wanted = share * buckets[-1][1]
    lower = below = 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return lower / 1000
            return (lower + (bound - lower) * (wanted - below) / max(count - below, 1e-9)) / 1000
        lower, below = bound, count
    return lower / 1000


def as_json(found: View) -> dict[str, Any]:
    """For programs."""

    def rounded(rates: Mapping[str, float]) -> dict[str, float]:
        return {name: round(value, 3) for name, value in rates.items()}

    return {
        "seconds": round(found.seconds, 3),
        "events_received_per_second": round(found.received, 3),
        "events_delivered_per_second": round(found.delivered, 3),
        "events_undelivered_per_second": round(found.undelivered, 3),
        "batches_read_per_second": round(found.batches, 3),
        "duplicates_per_second": round(found.duplicates, 3),
        "events_per_second": [
            {"group": group, "type": kind, "rate": round(value, 3)} for (group, kind), value in found.types.items()
        ],
        "batches_refused_per_second": rounded(found.refused),
        "connections": {group: int(value) for group, value in found.connections.items()},
        "connections_refused_per_second": rounded(found.turned_away),
        "batches_waiting": int(found.waiting),
        "batches_in_flight": int(found.in_flight),
        "delivery_p50_ms": None if found.latency is None else round(found.latency[0] * 1000, 3),
        "delivery_p99_ms": None if found.latency is None else round(found.latency[1] * 1000, 3),
    }
