"""Tests for `raccoon_tx.codec.json`: every row of contract section 2.2, then bytes nobody should send."""

from __future__ import annotations

import json
from base64 import b64encode
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.codec import JSON, PROTOBUF, tolerant
from raccoon_tx.codec.json import MOST_OBJECTS, NOT_THIS_WAY, listed, strict
from raccoon_tx.codec.tolerant import MOST_VALUES
from raccoon_tx.model import Batch, Malformed, Outcome, Reply

MEBIBYTE = 2**20
TOO_MANY_VALUES = f"too many values: at most {MOST_VALUES} are read in JSON of this form"


def decode(text: str) -> Batch:
    return JSON.decode(text.encode())


def events(batch: Batch) -> list[tuple[bytes, str]]:
    return [(event.event_bytes, event.type) for event in batch.events]


def guid(text: str) -> str:
    return decode(text).guid


def sent_time(value: str) -> float | None:
    return decode(f'{{"sent_time":{value}}}').sent_time


def payload(value: str) -> bytes:
    return decode(f'{{"events":[{{"event_bytes":{value}}}]}}').events[0].event_bytes


def kind(value: str) -> str:
    return decode(f'{{"events":[{{"type":{value}}}]}}').events[0].type


class JSONTestCase(SynchronousTestCase):
    def assert_malformed(self, body: str | bytes, reason: str, guid: str = "") -> None:
        error = self.assertRaises(Malformed, JSON.decode, body.encode() if isinstance(body, str) else body)
        self.assertEqual((error.reason, error.guid), (reason, guid))

    def assert_payload_malformed(self, value: str, reason: str) -> None:
        self.assert_malformed(f'{{"events":[{{}},{{"event_bytes":{value}}}]}}', f"events[1].event_bytes: {reason}")

    def assert_sent_time_malformed(self, value: str, reason: str) -> None:
        self.assert_malformed(f'{{"sent_time":{value}}}', f"sent_time{reason}")


