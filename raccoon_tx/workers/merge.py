"""In the parent: what all workers have counted, as if they were one process. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import evolve

from raccoon_tx.metrics.counts import OTHER, Labels
from raccoon_tx.metrics.names import GAUGE, HISTOGRAM, KNOWN, Buckets, Family, Values
from raccoon_tx.workers.messages import Sample

#: Labels whose values clients choose: of all workers together there are no more of them than of one.
_BOUNDED = ("conn_group", "event_type", "topic")
#: Of a gauge with this in its name, the average is meant; of others the sum.
_AVERAGE = "_average_"
#: Of these gauges, the worst is meant.
_EXTREMES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "spool_oldest_age_seconds": max,
    "spool_usable_current": min,
}
#: A group of clients that has left goes on being shown, with 0.
_LASTING = "connections_count_current"


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, tuple):
        bounds, counts, total = one
        return bounds, tuple(map(sum, zip(counts, other[1], strict=True))), total + other[2]
    return one + other


class Totals:
    """A worker that ends takes nothing with it: what it had counted when it was last heard stays, or counters would
    go down.

    :param publisher: what the names of the publisher's metrics begin with. :param most: values of one label.
    """

    def __init__(self, publisher: str, most: int) -> None:
        self._families = [evolve(known, name=known.name.replace("%", publisher)) for known in KNOWN]
        self._labels = {label: Labels(most) for label in _BOUNDED}
        self._latest: dict[int, dict[str, dict[Values, Any]]] = {}
        self._ended: dict[str, dict[Values, Any]] = {}

    def heard(self, worker: int, samples: Mapping[str, Iterable[Sample]]) -> None:
        """A worker tells what it has counted. :param samples: by the name of the metric."""
        self._latest[worker] = {
            family.name: self._within_bounds(family, samples[family.name])
            for family in self._families
            if family.name in samples
        }

    def ended(self, worker: int) -> None:
        """A worker has ended."""
        latest = self._latest.pop(worker, {})
        for family in self._families:
            found = latest.get(family.name)
            if found and family.name == _LASTING:
                found = dict.fromkeys(found, 0)
            elif family.kind == GAUGE:
                continue
            if found:
                _add(self._ended.setdefault(family.name, {}), found)

    def families(self) -> list[Family]:
        """All metrics, those that have no samples as well."""
        return [evolve(family, samples=self._samples(family)) for family in self._families]

    def _samples(self, family: Family) -> dict[Values, Any]:
        samples = dict(self._ended.get(family.name, {}))
        of_workers = [latest[family.name] for latest in self._latest.values() if family.name in latest]
        for found in of_workers:
            _add(samples, found)
        if family.name in _EXTREMES:
            together = _EXTREMES[family.name]
            return {values: together(each[values] for each in of_workers if values in each) for values in samples}
        if _AVERAGE in family.name:
            return {values: total / sum(values in each for each in of_workers) for values, total in samples.items()}
        if family.kind == HISTOGRAM:
            return {values: Buckets(*histogram) for values, histogram in samples.items()}
        return samples

    def _within_bounds(self, family: Family, samples: Iterable[Sample]) -> dict[Values, Any]:
        found: dict[Values, Any] = {}
        for values, value in samples:
            _add(found, {tuple(map(self._label, family.labels, values)): value})
        return found

    def _label(self, label: str, value: str) -> str:
        known = self._labels.get(label)
        return value if known is None or value == OTHER else known(value)


def _add(samples: dict[Values, Any], more: Mapping[Values, Any]) -> None:
    for values, value in more.items():
        samples[values] = _sum(samples[values], value) if values in samples else value
