"""Batches and clients for tests that do not care which."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import GroupCounts, Lane
from raccoon_tx.model import Ack, Batch, Client, Identity, Reply

NOBODY = Identity("--default--", "")


def client(group: str = "--default--", name: str = "", transport: str = "rest", source: str = "somewhere") -> Client:
    """Somebody who sends."""
    return Client(Identity(group, name), transport, source)


@frozen
class SampleEvent:
    """An event that no codec made."""

    type: str
    event_bytes: bytes


def batch(*events: tuple[str, bytes], guid: str = "1234") -> Batch:
    """A batch of events, each a type and a value."""
    return Batch(guid, [SampleEvent(kind, value) for kind, value in events])


def delivery(
    *events: tuple[str, bytes],
    ack: Ack = Ack.DELIVERED,
    answer: Callable[[Reply], None] = lambda _: None,
    guid: str = "1234",
    group: GroupCounts | None = None,
    late: Callable[[Reply], None] | None = None,
) -> Delivery:
    """A batch on its way, with the types of its events for topics."""
    made = batch(*events, guid=guid)
    lanes = {kind: Lane(kind, "--default--", kind) for kind, _ in events}
    records = [(lanes[kind], value) for kind, value in events]
    return Delivery(made, records, group or GroupCounts("--default--"), ack, answer, late=late)
