"""Tests for `raccoon_tx.codec.protobuf`: contract section 2.1, then bytes nobody should send."""

from __future__ import annotations

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.odpf.raccoon.v1beta1 import raccoon_pb2 as odpf
from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import Event, SendEventRequest, SendEventResponse
from raccoon_tx.codec import JSON, PROTOBUF
from raccoon_tx.codec.protobuf import find_guid
from raccoon_tx.model import Batch, Code, Malformed, Outcome, Reply, Status

MEBIBYTE = 2**20
GUID = b"\x0a\x041234"
BAD_EVENT = b"\x1a\x03\x12\x01\xff"


def events(batch: Batch) -> list[tuple[bytes, str]]:
    return [(event.event_bytes, event.type) for event in batch.events]


def request(guid: str = "", seconds: int = 0, nanos: int = 0, *contents: tuple[bytes, str]) -> bytes:
    message = SendEventRequest(
        req_guid=guid, events=[Event(event_bytes=event_bytes, type=kind) for event_bytes, kind in contents]
    )
    if seconds or nanos:
        message.sent_time.seconds, message.sent_time.nanos = seconds, nanos
    return bytes(message.SerializeToString())


class RequestTests(SynchronousTestCase):
    """What is read."""

    def test_batch(self) -> None:
        """A batch has a guid, a time and events in their order."""
        batch = PROTOBUF.decode(request("1234", 1, 500000000, (b"event_1", "type_a"), (b"event_2", "type_b")))
        self.assertEqual((batch.guid, batch.sent_time), ("1234", 1.5))
        self.assertEqual(len(batch.events), 2)
        self.assertEqual(events(batch), [(b"event_1", "type_a"), (b"event_2", "type_b")])
        self.assertEqual(batch.events[1].type, "type_b")

    def test_by_hand(self) -> None:
        """The field numbers are these."""
        batch = PROTOBUF.decode(b"\x0a\x01g\x12\x04\x08\x05\x10\x00\x1a\x06\x0a\x01b\x12\x01t")
        self.assertEqual((batch.guid, batch.sent_time, events(batch)), ("g", 5.0, [(b"b", "t")]))

    def test_older_package(self) -> None:
        """Clients of ``odpf.raccoon.v1beta1`` send the same bytes."""
        body = odpf.SendEventRequest(req_guid="g", events=[odpf.Event(event_bytes=b"b", type="t")]).SerializeToString()
        batch = PROTOBUF.decode(body)
        self.assertEqual((batch.guid, events(batch)), ("g", [(b"b", "t")]))

    def test_no_bytes(self) -> None:
        """Zero bytes are an empty batch."""
        batch = PROTOBUF.decode(b"")
        self.assertEqual((batch.guid, batch.sent_time, len(batch.events)), ("", None, 0))

    def test_unknown_fields(self) -> None:
        """Fields that nobody knows are ignored in the batch and in its events, as mobile SDKs send some."""
        batch = PROTOBUF.decode(
            b"\x50\x01" + GUID + b"\x1a\x0b\x0a\x01b\x12\x01t\x1a\x01x\x20\x01" + b"\x53\x0a\x01x\x54"
        )
        self.assertEqual((batch.guid, events(batch)), ("1234", [(b"b", "t")]))

    def test_empty_sent_time(self) -> None:
        """A time without content is the start of 1970; it is not absent."""
        self.assertEqual(PROTOBUF.decode(b"\x12\x00").sent_time, 0.0)

    def test_strange_sent_time(self) -> None:
        """Any time the message can hold is read."""
        for seconds, nanos, expected in (
            (2**63 - 1, 2**31 - 1, 2.0**63),
            (-(2**63), -(2**31), -(2.0**63)),
            (0, -1, -1e-9),
            (253402300800, 0, 253402300800.0),
        ):
            self.assertEqual(PROTOBUF.decode(request("", seconds, nanos)).sent_time, expected)

    def test_media_type(self) -> None:
        """It goes by ``application/proto``."""
        self.assertEqual(PROTOBUF.media_type, "application/proto")