class KeyTests(JSONTestCase):
    """Which names the fields of a batch may have."""

    def test_names_of_the_messages(self) -> None:
        """What most clients send is read as it stands."""
        batch = decode(
            '{"req_guid":"1234","sent_time":{"seconds":1,"nanos":2},"events":['
            '{"event_bytes":"ZXZlbnRfMQ==","type":"type_a"},{"event_bytes":"ZXZlbnRfMg==","type":"type_b"}]}'
        )
        self.assertEqual(batch.guid, "1234")
        self.assertEqual(batch.sent_time, 1.000000002)
        self.assertEqual(events(batch), [(b"event_1", "type_a"), (b"event_2", "type_b")])

    def test_req_guid_any_case(self) -> None:
        """The letter case of ``req_guid`` means nothing."""
        for key in "REQ_GUID", "Req_Guid", "rEQ_gUID":
            self.assertEqual(guid(f'{{"{key}":"x"}}'), "x", key)

    def test_req_guid_camel_case(self) -> None:
        """``reqGuid`` is as good as ``req_guid``."""
        self.assertEqual(guid('{"reqGuid":"x"}'), "x")

    def test_sent_time_any_case(self) -> None:
        """The letter case of ``sent_time`` and of what is in it means nothing."""
        self.assertEqual(decode('{"Sent_Time":{"SECONDS":5,"Nanos":500000000}}').sent_time, 5.5)

    def test_sent_time_camel_case(self) -> None:
        """``sentTime`` is as good as ``sent_time``."""
        self.assertEqual(decode('{"sentTime":{"seconds":5}}').sent_time, 5.0)

    def test_events_any_case(self) -> None:
        """The letter case of ``events`` means nothing."""
        self.assertEqual(events(decode('{"EVENTS":[{}]}')), [(b"", "")])

    def test_event_bytes_any_case(self) -> None:
        """The letter case of ``event_bytes`` means nothing."""
        self.assertEqual(events(decode('{"events":[{"Event_Bytes":"YQ=="}]}')), [(b"a", "")])

    def test_event_bytes_camel_case(self) -> None:
        """``eventBytes``, the form shown in the guide of the reference, is as good as ``event_bytes``."""
        self.assertEqual(events(decode('{"events":[{"eventBytes":"YQ=="}]}')), [(b"a", "")])

    def test_type_any_case(self) -> None:
        """The letter case of ``type`` means nothing."""
        self.assertEqual(events(decode('{"events":[{"Type":"click"}]}')), [(b"", "click")])

    def test_letters_with_odd_capitals(self) -> None:
        """A long s is an s and the Kelvin sign a k, as the reference folds them; a dotless i is no i."""
        self.assertEqual(decode('{"\u017fent_time":1}').sent_time, 1.0)
        self.assertEqual(guid('{"req_gu\u0131d":"x"}'), "")

    def test_escaped_key(self) -> None:
        """How a key is escaped means nothing."""
        self.assertEqual(guid('{"\\u0072eq_guid":"x"}'), "x")

    def test_other_keys(self) -> None:
        """Any other key is ignored at every level, whatever its value."""
        batch = decode(
            '{"x":{"req_guid":"no"},"req_guid":"g","sent_time":{"seconds":1,"zone":[]},'
            f'"n":{"9" * 5000},"s":"\\ud800","events":[{{"type":"t","id":1.5,"meta":{{"type":1}}}}]}}'
        )
        self.assertEqual((batch.guid, batch.sent_time, events(batch)), ("g", 1.0, [(b"", "t")]))

    def test_same_key_twice(self) -> None:
        """The last one wins, at every level."""
        self.assertEqual(guid('{"req_guid":"a","req_guid":"b"}'), "b")
        self.assertEqual(guid('{"req_guid":"a","REQ_GUID":"b"}'), "b")
        self.assertEqual(guid('{"REQ_GUID":"a","req_guid":"b"}'), "b")
        self.assertEqual(events(decode('{"events":[{}],"events":[{"type":"a","type":"b"}]}')), [(b"", "b")])
        self.assertEqual(sent_time('{"seconds":1,"seconds":2}'), 2.0)

    def test_same_key_twice_then_null(self) -> None:
        """A later ``null`` changes nothing."""
        self.assertEqual(guid('{"req_guid":"a","req_guid":null}'), "a")
        self.assertEqual(decode('{"sent_time":{"seconds":1},"sent_time":null}').sent_time, 1.0)
        self.assertEqual(sent_time('{"seconds":1,"seconds":null}'), 1.0)
        self.assertEqual(events(decode('{"events":[{"type":"a","type":null}],"events":null}')), [(b"", "a")])

    def test_both_spellings(self) -> None:
        """snake_case wins over camelCase, whichever comes first."""
        self.assertEqual(guid('{"req_guid":"snake","reqGuid":"camel"}'), "snake")
        self.assertEqual(guid('{"reqGuid":"camel","req_guid":"snake"}'), "snake")
        self.assertEqual(decode('{"sent_time":1,"sentTime":2}').sent_time, 1.0)
        self.assertEqual(events(decode('{"events":[{"event_bytes":"YQ","eventBytes":"Yg"}]}')), [(b"a", "")])

    def test_both_spellings_and_null(self) -> None:
        """A ``null`` never hides the other spelling."""
        self.assertEqual(guid('{"req_guid":null,"reqGuid":"camel"}'), "camel")


