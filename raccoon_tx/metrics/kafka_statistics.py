"""Reads what the Kafka client tells of itself, which it does if ``statistics.interval.ms`` is above 0. Plain data."""

from __future__ import annotations

from attrs import define, field
from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from raccoon_tx.metrics.counts import Counts, Labels

#: Brokers that are told apart.
MOST_BROKERS = 200


class _Window(Struct, frozen=True):
    """Times since the last statistics, in microseconds."""

    sum: int = 0
    cnt: int = 0


class _Broker(Struct, frozen=True):
    nodename: str = ""
    tx: int = 0
    txbytes: int = 0
    rtt: _Window = _Window()


class _Statistics(Struct, frozen=True):
    """The few things that are wanted of the many that there are."""

    txmsgs: int = 0
    txmsg_bytes: int = 0
    brokers: dict[str, _Broker] = {}


_decoder = Decoder(_Statistics)


def host(nodename: str) -> str:
    """The host of ``host:port``."""
    return nodename.rpartition(":")[0].strip("[]")


@define(eq=False)
class KafkaStatistics:
    """The client's ``stats_cb``: puts what it is called with where `Counts.client` describes it."""

    _counts: Counts
    _label: Labels = field(factory=lambda: Labels(MOST_BROKERS), init=False, repr=False)

    def __call__(self, text: str) -> None:
        """Take one report. One that cannot be read changes nothing."""
        try:
            read = _decoder.decode(text)
        except (DecodeError, ValueError):
            return
        self._counts.client = {
            "txmsgs": read.txmsgs,
            "txmsg_bytes": read.txmsg_bytes,
            "brokers": self._brokers(read),
        }

    def _brokers(self, read: _Statistics) -> dict[str, tuple[int, int, int]]:
        """What there is of each host. The address that the client began with is a broker of its own beside those that
        it found there, so that one host may be there twice."""
        sums: dict[str, list[int]] = {}
        for broker in read.brokers.values():
            name = host(broker.nodename)
            # The client's own threads are brokers to it as well; they have no host.
            if name:
                found = sums.setdefault(self._label(name), [0, 0, 0, 0])
                for place, value in enumerate((broker.tx, broker.txbytes, broker.rtt.sum, broker.rtt.cnt)):
                    found[place] += value
        return {name: (tx, size, took // count if count else 0) for name, (tx, size, took, count) in sums.items()}
