"""Batches as clients write them, and answers as clients read them.

JSON is written and read by the standard library; for protobuf there are the generated classes of either package.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any, Literal

from attrs import frozen

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse

Encoding = Literal["json", "proto"]

#: What an answer says: names as in JSON, and no ``sent_time``.
Said = dict[str, Any]

#: Seconds that ``sent_time`` may be off.
TOLERANCE = 2


@frozen
class Event:
    """One event, and the bytes that are to stand in the topic."""

    type: str
    value: bytes


@frozen(init=False)
class Batch:
    """One ``SendEventRequest``."""

    guid: str
    events: tuple[Event, ...]

    def __init__(self, guid: str, *events: Event) -> None:
        self.__attrs_init__(guid, events)

    def written(self, encoding: Encoding) -> bytes:
        """The bytes of it."""
        if encoding == "proto":
            request = SendEventRequest(req_guid=self.guid)
            request.sent_time.GetCurrentTime()
            for event in self.events:
                request.events.add(type=event.type, event_bytes=event.value)
            return bytes(request.SerializeToString())
        events = [{"event_bytes": b64encode(event.value).decode(), "type": event.type} for event in self.events]
        sent_time = {"seconds": int(time.time()), "nanos": 0}
        return json.dumps({"req_guid": self.guid, "sent_time": sent_time, "events": events}).encode()


#: The batch that most of the contract's vectors are about.
TWO_EVENTS = Batch("1234", Event("type_a", b"event_1"), Event("type_b", b"event_2"))


def success(guid: str) -> Said:
    """The whole of a good answer."""
    return {"status": 1, "code": 1, "data": {"req_guid": guid}}


def said(answer: bytes | str | SendEventResponse) -> Said:
    """What an answer says, in JSON if it is text or begins like it.

    Its ``sent_time`` has to be now, and is left out.
    """
    if isinstance(answer, SendEventResponse):
        content = _fields(answer)
    elif isinstance(answer, str) or answer.startswith(b"{"):
        content = json.loads(answer)
    else:
        content = _fields(SendEventResponse.FromString(answer))
    moment = content.pop("sent_time")
    assert type(moment) is int
    assert abs(moment - time.time()) <= TOLERANCE
    return content


def _fields(response: SendEventResponse) -> Said:
    """As JSON has it: what is zero or empty is left out."""
    content = {name: getattr(response, name) for name in ("status", "code", "sent_time", "reason")}
    content["data"] = dict(response.data)
    return {name: value for name, value in content.items() if value}
