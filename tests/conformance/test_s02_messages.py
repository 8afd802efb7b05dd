"""Section 2: messages, in protobuf and in JSON."""

from __future__ import annotations

import json
import time
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import grpc
import pytest

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from tests.conformance.server import Farm
from tests.conformance.topics import Kafka, word
from tests.conformance.vectors import UNREADABLE, Two, assert_nothing_produced
from tests.integration.batches import TOLERANCE, said, success
from tests.integration.clients import ask, call_with_bytes, channel, post, websocket

#: Fields as they are written on the wire.
GUID, SENT_TIME, EVENTS, EVENT_BYTES, TYPE = b"\x0a", b"\x12", b"\x1a", b"\x0a", b"\x12"


def field(tag: bytes, content: bytes) -> bytes:
    """A field of bytes."""
    return tag + bytes([len(content)]) + content


def event(kind: str, value: bytes = b"event_1", more: bytes = b"") -> bytes:
    return field(EVENTS, field(EVENT_BYTES, value) + field(TYPE, kind.encode()) + more)


UNKNOWN = b"\x98\x06\x01" + field(b"\xa2\x06", b"x")  # field 99 a number, field 100 bytes

PROTOBUF_ROWS = {
    "unknown field of the request": lambda kind: field(GUID, b"1234") + event(kind) + UNKNOWN,
    "unknown field of an event": lambda kind: field(GUID, b"1234") + event(kind, more=UNKNOWN),
    "unknown field before the known": lambda kind: UNKNOWN + field(GUID, b"1234") + event(kind),
    "missing sent_time": lambda kind: field(GUID, b"1234") + event(kind),
    "fields in another order": lambda kind: event(kind) + field(SENT_TIME, b"\x08\x01\x10\x02") + field(GUID, b"1234"),
    "field twice, the last wins": lambda kind: field(GUID, b"999") + event(kind) + field(GUID, b"1234"),
}


@pytest.mark.parametrize("transport", ["rest", "websocket", "grpc"])
@pytest.mark.parametrize("row", PROTOBUF_ROWS)
def test_s02_1_accepted(farm: Farm, kafka: Kafka, row: str, transport: str) -> None:
    """What phones in the field write is read."""
    kind = f"phone-{word()}"
    assert said(_send(farm, transport, PROTOBUF_ROWS[row](kind))) == success("1234")
    assert kafka.of(kind) == [b"event_1"]


EMPTY_ROWS = {
    "zero bytes": (b"", ""),
    "empty events": (field(GUID, b"1234"), "1234"),
    "empty req_guid": (field(GUID, b""), ""),
    "only a time": (field(SENT_TIME, b"\x08\x01"), ""),
}


@pytest.mark.parametrize("transport", ["rest", "websocket", "grpc"])
@pytest.mark.parametrize("row", EMPTY_ROWS)
def test_s02_1_empty(farm: Farm, row: str, transport: str) -> None:
    """A batch may lack everything; ``data`` has the guid even so."""
    body, guid = EMPTY_ROWS[row]
    assert said(_send(farm, transport, body)) == success(guid)


BROKEN_ROWS = {
    "one byte": b"\x01",
    "invalid UTF-8 in req_guid": field(GUID, b"\xff\xfe"),
    "invalid UTF-8 in type": field(EVENTS, field(TYPE, b"\xc3\x28")),
    "cut off": field(GUID, b"1234")[:-2],
    "group never ended": b"\x0b",
    "wire type 7": b"\x0f\x01",
}


@pytest.mark.parametrize("transport", ["rest", "websocket", "grpc"])
@pytest.mark.parametrize("row", BROKEN_ROWS)
def test_s02_1_broken(farm: Farm, row: str, transport: str) -> None:
    """What is no protobuf is a decoding error."""
    body, server = BROKEN_ROWS[row], farm.get()
    if transport == "rest":
        response = post(server, body, "application/proto")
        assert (response.status, response.said) == (400, UNREADABLE)
    elif transport == "websocket":
        with websocket(server) as connection:
            answer = ask(connection, body)
            assert (answer["status"], answer["code"]) == (2, 2)
            assert answer["reason"].startswith("cannot deserialize request: ")
    else:
        with channel(server) as opened, pytest.raises(grpc.RpcError) as failed:
            call_with_bytes(opened, body)
        assert failed.value.code() is grpc.StatusCode.INTERNAL


