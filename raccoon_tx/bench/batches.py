"""The batches that are sent, each with a guid of its own, and what answers to them say."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from uuid import uuid4

from attrs import define, field, frozen
from google.protobuf.message import DecodeError

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse

#: Formats, and what they are called on the wire.
MEDIA_TYPES = {"protobuf": "application/proto", "json": "application/json"}

_GOOD = 1


@frozen
class Said:
    """An answer.

    :ivar guid: of its batch, where it names one. :ivar reason: why the batch was refused; else empty.
    :ivar code: on the wire.
    """

    guid: str
    reason: str
    code: int = _GOOD


@define(eq=False)
class Batches:
    """A supply of batches, alike but for the guid.

    :ivar format: ``protobuf`` or ``json``. :ivar kind: the type of the events. :ivar events: in each batch.
    :ivar size: bytes of each event.
    """

    format: str
    kind: str
    events: int
    size: int
    _before: bytes = field(init=False)
    _after: bytes = field(init=False)
    _word: str = field(init=False, factory=lambda: uuid4().hex[:22])
    _count: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        mark = self._guid(0)
        self._before, _, self._after = self._written(mark).partition(mark.encode())

    def _guid(self, number: int) -> str:
        return f"{self._word}-{number:013d}"  # as long as a UUID

    def _written(self, guid: str) -> bytes:
        values = [os.urandom(self.size) for _ in range(self.events)]
        if self.format == "json":
            events = [{"event_bytes": b64encode(value).decode(), "type": self.kind} for value in values]
            sent_time = {"seconds": int(time.time()), "nanos": 0}
            return json.dumps({"req_guid": guid, "sent_time": sent_time, "events": events}).encode()
        request = SendEventRequest(req_guid=guid)
        request.sent_time.seconds = int(time.time())
        for value in values:
            request.events.add(type=self.kind, event_bytes=value)
        return bytes(request.SerializeToString())

    def next(self) -> tuple[str, bytes]:
        """Guid and bytes of one that was not sent before."""
        self._count += 1
        guid = self._guid(self._count)
        return guid, self._before + guid.encode() + self._after

    def read(self, answer: bytes) -> Said:
        """What an answer says. :raises ValueError: it is none."""
        return self._read_json(answer) if self.format == "json" else read_protobuf(answer)

    def _read_json(self, answer: bytes) -> Said:
        said = json.loads(answer)
        if not isinstance(said, dict):
            raise ValueError("not an object")
        data = said.get("data") or {}
        return _said(said.get("status", 0), said.get("code", 0), said.get("reason", ""), data.get("req_guid", ""))


def read_protobuf(answer: bytes) -> Said:
    """What an answer in protobuf says. :raises ValueError: it is none."""
    try:
        response = SendEventResponse.FromString(answer)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return _said(response.status, response.code, response.reason, response.data.get("req_guid", ""))


def _said(status: int, code: int, reason: str, guid: str) -> Said:
    if status == _GOOD and code == _GOOD:
        return Said(guid, "")
    return Said(guid, reason or f"status {status}, code {code}, without a reason", code)
