"""Protobuf on the wire (contract section 2.1)."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from raccoon_tx.codec.base import plain_success
from raccoon_tx.model import Batch, Malformed, Outcome, Reply

_VARINT, _FIXED_64, _BYTES, _GROUP, _END_GROUP, _FIXED_32 = range(6)
_GUID = 1

#: Bytes of a guid whose entry in a reply has a size of one byte.
LONGEST_SHORT = 127 - 12


class _Protobuf:
    """The messages of ``raystack.raccoon.v1beta1``; those of ``odpf.raccoon.v1beta1`` are the same bytes."""

    media_type = "application/proto"

    def decode(self, body: bytes) -> Batch:
        try:
            request = SendEventRequest.FromString(body)
        except (
            DecodeError,
            ValueError,
            RecursionError,
        ) as error:  # protobuf without its C part lets a UnicodeDecodeError through
            reason = " ".join(str(error).split())[:200]
        else:
            sent_time = None
            if request.HasField("sent_time"):
                stamp = request.sent_time
                sent_time = stamp.seconds + stamp.nanos / 1e9
            return Batch(request.req_guid, request.events, sent_time)
        raise Malformed(reason, find_guid(body))

    #: The beginning of the replies of one second that are a `plain_success`, and the second: one value, because more
    #: than one thread encodes.
    _beginning = (-1, b"")

    def encode(self, reply: Reply, sent_time: int) -> bytes:
        if plain_success(reply):
            guid = str(reply.guid).encode()
            size = len(guid)
            if size <= LONGEST_SHORT:
                second, beginning = self._beginning
                if second != sent_time:
                    beginning = self.write(Reply(Outcome.OK), sent_time)
                    self._beginning = sent_time, beginning
                # One entry of `data`: its tag and size, the key with its, and the value with its.
                return b"%b*%c\n\x08req_guid\x12%c%b" % (beginning, size + 12, size, guid)
        return self.write(reply, sent_time)

    def write(self, reply: Reply, sent_time: int) -> bytes:
        """Any reply, field by field."""
        response = SendEventResponse()
        response.status = reply.status  # type: ignore[assignment]  # the same numbers by another name
        response.code = reply.code  # type: ignore[assignment]
        response.sent_time = sent_time
        response.reason = reply.reason
        if reply.guid is not None:
            response.data["req_guid"] = reply.guid
            response.data.update(reply.extra)
        return bytes(response.SerializeToString(deterministic=True))


PROTOBUF = _Protobuf()


def find_guid(body: bytes, patience: int = 10_000) -> str:
    """What a damaged request says its guid is, if it says so before the damage; else empty.

    :param patience: fields to look at: every known client writes its guid first, and this runs in the reactor.
    """
    guid, depth, position = "", 0, 0
    try:
        for _ in range(patience):
            tag, position = _read_varint(body, position)
            number, kind = divmod(tag, 8)
            if kind == _BYTES:
                size, position = _read_varint(body, position)
                content = body[position : position + size]
                position += size
                if number == _GUID and depth == 0 and len(content) == size:
                    guid = content.decode()
            elif kind == _VARINT:
                _, position = _read_varint(body, position)
            elif kind == _FIXED_64:
                position += 8
            elif kind == _FIXED_32:
                position += 4
            elif kind == _GROUP:
                depth += 1
            elif kind == _END_GROUP and depth > 0:
                depth -= 1
            else:
                break
    except (IndexError, ValueError):
        pass
    return guid


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    """A number, and where it ends. :raises IndexError: there is no end. :raises ValueError: it is longer than any."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("longer than ten bytes")