def _send(farm: Farm, transport: str, body: bytes) -> bytes:
    server = farm.get()
    if transport == "rest":
        response = post(server, body, "application/proto")
        assert response.headers["Content-Type"] == "application/proto"
        return response.body
    if transport == "websocket":
        with websocket(server) as connection:
            connection.send(body)
            answer = connection.recv(10)
            assert isinstance(answer, bytes)
            return answer
    with channel(server) as opened:
        return call_with_bytes(opened, body)


def test_s02_1_response_fields(farm: Farm) -> None:
    """The numbers and types of the answer's fields are those of the contract."""
    body = post(farm.get(), field(GUID, b"g"), "application/proto").body
    moment = SendEventResponse.FromString(body).sent_time
    seconds = b""
    left = moment
    while left > 127:
        seconds, left = seconds + bytes([left & 127 | 128]), left >> 7
    seconds += bytes([left])
    expected = {b"\x08\x01", b"\x10\x01", b"\x18" + seconds, b"\x2a\x0d\x0a\x08req_guid\x12\x01g"}
    for part in expected:
        assert part in body
    assert len(body) == sum(map(len, expected))


# JSON, keys


KEY_ROWS: dict[str, dict[str, str]] = {
    "req_guid": {},
    "REQ_GUID": {"req_guid": "REQ_GUID"},
    "Req_Guid": {"req_guid": "Req_Guid"},
    "reqGuid": {"req_guid": "reqGuid"},
    "SENT_TIME": {"sent_time": "SENT_TIME"},
    "sentTime": {"sent_time": "sentTime"},
    "Events": {"events": "Events"},
    "EVENTS": {"events": "EVENTS"},
    "Event_Bytes": {"event_bytes": "Event_Bytes"},
    "eventBytes": {"event_bytes": "eventBytes"},
    "Type": {'"type"': '"Type"'},
    "TYPE": {'"type"': '"TYPE"'},
    "all camelCase": {"event_bytes": "eventBytes", "req_guid": "reqGuid", "sent_time": "sentTime"},
    "other keys": {
        '{"req_guid"': '{"x":{"y":[1,null]},"events_count":2,"req_guid"',
        '{"event_bytes"': '{"id":7,"event_name":"n","event_bytes"',
        '{"seconds"': '{"zone":"UTC","seconds"',
    },
    "req_guid twice, last wins": {'"req_guid":"1234"': '"req_guid":"1","req_guid":"1234"'},
    "req_guid twice, later null": {'"req_guid":"1234"': '"req_guid":"1234","req_guid":null'},
    "event_bytes twice, last wins": {'"event_bytes":': '"event_bytes":"eA==","event_bytes":'},
    "event_bytes twice, later null": {',"type"': ',"event_bytes":null,"type"'},
    "type twice, later null": {'"type_a"}': '"type_a","type":null}', '"type_b"}': '"type_b","type":null}'},
    "events twice, last wins": {'"events":': '"events":[],"events":'},
    "events twice, later null": {'"type_b"}]': '"type_b"}],"events":null'},
    "both spellings, snake first": {'"req_guid":"1234"': '"req_guid":"1234","reqGuid":"9"'},
    "both spellings, camel first": {'"req_guid":"1234"': '"reqGuid":"9","req_guid":"1234"'},
    "both spellings of event_bytes": {'{"event_bytes":': '{"eventBytes":"eA==","event_bytes":'},
    "both spellings of event_bytes, camel last": {',"type"': ',"eventBytes":"eA==","type"'},
}


@pytest.mark.parametrize("row", KEY_ROWS)
def test_s02_2_key(farm: Farm, kafka: Kafka, row: str) -> None:
    """Keys may be written so."""
    two = Two()
    response = post(farm.get(), two.text(**KEY_ROWS[row]).encode())
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


# JSON, values


SENT_TIMES_ACCEPTED = {
    "object": '{"seconds":1,"nanos":2}',
    "only seconds": '{"seconds":1}',
    "only nanos": '{"nanos":2}',
    "empty object": "{}",
    "seconds as string": '{"seconds":"1","nanos":"2"}',
    "seconds as integral float": '{"seconds":3e8,"nanos":12.0}',
    "large seconds": '{"seconds":9007199254740993}',
    "RFC 3339": '"2021-11-29T03:08:47.376499Z"',
    "RFC 3339 with offset": '"2021-11-29T03:08:47+07:00"',
    "number, seconds": "1638155915",
    "number, milliseconds": "1638155915000",
    "null": "null",
}


