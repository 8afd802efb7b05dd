"""What StatsD reads: lines, and packets of them (contract section 12.3). Plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from raccoon_tx.metrics.names import COUNTER, GAUGE, Family, Observed, Values

#: Bytes of a packet, which fits into one frame of an Ethernet.
PACKET = 1440
#: Bytes of the value of one label, so that a line always fits into a packet.
LONGEST_VALUE = 400

#: What would end a value, a line, or the name before them; blanks and control characters of all kinds.
_UNFIT = re.compile(r"[\s,=:|\x00-\x1f\x7f-\x9f]")


def fit(value: str) -> str:
    """``value`` as it can stand in a line."""
    clean = _UNFIT.sub("_", value) or "_"
    return clean.encode("utf-8", "replace")[:LONGEST_VALUE].decode("utf-8", "ignore")


def series(name: str, labels: Sequence[str], values: Values) -> str:
    """``name,a=b,c=d``, sorted by key."""
    return ",".join([name, *sorted(f"{label}={fit(value)}" for label, value in zip(labels, values, strict=True))])


def packets(lines: Iterable[str]) -> list[bytes]:
    """As few packets as there can be; no line is in two of them."""
    made: list[bytes] = []
    packet: list[bytes] = []
    size = 0
    for line in lines:
        encoded = line.encode("utf-8")
        if packet and size + len(encoded) > PACKET:
            made.append(b"\n".join(packet))
            packet, size = [], 0
        packet.append(encoded)
        size += len(encoded) + 1
    if packet:
        made.append(b"\n".join(packet))
    return made


@define(eq=False)
class Changes:
    """Knows what the counters were when they were last told."""

    _before: dict[str, Mapping[Values, Any]] = field(factory=dict, init=False)

    def packets(self, families: Iterable[Family], observed: Iterable[Observed]) -> list[bytes]:
        """What has changed since the last call, the gauges, and the observations."""
        families = list(families)
        made = packets([*self._counters(families), *_gauges(families), *_timings(observed)])
        self._before = {family.name: family.samples for family in families if family.kind == COUNTER}
        return made

    def _counters(self, families: Iterable[Family]) -> Iterator[str]:
        for family in families:
            if family.kind == COUNTER:
                before = self._before.get(family.name, {})
                for values, count in family.samples.items():
                    more = count - before.get(values, 0)
                    if more:
                        yield f"{series(family.name, family.labels, values)}:{more}|c"


def _gauges(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        if family.kind == GAUGE:
            # Two labels may have become one. Counters of the same name are added where they arrive; gauges are not.
            sums: dict[str, float] = {}
            for values, value in family.samples.items():
                name = series(family.name, family.labels, values)
                sums[name] = sums.get(name, 0) + value
            for name, total in sums.items():
                yield f"{name}:{_number(total)}|g"


def _timings(observed: Iterable[Observed]) -> Iterator[str]:
    for each in observed:
        name = series(each.name, each.labels, each.values)
        # Each of those that were kept stands for equally many.
        rate = "" if len(each.kept) == each.seen else f"|@{_number(len(each.kept) / each.seen)}"
        for value in each.kept:
            yield f"{name}:{value}|ms{rate}"


def _number(value: float) -> str:
    """Never in the notation with an exponent, which not everybody reads."""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")
