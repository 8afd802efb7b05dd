"""The same bytes, cut at the same places, by the same clock: plain requests get the same answers on their own way as on
the one that odd requests go, to the byte, and the same batches are handed on.

``RACCOON_STREAMS`` says how many streams of bytes are tried; each is made from its number alone.
"""

from __future__ import annotations

import gzip
import os
import random
import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

from attrs import define, field

from raccoon_tx.model import Answer, Client, Outcome, Reply
from raccoon_tx.settings import CorsSettings, IdentitySettings, LimitSettings
from raccoon_tx.transports.plain_channel import PlainChannel
from tests.wire import (
    JSON_BATCH,
    PROTO_BATCH,
    House,
    WireTestCase,
    batch,
    chunked,
    close,
    frame,
    handshake,
    post,
    request,
)
from tests.wire import Client as Peer

STREAMS = int(os.environ.get("RACCOON_STREAMS", "4000"))
#: Streams for one pair of houses.
ROUND = 50

IDENTITY = IdentitySettings(id_header="X-User-ID", group_header="X-User-Group")
HOUSES: list[dict[str, Any]] = [
    {},
    {"text_plain": True, "identity": IdentitySettings(id_header="X-User-ID", require_id=True)},
    {
        "cors": CorsSettings(enabled=True, origins=("http://a.example",), refuse=True, credentials=True),
        "identity": IdentitySettings(id_header="X-User-ID", id_query="id", id_cookie="uid", group_cookie="ugroup"),
    },
    {"cors": CorsSettings(enabled=True, origins=("*",)), "identity": IDENTITY},
]

#: Header lines that a request may have, good and bad.
LINES = """
Accept: application/json
Accept: application/proto
Accept: */*
accept: text/html, application/json;q=0
Accept-Encoding: gzip
User-Agent: x/1.0 (a; b)
X-User-ID: 7
x-user-id: 8
X-User-ID:
X-User-ID: \u00fc
X-User-ID: \x01
X-User-ID:\t9\t
X-User-Group: g
X-User-Group: {long}
X-User-ID : 7
Host: b.example
host: c.example
Connection: keep-alive
Connection: Keep-Alive
Connection: close
Connection: keep-alive, close
Connection: Upgrade
Upgrade: websocket
Upgrade: h2c
Sec-WebSocket-Protocol: raccoon.json.v1
Sec-WebSocket-Protocol: raccoon.id.MQ, x
Sec-WebSocket-Protocol: raccoon.id.!
Sec-WebSocket-Extensions: permessage-deflate
Sec-WebSocket-Version: 8
Content-Length: 5
Content-Length: 0
Content-Length: 005
Content-Length: +5
Content-Length: 5, 5
Content-Length: 1001
Content-Length: 99999999999999999999
Content-length:7
Transfer-Encoding: chunked
Transfer-Encoding: identity
Transfer-Encoding: gzip, chunked
Transfer-encoding : chunked
TE: trailers
Trailer: X
Expect: 100-continue
Expect: x
Content-Encoding: gzip
Content-Encoding: identity
Content-Type: application/json
content-type: application/proto
Content-Type: application/x-protobuf; charset=latin-1
Content-Type: text/plain
Origin: http://a.example
Origin: http://b.example
Origin: null
Access-Control-Request-Method: POST
Cookie: uid=5
Cookie: a=b; ugroup="h"
Via: 1.1 a
Via: 1.1 b
X: {long}
X-\u00fc: y
: y
Empty:
no colon
 folded
X: a\rb
X: a\nY: b
X: \x00
""".strip("\n").split("\n")


def make(chance: random.Random) -> bytes:
    """One stream of bytes."""
    pieces = [piece(chance) for _ in range(chance.choice([1, 1, 1, 2, 3, 5]))]
    stream = b"".join(pieces)
    if chance.random() < 0.25:
        return damage(chance, stream)
    return stream


def damage(chance: random.Random, stream: bytes) -> bytes:
    changed = bytearray(stream)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(changed)) if changed else 0
        what = chance.choice([b"", b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"0", bytes([chance.randrange(256)])])
        changed[place : place + chance.randint(0, 2)] = what
    return bytes(changed)


