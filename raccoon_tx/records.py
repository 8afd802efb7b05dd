"""Keys, headers and timestamps of records, and the way of events that have none: contract sections 9 and 13.5.

Only where the operator asks for any of it; a plain record is a lane and a value. Plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raccoon_tx.metrics.counts import GroupCounts, Lane
from raccoon_tx.model import Batch, Client, Invalid
from raccoon_tx.routing import Record, Routes, Stray

#: Lane, value, key, timestamp in Unix milliseconds (0: when it is produced), headers.
FullRecord = tuple[Lane, bytes, "bytes | None", int, "list[tuple[str, bytes]] | None"]

#: Bytes that a header takes in a record, at most, beside its name and its value.
HEADER_OVERHEAD = 10

_Key = Callable[[Batch, Client, str], str]

_KEYS: dict[str, _Key] = {
    "none": lambda batch, client, kind: "",
    # Clients without an id have no key, or they would all share a partition.
    "identity": lambda batch, client, kind: (
        f"{client.identity.group}:{client.identity.id}" if client.identity.id else ""
    ),
    "group": lambda batch, client, kind: client.identity.group,
    "guid": lambda batch, client, kind: batch.guid,
    "type": lambda batch, client, kind: kind,
}

#: What a record header may hold: of the batch, its client, the type and index of the event, the time of receipt.
_HEADERS: dict[str, Callable[[Batch, Client, str, int, float], str]] = {
    "time": lambda batch, client, kind, index, now: str(int(now * 1000)),
    "guid": lambda batch, client, kind, index, now: batch.guid,
    "index": lambda batch, client, kind, index, now: str(index),
    "id": lambda batch, client, kind, index, now: client.identity.id,
    "group": lambda batch, client, kind, index, now: client.identity.group,
    "type": lambda batch, client, kind, index, now: kind,
    "transport": lambda batch, client, kind, index, now: client.transport,
    "content_type": lambda batch, client, kind, index, now: client.media_type,
}

#: Kafka's timestamps are 64 bits wide, and librdkafka takes 0 for "now".
_LATEST = 2**63 - 1


class FullRecords:
    """Makes records with all that was asked for.

    :ivar key: one of ``none``, ``identity``, ``group``, ``guid``, ``type``. :ivar headers: any of the words of
        ``event.record_headers``. :ivar timestamp: ``produce``, ``receive`` or ``sent_time``.
    :ivar dead_letters: topic for events that are invalid or have no topic; empty: their batch is refused.
    :ivar now: Unix seconds.
    """

    def __init__(
        self,
        routes: Routes,
        key: str,
        headers: Sequence[str],
        timestamp: str,
        dead_letters: str,
        now: Callable[[], float],
    ) -> None:
        self._routes = routes
        self._key = _KEYS[key]
        self._headers = [(f"raccoon-{word}", _HEADERS[word]) for word in headers]
        self._timestamp = timestamp
        self._dead_letters = dead_letters
        self._now = now

    def route(self, batch: Batch, group: GroupCounts, client: Client) -> list[FullRecord]:
        """The records of a batch, in the order of its events.

        :raises Invalid: as `Routes.route`; with a topic for dead letters only for events that are too large.
        """
        reasons: dict[int, str] = {}
        try:
            records = self._routes.route(batch, group)
        except Invalid:
            if not self._dead_letters:
                raise
            records, reasons = self._divert(batch, group)
        now = self._now()
        made = [
            self._complete(record, batch, client, index, now, reasons.get(index))
            for index, record in enumerate(records)
        ]
        large = [index for index, record in enumerate(made) if self._size(record) > self._routes.largest]
        if large:
            strays = [Stray(index, batch.events[index], "too large with its key and headers") for index in large]
            raise self._routes.refusal(batch.events, strays)
        return made

    def _divert(self, batch: Batch, group: GroupCounts) -> tuple[list[Record], dict[int, str]]:
        strays = {stray.index: stray for stray in self._routes.strays(batch, group)}
        hopeless = [stray for stray in strays.values() if len(stray.event.event_bytes) > self._routes.largest]
        if hopeless:
            raise self._routes.refusal(batch.events, hopeless)
        lanes = self._routes.lanes(group)
        dead = self._routes.dead_letter_lane(group, self._dead_letters)
        records = [
            (dead if index in strays else lanes[event.type], event.event_bytes)
            for index, event in enumerate(batch.events)
        ]
        for lane, value in records:
            lane.received += 1
            lane.bytes += len(value)
        return records, {index: stray.reason for index, stray in strays.items()}

    def _complete(
        self, record: Record, batch: Batch, client: Client, index: int, now: float, stray: str | None
    ) -> FullRecord:
        lane, value = record
        kind = batch.events[index].type
        key = self._key(batch, client, kind)
        headers = [(name, _bytes(make(batch, client, kind, index, now))) for name, make in self._headers]
        if stray is not None:
            headers = [header for header in headers if header[0] != "raccoon-type"]
            headers += [("raccoon-reason", _bytes(stray)), ("raccoon-type", _bytes(kind))]
        return lane, value, _bytes(key) if key else None, self._time(batch, now), headers or None

    def _time(self, batch: Batch, now: float) -> int:
        if self._timestamp == "receive":
            return int(now * 1000)
        if self._timestamp == "sent_time" and batch.sent_time is not None:
            sent = int(batch.sent_time * 1000)
            return sent if 0 < sent <= _LATEST else 0
        return 0

    def _size(self, record: FullRecord) -> int:
        _, value, key, _, headers = record
        size = len(value) + len(key or b"")
        return size + sum(len(name) + len(held) + HEADER_OVERHEAD for name, held in headers or ())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8")