class MalformedTests(SynchronousTestCase):
    """What is refused, and what is known of the guid then."""

    def assert_malformed(self, body: bytes, guid: str) -> None:
        error = self.assertRaises(Malformed, PROTOBUF.decode, body)
        self.assertEqual(error.guid, guid, body)
        self.assertTrue(error.reason.isprintable())
        self.assertTrue(0 < len(error.reason) <= 200, error.reason)

    def test_no_message(self) -> None:
        """Bytes that are no protobuf message."""
        for body in b"\x01", b"\x00", b"{}", b"\xff" * 20, b"\x07", b"\x0c", b"\x10\x80":
            self.assert_malformed(body, "")

    def test_invalid_utf8(self) -> None:
        """Text must be UTF-8."""
        self.assert_malformed(b"\x0a\x01\xff", "")
        self.assert_malformed(GUID + BAD_EVENT, "1234")

    def test_guid_before_the_damage(self) -> None:
        """A guid that is whole is known, whatever else is there."""
        for damage in b"\x01", b"\x1a\x05\x0a", b"\x0c", b"\x0f", b"\x10" + b"\xff" * 11, b"\x12\x02\x08\x80":
            self.assert_malformed(GUID + damage, "1234")
        for between in b"\x50\x80\x01", b"\x51" + b"\0" * 8, b"\x55" + b"\0" * 4, b"\x1a\x00", b"\x53\x0a\x01x\x54":
            self.assert_malformed(between + GUID + b"\x01", "1234")

    def test_guid_after_a_bad_event(self) -> None:
        """So is a guid that follows an event with mistakes inside."""
        self.assert_malformed(BAD_EVENT + GUID, "1234")

    def test_guid_twice(self) -> None:
        """The last one counts, as in a message without damage."""
        self.assert_malformed(GUID + b"\x0a\x01x\x01", "x")

    def test_guid_damaged(self) -> None:
        """A guid that is not whole is not known."""
        self.assert_malformed(b"\x0a\x05123", "")
        self.assert_malformed(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "")
        self.assert_malformed(b"\x01" + GUID, "")

    def test_guid_of_something_else(self) -> None:
        """Field 1 of a group, or field 1 that is no text, is no guid."""
        self.assert_malformed(b"\x53\x0a\x01x\x54\x01", "")
        self.assert_malformed(b"\x08\x01\x01", "")

    def test_looking_for_the_guid_is_bounded(self) -> None:
        """A guid after ten thousand other fields is not looked for."""
        self.assertEqual(find_guid(b"\x1a\x00" * 9_999 + GUID), "1234")
        self.assertEqual(find_guid(b"\x1a\x00" * 10_000 + GUID), "")


class ResponseTests(SynchronousTestCase):
    """What is emitted."""

    def test_success(self) -> None:
        """Success is this, to the byte."""
        self.assertEqual(
            PROTOBUF.encode(Reply(Outcome.OK, "1234abcd"), 1638155915),
            b"\x08\x01\x10\x01\x18\x8b\x8d\x91\x8d\x06\x2a\x14\x0a\x08req_guid\x12\x081234abcd",
        )

    def test_refusal(self) -> None:
        """A refusal has a reason, and what else there is to say in ``data``."""
        reply = Reply(Outcome.SATURATED, "g", "overloaded", {"retryable": "true"})
        response = SendEventResponse.FromString(PROTOBUF.encode(reply, 7))
        self.assertEqual((response.status, response.code), (Status.ERROR, Code.INTERNAL_ERROR))
        self.assertEqual((response.sent_time, response.reason), (7, "overloaded"))
        self.assertEqual(dict(response.data), {"req_guid": "g", "retryable": "true"})

    def test_no_guid(self) -> None:
        """A batch without a guid is told so; an answer that precedes decoding has no ``data``."""
        empty, absent = (PROTOBUF.encode(Reply(Outcome.OK, guid), 7) for guid in ("", None))
        self.assertEqual(dict(SendEventResponse.FromString(empty).data), {"req_guid": ""})
        self.assertEqual(dict(SendEventResponse.FromString(absent).data), {})

    def test_order_of_data(self) -> None:
        """The same answer is the same bytes."""
        entries = {"a": "1", "b": "2", "c": "3"}
        there, back = (dict(order) for order in (entries.items(), reversed(entries.items())))
        encoded = [PROTOBUF.encode(Reply(Outcome.FAILED, "g", "r", extra), 7) for extra in (there, back)]
        self.assertEqual(*encoded)

    def test_same_numbers(self) -> None:
        """The statuses and codes of the model are those of the messages."""
        for ours, field in (Status, "status"), (Code, "code"):
            descriptor = SendEventResponse.DESCRIPTOR.fields_by_name[field]
            theirs = {value.name: value.number for value in descriptor.enum_type.values if value.number}
            self.assertEqual({f"{field.upper()}_{member.name}": member.value for member in ours}, theirs)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @settings(deadline=None)
    def test_guid_is_echoed(self, guid: str) -> None:
        """Whatever guid a batch has, its answer has the same, byte for byte."""
        batch = PROTOBUF.decode(request(guid))
        response = SendEventResponse.FromString(PROTOBUF.encode(Reply(Outcome.OK, batch.guid), 1))
        self.assertEqual((batch.guid, response.data["req_guid"]), (guid, guid))