def piece(chance: random.Random) -> bytes:
    """One request, or nearly one, or what may come behind it."""
    kind = chance.random()
    if kind < 0.55:
        return with_lines(chance, good_post(chance), chance.choice([0, 0, 0, 0, 1, 1, 2, 4]))
    if kind < 0.67:
        return with_lines(chance, handshake(), chance.choice([0, 0, 1, 2])) + after_upgrade(chance)
    makers: list[Callable[[], bytes]] = [
        lambda: good_post(chance),
        lambda: post(chunked(JSON_BATCH), Transfer_Encoding="chunked"),
        lambda: post(gzip.compress(JSON_BATCH), Content_Encoding="gzip"),
        lambda: post(bytes(1001)),
        lambda: request(chance.choice(["GET", "HEAD", "PUT", "OPTIONS", "post", "POST"]), "/api/v1/events"),
        lambda: request("GET", chance.choice(["/ping", "/x", "//ping/", "*", "/api/v1/events?id=3"])),
        lambda: request("POST", chance.choice(["/api/v1/events/", "/api/v1/events?", "http://h/api/v1/events"]), b"{}"),
        lambda: request(body=JSON_BATCH, version=chance.choice(["1.0", "1.2", "2.0"])),
        lambda: b"\r\n" + good_post(chance),
        lambda: good_post(chance).replace(b"\r\n", b"\n"),
        lambda: good_post(chance)[: chance.randint(1, 200)],
        lambda: chance.randbytes(chance.randint(1, 60)),
    ]
    return chance.choice(makers)()


def good_post(chance: random.Random) -> bytes:
    number = str(chance.randrange(10_000))
    media, body = chance.choice(
        [
            ("application/json", JSON_BATCH.replace(b"1234", number.encode())),
            ("application/proto", batch(number)),
            ("application/json; charset=utf-8", b"{" + number.encode()),
            ("Application/X-Protobuf", PROTO_BATCH + number.encode()),
            ("application/json", number.encode() * 200),
        ]
    )
    return post(body, media, **chance.choice([{}, {"X_User_ID": "7"}, {"X_User_ID": number, "X_User_Group": "g"}]))


def after_upgrade(chance: random.Random) -> bytes:
    frames = [frame(1, JSON_BATCH), frame(2, PROTO_BATCH), frame(9, b"x"), frame(8, close(1000)), b""]
    return b"".join(chance.choices(frames, k=chance.randint(0, 3)))


def with_lines(chance: random.Random, whole: bytes, count: int) -> bytes:
    """With some more header lines, in any order, and perhaps without one that it had."""
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    more = [line.replace("{long}", "x" * 300).encode("utf-8") for line in chance.choices(LINES, k=count)]
    if count and chance.random() < 0.5:
        lines.pop(chance.randrange(len(lines)))
    lines += more
    if chance.random() < 0.5:
        chance.shuffle(lines)
    return b"\r\n".join([first, *lines, b"", body])


