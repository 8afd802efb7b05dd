"""Tests for `raccoon_tx.transports.deflate`: compressed WebSocket messages, contract section 5.1."""

from __future__ import annotations

import random
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from raccoon_tx.settings import WebSocketSettings
from tests.wire import (
    BINARY,
    CLOSE,
    JSON_BATCH,
    JSON_OK,
    PING,
    PONG,
    PROTO_BATCH,
    PROTO_OK,
    TEXT,
    House,
    SocketClient,
    WireTestCase,
    close,
    frame,
    read_protobuf,
)

CONTINUATION, COMPRESSED = 0, 4
#: What is agreed upon, with nothing else in the offer.
AGREED = "permessage-deflate; client_no_context_takeover"


def compressed(message: bytes, bits: int = 15, end: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """A message as RFC 7692 section 7.2.1 wants it."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -bits)
    data = deflate.compress(message) + deflate.flush(end)
    return data[:-4] if end == zlib.Z_SYNC_FLUSH else data + b"\x00"


class CompressionTestCase(WireTestCase):
    """A port that takes compressed messages, of 1000 bytes at most."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House(settings=WebSocketSettings(compression=True))

    def socket(self, offer: str = "permessage-deflate", **headers: str) -> SocketClient:
        return self.house.socket(Sec_WebSocket_Extensions=offer, **headers)

    def agreed(self, offer: str) -> str | None:
        """What is agreed upon."""
        socket = self.socket(offer)
        lines = dict(line.split(": ", 1) for line in socket.head[1:])
        socket.vanish()
        return lines.get("Sec-WebSocket-Extensions")


class NegotiationTests(CompressionTestCase):
    """What clients offer."""

    def test_offers(self) -> None:
        """Each message is compressed for itself; what the client wants of our side is granted."""
        for offer, more in (
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=10", ""),
            ('permessage-deflate; client_max_window_bits="10"', ""),
            ("Permessage-Deflate; client_no_context_takeover", ""),
            ("permessage-deflate;server_no_context_takeover", "; server_no_context_takeover"),
            ("permessage-deflate; server_max_window_bits=9", "; server_max_window_bits=9"),
            ("x-webkit-deflate-frame, permessage-deflate", ""),
        ):
            agreed = AGREED.replace("; client", f"{more}; client")
            self.assertEqual(self.agreed(offer), agreed, offer)

    def test_wrong_offers(self) -> None:
        """An offer that cannot be granted, or is not understood, is passed over: it is no reason to refuse anybody."""
        for offer in (
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; unknown=1",
            "permessage-bzip2",
            ", ;; =,",
            "x",
        ):
            self.assertIsNone(self.agreed(offer), offer)
            self.assertEqual(self.agreed(f"{offer}, permessage-deflate"), AGREED, offer)

    def test_none(self) -> None:
        """Who offers nothing gets nothing, and may not compress."""
        self.assertIsNone(self.agreed(""))
        (end,) = self.house.socket().tell(TEXT, compressed(JSON_BATCH), rsv=COMPRESSED)
        self.assertEqual((end[0], end[1][:2]), (CLOSE, close(1002)))

    def test_off(self) -> None:
        """With the setting off, which is the default, offers are ignored."""
        self.house = House()
        self.assertIsNone(self.agreed("permessage-deflate; client_max_window_bits"))


class MessageTests(CompressionTestCase):
    """Messages that come compressed."""

    def test_messages(self) -> None:
        """They may come compressed or not, in either encoding and in fragments; answers are not compressed."""
        socket = self.socket()
        for _ in range(2):
            self.assertEqual(socket.tell(TEXT, compressed(JSON_BATCH), rsv=COMPRESSED), [(TEXT, JSON_OK)])
            self.assertEqual(socket.tell(BINARY, compressed(PROTO_BATCH), rsv=COMPRESSED), [(BINARY, PROTO_OK)])
            self.assertEqual(socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
            data = compressed(JSON_BATCH)
            self.assertEqual(socket.tell(TEXT, data[:5], fin=False, rsv=COMPRESSED), [])
            self.assertEqual(socket.tell(PING, b"?"), [(PONG, b"?")])
            self.assertEqual(socket.tell(CONTINUATION, b"", fin=False), [])
            self.assertEqual(socket.tell(CONTINUATION, data[5:]), [(TEXT, JSON_OK)])
        self.assertEqual(len(self.house.taken), 8)

    def test_forms(self) -> None:
        """Smaller windows, stored blocks and a last block are all deflate."""
        socket = self.socket()
        stored = zlib.compressobj(0, zlib.DEFLATED, -15)
        as_is = (stored.compress(JSON_BATCH) + stored.flush(zlib.Z_SYNC_FLUSH))[:-4]
        for data in (compressed(JSON_BATCH, 9), compressed(JSON_BATCH, end=zlib.Z_FINISH), as_is):
            self.assertEqual(socket.tell(TEXT, data, rsv=COMPRESSED), [(TEXT, JSON_OK)])
        ((opcode, payload),) = socket.tell(BINARY, compressed(b""), rsv=COMPRESSED)
        self.assertEqual((opcode, read_protobuf(payload)["code"]), (BINARY, 1))

    def test_nothing_kept(self) -> None:
        """Between messages nothing is kept for them."""
        socket = self.socket()
        socket.tell(TEXT, compressed(JSON_BATCH), rsv=COMPRESSED)
        inflater = socket.wire.protocol._perMessageCompress
        self.assertEqual((inflater._inflating, inflater._decompressor, inflater._compressor), (None, None, None))

    def test_limit(self) -> None:
        """The limit for messages is for what comes out, to the byte."""
        self.assertEqual(self.socket().tell(TEXT, compressed(JSON_BATCH.ljust(1000)), rsv=4), [(TEXT, JSON_OK)])
        for size in 1001, 1_000_000:
            socket = self.socket(X_User_ID=str(size))
            (opcode, payload), end = socket.tell(TEXT, compressed(JSON_BATCH.ljust(size)), rsv=COMPRESSED)
            text = "too large: a message may have at most 1000 bytes"
            self.assertEqual((opcode, end), (TEXT, (CLOSE, close(1009, text))))
            self.assertIn(text.encode(), payload)
            self.assertEqual(socket.tell(TEXT, JSON_BATCH), [])
            socket.tell(CLOSE, close(1009))
            self.assertTrue(socket.closed)

    def test_limit_of_fragments(self) -> None:
        """Fragments are counted together."""
        socket = self.socket()
        data = compressed(bytes(random.Random(1).choices(b"ab", k=1001)))
        opcode = BINARY
        for start in range(0, len(data), 10):
            socket.send(frame(opcode, data[start : start + 10], fin=False, rsv=0 if start else COMPRESSED))
            opcode = CONTINUATION
        self.assertEqual([opcode for opcode, _ in socket.frames()], [BINARY, CLOSE])
        self.assertEqual(socket.tell(CONTINUATION, b"x"), [])

    def test_bomb(self) -> None:
        """Of what would become very large, little more than the limit is ever made."""
        socket = self.socket()
        data = compressed(bytes(900_000))
        self.assertLess(len(data), 1000)
        self.assertEqual([opcode for opcode, _ in socket.tell(BINARY, data, rsv=COMPRESSED)], [BINARY, CLOSE])
        self.assertEqual(socket.wire.protocol._perMessageCompress._room, -1)

    def test_corrupt(self) -> None:
        """What is not deflate is a violation of the protocol."""
        for data in (b"\xff" * 20, b"\x07"):
            socket = self.socket(X_User_ID=data.hex())
            frames = socket.tell(TEXT, data, rsv=COMPRESSED)
            self.assertEqual([(opcode, payload[:2]) for opcode, payload in frames], [(CLOSE, close(1007))], data)
            self.assertEqual(socket.tell(TEXT, JSON_BATCH), [])
        self.assertEqual(self.house.taken, [])

    def test_not_utf_8(self) -> None:
        """Text is UTF-8 once it is decompressed."""
        ((opcode, payload),) = self.socket().tell(TEXT, compressed(b"\xff"), rsv=COMPRESSED)
        self.assertEqual((opcode, payload[:2]), (CLOSE, close(1007)))

    def test_compressed_ping(self) -> None:
        """Control frames are never compressed, nor is a fragment for itself."""
        for data in (
            frame(PING, compressed(b"x"), rsv=COMPRESSED),
            frame(TEXT, b"{", fin=False) + frame(CONTINUATION, compressed(b"}"), rsv=COMPRESSED),
        ):
            socket = self.socket(X_User_ID=data.hex()[:10])
            socket.send(data)
            ((opcode, payload),) = socket.frames()
            self.assertEqual((opcode, payload[:2]), (CLOSE, close(1002)))

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.binary(max_size=60), st.booleans(), st.sampled_from([0, 4])), max_size=6))
    def test_anything(self, frames: list[tuple[bytes, bool, int]]) -> None:
        """Whatever comes, nothing breaks, and nothing is left behind."""
        house = House(settings=WebSocketSettings(compression=True))
        socket = house.socket(Sec_WebSocket_Extensions="permessage-deflate")
        for payload, fin, rsv in frames:
            socket.send(frame(BINARY, payload, fin=fin, rsv=rsv))
        socket.hang_up()
        house.loop.run(6.2, 0.1)
        self.assertTrue(socket.wire.closed)
        self.assertEqual((house.loop.getDelayedCalls(), len(house.connections), self.noise), ([], 0, []))
