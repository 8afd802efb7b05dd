"""Batches that no client would write, on all transports: what is inside of a message, not how it comes."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from itertools import count
from typing import Any
from urllib.request import urlopen

import grpc
from attrs import field, frozen

from attacks.attack import Attack, Broken, require
from attacks.target import Target
from tests.integration.batches import Batch, Event, Said, said
from tests.integration.clients import (
    EVENTS,
    GROUP_HEADER,
    HOST,
    ID_HEADER,
    MEDIA_TYPES,
    TIMEOUT,
    ask,
    call_with_bytes,
    channel,
    websocket,
)

SUBJECT = "Payloads"

#: Bytes of a body, by default.
LIMIT = 4 * 1024 * 1024

JSON, PROTO = "json", "proto"

#: What may come of a batch: it is taken, it is refused for what is in it, or either.
TAKEN, REFUSED, EITHER = "taken", "refused", "either"

_names = count()


def _rest(encoding: str, body: bytes, target: Target) -> Said:
    headers = {"Content-Type": MEDIA_TYPES[encoding], ID_HEADER: "attacker"}  # type: ignore[index]
    with closing(HTTPConnection(HOST, target.http, timeout=TIMEOUT)) as opened:
        try:
            opened.request("POST", EVENTS, body, headers)
        except ConnectionError:
            # Its end did not want to be heard of what is too long.
            require(len(body) > LIMIT, "the connection was reset")
            return {"status": 2, "code": 2}
        response = opened.getresponse()
        content = said(response.read())
        require(response.status in (200, 400, 413), f"answered {response.status}: {str(content)[:200]}")
        require((response.status == 200) == (content["status"] == 1), f"answered {response.status}, {content}")
        return content


def _websocket(encoding: str, body: bytes, target: Target) -> Said:
    with websocket(target, f"payload {next(_names)}") as opened:
        return ask(opened, body.decode() if encoding == JSON else body)


def _grpc(_encoding: str, body: bytes, target: Target) -> Said:
    with channel(target) as opened:
        try:
            return said(call_with_bytes(opened, body))
        except grpc.RpcError as end:
            known = (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
            require(end.code() in known, f"ended with {end.code()}: {end.details()}")
            return {"status": 2, "code": 2, "reason": end.details(), "data": {}}


_SEND: dict[str, Callable[[str, bytes, Target], Said]] = {"REST": _rest, "WebSocket": _websocket, "gRPC": _grpc}


def _sends(transport: str, encoding: str, make: Callable[[], bytes], expected: str, target: Target) -> None:
    body = make()
    began = time.monotonic()
    answer = _SEND[transport](encoding, body, target)
    target.notes["ms to answer"] = max(target.notes.get("ms to answer", 0.0), (time.monotonic() - began) * 1000)
    code, shown = answer["code"], str(answer)[:300]
    require(code in {TAKEN: (1,), REFUSED: (2,), EITHER: (1, 2)}[expected], f"answered {shown}")
    reason = answer.get("reason", "")
    require(len(reason.encode()) <= 1100, f"a reason of {len(reason)} characters")
    require(reason.isprintable(), f"a reason that is not printable: {reason!r}")
    time.sleep(0.02)


@frozen(kw_only=True)
class Payload:
    """One body. :ivar transports: that can carry it."""

    name: str
    encoding: str
    make: Callable[[], bytes]
    expected: str
    memory: float = 32.0
    number: str = "E5"
    quick: bool = False
    seconds: float = 0.2
    transports: tuple[str, ...] = ()
    settings: dict[str, object] = field(factory=dict)

    def rows(self) -> Iterator[Attack]:
        """One for each transport."""
        every = ("REST", "WebSocket") if self.encoding == JSON else ("REST", "WebSocket", "gRPC")
        for transport in self.transports or every:
            yield Attack(
                name=f"{self.name}, {transport}",
                subject=SUBJECT,
                does=f"{'JSON' if self.encoding == JSON else 'protobuf'} by {transport}: {self.name}",
                limit={TAKEN: "taken", REFUSED: "code 2", EITHER: "taken or code 2"}[self.expected],
                run=partial(_sends, transport, self.encoding, self.make, self.expected),
                seconds=self.seconds,
                memory=self.memory,
                number=self.number,
                quick=self.quick,
                settings=self.settings,
            )


def _full(start: bytes, each: bytes, end: bytes, between: bytes = b",") -> bytes:
    """As many as there can be in a body of 4 MB."""
    times = (LIMIT - len(start) - len(end)) // (len(each) + len(between))
    return start + between.join([each] * times) + end


def _json(name: str, body: bytes | Callable[[], bytes], expected: str, **more: Any) -> Payload:
    make = body if callable(body) else partial(bytes, body)
    return Payload(name=name, encoding=JSON, make=make, expected=expected, **more)


def _proto(name: str, body: bytes | Callable[[], bytes], expected: str, **more: Any) -> Payload:
    make = body if callable(body) else partial(bytes, body)
    return Payload(name=name, encoding=PROTO, make=make, expected=expected, **{"number": "E7", **more})


def _event(value: str) -> bytes:
    return b'{"events":[{"type":"a","event_bytes":%b}]}' % value.encode()


_REST = ("REST",)

_OF_JSON = (
    _json("1.4 M empty events", lambda: _full(b'{"events":[', b"{}", b"]}"), REFUSED, memory=48, number="E3",
          quick=True),
    _json("1.4 M empty events and a number", lambda: _full(b'{"events":[', b"{}", b",1]}"), REFUSED, memory=48,
          number="E3", quick=True),
    _json("1.4 M lists in a field that nobody knows", lambda: _full(b'{"x":[', b"[]", b"]}"), EITHER, memory=48,
          quick=True),
    _json("500,000 objects in a field that nobody knows", lambda: _full(b'{"x":[', b'{"a":1}', b"]}"), EITHER,
          memory=48),
    _json("1 M fractions in a field that nobody knows", lambda: _full(b'{"x":[', b"1.5", b"]}"), EITHER, memory=48),
    _json("1 M fractions as bytes of an event", lambda: _full(b'{"events":[{"event_bytes":[', b"1.0", b"]}]}"),
          EITHER, memory=48),
    _json("2 M integers as bytes of an event", lambda: _full(b'{"events":[{"event_bytes":[', b"1", b"]}]}"), REFUSED,
          memory=48),
    _json("400,000 keys", lambda: b"{" + b",".join(b'"%x":0' % key for key in range(380_000)) + b"}", EITHER,
          memory=48),
    _json("one key 700,000 times", lambda: _full(b"{", b'"a":0', b"}"), EITHER, memory=48),
    _json("a typed array of 380,000", lambda: b'{"events":[{"event_bytes":{'
          + b",".join(b'"%d":1' % key for key in range(300_000)) + b'}}]}', EITHER, memory=48),
    _json("4 M arrays in each other", lambda: b'{"events":' + b"[" * (LIMIT - 100), REFUSED, quick=True),
    _json("800,000 objects in each other", lambda: b'{"a":' * (LIMIT // 5), REFUSED),
    _json("100,000 arrays in each other, closed", lambda: b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", REFUSED),
    _json("half a surrogate pair as guid", b'{"req_guid":"\\ud800"}', REFUSED, quick=True),
    _json("half a surrogate pair as type", b'{"events":[{"type":"\\udc00"}]}', REFUSED),
    _json("NaN", b'{"sent_time":NaN}', REFUSED),
    _json("Infinity", b'{"sent_time":{"seconds":-Infinity}}', REFUSED),
    _json("1e400", b'{"sent_time":1e400}', REFUSED, quick=True),
    _json("1e999999999 as a byte", _event("[1e999999999]"), REFUSED),
    _json("1e-999999999 as a byte", _event("[1e-999999999]"), REFUSED),
    _json("an integer of 100,000 digits", b'{"sent_time":' + b"9" * 100_000 + b"}", REFUSED),
    _json("an integer of 4 M digits", lambda: b'{"sent_time":' + b"9" * (LIMIT - 100) + b"}", REFUSED, quick=True),
    _json("a fraction of 4 M digits", lambda: b'{"sent_time":1.' + b"9" * (LIMIT - 100) + b"}", EITHER),
    _json("duplicate keys", b'{"req_guid":"a","req_guid":"b","REQ_GUID":"c"}', TAKEN),
    _json("trailing bytes", b"{}x", REFUSED, quick=True),
    _json("two objects", b"{}{}", REFUSED),
    _json("NUL behind", b"{}\0", REFUSED),
    _json("events: null", b'{"events":null}', TAKEN),
    _json("events: [null]", b'{"events":[null]}', REFUSED, quick=True),
    _json("events: [[]]", b'{"events":[[]]}', REFUSED),
    _json("events: an object", b'{"events":{"0":{"type":"a"}}}', REFUSED),
    _json("null", b"null", REFUSED),
    _json("true", b"true", REFUSED),
    _json("nothing", b"", REFUSED),
    _json("blanks", lambda: b" " * (LIMIT - 10), REFUSED),
    _json("a comment", b'{/**/"req_guid":"a"}', REFUSED),
    _json("UTF-16", '{"req_guid":"a"}'.encode("utf-16"), REFUSED, transports=_REST),
    _json("4 MB that are not UTF-8", lambda: b'{"req_guid":"' + b"\xff" * (LIMIT - 100) + b'"}', EITHER, memory=96,
          transports=_REST),
    _json("base64 with junk", _event('"a!b?cd=="'), REFUSED, number="E6", quick=True),
    _json("base64 with padding inside", _event('"YQ==YQ=="'), REFUSED, number="E6"),
    _json("base64 of one digit", _event('"Y"'), REFUSED, number="E6"),
    _json("base64 that is not ASCII", _event('"\u00e9\u00e9\u00e9\u00e9"'), REFUSED, number="E6"),
    _json("27 MB of base64", lambda: _event('"' + "A" * 27_000_000 + '"'), REFUSED, memory=32, number="E6",
          transports=_REST, quick=True),
    _json("a byte of 256", _event("[256]"), REFUSED, number="E6"),
    _json("a byte of -1", _event("[-1]"), REFUSED, number="E6"),
    _json("a byte of true", _event("[true]"), REFUSED, number="E6"),
    _json("a guid of 4 MB", lambda: b'{"req_guid":"' + b"x" * (LIMIT - 100) + b'"}', TAKEN, memory=64, number="E4",
          quick=True),
    _json("a guid of an object", b'{"req_guid":{"a":1}}', REFUSED),
    _json("a guid with line ends", b'{"req_guid":"a\\nFORGED\\u001b[31m","events":[{"type":"\\nFORGED"}]}', REFUSED,
          number="F1"),
    _json("a type of 1 MB", lambda: b'{"events":[{"type":"' + b"x" * 1_000_000 + b'"}]}', REFUSED, number="E14"),
    _json("a sent_time of 10^18", b'{"sent_time":1000000000000000000}', TAKEN, number="E18"),
    _json("a sent_time of -10^18", b'{"sent_time":{"seconds":-1000000000000000000,"nanos":-1}}', TAKEN, number="E18"),
    _json("a sent_time of 2^63", b'{"sent_time":{"seconds":9223372036854775808}}', REFUSED, number="E18"),
    _json("a sent_time in the year 0", b'{"sent_time":"0000-01-01T00:00:00Z"}', REFUSED, number="E18"),
)  # fmt: skip


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


_OF_PROTO = (
    _proto("2 M empty events", lambda: b"\x1a\0" * (LIMIT // 2), REFUSED, memory=130, number="E3", quick=True),
    _proto("800,000 events with a type", lambda: b"\x1a\x03\x12\x01a" * (LIMIT // 5), REFUSED, memory=130,
           number="E3"),
    _proto("2 M empty events, cut off", lambda: b"\x1a\0" * (LIMIT // 2 - 1) + b"\x1a\x7f", REFUSED, memory=130),
    _proto("4 M groups in each other", lambda: b"\x23" * LIMIT, REFUSED, quick=True),
    _proto("2 M groups in each other, closed", lambda: b"\x23" * (LIMIT // 2) + b"\x24" * (LIMIT // 2), REFUSED),
    _proto("2 M empty groups", lambda: b"\x23\x24" * (LIMIT // 2), EITHER, memory=32),
    _proto("2 M fields that nobody knows", lambda: b"\x20\0" * (LIMIT // 2), EITHER, memory=32, quick=True),
    _proto("2 M empty texts that nobody knows", lambda: b"\x22\0" * (LIMIT // 2), EITHER, memory=32),
    _proto("the guid 1.3 M times", lambda: b"\x0a\x01a" * (LIMIT // 3), TAKEN, memory=32),
    _proto("the time 2 M times", lambda: b"\x12\0" * (LIMIT // 2), TAKEN, memory=32),
    _proto("a varint of 11 bytes", b"\x20" + b"\xff" * 11, REFUSED),
    _proto("a varint of 4 MB", lambda: b"\x20" + b"\xff" * (LIMIT - 100), REFUSED),
    _proto("a text of 2^64 bytes", b"\x0a" + b"\xff" * 9 + b"\x01", REFUSED, quick=True),
    _proto("a text of 2 GB", b"\x0a" + _varint(2**31 - 1), REFUSED),
    _proto("field number 0", b"\x02\x01a", REFUSED),
    _proto("wire type 7", b"\x0f", REFUSED),
    _proto("an end of a group that was not begun", b"\x24", REFUSED),
    _proto("a guid that is not UTF-8", b"\x0a\x02\xff\xfe", REFUSED, quick=True),
    _proto("a type that is not UTF-8", b"\x1a\x04\x12\x02\xff\xfe", REFUSED),
    _proto("a surrogate as type", b"\x1a\x05\x12\x03\xed\xa0\x80", REFUSED),
    _proto("800,000 events, the last not UTF-8",
           lambda: b"\x1a\x03\x12\x01a" * (LIMIT // 5 - 1) + b"\x1a\x03\x12\x01\xff", REFUSED, memory=130),
    _proto("a guid of 4 MB", lambda: b"\x0a" + _varint(LIMIT - 100) + b"x" * (LIMIT - 100), TAKEN, memory=64,
           number="E4", quick=True),
    _proto("a guid of 4 MB before garbage", lambda: b"\x0a" + _varint(LIMIT - 100) + b"x" * (LIMIT - 100) + b"\x0f",
           REFUSED, memory=48, number="E4"),
    _proto("a sent_time of 2^63 - 1", b"\x12\x0a\x08" + b"\xff" * 8 + b"\x7f", TAKEN, number="E18"),
    _proto("a sent_time of -2^63", b"\x12\x0b\x08" + b"\x80" * 9 + b"\x01", TAKEN, number="E18", quick=True),
    _proto("negative nanos", b"\x12\x0b\x10" + b"\xff" * 9 + b"\x01", TAKEN, number="E18"),
    _proto("half an event", Batch("1", Event("a", b"x" * 100)).written("proto")[:-50], REFUSED),
    _proto("gzip that is none", b"\x1f\x8b\x08" + b"\xff" * 100, REFUSED, number="E2"),
    _proto("gzip in gzip", lambda: gzip.compress(gzip.compress(b"\x0a\x01a")), REFUSED, transports=("gRPC",),
           number="E2"),
)  # fmt: skip


def _types() -> Iterator[Payload]:
    for name, kind in (
        ("empty", ""), ("with a slash", "a/b"), ("with a blank", "a b"), ("with a line end", "a\nFORGED"),
        ("with NUL", "a\0b"), ("with an escape", "\x1b[31mFORGED\x1b[0m"), ("of 300 characters", "x" * 300),
        ("not ASCII", "\u00e9"), ("with quotes", '"}{'), ("with a format", "{x.__class__.__mro__}"),
        ("with another percent", "%d%n"),
    ):  # fmt: skip
        quick = name in ("with NUL", "with a line end")
        batch = Batch("1", Event("fine", b"1"), Event(kind, b"2"))
        yield _json(f"a type {name}", partial(batch.written, "json"), REFUSED, number="E14", quick=quick)
        yield _proto(f"a type {name}", partial(batch.written, "proto"), REFUSED, number="E14", quick=quick)
    bare: dict[str, object] = {"event.distribution.publisher.pattern": "%s"}
    for kind in (".", "..", "__x", "__consumer_offsets"):
        batch = Batch("1", Event(kind, b"2"))
        for make, encoding in ((_json, "json"), (_proto, "proto")):
            written = partial(batch.written, encoding)  # type: ignore[arg-type]
            yield make(f"type {kind} where the type is the topic", written, REFUSED, number="E14", settings=bare)


# What clients name: types, groups, ids


def _metrics(target: Target, port: int) -> bytes:
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=TIMEOUT) as answer:
        return bytes(answer.read())


def _labels(text: bytes, name: bytes) -> int:
    return len({line.split(name + b'="')[1].split(b'"')[0] for line in text.splitlines() if name + b'="' in line})


def _endless_types(times: int, port: int, target: Target) -> None:
    """So many types, 100 in a batch: no more topics and no more labels than there may be."""
    refused = 0
    with channel(target) as opened:
        for first in range(0, times, 100):
            kinds = [Event(f"t{next(_names)}", b"x") for _ in range(first, first + 100)]
            refused += said(call_with_bytes(opened, Batch("1", *kinds).written("proto")))["code"] == 2
    target.notes["batches refused"] = refused
    _scrape(port, target)


def _endless_groups(times: int, port: int, target: Target) -> None:
    """So many groups, and an id for each."""
    body = Batch("1", Event("grouped", b"x")).written("proto")
    with closing(HTTPConnection(HOST, target.http, timeout=TIMEOUT)) as opened:
        for _ in range(times):
            number = next(_names)
            headers = {"Content-Type": MEDIA_TYPES["proto"], ID_HEADER: f"id {number}", GROUP_HEADER: f"group {number}"}
            opened.request("POST", EVENTS, body, headers)
            require(opened.getresponse().read(), "no answer")
    _scrape(port, target)


def _scrape(port: int, target: Target) -> None:
    began = time.monotonic()
    text = _metrics(target, port)
    target.notes["ms to scrape"] = (time.monotonic() - began) * 1000
    for name in (b"conn_group", b"event_type", b"topic"):
        found = _labels(text, name)
        target.notes[f"values of {name.decode()}"] = found
        require(found <= 202, f"{found} values of {name.decode()}")


def _scraped(port: int, target: Target) -> None:
    """The caps are reached, and the metrics are asked for without end."""
    times = 0
    while target.time_left:
        _scrape(port, target)
        times += 1
    target.notes["scrapes"] = times


def _quoted(port: int, target: Target) -> None:
    """Groups that would end a label, a line, or a name, if they were not written as they have to be."""
    body = Batch("1", Event("quoted", b"x")).written("proto")
    for group in ('a"} 1', "a\\", "a,b=c:1|c", "{a}"):
        with closing(HTTPConnection(HOST, target.http, timeout=TIMEOUT)) as opened:
            headers = {"Content-Type": MEDIA_TYPES["proto"], ID_HEADER: "1", GROUP_HEADER: group}
            opened.request("POST", EVENTS, body, headers)
            require(opened.getresponse().status == 200, f"{group!r} was refused")
    text = _metrics(target, port).decode()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            try:
                float(value)
            except ValueError:
                raise Broken(f"not a sample: {line!r}") from None
            require(name.count("{") <= 1 or "conn_group" in name, f"not a sample: {line!r}")
    require('conn_group="a\\"} 1"' in text, "the quote was not escaped")


def _forged(target: Target) -> None:
    """Ids, groups, types and more with line ends and escapes: none begins a line of the log, or colours one."""
    target.log_since()
    evil = "a\\r\\n2026-01-01T00:00:00.000Z error FORGED\\u001b[31m"
    for body in (
        b'{"req_guid":"%b","events":[{"type":"%b"}]}' % (evil.encode(), evil.encode()),
        b'{"events":[{"type":"fine","event_bytes":"%b"}]}' % evil.encode(),
    ):
        _rest(JSON, body, target)
        _websocket(JSON, body, target)
    for line in (b"X-User-ID: a\x1b[31mFORGED", b"X-User-ID: a\x85FORGED", b"User-Agent: \x1b[31mFORGED",
                 b"Content-Type: \x1b[31mFORGED", b"Origin: \x1b[31mFORGED"):  # fmt: skip
        with target.connect() as raw:
            raw.send(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + line + b"\r\n\r\n{}")
            raw.read(5.0, b"\r\n\r\n")
            require(b"FORGED" not in raw.received, f"reflected in {raw.received[:200]!r}")
    time.sleep(0.2)
    log = target.log_since()
    require("\x1b" not in log, f"an escape in the log: {log[-300:]!r}")
    for entry in log.splitlines():
        require(not entry.startswith("2026-01-01T00:00:00.000Z error FORGED"), "a forged line in the log")


def _group_bytes(group: bytes, target: Target) -> None:
    with target.connect() as raw:
        raw.send(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
                 b"X-User-Group: " + group + b"\r\n\r\n{}")  # fmt: skip
        raw.require_answer(400)


def _same_guid(size: int, target: Target) -> None:
    """Guids without end, each as long as it may be: what is remembered of them has bounds."""
    with websocket(target, f"guids {next(_names)}") as opened:
        while target.time_left:
            guid = f"{next(_names)} ".ljust(size, "x")
            answer = ask(opened, Batch(guid, Event("guid", b"x")).written("proto"))
            require(answer["code"] in (1, 2), f"answered {str(answer)[:200]}")


def _free_port() -> int:
    with closing(socket.socket()) as made:
        made.bind((HOST, 0))
        return int(made.getsockname()[1])


#: Of the metrics, for attacks that look at them.
_PORT = _free_port()
_WITH_METRICS: dict[str, object] = {
    "metric.prometheus.enabled": "true",
    "metric.prometheus.port": _PORT,
    "metric.prometheus.host": HOST,
    "event.max.topics": 100,
}
_WITH_DEDUP: dict[str, object] = {"server.batch.dedup.in.connection.enabled": "true"}


def _row(
    name: str,
    limit: str,
    run: Callable[[Target], None],
    number: str,
    seconds: float = 0,
    memory: float = 32.0,
    quick: bool = False,
    settings: dict[str, object] | None = None,
) -> Attack:
    return Attack(
        name=name,
        subject=SUBJECT,
        does=name,
        limit=limit,
        run=run,
        seconds=seconds,
        memory=memory,
        number=number,
        quick=quick,
        settings=settings or {},
    )


def _named() -> Iterable[Attack]:
    few, many = "at most 202 values of each label", _WITH_METRICS
    # First, while there is room for its groups.
    yield _row("labels with quotes", "escaped", partial(_quoted, _PORT), "F4", quick=True, settings=many)
    yield _row("20,000 types", few, partial(_endless_types, 20_000, _PORT), "E15", settings=many)
    yield _row("1,000 types", few, partial(_endless_types, 1000, _PORT), "E15", quick=True, settings=many)
    yield _row("20,000 groups", few, partial(_endless_groups, 20_000, _PORT), "E16", memory=64, settings=many)
    yield _row("400 groups", few, partial(_endless_groups, 400, _PORT), "E16", quick=True, settings=many)
    yield _row("scrapes without end, caps reached", few, partial(_scraped, _PORT), "F4", 5.0, settings=many)
    yield _row("line ends and escapes in all that can be said", "none in the log", _forged, "F1", quick=True)
    yield _row("a group that is not UTF-8", "400", partial(_group_bytes, b"\xff\xfe"), "E9", quick=True)
    yield _row("a group with a control byte", "400", partial(_group_bytes, b"a\x1bb"), "E9")
    yield _row("guids of 4,000 bytes without end", "remembered within bounds", partial(_same_guid, 4000), "E17", 5.0,
               64, settings=_WITH_DEDUP)  # fmt: skip
    yield _row("guids of 1 MB without end", "remembered within bounds", partial(_same_guid, 2**20), "E17", 4.0,
               64, settings=_WITH_DEDUP)  # fmt: skip


ROWS = (*(row for payload in (*_OF_JSON, *_OF_PROTO, *_types()) for row in payload.rows()), *_named())