@pytest.mark.parametrize("row", SENT_TIMES_ACCEPTED)
def test_s02_2_sent_time_accepted(farm: Farm, kafka: Kafka, row: str) -> None:
    """A time may be written so."""
    two = Two()
    text = two.text(**{'{"seconds":1,"nanos":2}': SENT_TIMES_ACCEPTED[row]})
    response = post(farm.get(), text.encode())
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


SENT_TIMES_READ = {
    "object": ('{"seconds":1638155915,"nanos":5000000}', 1638155915.005),
    "strings": ('{"seconds":"1638155915","nanos":"5000000"}', 1638155915.005),
    "float": ('{"seconds":1.638155915e9}', 1638155915.0),
    "RFC 3339": ('"2021-11-29T03:18:35.005Z"', 1638155915.005),
    "RFC 3339 with offset": ('"2021-11-29T10:18:35.005+07:00"', 1638155915.005),
    "seconds": ("1638155915", 1638155915.0),
    "milliseconds": ("1638155915005", 1638155915.005),
    "largest seconds": ("99999999999", 99999999999.0),
    "smallest milliseconds": ("100000000000", 100000000.0),
}


@pytest.mark.parametrize("row", SENT_TIMES_READ)
def test_s02_2_sent_time_read(farm: Farm, kafka: Kafka, row: str) -> None:
    """And is read so: here it becomes the time of the record."""
    kind = f"time-{word()}"
    text, moment = SENT_TIMES_READ[row]
    body = f'{{"req_guid":"g","sent_time":{text},"events":[{{"type":"{kind}","event_bytes":""}}]}}'
    assert post(farm.get(EVENT_TIMESTAMP="sent_time"), body.encode()).said == success("g")
    (record,) = kafka.records([f"clickstream-{kind}-log"], 1)[f"clickstream-{kind}-log"]
    assert record.time == moment


def test_s02_2_sent_time_absent(farm: Farm, kafka: Kafka) -> None:
    """A time may be left out."""
    two = Two()
    text = two.text(**{'"sent_time":{"seconds":1,"nanos":2},': ""})
    assert post(farm.get(), text.encode()).said == success("1234")
    two.assert_produced(kafka)


SENT_TIMES_REFUSED = [
    '"yesterday"',
    '"2021-13-29T03:08:47Z"',
    '""',
    "true",
    "[]",
    "[1,2]",
    '{"seconds":1.5}',
    '{"seconds":"x"}',
    '{"seconds":true}',
    '{"nanos":[]}',
    '{"seconds":99999999999999999999}',
]


@pytest.mark.parametrize("value", SENT_TIMES_REFUSED)
def test_s02_2_sent_time_refused(farm: Farm, value: str) -> None:
    """Anything else is no time."""
    body = Two().text(**{'{"seconds":1,"nanos":2}': value})
    response = post(farm.get(), body.encode())
    assert (response.status, response.said) == (400, UNREADABLE)


@pytest.mark.parametrize("value", ["1", "1.5", "true", "{}", "[]"])
@pytest.mark.parametrize("key", ["req_guid", "type"])
def test_s02_2_text_refused(farm: Farm, key: str, value: str) -> None:
    """A text is a text."""
    text = {"req_guid": '"1234"', "type": '"type_a"'}[key]
    response = post(farm.get(), Two().text(**{text: value}).encode())
    assert (response.status, response.said) == (400, UNREADABLE)


def test_s02_2_guid_null(farm: Farm, kafka: Kafka) -> None:
    """``null`` is an empty guid."""
    two = Two()
    response = post(farm.get(), two.text(**{'"1234"': "null"}).encode())
    assert (response.status, response.said) == (200, success(""))
    two.assert_produced(kafka)


def test_s02_2_type_null(farm: Farm) -> None:
    """``null`` is an empty type, and that is an invalid event."""
    response = post(farm.get(), Two().text(**{'"type_a"': "null"}).encode())
    assert response.status == 400
    assert response.said["data"]["failed"] == "0"


