"""Targets: what comes in at the port. The same bytes get the same answers however they are cut, and by both ways."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from fuzz.target import Target, the_same
from raccoon_tx.settings import LimitSettings, WebSocketSettings
from raccoon_tx.transports import answers, channel, rest, rpc, websocket
from tests import test_lanes_http
from tests.test_lanes_http import HOUSES, Side
from tests.test_lanes_websocket import random_stream
from tests.wire import (
    BINARY,
    CLOSE,
    JSON_BATCH,
    NOW,
    PING,
    PONG,
    PROTO_BATCH,
    TEXT,
    House,
    close,
    frame,
    handshake,
)

#: What a client may do last, and meanwhile.
ENDS = ("hang_up", "vanish", "drain")
#: Bytes of an input that say how it is used.
KEY = 4
#: Cuts of one input: more of them would be slow, and would find no more.
CUTS = 8


def cut(stream: bytes, chance: Random) -> list[bytes]:
    """The same bytes in a few pieces, or some of them one by one."""
    if chance.random() < 0.1:
        return [stream[place : place + 1] for place in range(min(len(stream), 200))] + [stream[200:]]
    places = sorted(chance.randint(0, len(stream)) for _ in range(chance.randrange(CUTS)))
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]


@contextmanager
def standing_still() -> Iterator[list[str]]:
    """The wall clock stands still, and what is logged is kept: nothing that a client sends is worth an error."""
    noise: list[str] = []

    def hear(event: Any) -> None:
        failure = event.get("log_failure")
        meant = failure is not None and failure.check(ZeroDivisionError)  # by the publisher that is played
        if event["log_level"] >= LogLevel.error and not meant:
            noise.append(formatEvent(event) + (failure.getTraceback() if failure is not None else ""))

    modules: Sequence[Any] = (answers, channel, rest, rpc, websocket)
    before = [module.time for module in modules]
    for module in modules:
        module.time = lambda: NOW + 0.9
    lane = House.lane
    globalLogPublisher.addObserver(hear)
    try:
        yield noise
    finally:
        globalLogPublisher.removeObserver(hear)
        House.lane = lane
        for module, time in zip(modules, before, strict=True):
            module.time = time


def http(body: bytes) -> None:
    """A connection, with whatever settings: answers, batches, counts and the end are alike by both ways."""
    key, stream = body[:KEY], body[KEY:]
    chance = Random(key)
    details = HOUSES[chance.randrange(len(HOUSES))]
    steps: list[tuple[str, Any]] = []
    for piece in cut(stream, chance):
        steps.append(("send", piece))
        if chance.random() < 0.15:
            steps.append(test_lanes_http.happening(chance))
    if chance.random() < 0.5:
        steps.append((chance.choice(ENDS), None))
    steps += [("answer", 100), ("advance", 90.0), ("hang_up", None)]
    with standing_still() as noise:
        found = []
        for lane in True, False:
            side = Side(lane, details)
            played = side.play(steps)
            side.house.loop.run(20.0, 10.0)
            found.append((played, side.left))
            the_same(side.left[1:], ([], 0, 0), "left behind")
        the_same(found[0], found[1], "ways of reading requests")
        the_same(noise, [], "errors in the log")


def frames(body: bytes) -> None:
    """A WebSocket: whole, in pieces, and without the fast lane, the same is answered and taken, and it ends alike."""
    key, stream = body[:KEY], body[KEY:]
    chance = Random(key)
    compression = chance.random() < 0.4
    pieces = cut(stream, chance)
    with standing_still() as noise:
        whole = _serve(True, compression, [stream] if stream else [])
        the_same(_serve(True, compression, pieces), whole, "cuts")
        the_same(_serve(False, compression, pieces), whole, "ways of reading frames")
        the_same(noise, [], "errors in the log")


def _serve(lane: bool, compression: bool, pieces: list[bytes]) -> Any:
    House.lane = lane
    house = House(limits=LimitSettings(body=1000), settings=WebSocketSettings(compression=compression))
    client = house.client()
    client.send(handshake(**({"Sec_WebSocket_Extensions": "permessage-deflate"} if compression else {})))
    for piece in pieces:
        client.send(piece)
    house.loop.run(1.2, 0.3)
    received, closed = client.received(), client.wire.closed
    client.hang_up()
    house.loop.run(6.0, 1.0)
    the_same((len(house.connections), house.sockets.open, house.loop.getDelayedCalls()), (0, set(), []), "left behind")
    return received, closed, house.taken, house.counted()


def _http_seeds() -> list[bytes]:
    return [b"%04d" % number + test_lanes_http.make(Random(number)) for number in range(300)]


def _frame_seeds() -> list[bytes]:
    deflater = zlib.compressobj(wbits=-15)
    raw = (deflater.compress(JSON_BATCH) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    streams = [
        frame(TEXT, JSON_BATCH) + frame(BINARY, PROTO_BATCH),
        frame(TEXT, JSON_BATCH[:9], fin=False)
        + frame(PING, b"x")
        + frame(0, JSON_BATCH[9:])
        + frame(CLOSE, close(1000)),
        frame(BINARY, bytes(200)) + frame(BINARY, bytes(1001)),
        frame(TEXT, raw, rsv=4) + frame(PONG) + frame(TEXT, raw[:9], rsv=4, fin=False) + frame(0, raw[9:]),
        frame(TEXT, "\N{SNOWMAN}".encode()[:2], fin=False) + frame(0, "\N{SNOWMAN}".encode()[2:]),
        frame(CLOSE, close(3000, "bye")) + frame(TEXT, b"{}"),
    ]
    streams += [random_stream(Random(number)) for number in range(200)]
    streams = [stream for stream in streams if len(stream) < 4000]
    return [b"%04d" % number + stream for number, stream in enumerate(streams)]


TARGETS = (Target("http", http, _http_seeds()), Target("frames", frames, _frame_seeds()))
