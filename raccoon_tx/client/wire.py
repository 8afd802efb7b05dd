"""Batches and answers as the bytes that travel: protobuf on every transport."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from raccoon_tx.client.core import Answer, Event
from raccoon_tx.model import Code

MEDIA_TYPE = "application/proto"
METHOD = "/raystack.raccoon.v1beta1.EventService/SendEvent"

_REFUSED = (Code.MAX_CONNECTION_LIMIT_REACHED, Code.MAX_USER_LIMIT_REACHED)


def write(guid: str, events: Sequence[Event], sent_time: float) -> bytes:
    """One batch. :param sent_time: now, in Unix seconds."""
    request = SendEventRequest(req_guid=guid)
    request.sent_time.FromNanoseconds(int(sent_time * 1e9))
    for kind, value in events:
        request.events.add(type=kind, event_bytes=value)
    body: bytes = request.SerializeToString()
    return body


def read(body: bytes) -> tuple[str, Answer]:
    """An answer, and the guid that it names, if it does. :raises ValueError: it is none."""
    try:
        response = SendEventResponse.FromString(body)
    except DecodeError as problem:
        raise ValueError(f"an answer that cannot be read: {problem}") from None
    data, code = response.data, response.code
    guid = data.get("req_guid", "")
    if code == Code.OK:
        return guid, Answer(True)
    # Where nothing is said, the codes have their old meaning.
    retryable = {"true": True, "false": False}.get(data.get("retryable", ""), code != Code.BAD_REQUEST)
    failed = tuple(int(word) for word in data.get("failed", "").split(",") if word.isdecimal())
    wait = data.get("retry_after_ms", "")
    return guid, Answer(
        False,
        retryable or code in _REFUSED,
        response.reason,
        failed,
        # A batch that is wrong is refused whole; one that could not be published is published but for these.
        others_taken=bool(failed) and code == Code.INTERNAL_ERROR,
        too_large=not retryable and not failed and response.reason.startswith(("too large: ", "too many events: ")),
        retry_after=int(wait) / 1000 if wait.isdecimal() else None,
    )