def test_s02_2_type_null_constant_topic(farm: Farm, kafka: Kafka) -> None:
    """With a constant topic an empty type is as good as any."""
    name = f"constant-{word()}"
    with farm.own(EVENT_DISTRIBUTION_PUBLISHER_PATTERN=name) as server:
        body = b'{"req_guid":"g","events":[{"type":null,"event_bytes":"eA=="}]}'
        assert post(server, body).said == success("g")
        assert [record.value for record in kafka.records([name], 1)[name]] == [b"x"]


def test_s02_2_guid_invalid_utf_8(farm: Farm) -> None:
    """Bad bytes inside a text are replaced."""
    response = post(farm.get(), b'{"req_guid":"a\xffb"}')
    assert (response.status, response.said) == (200, success("a\ufffdb"))


BLOB = bytes(range(256))

BYTES_ACCEPTED: dict[str, tuple[str, bytes]] = {
    "standard base64": (json.dumps(b64encode(BLOB).decode()), BLOB),
    "padding": ('"eA=="', b"x"),
    "line feeds": ('"ZXZl\\nbnRf\\nMQ=="', b"event_1"),
    "carriage returns": ('"ZXZl\\r\\nbnRfMQ==\\r\\n"', b"event_1"),
    "spaces and tabs": ('" ZXZl bnRf\\tMQ== "', b"event_1"),
    "without padding": ('"ZXZlbnRfMQ"', b"event_1"),
    "URL-safe": (json.dumps(urlsafe_b64encode(BLOB).decode()), BLOB),
    "URL-safe without padding": (json.dumps(urlsafe_b64encode(BLOB).decode().rstrip("=")), BLOB),
    "array of integers": ("[101,118,101,110,116,95,49]", b"event_1"),
    "array of all bytes": (json.dumps(list(BLOB)), BLOB),
    "array with null": ("[1,null,2]", b"\x01\x00\x02"),
    "empty array": ("[]", b""),
    "object with numbered keys": ('{"0":101,"1":118,"2":101}', b"eve"),
    "object with numbered keys out of order": ('{"1":118,"0":101,"2":101}', b"eve"),
    "many numbered keys": (json.dumps({str(number): number for number in range(256)}), BLOB),
    "Buffer": ('{"type":"Buffer","data":[101,118,101]}', b"eve"),
    "null": ("null", b""),
    "empty text": ('""', b""),
}


@pytest.mark.parametrize("row", BYTES_ACCEPTED)
def test_s02_2_event_bytes_accepted(farm: Farm, kafka: Kafka, row: str) -> None:
    """The bytes of an event may be written so."""
    kind = f"bytes-{word()}"
    text, value = BYTES_ACCEPTED[row]
    body = f'{{"req_guid":"g","events":[{{"type":"{kind}","event_bytes":{text}}}]}}'
    response = post(farm.get(), body.encode())
    assert (response.status, response.said) == (200, success("g"))
    assert kafka.of(kind) == [value]


def test_s02_2_event_bytes_absent(farm: Farm, kafka: Kafka) -> None:
    """Bytes that are left out are none."""
    kind = f"bytes-{word()}"
    assert post(farm.get(), f'{{"events":[{{"type":"{kind}"}}]}}'.encode()).said == success("")
    assert kafka.of(kind) == [b""]


BYTES_REFUSED = [
    "[256]",
    "[-1]",
    "[1.5]",
    '["1"]',
    "[true]",
    "[[1]]",
    '"not base64!"',
    '"e"',
    "7",
    "true",
    '{"x":1}',
    '{"type":"Buffer"}',
    '{"0":256}',
]


@pytest.mark.parametrize("value", BYTES_REFUSED)
def test_s02_2_event_bytes_refused(farm: Farm, value: str) -> None:
    """Anything else is not bytes."""
    response = post(farm.get(), Two().text(**{'"ZXZlbnRfMQ=="': value}).encode())
    assert (response.status, response.said) == (400, UNREADABLE)


@pytest.mark.parametrize("body", ["{}", '{"events":null}', '{"events":[]}', '{"req_guid":""}', '{"req_guid":null}'])
def test_s02_2_empty_batch(farm: Farm, body: str) -> None:
    """An empty batch is a success, and its guid is named even so."""
    response = post(farm.get(), body.encode())
    assert (response.status, response.said) == (200, success(""))