@define(eq=False)
class Publisher:
    """Answers batches at once, later or never, by what is in them. :ivar taken: them. :ivar plainly: how many came
    from a `PlainChannel`."""

    taken: list[Any] = field(factory=list)
    waiting: list[Callable[[], None]] = field(factory=list)
    plainly: int = 0

    def submit(self, body: bytes, codec: Any, client: Client, answer: Answer) -> None:
        source = client.source if client.transport == "rest" else ""
        self.plainly += isinstance(getattr(answer, "__self__", None), PlainChannel)
        self.taken.append((body, codec.media_type, client.identity, client.transport, source))
        number = crc32(body)
        guid = f"{number}"
        outcomes = [Outcome.MALFORMED, Outcome.SATURATED, Outcome.RATE_LIMITED, Outcome.FAILED, Outcome.DRAINING]
        outcome = outcomes[number // 16 % 5] if number % 4 == 0 else Outcome.OK
        reply = Reply(outcome, guid, "why" if outcome is not Outcome.OK else "", retry_after=2.5)
        if number % 16 < 7:
            answer(reply)
        elif number % 16 < 15 or number % 64 != 63:
            self.waiting.append(lambda: answer(reply))
        elif client.transport == "rest":
            raise ZeroDivisionError
        else:
            answer(reply)

    def answer(self, most: int) -> None:
        """Answer so many of those that wait, and that come up then."""
        while self.waiting and most:
            self.waiting.pop(0)()
            most -= 1


class Side:
    """One of the two ways, in a house of its own."""

    def __init__(self, lane: bool, details: dict[str, Any]) -> None:
        House.lane = lane  # the test case puts it back
        self.publisher = Publisher()
        self.house = House(limits=LimitSettings(body=1000), submit=self.publisher.submit, **details)
        self.client = self.house.client()

    def play(self, steps: list[tuple[str, Any]]) -> list[Any]:
        """A new client does all this. :return: what it, and the publisher, saw of it, step by step."""
        self.publisher.taken.clear()
        self.publisher.plainly = 0
        self.client = self.house.client()
        return [self.step(name, value) for name, value in steps]

    def step(self, name: str, value: Any) -> Any:
        client: Peer = self.client
        if name == "send":
            client.send(value)
        elif name == "answer":
            self.publisher.answer(value)
        elif name == "advance":
            self.house.loop.run(value, value / 4)
        elif name == "block":
            client.wire.blocked = value
        elif name == "drain":
            self.house.site.draining = True
            for channel in list(self.house.site.channels):
                channel.drain()
        else:
            getattr(client, name)()
        self.house.loop.spin()
        received = re.sub(rb"Date: [^\r]*", b"Date: now", client.received())
        return name, value, received, client.wire.closed, client.wire.reset, list(self.publisher.taken)

    @property
    def left(self) -> Any:
        """What is left behind when everybody has gone."""
        house = self.house
        return house.counted(), house.loop.getDelayedCalls(), len(house.site.channels), len(house.sockets.open)


def script(chance: random.Random) -> list[tuple[str, Any]]:
    """What a client does, and what happens meanwhile."""
    stream = make(chance)
    places = sorted(chance.randint(0, len(stream)) for _ in range(chance.choice([0, 0, 1, 2, 5])))
    if chance.random() < 0.02:
        places = list(range(len(stream)))
    steps: list[tuple[str, Any]] = []
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        if start < end:
            steps.append(("send", stream[start:end]))
        if chance.random() < 0.15 and len(places) < 10:
            steps.append(happening(chance))
    ends: list[list[tuple[str, Any]]] = [[], [("hang_up", None)], [("vanish", None)], [("drain", None)]]
    steps += chance.choices(ends, [5, 3, 1, 1])[0]
    return [*steps, ("answer", 100), ("advance", 90.0), ("hang_up", None)]


def happening(chance: random.Random) -> tuple[str, Any]:
    return chance.choice(
        [
            ("answer", 1),
            ("answer", 100),
            ("advance", chance.choice([0.5, 4.0, 9.5, 11.0, 25.0, 31.0, 59.0, 61.0])),
            ("block", chance.random() < 0.5),
        ]
    )


class LanesTests(WireTestCase):
    maxDiff = None

    def test_streams(self) -> None:
        """Whatever the stream, whichever settings, wherever it is cut, and whatever happens meanwhile."""
        batches = answers = plainly = 0
        fresh = False
        for number in range(STREAMS):
            steps = script(random.Random(number))
            if number % ROUND == 0 or not fresh:
                details = HOUSES[number // ROUND % len(HOUSES)]
                plain, stock = Side(True, details), Side(False, details)
            fresh = ("drain", None) not in steps
            ours, theirs = plain.play(steps), stock.play(steps)
            for side in plain, stock:
                side.house.loop.run(20.0, 10.0)
            if (ours, plain.left) != (theirs, stock.left):
                for each, other in zip(ours, theirs, strict=True):
                    self.assertEqual(each, other, f"stream {number}: {steps}")
                self.assertEqual(plain.left, stock.left, f"stream {number}: {steps}")
            if plain.left[1:] != ([], 0, 0):
                self.fail(f"stream {number} leaves something behind: {plain.left}: {steps}")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)) % 2, 0)
            self.noise.clear()
            batches += len(plain.publisher.taken)
            answers += sum(received.count(b"HTTP/1.1 ") for _, _, received, *_ in ours)
            plainly += plain.publisher.plainly
        print(f"{STREAMS} streams, {batches} batches, {plainly} of them plainly, {answers} answers: no difference")
        self.assertGreater(plainly, STREAMS // 4)
