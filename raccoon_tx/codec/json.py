"""JSON on the wire (contract section 2.2): two strict fast ways in, and a tolerant one that decides the rest."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType
from msgspec.json import Decoder, Encoder

from raccoon_tx.codec import tolerant
from raccoon_tx.codec.base import plain_success
from raccoon_tx.codec.tolerant import JSONEvent
from raccoon_tx.model import Batch, Malformed, Outcome, Reply

E = TypeVar("E")


class _Timestamp(Struct, gc=False, forbid_unknown_fields=True):
    seconds: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 0
    nanos: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0


class _Request(Struct, Generic[E], forbid_unknown_fields=True):
    req_guid: str = ""
    # Not None: a null goes the tolerant way, because after a value it changes nothing.
    sent_time: _Timestamp | UnsetType = UNSET
    events: list[E] = []

    def batch(self, events: list[JSONEvent]) -> Batch:
        time = self.sent_time
        return Batch(self.req_guid, events, None if time is UNSET else time.seconds + time.nanos / 1e9)


class _ListedEvent(Struct, forbid_unknown_fields=True):
    event_bytes: list[int] = []
    type: str = ""


class _Response(Struct, omit_defaults=True):
    status: int = 0
    code: int = 0
    sent_time: int = 0
    reason: str = ""
    data: dict[str, str] | None = None


_STRICT = Decoder(_Request[JSONEvent])
_LISTED = Decoder(_Request[_ListedEvent])
_ENCODER = Encoder()

#: Objects that a body may have, each of which becomes one of ours: many times as many as events in a batch.
MOST_OBJECTS = 250_000

#: What the fast ways raise: bad UTF-8 and a byte of 256 are not msgspec's own errors.
NOT_THIS_WAY = (DecodeError, ValueError, RecursionError)


def strict(body: bytes) -> Batch:
    """Read what most clients write. :raises NOT_THIS_WAY: it is something else, which may be right all the same."""
    request = _STRICT.decode(body)
    return request.batch(request.events)


def listed(body: bytes) -> Batch:
    """Read what the official JavaScript client writes: integers in place of base64. :raises NOT_THIS_WAY: likewise."""
    request = _LISTED.decode(body)
    return request.batch([JSONEvent(bytes(event.event_bytes), event.type) for event in request.events])


class _JSON:
    """The names of the protobuf messages, in snake_case; enums as numbers, times as integers."""

    media_type = "application/json"

    def decode(self, body: bytes) -> Batch:
        if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
            raise Malformed(f"too many objects: at most {MOST_OBJECTS} are read")
        for way in strict, listed:
            try:
                return way(body)
            except NOT_THIS_WAY:
                continue
        return tolerant.decode(body)

    #: The beginning of the replies of one second that are a `plain_success`, and the second: one value, because more
    #: than one thread encodes.
    _beginning = (-1, b"")

    def encode(self, reply: Reply, sent_time: int) -> bytes:
        if plain_success(reply):
            second, beginning = self._beginning
            if second != sent_time:
                beginning = self.write(Reply(Outcome.OK, ""), sent_time).removesuffix(b'""}}')
                self._beginning = sent_time, beginning
            return b"%b%b}}" % (beginning, _ENCODER.encode(reply.guid))
        return self.write(reply, sent_time)

    def write(self, reply: Reply, sent_time: int) -> bytes:
        """Any reply, field by field."""
        data = None if reply.guid is None else {"req_guid": reply.guid, **reply.extra}
        return _ENCODER.encode(_Response(reply.status, reply.code, sent_time, reply.reason, data))


JSON = _JSON()
