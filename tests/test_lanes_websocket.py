"""The two lanes of a WebSocket: the same bytes in, the same bytes out."""

from __future__ import annotations

import os
from itertools import pairwise
from random import Random
from typing import Any

from raccoon_tx.settings import LimitSettings
from tests.wire import (
    BINARY,
    CLOSE,
    JSON_BATCH,
    PING,
    PONG,
    PROTO_BATCH,
    TEXT,
    House,
    WireTestCase,
    close,
    frame,
    handshake,
)

#: Streams that are thrown at both lanes; a long run asks for more.
STREAMS = int(os.environ.get("RACCOON_TEST_STREAMS", "1500"))

_OPCODES = [TEXT, BINARY] * 6 + [0, CLOSE, PING, PONG, PONG, 3, 11]
_LENGTHS = [0, 1, 124, 125, 126, 127, 128, 400, 999, 1000, 1001, 65535, 65536]


def random_frame(random: Random) -> bytes:
    """One frame, mostly a good one."""
    opcode = random.choice(_OPCODES)
    kind = random.random()
    if kind < 0.6:
        payload = PROTO_BATCH if opcode == BINARY else JSON_BATCH
    elif kind < 0.7:
        payload = random.choice([b"", close(1000), close(1001, "bye"), close(999), b"\xff", "\N{SNOWMAN}".encode()])
    elif kind < 0.8:
        payload = b" " * random.choice(_LENGTHS) + (JSON_BATCH if opcode == TEXT else b"")
    else:
        payload = random.randbytes(random.randrange(160))
    made = bytearray(
        frame(
            opcode,
            payload,
            fin=random.random() < 0.93,
            rsv=random.choice([0] * 30 + [1, 2, 4]),
            mask=random.choice([b"\0\0\0\0"] + [random.randbytes(4)] * 20 + [None]),
        )
    )
    if random.random() < 0.04:
        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    if random.random() < 0.02:
        del made[random.randrange(len(made)) :]
    return bytes(made)


def random_stream(random: Random) -> bytes:
    """The frames of one connection."""
    return b"".join(random_frame(random) for _ in range(random.choice([1, 1, 2, 3, 5, 12])))


def cut(stream: bytes, random: Random) -> list[bytes]:
    """The same bytes as a network may deliver them."""
    if random.random() < 0.1:
        return [stream[place : place + 1] for place in range(len(stream))]
    places = sorted(random.randrange(len(stream) + 1) for _ in range(random.choice([0, 0, 1, 2, 5])))
    bounds = [0, *places, len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds) if start != end]


class BothLanesTests(WireTestCase):
    def serve(self, lane: bool, first: bytes, segments: list[bytes], held: bool) -> Any:
        self.patch(House, "lane", lane)
        house = House(limits=LimitSettings(body=1000))
        house.held = True
        client = house.client()
        for segment in [handshake() + first, *segments]:
            client.send(segment)
            if not held:
                house.answer()
        house.answer()
        received = [client.received()]
        house.loop.run(1.1, 0.1)
        received.append(client.received())
        closed = client.wire.closed
        client.hang_up()
        house.loop.run(5.1, 0.1)
        received.append(client.received())
        self.assertEqual((len(house.connections), house.sockets.open), (0, set()))
        self.assertEqual(house.loop.getDelayedCalls(), [])
        return received, closed, house.taken, house.counted()

    def test_same(self) -> None:
        """Whatever comes in, however it is cut: both lanes answer, take, count and close alike."""
        ends = 0
        for seed in range(STREAMS):
            random = Random(seed)
            stream, held = random_stream(random), random.random() < 0.3
            first, *segments = (cut(stream, random) or [b""]) if random.random() < 0.2 else [b"", *cut(stream, random)]
            fast, stock = (self.serve(lane, first, segments, held) for lane in (True, False))
            self.assertEqual(fast, stock, f"seed {seed}")
            self.assertEqual(self.noise, [], f"seed {seed}")
            ends += fast[1]
        # Neither all of them nor none may have come to an early end, or the streams are worth little.
        self.assertTrue(STREAMS * 0.1 < ends < STREAMS * 0.9, ends)
        print(f"\n{STREAMS} streams through both lanes, {ends} of them closed early, no difference")