class StringTests(JSONTestCase):
    """``req_guid`` and ``type``."""

    def test_string(self) -> None:
        """A string is taken as it is."""
        for text in "", "a", "\u20ac", "\U0001f600", "\0\x7f", '"\\/':
            self.assertEqual(guid(json.dumps({"req_guid": text})), text)
            self.assertEqual(kind(json.dumps(text, ensure_ascii=False)), text)

    def test_null(self) -> None:
        """``null`` is the empty string."""
        self.assertEqual((guid('{"req_guid":null}'), kind("null")), ("", ""))

    def test_anything_else(self) -> None:
        """A number, a truth value, an object or an array is refused."""
        for value in "1", "1.5", "1e999999999", "true", "{}", "[]":
            self.assert_malformed(f'{{"req_guid":{value}}}', "req_guid: not a string")
            self.assert_malformed(f'{{"events":[{{"type":{value}}}]}}', "events[0].type: not a string")

    def test_invalid_utf8(self) -> None:
        """Every byte that is not UTF-8 becomes one U+FFFD; those around it are kept."""
        for raw, text in (
            (b"\xff", "\ufffd"),
            (b"a\xe2\x82b", "a\ufffd\ufffdb"),
            (b"\xe2\x82\xac\xe2", "\u20ac\ufffd"),
            (b"\xf0\x9f\x98", "\ufffd\ufffd\ufffd"),
            (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
            (b"\xc0\x80", "\ufffd\ufffd"),
            (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
        ):
            batch = JSON.decode(b'{"req_guid":"%b","events":[{"type":"%b"}]}' % (raw, raw))
            self.assertEqual((batch.guid, batch.events[0].type), (text, text), raw)

    def test_half_a_surrogate_pair(self) -> None:
        """An escape that no UTF-8 can say is refused."""
        self.assert_malformed('{"req_guid":"\\ud800"}', "req_guid: half a surrogate pair")
        self.assert_malformed('{"events":[{"type":"\\udc00x"}]}', "events[0].type: half a surrogate pair")

    def test_surrogate_pair(self) -> None:
        """A whole pair is one character."""
        self.assertEqual(guid('{"req_guid":"\\ud83d\\ude00"}'), "\U0001f600")

    def test_control_character(self) -> None:
        """A control character in a string must be escaped."""
        self.assert_malformed('{"req_guid":"a\nb"}', "not JSON: Invalid control character at character 14")


class SentTimeTests(JSONTestCase):
    def test_object(self) -> None:
        """An object has ``seconds`` and ``nanos``, each optional."""
        self.assertEqual(sent_time('{"seconds":1638155915,"nanos":250000000}'), 1638155915.25)
        self.assertEqual(sent_time('{"seconds":-5}'), -5.0)
        self.assertEqual(sent_time('{"nanos":500000000}'), 0.5)
        self.assertEqual(sent_time("{}"), 0.0)

    def test_strange_but_readable(self) -> None:
        """The far past, the far future and nanoseconds beyond a second are the client's business."""
        self.assertEqual(sent_time('{"seconds":9223372036854775807}'), 2.0**63)
        self.assertEqual(sent_time('{"seconds":-9223372036854775808,"nanos":-1}'), -(2.0**63))
        self.assertEqual(sent_time('{"nanos":2000000000}'), 2.0)

    def test_object_nulls(self) -> None:
        """``null`` in the object is zero."""
        self.assertEqual(sent_time('{"seconds":null,"nanos":null}'), 0.0)

    def test_object_decimal_strings(self) -> None:
        """Numbers may be in quotes."""
        self.assertEqual(sent_time('{"seconds":"1638155915","nanos":"250000000"}'), 1638155915.25)
        self.assertEqual(sent_time('{"seconds":"-3"}'), -3.0)

    def test_object_integral_floats(self) -> None:
        """Whole numbers may look like fractions."""
        self.assertEqual(sent_time('{"seconds":12.0,"nanos":3e8}'), 12.3)
        self.assertEqual(sent_time('{"seconds":9.223372036854775807e18}'), 2.0**63)

    def test_object_not_integral(self) -> None:
        """Parts of seconds belong into ``nanos``, and parts of nanoseconds nowhere."""
        for value in "1.5", "1e-999999999", '"1.5"', '"x"', '""', '" 1"', '"0x1"', '"\u0661"', "true", "[]", "{}":
            self.assert_sent_time_malformed(f'{{"seconds":{value}}}', ".seconds: not a 64-bit integer")
            self.assert_sent_time_malformed(f'{{"nanos":{value}}}', ".nanos: not a 32-bit integer")

    def test_object_out_of_range(self) -> None:
        """The numbers must fit the protobuf message; the check is exact."""
        for value in "9223372036854775808", "-9223372036854775809", "9.223372036854775808e18", "1e999999999":
            self.assert_sent_time_malformed(f'{{"seconds":{value}}}', ".seconds: not a 64-bit integer")
            self.assert_sent_time_malformed(f'{{"seconds":"{value}"}}', ".seconds: not a 64-bit integer")
        for value in "2147483648", "-2147483649":
            self.assert_sent_time_malformed(f'{{"nanos":{value}}}', ".nanos: not a 32-bit integer")

    def test_rfc_3339(self) -> None:
        """The protobuf JSON mapping's form is read, whatever its fraction and offset."""
        for text, expected in (
            ("2021-11-29T03:18:35Z", 1638155915.0),
            ("2021-11-29T03:18:35.25Z", 1638155915.25),
            ("2021-11-29T03:18:35.376499123Z", 1638155915.376499123),
            ("2021-11-29t03:18:35z", 1638155915.0),
            ("2021-11-29T05:48:35+02:30", 1638155915.0),
            ("2021-11-28T22:18:35.5-05:00", 1638155915.5),
            ("1969-12-31T23:59:59.75Z", -0.25),
            ("2016-12-31T23:59:60Z", 1483228800.0),
            ("0001-01-01T00:00:00Z", -62135596800.0),
            ("9999-12-31T23:59:59Z", 253402300799.0),
        ):
            self.assertEqual(sent_time(f'"{text}"'), expected, text)

    def test_not_rfc_3339(self) -> None:
        """Any other text is refused."""
        for text in "", "now", "1638155915", "2021-11-29", "2021-11-29T03:18:35", "2021-11-29T24:00:00Z":
            self.assert_sent_time_malformed(f'"{text}"', ": not RFC 3339")
        self.assert_sent_time_malformed('"2021-02-29T00:00:00Z"', ": no such day")

    def test_number_seconds(self) -> None:
        """A number is Unix seconds."""
        self.assertEqual(sent_time("1638155915"), 1638155915.0)
        self.assertEqual(sent_time("1638155915.25"), 1638155915.25)
        self.assertEqual(sent_time("-1e3"), -1000.0)
        self.assertEqual(sent_time("99999999999"), 99999999999.0)

    def test_number_milliseconds(self) -> None:
        """A number of at least 1e11, either way from zero, is Unix milliseconds."""
        self.assertEqual(sent_time("1638155915250"), 1638155915.25)
        self.assertEqual(sent_time("1.63815591525e12"), 1638155915.25)
        self.assertEqual(sent_time("100000000000"), 100000000.0)
        self.assertEqual(sent_time("-100000000000"), -100000000.0)

    def test_number_out_of_range(self) -> None:
        """A number that no clock shows is refused."""
        for value in "1e999999999", "-1e400", "9223372036854775808", "9" * 5000:
            self.assert_sent_time_malformed(value, ": out of range")

    def test_absent(self) -> None:
        """Without ``sent_time`` there is none; ``null`` is the same."""
        self.assertIsNone(decode("{}").sent_time)
        self.assertIsNone(sent_time("null"))

    def test_anything_else(self) -> None:
        """A truth value or an array is refused."""
        for value in "true", "false", "[]", "[1]":
            self.assert_sent_time_malformed(value, ": neither an object, an RFC 3339 string nor a number")


class EventsTests(JSONTestCase):
    def test_array_of_objects(self) -> None:
        """The events come in the order of the array; their fields may be missing."""
        batch = decode('{"events":[{"type":"a"},{},{"event_bytes":"Yg=="}]}')
        self.assertEqual(events(batch), [(b"", "a"), (b"", ""), (b"b", "")])

    def test_empty(self) -> None:
        """No ``events``, ``null`` and ``[]`` are an empty batch."""
        for body in "{}", '{"events":null}', '{"events":[]}':
            self.assertEqual(len(decode(body).events), 0, body)

    def test_null_element(self) -> None:
        """A ``null`` among the events is refused; it crashed the reference."""
        self.assert_malformed('{"req_guid":"x","events":[{},null]}', "events[1]: not an object", "x")

    def test_other_elements(self) -> None:
        """An event must be an object."""
        for value in "1", '"a"', "[]", '["YQ==","t"]', "true":
            self.assert_malformed(f'{{"events":[{value}]}}', "events[0]: not an object")

    def test_anything_else(self) -> None:
        """Only an array holds events."""
        for value in "{}", '"a"', "0", "false":
            self.assert_malformed(f'{{"events":{value}}}', "events: not an array")


class PayloadTests(JSONTestCase):
    """``event_bytes``"""

    def test_base64(self) -> None:
        """Standard base64 with padding."""
        for content in b"", b"a", b"ab", b"abc", bytes(range(256)):
            self.assertEqual(payload(f'"{b64encode(content).decode()}"'), content)

    def test_base64_loose_bits(self) -> None:
        """The unused bits of the last character mean nothing, as in the reference."""
        self.assertEqual((payload('"YR=="'), payload('"YR"')), (b"a", b"a"))

    def test_base64_whitespace(self) -> None:
        """Whitespace may stand anywhere."""
        self.assertEqual(payload(r'" Y\r\n\tW\f J j\u000b"'), b"abc")
        self.assertEqual(payload(r'"YQ=\n="'), b"a")

    def test_base64_unpadded(self) -> None:
        """The padding may be missing."""
        self.assertEqual((payload('"YQ"'), payload('"YWI"')), (b"a", b"ab"))

    def test_base64_url_safe(self) -> None:
        """The URL-safe alphabet, padded or not."""
        self.assertEqual(payload('"-_-_"'), b"\xfb\xff\xbf")
        self.assertEqual((payload('"_w=="'), payload('"_w"')), (b"\xff", b"\xff"))

    def test_not_base64(self) -> None:
        """Characters are not skipped and padding is whole or absent."""
        for text in "!", "Y!Q=", "YQ=", "YQ===", "Y", "YWJjZ", "=", "====", "YQ==YQ==", "Y=Q=", "\u00e9Q==", "\\ud800":
            self.assert_payload_malformed(f'"{text}"', "not base64")

    def test_integers(self) -> None:
        """An array of integers, as the official JavaScript client sends it."""
        self.assertEqual(payload("[101,118,101,110,116,95,49]"), b"event_1")
        self.assertEqual(payload("[]"), b"")
        self.assertEqual(payload("[0,255]"), b"\x00\xff")

    def test_integers_null(self) -> None:
        """A ``null`` among the integers is a zero."""
        self.assertEqual(payload("[1,null,2]"), b"\x01\x00\x02")

    def test_integers_that_look_like_fractions(self) -> None:
        """Whole numbers may look like fractions here too."""
        self.assertEqual(payload("[1.0,null,2e1,-0.0]"), b"\x01\x00\x14\x00")

    def test_integers_out_of_range(self) -> None:
        """Only whole numbers from 0 to 255 are bytes."""
        for value in "256", "-1", "1.5", "1e999999999", "1e-999999999", "9" * 5000, "true", '"1"', "[]", "{}":
            self.assert_payload_malformed(f"[1,{value}]", "not integers from 0 to 255")

    def test_typed_array(self) -> None:
        """A typed array that went through a JSON encoder is an object by now."""
        self.assertEqual(payload('{"0":104,"1":105}'), b"hi")
        self.assertEqual(payload('{"1":105,"0":104}'), b"hi")
        self.assertEqual(payload("{}"), b"")

    def test_buffer(self) -> None:
        """So is a Node buffer."""
        self.assertEqual(payload('{"type":"Buffer","data":[104,105]}'), b"hi")

    def test_other_objects(self) -> None:
        """Other objects hold no bytes."""
        for value in '{"1":1}', '{"a":1}', '{"00":1}', '{"type":"Buffer"}', '{"type":"Buffer","data":"YQ=="}':
            self.assert_payload_malformed(value, "neither base64 nor an array of integers")
        self.assert_payload_malformed('{"0":256}', "not integers from 0 to 255")

    def test_null(self) -> None:
        """``null`` is no bytes."""
        self.assertEqual(payload("null"), b"")

    def test_anything_else(self) -> None:
        """A number or a truth value is refused."""
        for value in "1", "1.5", "true", "false":
            self.assert_payload_malformed(value, "neither base64 nor an array of integers")


class BodyTests(JSONTestCase):
    """The document as a whole."""

    def test_empty_object(self) -> None:
        """``{}`` is an empty batch."""
        batch = decode(" {}\r\n\t")
        self.assertEqual((batch.guid, len(batch.events), batch.sent_time), ("", 0, None))

    def test_null(self) -> None:
        """``null`` is refused."""
        self.assert_malformed("null", "not a JSON object")

    def test_other_values(self) -> None:
        """A batch is an object."""
        for body in "[]", '"a"', "1", "true", "[{}]":
            self.assert_malformed(body, "not a JSON object")

    def test_empty(self) -> None:
        """No bytes are no JSON."""
        self.assert_malformed("", "not JSON: Expecting value at character 0")

    def test_trailing_data(self) -> None:
        """Nothing may follow the object."""
        for body in "{}{}", "{}x", "{},", "{}\0", "{}\v":
            self.assert_malformed(body, "not JSON: Extra data at character 2")

    def test_byte_order_mark(self) -> None:
        """A byte-order mark may come first, once."""
        self.assertEqual(guid('\ufeff{"req_guid":"x"}'), "x")
        self.assert_malformed("\ufeff\ufeff{}", "not JSON: Expecting value at character 0")

    def test_not_a_number(self) -> None:
        """Values that JSON does not have are refused wherever they stand."""
        for value in "NaN", "Infinity", "-Infinity":
            self.assert_malformed(f'{{"x":[{value}]}}', f"not JSON: {value} is not a number")

    def test_absurd_exponent(self) -> None:
        """So is a number whose exponent alone is out of all bounds."""
        self.assert_malformed('{"x":1e99999999999999999999}', "not JSON: a number with an absurd exponent")

    def test_invalid_utf8_outside_strings(self) -> None:
        """Bytes that are not UTF-8 are forgiven in strings only."""
        self.assert_malformed(b"\xff{}", "not JSON: Expecting value at character 0")
        self.assert_malformed(b'{"req_guid":"x"}\xff', "not JSON: Extra data at character 16")

    def test_guid_survives(self) -> None:
        """The guid is echoed whatever comes before or after it, if the document is JSON and the guid is right."""
        self.assert_malformed('{"events":1,"req_guid":"x"}', "events: not an array", "x")
        self.assert_malformed('{"reqGuid":"x","sent_time":"now","events":1}', "sent_time: not RFC 3339", "x")
        self.assert_malformed('{"events":[{"type":1}],"REQ_GUID":"\u20ac"}', "events[0].type: not a string", "\u20ac")

    def test_guid_lost(self) -> None:
        """Where the document is not JSON, there is no guid to echo."""
        error = self.assertRaises(Malformed, decode, '{"req_guid":"x",}')
        self.assertEqual(error.guid, "")


class ResponseTests(SynchronousTestCase):
    """What is emitted."""

    def test_success(self) -> None:
        """Success is this, to the byte."""
        self.assertEqual(
            JSON.encode(Reply(Outcome.OK, "1234abcd"), 1638155915),
            b'{"status":1,"code":1,"sent_time":1638155915,"data":{"req_guid":"1234abcd"}}',
        )

    def test_no_guid(self) -> None:
        """A batch without a guid is told so."""
        self.assertEqual(
            JSON.encode(Reply(Outcome.OK, ""), 7), b'{"status":1,"code":1,"sent_time":7,"data":{"req_guid":""}}'
        )

    def test_before_decoding(self) -> None:
        """An answer that precedes decoding has no ``data``."""
        self.assertEqual(
            JSON.encode(Reply(Outcome.UNKNOWN_TYPE, reason="invalid content type"), 7),
            b'{"status":2,"code":2,"sent_time":7,"reason":"invalid content type"}',
        )

    def test_extra(self) -> None:
        """Whatever else there is to say goes into ``data``, as text."""
        reply = Reply(Outcome.SATURATED, "g", "overloaded", {"retryable": "true", "retry_after_ms": "500"})
        self.assertEqual(
            json.loads(JSON.encode(reply, 7)),
            {
                "status": 2,
                "code": 3,
                "sent_time": 7,
                "reason": "overloaded",
                "data": {"req_guid": "g", "retryable": "true", "retry_after_ms": "500"},
            },
        )

    def test_nothing_left(self) -> None:
        """Zeros are left out, as the reference does."""
        self.assertEqual(JSON.encode(Reply(Outcome.OK), 0), b'{"status":1,"code":1}')

    def test_utf8(self) -> None:
        """The answer is UTF-8, not escapes."""
        self.assertIn('"req_guid":"\u20ac\U0001f600"'.encode(), JSON.encode(Reply(Outcome.OK, "\u20ac\U0001f600"), 1))

    def test_media_type(self) -> None:
        """It goes by ``application/json``."""
        self.assertEqual(JSON.media_type, "application/json")

    @given(st.text())
    @settings(deadline=None)
    def test_guid_is_echoed(self, guid: str) -> None:
        """Whatever guid a batch has, its answer has the same, character for character."""
        batch = JSON.decode(json.dumps({"req_guid": guid}).encode())
        answer = json.loads(JSON.encode(Reply(Outcome.OK, batch.guid), 1))
        self.assertEqual((batch.guid, answer["data"]), (guid, {"req_guid": guid}))


class HostileTests(JSONTestCase):
    """Bodies of four mebibytes that are out to take time, memory or the stack. Each takes well below a second."""

    def read(self, start: str, filling: str, end: str) -> tuple[str, int]:
        body = (start + filling * (4 * MEBIBYTE // len(filling)) + end).encode()
        before = process_time()
        try:
            outcome = "", len(JSON.decode(body).events)
        except Malformed as malformed:
            outcome = malformed.reason, 0
        self.assertLess(process_time() - before, 8.0, "pathological, even for a slow machine")
        return outcome

    def test_deep_nesting(self) -> None:
        """Nesting without end is refused, not a way to the end of the stack."""
        for filling in "[", '{"a":', '[{"a":':
            self.assertRaises(Malformed, decode, '{"x":' + filling * MEBIBYTE)
            for times in 2000, 20_000:
                wrong = self.assertRaises(Malformed, decode, '{"x":' + filling * times)
                self.assertEqual(wrong.reason, "not JSON: nested too deeply")
        wrong = self.assertRaises(Malformed, decode, '{"events":[{"event_bytes":' + "[" * 100_000)
        self.assertEqual(wrong.reason, "not JSON: nested too deeply")

    def test_endless_numbers(self) -> None:
        """A number may have as many digits as it likes where nobody looks, and costs no more than its length."""
        self.assertEqual(self.read('{"x":', "9", "}"), ("", 0))
        self.assertEqual(self.read('{"sent_time":', "9", "}"), ("sent_time: out of range", 0))
        self.assertEqual(
            self.read('{"sent_time":{"seconds":"', "9", '"}}'), ("sent_time.seconds: not a 64-bit integer", 0)
        )
        self.assertEqual(self.read('{"sent_time":1.', "3", "}"), ("", 0))

    def test_many_integers(self) -> None:
        """Two million integers in one event."""
        self.assertEqual(self.read('{"events":[{"event_bytes":[', "7,", "7]}]}"), ("", 1))
        self.assertEqual(self.read('{"events":[{"eventBytes":[', "1.0,", "1.0]}]}"), (TOO_MANY_VALUES, 0))

    def test_many_events(self) -> None:
        """A million events are none."""
        too_many = f"too many objects: at most {MOST_OBJECTS} are read"
        self.assertEqual(self.read('{"events":[', "{},", "{}]}"), (too_many, 0))
        self.assertEqual(self.read('{"events":[', '{"":{}},', "{}]}"), (too_many, 0))

    def test_long_base64(self) -> None:
        """Base64 to the brim, right and wrong."""
        self.assertEqual(self.read('{"events":[{"event_bytes":"', "QUJD ", '"}]}'), ("", 1))
        self.assertEqual(
            self.read('{"events":[{"event_bytes":"', "=", '"}]}'), ("events[0].event_bytes: not base64", 0)
        )

    def test_much_invalid_utf8(self) -> None:
        """Four million bytes that are not UTF-8."""
        self.assertEqual(len(JSON.decode(b'{"req_guid":"%b"}' % (b"\xff" * 4 * MEBIBYTE)).guid), 4 * MEBIBYTE)


NUMBERS = ["0", "-0", "1", "-1", "255", "256", "1.0", "3e8", "1.5", "1e400", "1e-400", "1e999999999", "2147483648"]
HUGE = ["-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "99999999999999999999999"]
STRINGS = [
    "",
    "a",
    "1",
    "YQ==",
    "YQ",
    "YR==",
    "Y=Q=",
    "-_==",
    r"YQ\n==",
    r"\u0059Q==",
    r"\ud800",
    r"\ud83d\ude00",
    r"\x",
]
OTHERS = ["null", "true", "false", "NaN", "[]", "{}", "[null]", "[1,2]", "[256]", "[1.0]", '{"0":1}', '{"seconds":"1"}']
SCALARS = st.sampled_from([*NUMBERS, *HUGE, *(f'"{text}"' for text in STRINGS), *OTHERS, '"2021-11-29T03:18:35Z"'])
TEXTS = st.builds(json.dumps, st.text(max_size=8), ensure_ascii=st.booleans())
INTEGERS = st.integers(-(2**63), 2**63 - 1).map(str)
BASE64 = st.binary(max_size=12).map(lambda content: f'"{b64encode(content).decode()}"')
OCTETS = st.lists(st.integers(0, 255), max_size=4).map(str)


def members(**values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """The text of an object, with some of the given fields, perhaps twice, and mostly well spelled."""
    pairs = [
        st.tuples(st.sampled_from([name, name, name, name, name.title(), camel(name), name + "x"]), value)
        for name, value in values.items()
    ]
    text = st.lists(st.one_of(pairs), max_size=3).map(lambda pairs: ",".join(f'"{key}": {val}' for key, val in pairs))
    return text.map(lambda inside: f"{{{inside}}}")


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


EVENTS = members(event_bytes=BASE64 | OCTETS | SCALARS, type=TEXTS | TEXTS | SCALARS)
DOCUMENTS = members(
    req_guid=TEXTS | TEXTS | SCALARS,
    sent_time=members(seconds=INTEGERS | SCALARS, nanos=st.integers(0, 10**9).map(str) | SCALARS) | SCALARS,
    events=st.lists(EVENTS, max_size=3).map(lambda elements: f"[{','.join(elements)}]") | SCALARS,
).map(lambda text: text.encode("utf-8", "replace"))


def spoiled(documents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The same with a few bytes put in, changed or taken out."""

    def spoil(document: bytes, position: int, length: int, patch: bytes) -> bytes:
        position %= len(document) + 1
        return document[:position] + patch + document[position + length :]

    return st.builds(spoil, documents, st.integers(0, 10**6), st.integers(0, 3), st.binary(max_size=3))


class PropertyTests(SynchronousTestCase):
    def check(self, body: bytes) -> None:
        try:
            batch = JSON.decode(body)
        except Malformed as malformed:
            self.assertTrue(malformed.reason)
            self.assertTrue(malformed.reason.isprintable())
            self.assertLessEqual(len(malformed.reason), 200)
            guid = malformed.guid
        else:
            for event in batch.events:
                self.assertIsInstance(event.event_bytes, bytes)
                event.type.encode()
            self.assertIsInstance(batch.sent_time, (float, type(None)))
            guid = batch.guid
        for codec in JSON, PROTOBUF:
            codec.encode(Reply(Outcome.MALFORMED, guid, "reason"), 1)

    @given(st.binary())
    @settings(deadline=None)
    def test_any_bytes(self, body: bytes) -> None:
        """Whatever the bytes, there is a batch or a short printable reason, and a guid that can be answered."""
        self.check(body)

    @given(DOCUMENTS)
    @settings(deadline=None, max_examples=500)
    def test_near_misses(self, body: bytes) -> None:
        """So it is for JSON that is nearly a batch."""
        self.check(body)

    @given(spoiled(DOCUMENTS))
    @settings(deadline=None, max_examples=500)
    def test_spoiled(self, body: bytes) -> None:
        """So it is for batches that are nearly JSON."""
        self.check(body)

    @given(DOCUMENTS | spoiled(DOCUMENTS))
    @settings(deadline=None, max_examples=1000)
    def test_ways_agree(self, body: bytes) -> None:
        """Whatever a fast way reads, the tolerant way reads alike."""
        for way in strict, listed:
            try:
                batch = way(body)
            except NOT_THIS_WAY:
                continue
            self.assertEqual(tolerant.decode(body), batch)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=130), st.integers(0, 2**40))
    def test_template(self, guid: str, now: int) -> None:
        """A plain success is the same bytes, written from a template and field by field."""
        reply = Reply(Outcome.OK, guid)
        for second in (now, now, now + 1):
            self.assertEqual(JSON.encode(reply, second), JSON.write(reply, second))


class BoundsTests(SynchronousTestCase):
    """What a body may make of us."""

    def refused(self, body: bytes) -> str:
        return self.assertRaises(Malformed, JSON.decode, body).reason

    def test_objects(self) -> None:
        """So many objects are read; where there are more, none is made."""
        body = b'{"events":[' + b",".join([b"{}"] * (MOST_OBJECTS - 1)) + b"]}"
        self.assertEqual(len(JSON.decode(body).events), MOST_OBJECTS - 1)
        more = b'{"events":[' + b",".join([b"{}"] * MOST_OBJECTS) + b"]}"
        self.assertEqual(self.refused(more), f"too many objects: at most {MOST_OBJECTS} are read")

    def test_values(self) -> None:
        """JSON that is not read the fast way may have so many values; the usual form has no such bound."""
        numbers = b",".join([b"1"] * (2 * MOST_VALUES))
        self.assertEqual(
            self.refused(b'{"x":[' + numbers + b"]}"),
            TOO_MANY_VALUES,
        )
        (event,) = JSON.decode(b'{"events":[{"event_bytes":[' + numbers + b"]}]}").events
        self.assertEqual(len(event.event_bytes), 2 * MOST_VALUES)
        half = b",".join([b"1"] * MOST_VALUES)
        (event,) = JSON.decode(b'{"events":[{"eventBytes":[' + half + b"]}]}").events
        self.assertEqual(len(event.event_bytes), MOST_VALUES)
