"""Targets: JSON, protobuf, and compressed bodies and gRPC messages."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from fuzz.target import Target, the_same
from raccoon_tx.codec import JSON, PROTOBUF, Codec, tolerant
from raccoon_tx.codec.json import NOT_THIS_WAY, listed, strict
from raccoon_tx.codec.protobuf import find_guid
from raccoon_tx.model import Batch, Malformed, Outcome, Refused, Reply
from raccoon_tx.transports.grpc_compression import unpacked
from raccoon_tx.transports.media import TooLarge, UnknownCoding, decompress
from tests.wire import JSON_BATCH, PROTO_BATCH, batch

#: Bytes that may come out of compressed ones.
LIMIT = 20_000

JSON_SEEDS = (
    JSON_BATCH,
    b"{}",
    b'{"req_guid":"1","sent_time":{"seconds":1638155915,"nanos":5},"events":[]}',
    b'{"reqGuid":"1","sentTime":"2021-11-29T03:18:35.5+02:00","events":[{"eventBytes":"ZQ"}]}',
    b'{"req_guid":null,"sent_time":1638155915123,"events":null}',
    b'{"events":[{"event_bytes":[101,1.0,2e1],"type":"a"},{"event_bytes":{"0":1,"1":2}}]}',
    b'{"events":[{"event_bytes":{"type":"Buffer","data":[1,2]},"type":"\\u00fc\\ud83d\\ude00"}]}',
    b'\xef\xbb\xbf{"sent_time":{"seconds":"9","nanos":"1e3"},"events":[{"event_bytes":"-_=="}]}',
    b"[" * 300,
)
PROTOBUF_SEEDS = (
    PROTO_BATCH,
    batch("", b"", b"one", b"\xff" * 200),
    b"\n\x041234\x12\x08\x08\x8b\x8d\x91\x8d\x06\x10\x05" + PROTO_BATCH,
    b"\x0b\x0c\x25abcd\x29abcdefgh\x38\x80\x80\x01",
    b"\n\x02\xff\xfe",
)
PACKED_SEEDS = (
    gzip.compress(PROTO_BATCH, mtime=0),
    gzip.compress(JSON_BATCH, mtime=0) * 2,
    gzip.compress(bytes(LIMIT * 5), mtime=0),
    zlib.compress(PROTO_BATCH),
    zlib.compress(JSON_BATCH)[2:-4],
    PROTO_BATCH,
)


def read(codec: Codec, body: bytes) -> Batch | None:
    """A batch, all of which can be used, or nothing if it is refused as it should be."""
    try:
        found = codec.decode(body)
    except Malformed as refusal:
        the_same(refusal.outcome, Outcome.MALFORMED, "outcome")
        if not refusal.reason or "\n" in refusal.reason or len(refusal.reason) > 500:
            raise AssertionError(f"a reason that is none: {refusal.reason!r}") from None
        answer(codec, refusal.guid, refusal.reason)
        return None
    answer(codec, found.guid, "")
    plain(found)
    return found


def plain(found: Batch) -> list[Any]:
    """All that is in a batch."""
    if found.sent_time is not None:
        float(found.sent_time)
    return [found.guid, found.sent_time, [(bytes(each.event_bytes), str(each.type)) for each in found.events]]


def answer(codec: Any, guid: str, reason: str) -> None:
    """Whatever can be a guid, or a reason, can be said; and in the same bytes by both ways of writing."""
    success = Reply(Outcome.OK, guid)
    the_same(codec.encode(success, 1638155915), codec.write(success, 1638155915), "answers")
    codec.encode(Reply(Outcome.MALFORMED, guid, reason), 1638155915)


def json(body: bytes) -> None:
    """What the fast ways understand, the tolerant one understands likewise; nothing but `Malformed` is raised."""
    read(JSON, body)
    for way in strict, listed:
        try:
            found = plain(way(body))
        except NOT_THIS_WAY:
            continue
        the_same(found, plain(tolerant.decode(body)), "ways of reading JSON")


def protobuf(body: bytes) -> None:
    """A guid is where it seems to be, and nothing but `Malformed` is raised."""
    found = read(PROTOBUF, body)
    guid = find_guid(body)
    if found is not None:
        the_same(found.guid, guid, "guids")


def packed(body: bytes) -> None:
    """No more comes out than may; what was compressed comes out; nothing but refusals is raised."""
    for coding in ("gzip", "deflate", "deflate, gzip", "gzip,gzip,gzip"):
        try:
            within(decompress(body, coding, LIMIT))
        except (TooLarge, UnknownCoding, Malformed):
            continue
    try:
        message = unpacked(body, LIMIT)
    except Refused:
        pass
    else:
        if message != body:
            within(message)
        read(PROTOBUF, message)
    if len(body) <= LIMIT:
        the_same(unpacked(gzip.compress(body, 1, mtime=0), LIMIT), body, "what was compressed")
        the_same(unpacked(zlib.compress(body, 1), LIMIT), body, "what was deflated")


def within(body: bytes) -> None:
    if len(body) > LIMIT:
        raise AssertionError(f"{len(body)} bytes came out")


TARGETS = (
    Target("json", json, JSON_SEEDS),
    Target("protobuf", protobuf, PROTOBUF_SEEDS),
    Target("compression", packed, PACKED_SEEDS),
)