class HostileTests(SynchronousTestCase):
    """Bodies of four mebibytes that are out to take time, memory or the stack. Each takes well below a second."""

    def read(self, filling: bytes, end: bytes = b"") -> int | None:
        body = filling * (4 * MEBIBYTE // len(filling)) + end
        before = process_time()
        try:
            count = len(PROTOBUF.decode(body).events)
        except Malformed:
            count = None
        self.assertLess(process_time() - before, 8.0, "pathological, even for a slow machine")
        return count

    def test_many_events(self) -> None:
        """Two million empty events, which another part of the server will refuse."""
        self.assertEqual(self.read(b"\x1a\x00"), 2 * MEBIBYTE)

    def test_many_fields_and_damage(self) -> None:
        """Two million fields, then damage."""
        for filling in b"\x1a\x00", b"\x0a\x00", b"\x50\x01":
            self.assertIsNone(self.read(filling, b"\x01"))

    def test_deep_nesting(self) -> None:
        """Groups without end."""
        self.assertIsNone(self.read(b"\x53"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REQUESTS = st.builds(
    lambda guid, seconds, nanos, contents: request(guid, seconds, nanos, *contents),
    TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.tuples(st.binary(max_size=8), TEXTS), max_size=4),
)


def spoil(body: bytes, position: int, length: int, patch: bytes) -> bytes:
    position %= len(body) + 1
    return body[:position] + patch + body[position + length :]


class PropertyTests(SynchronousTestCase):
    def check(self, body: bytes) -> None:
        try:
            batch = PROTOBUF.decode(body)
        except Malformed as malformed:
            self.assertTrue(malformed.reason.isprintable())
            self.assertTrue(0 < len(malformed.reason) <= 200)
            guid = malformed.guid
        else:
            self.assertEqual(find_guid(body), batch.guid)
            for event in batch.events:
                self.assertIsInstance(event.event_bytes, bytes)
                self.assertIsInstance(event.type, str)
            self.assertIsInstance(batch.sent_time, (float, type(None)))
            guid = batch.guid
        for codec in JSON, PROTOBUF:
            codec.encode(Reply(Outcome.MALFORMED, guid, "reason"), 1)

    @given(st.binary())
    @settings(deadline=None)
    def test_any_bytes(self, body: bytes) -> None:
        """Whatever the bytes, there is a batch or a short printable reason, and a guid that can be answered."""
        self.check(body)

    @given(st.builds(spoil, REQUESTS, st.integers(0, 10**6), st.integers(0, 3), st.binary(max_size=3)))
    @settings(deadline=None, max_examples=500)
    def test_spoiled(self, body: bytes) -> None:
        """So it is for batches with a few bytes put in, changed or taken out."""
        self.check(body)

    @given(REQUESTS, st.integers(1))
    @settings(deadline=None)
    def test_cut_short(self, body: bytes, length: int) -> None:
        """So it is for batches cut short; the guid is known once it has come."""
        guid = PROTOBUF.decode(body).guid
        cut = body[: length % (len(body) + 1)]
        self.check(cut)
        if len(cut) >= len(guid.encode()) + 2 and guid:
            self.assertEqual(find_guid(cut), guid)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=130), st.integers(0, 2**40))
    def test_template(self, guid: str, now: int) -> None:
        """A plain success is the same bytes, written from a template and field by field."""
        reply = Reply(Outcome.OK, guid)
        for second in (now, now, now + 1):
            self.assertEqual(PROTOBUF.encode(reply, second), PROTOBUF.write(reply, second))
