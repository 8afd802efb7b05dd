"""What an attack is, and what comes of it. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, fields, frozen

#: Ways that requests go: plain ones have a fast lane of their own, or all go the way of the odd ones.
LANE, STOCK = "lane", "stock"
BOTH = (LANE, STOCK)

#: The good clients.
CLIENTS = ("websocket", "rest", "grpc")

MEGABYTE = 2**20


class Broken(Exception):
    """The server did not do what it has to. Its text says what it did."""


def require(true: object, otherwise: str) -> None:
    """:raises Broken: it is not true."""
    if not true:
        raise Broken(otherwise)


@frozen(kw_only=True)
class Attack:
    """One row of the table.

    :ivar name: what it is called, also on the command line. :ivar subject: its part of the table.
    :ivar does: what the attacker does. :ivar limit: what has to come of it.
    :ivar run: does it once, with an `attacks.target.Target`. :raises Broken: the server let it happen.
    :ivar seconds: it is done again and again for so long; 0: once. :ivar memory: megabytes that the server may grow by
        meanwhile, at its worst moment. :ivar ways: that it is tried on. :ivar settings: of the server, beside those
        that all have. :ivar tls: the server speaks TLS. :ivar quick: it also runs as a test. :ivar number: of the row
        in the matrix of `faults.matrix` that it is about.
    """

    name: str
    subject: str
    does: str
    limit: str
    run: Callable[[Any], None]
    seconds: float = 1.0
    memory: float = 16.0
    ways: tuple[str, ...] = (LANE,)
    settings: Mapping[str, object] = field(factory=dict)
    tls: bool = False
    quick: bool = False
    number: str = ""


def row(
    subject: str, name: str, does: str, limit: str, run: Callable[[Any], None], number: str = "", **more: Any
) -> Attack:
    """An `Attack`, in short.

    :param more: what else it has, by its names there; other words are settings of the server, with ``__`` for dots.
    """
    own = {each: more.pop(each) for each in _OWN & more.keys()}
    settings = {key.replace("__", "."): value for key, value in more.items()}
    return Attack(subject=subject, name=name, does=does, limit=limit, run=run, number=number, settings=settings, **own)


#: What an attack has beside settings of the server.
_OWN = {each.name for each in fields(Attack)} - {"settings"}


@frozen(kw_only=True)
class Good:
    """What one good client saw for a while. :ivar sent: batches. :ivar failed: of them, with the first reason.
    :ivar p50: :ivar p99: :ivar worst: time to an answer, in milliseconds."""

    sent: int
    failed: int
    reason: str
    p50: float
    p99: float
    worst: float


@frozen(kw_only=True)
class Outcome:
    """What came of an attack.

    :ivar faults: why the server is broken; empty: it held. :ivar alone: what good clients saw just before, by client,
        :ivar attacked: and meanwhile. :ivar before: :ivar most: :ivar after: memory of the server, in bytes.
    :ivar delay: the reactor's worst, in seconds, waits for a core apart. :ivar times: that the attack was done.
    :ivar notes: figures of its own, with their units in their names.
    """

    name: str
    subject: str
    does: str
    limit: str
    number: str
    way: str
    faults: list[str]
    alone: Mapping[str, Good]
    attacked: Mapping[str, Good]
    before: int
    most: int
    after: int
    delay: float
    seconds: float
    times: int
    notes: Mapping[str, float]

    @property
    def held(self) -> bool:
        return not self.faults

    @property
    def success(self) -> float:
        """Percent of the good clients' batches that were answered with success."""
        sent = sum(each.sent for each in self.attacked.values())
        failed = sum(each.failed for each in self.attacked.values())
        return 100.0 * (sent - failed) / sent if sent else 0.0
