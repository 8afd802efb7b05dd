"""What Prometheus reads: metrics in its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate

from attrs import define, field, frozen
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.samples import Sample

from raccoon_tx.metrics.names import COUNTER, HISTOGRAM, Buckets, Family

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_TOTAL = "_total"


class CannotCollect(Exception):
    """The metrics could not be gathered; the text says why."""


@define(eq=False)
class _Ours:
    """A collector of families. :ivar families: the latest."""

    families: Sequence[Family] = ()

    def collect(self) -> Iterator[Metric]:
        for family in self.families:
            # As in other clients: no word about what has no samples yet.
            if family.samples:
                yield _metric(family)


@frozen
class _Processes:
    """A collector of several processes, which the label ``worker`` tells apart."""

    _others: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterable[Metric]:
        together: dict[str, Metric] = {}
        for name, pid in {"parent": "self", **self._others()}.items():
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                kept = together.setdefault(metric.name, metric)
                samples = [sample._replace(labels={"worker": name}) for sample in metric.samples]
                kept.samples = samples if kept is metric else [*kept.samples, *samples]
        return together.values()


@frozen
class _Gathered:
    """What a registry has collected, for the encoder."""

    metrics: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


@define(eq=False)
class Exposition:
    """Our metrics, and those of the Python process, in a registry that nobody else adds to.

    :ivar others: processes, by name, that are shown beside this one, which is the ``parent`` then.
    """

    _others: Callable[[], Mapping[str, int]] | None = None
    _registry: CollectorRegistry = field(factory=CollectorRegistry, init=False)
    _ours: _Ours = field(factory=_Ours, init=False)

    def __attrs_post_init__(self) -> None:
        self._registry.register(self._ours)
        if self._others is None:
            ProcessCollector(registry=self._registry)
        else:
            self._registry.register(_Processes(self._others))
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self, families: Sequence[Family]) -> bytes:
        """The text of these families, to be made in one thread at a time.

        :raises CannotCollect: the metrics of the process cannot be had, or ``families`` are not what they should be.
        """
        self._ours.families = families
        try:
            metrics = list(self._registry.collect())
        except Exception as problem:
            raise CannotCollect(str(problem)) from problem
        text: bytes = generate_latest(_Gathered(metrics))
        for family in families:
            if _nameless(family):
                # The encoder would have added an ending to the name of a counter.
                name = family.name.encode()
                text = text.replace(b"\n# TYPE %b untyped\n" % name, b"\n# TYPE %b counter\n" % name)
        return text


def _nameless(family: Family) -> bool:
    return family.kind == COUNTER and not family.name.endswith(_TOTAL)


def _metric(family: Family) -> Metric:
    kind = "unknown" if _nameless(family) else family.kind
    name = family.name.removesuffix(_TOTAL) if kind == COUNTER else family.name
    metric = Metric(name, family.help, kind)
    for values, value in family.samples.items():
        labels = dict(zip(family.labels, values, strict=True))
        if family.kind == HISTOGRAM:
            metric.samples.extend(_histogram(family.name, labels, value))
        else:
            metric.samples.append(Sample(family.name, labels, value))
    return metric


def _histogram(name: str, labels: Mapping[str, str], buckets: Buckets) -> Iterator[Sample]:
    counts = list(accumulate(buckets.counts))
    for bound, count in zip(buckets.bounds, counts, strict=False):
        # In the notation of the reference: queries name the bounds.
        yield Sample(f"{name}_bucket", {**labels, "le": f"{bound:g}"}, count)
    yield Sample(f"{name}_bucket", {**labels, "le": "+Inf"}, counts[-1])
    yield Sample(f"{name}_sum", dict(labels), buckets.total)
    yield Sample(f"{name}_count", dict(labels), counts[-1])