REFUSED_BODIES = {
    "null": b"null",
    "empty": b"",
    "blank": b" \n",
    "array": b"[]",
    "text": b'"x"',
    "number": b"1",
    "true": b"true",
    "trailing data": b"{} x",
    "two objects": b"{}{}",
    "cut off": b'{"req_guid":"1234"',
    "null event": b'{"req_guid":"x","events":[null]}',
    "null among events": b'{"events":[{"type":"a"},null]}',
    "events an object": b'{"events":{}}',
    "events a text": b'{"events":"x"}',
    "event a number": b'{"events":[1]}',
    "event a text": b'{"events":["x"]}',
    "event an array": b'{"events":[[]]}',
    "single quotes": b"{'req_guid':'x'}",
    "trailing comma": b'{"req_guid":"x",}',
    "NaN": b'{"x":NaN}',
    "control character": b'{"req_guid":"\x01"}',
    "UTF-16": '{"req_guid":"x"}'.encode("utf-16"),
    "deep": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("row", REFUSED_BODIES)
def test_s02_2_body_refused(farm: Farm, row: str) -> None:
    """What is no object of this form is a decoding error."""
    response = post(farm.get(), REFUSED_BODIES[row])
    assert (response.status, response.said) == (400, UNREADABLE)
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("row", [row for row in REFUSED_BODIES if row != "UTF-16"])
def test_s02_2_text_frame_refused(farm: Farm, row: str) -> None:
    """The same in a text frame, and the connection stays."""
    with websocket(farm.get()) as connection:
        answer = ask(connection, REFUSED_BODIES[row].decode())
        assert answer.pop("reason").startswith("cannot deserialize request: ")
        assert (answer["status"], answer["code"]) == (2, 2)
        assert answer["data"]["req_guid"] in ("", "x", "1234")
        assert ask(connection, "{}") == success("")


def test_s02_2_byte_order_mark(farm: Farm, kafka: Kafka) -> None:
    """A byte-order mark does no harm."""
    two = Two()
    assert post(farm.get(), b"\xef\xbb\xbf" + two.body("json")).said == success("1234")
    two.assert_produced(kafka)


def test_s02_2_whitespace(farm: Farm, kafka: Kafka) -> None:
    """Neither does white space around it."""
    two = Two()
    assert post(farm.get(), b"\r\n\t " + two.body("json") + b" \n").said == success("1234")
    two.assert_produced(kafka)


def test_s02_2_refused_is_not_produced(farm: Farm, kafka: Kafka) -> None:
    """Nothing of a batch that does not decode is produced."""
    two, server = Two(), farm.get()
    assert post(server, two.body("json")[:-1]).status == 400
    assert post(server, two.text(**{'"ZXZlbnRfMg=="': "7"}).encode()).status == 400
    assert_nothing_produced(server, kafka, two.first, two.second)


# Responses


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_s02_2_response_success(farm: Farm) -> None:
    """A success, exactly."""
    body = post(farm.get(), b'{"req_guid":"1234abcd"}').body
    content = json.loads(body, object_pairs_hook=_pairs)
    moment = content["sent_time"]
    assert type(moment) is int
    assert abs(moment - time.time()) <= TOLERANCE
    assert content == {"status": 1, "code": 1, "sent_time": moment, "data": {"req_guid": "1234abcd"}}
    assert b" " not in body
    assert not body.endswith(b"\n") or body.count(b"\n") == 1


def test_s02_2_response_error(farm: Farm) -> None:
    """An error that precedes decoding has no ``data``; keys are those of the contract and no others."""
    content = json.loads(post(farm.get(), b"x").body, object_pairs_hook=_pairs)
    assert set(content) == {"status", "code", "sent_time", "reason"}
    assert (content["status"], content["code"]) == (2, 2)


@pytest.mark.parametrize("guid", ["<a>&b", 'q"u\\o', "\u00fcnï", "\U0001f99d", "\u2028", "a\nb", " x ", "x" * 2000])
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_s02_2_response_guid(farm: Farm, guid: str, encoding: str) -> None:
    """A guid comes back as it went in."""
    server = farm.get()
    if encoding == "json":
        response = post(server, json.dumps({"req_guid": guid}).encode())
    else:
        response = post(server, SendEventRequest(req_guid=guid).SerializeToString(), "application/proto")
    assert response.said == success(guid)
