"""What a server has counted between two moments, and what that comes to per second: for people. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from raccoon_tx.metrics.names import HISTOGRAM, Family

#: How many types and groups, and how many reasons, are shown.
MOST = 100

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


def of_families(families: Iterable[Family], at: float) -> Scrape:
    """The same from the metrics themselves. Quick enough for a thread, not for the reactor.

    :param at: seconds of a clock that never goes back.
    """
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for family in families:
        for values, value in family.samples.items():
            labels = dict(zip(family.labels, values, strict=True))
            if family.kind != HISTOGRAM:
                samples.setdefault(family.name, []).append((labels, float(value)))
                continue
            below = 0
            for bound, count in zip((*map(float, value.bounds), float("inf")), value.counts, strict=True):
                below += count
                samples.setdefault(f"{family.name}_bucket", []).append(({**labels, "le": str(bound)}, float(below)))
    return Scrape(at, samples)


@frozen
class Spooled:
    """The disk spool. :ivar usable: it takes batches. :ivar oldest: seconds that its oldest batch has waited.
    :ivar dead: batches that were given up."""

    batches: float
    size: float
    oldest: float
    usable: bool
    dead: float


@frozen(kw_only=True)
class View:
    """What is shown: per second, unless it says otherwise.

    :ivar types: events received, by group and type. :ivar refused: batches, by reason. :ivar connections: open
        WebSockets, by group. :ivar sockets: all of them. :ivar turned_away: WebSockets that were not let in, by reason.
        :ivar waiting: batches that wait for room. :ivar in_flight: batches that are not confirmed. :ivar latency:
        seconds from the arrival of a batch to its delivery: p50 and p99, at most so many; ``None`` where none was
        delivered. :ivar spool: if there is one.
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
    sockets: float
    turned_away: Mapping[str, float]
    waiting: float
    in_flight: float
    spool: Spooled | None
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
        connections=_connections(now),
        sockets=now.total("connections_count_current"),
        turned_away={key[0]: value for key, value in rates("user_connection_failure_total", "reason").items()},
        waiting=now.total("batches_waiting_current"),
        in_flight=now.total("batches_in_flight_current"),
        spool=_spool(now),
        latency=_latency(before, now),
    )


def _connections(now: Scrape) -> dict[str, float]:
    found = now.by("connections_count_current", "conn_group").items()
    return {key[0]: value for key, value in sorted(found, key=lambda item: (-item[1], item[0]))[:MOST]}


def _spool(now: Scrape) -> Spooled | None:
    if "spool_usable_current" not in now.samples:
        return None
    return Spooled(
        now.total("spool_batches_current"),
        now.total("spool_bytes_current"),
        now.total("spool_oldest_age_seconds"),
        now.total("spool_usable_current") > 0,
        now.total("spool_dead_batches_current"),
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
        "websockets": int(found.sockets),
        "connections": {group: int(value) for group, value in found.connections.items()},
        "connections_refused_per_second": rounded(found.turned_away),
        "batches_waiting": int(found.waiting),
        "batches_in_flight": int(found.in_flight),
        "spool": None
        if found.spool is None
        else {
            "batches": int(found.spool.batches),
            "bytes": int(found.spool.size),
            "oldest_seconds": round(found.spool.oldest, 3),
            "usable": found.spool.usable,
            "dead_batches": int(found.spool.dead),
        },
        "delivery_p50_ms": None if found.latency is None else round(found.latency[0] * 1000, 3),
        "delivery_p99_ms": None if found.latency is None else round(found.latency[1] * 1000, 3),
    }
