"""Tests for `raccoon_tx.transports.websocket`, frame by frame and byte by byte: contract section 5."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from itertools import pairwise
from typing import Any

import txaio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from raccoon_tx.model import Identity, Outcome, Reply, Saturated
from raccoon_tx.settings import DedupSettings, LimitSettings, WebSocketSettings
from raccoon_tx.transports import websocket
from tests.wire import (
    BINARY,
    CLOSE,
    JSON_BATCH,
    JSON_OK,
    NOW,
    PING,
    PONG,
    PROTO_BATCH,
    PROTO_OK,
    TEXT,
    House,
    SocketClient,
    WireTestCase,
    batch,
    close,
    frame,
    handshake,
    in_both_lanes,
    parse_frames,
    post,
    read_protobuf,
)

CONTINUATION = 0
SHUTTING_DOWN = (CLOSE, close(1001, "server shutting down"))


class SocketTestCase(WireTestCase):
    """:ivar settings: of the WebSockets of `house`."""

    settings: WebSocketSettings = WebSocketSettings()

    def setUp(self) -> None:
        super().setUp()
        self.house = House(settings=self.settings)

    def run_for(self, seconds: float) -> None:
        self.house.loop.run(seconds, 0.05)

    def assert_gone(self) -> None:
        """Nobody is connected, and nothing is left of those who were."""
        self.assertEqual((len(self.house.connections), self.house.sockets.open), (0, set()))
        self.assertEqual(self.house.keepalive._slots, [set()] * len(self.house.keepalive._slots))
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.assertEqual(self.house.sockets.countConnections, 0)

    def protobuf(self, frames: list[tuple[int, bytes]]) -> dict[str, Any]:
        ((opcode, payload),) = frames
        self.assertEqual(opcode, BINARY)
        return read_protobuf(payload)


class HandshakeTests(SocketTestCase):
    """From HTTP to WebSocket."""

    def test_answer(self) -> None:
        """The answer to a good handshake has what RFC 6455 wants, and nothing else."""
        client = self.house.client()
        client.send(handshake(Sec_WebSocket_Extensions="permessage-deflate", Sec_WebSocket_Protocol="a, b"))
        self.assertEqual(
            client.received(),
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: WebSocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )

    def test_any_key(self) -> None:
        """Any key will do: the answer is computed from it as it is."""
        socket = self.house.socket(Sec_WebSocket_Key=" x ")
        digest = sha1(b"x258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.assertIn(f"Sec-WebSocket-Accept: {b64encode(digest).decode()}", socket.head)

    def test_with_frames(self) -> None:
        """Frames that come with the handshake, or in pieces after it, are not lost."""
        socket = self.house.socket(frame(TEXT, JSON_BATCH) + frame(PING, b"x") + frame(TEXT, JSON_BATCH)[:9])
        self.assertEqual(socket.frames(), [(TEXT, JSON_OK), (PONG, b"x")])
        socket.send(frame(TEXT, JSON_BATCH)[9:])
        self.assertEqual(socket.frames(), [(TEXT, JSON_OK)])

    def test_behind_a_request(self) -> None:
        """A connection may serve requests first, also one that takes its time."""
        self.house.held = True
        client = self.house.client()
        client.send(post() + handshake() + frame(TEXT, JSON_BATCH))
        self.assertEqual(client.received(), b"")
        self.house.answer()
        answers, _, rest = client.received().partition(b"HTTP/1.1 101 ")
        self.assertTrue(answers.endswith(JSON_OK))
        self.assertEqual(parse_frames(rest.partition(b"\r\n\r\n")[2]), [])
        self.house.answer()
        self.assertEqual(parse_frames(client.received()), [(TEXT, JSON_OK)])

    def test_with_a_body(self) -> None:
        """A handshake with a body is odd, but its frames begin behind that."""
        socket = self.house.socket(b"abc" + frame(TEXT, JSON_BATCH), Content_Length="3")
        self.assertEqual(socket.frames(), [(TEXT, JSON_OK)])

    def test_long_life(self) -> None:
        """The times for requests end with the handshake, and its channel is forgotten."""
        socket = self.house.socket()
        self.assertEqual(self.house.site.channels, set())
        self.house.loop.advance(1000)
        self.house.loop.spin()
        self.assertEqual(socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        socket.vanish()
        self.assert_gone()

    def test_much_at_once(self) -> None:
        """So much may come with the handshake that the connection was not read for a while."""
        self.house.held = True
        client = self.house.client()
        client.send(post())
        frames = frame(TEXT, JSON_BATCH) * 60 + frame(PING)
        client.send(handshake() + frames * 10)
        self.house.answer()
        while self.house.waiting:
            self.house.answer()
        received = client.received().partition(b"HTTP/1.1 101 ")[2].partition(b"\r\n\r\n")[2]
        self.assertEqual(len(parse_frames(received)), 610)


class AdmissionTests(SocketTestCase):
    """Who is let in."""

    settings = WebSocketSettings(max_connections=3)

    def assert_stays_out(self, socket: SocketClient, code: int, reason: str, text: str) -> None:
        """It hears why, first in binary protobuf and then in the close frame, and the connection ends when it echoes
        that."""
        self.assertEqual(socket.head[0], "HTTP/1.1 101 Switching Protocols")
        message, end = socket.frames()
        self.assert_reply(self.protobuf([message]), code, reason)
        self.assertEqual(end, (CLOSE, close(1008, text)))
        self.assertEqual(socket.tell(TEXT, JSON_BATCH), [])
        self.assertEqual(socket.tell(PING), [])
        self.assertFalse(socket.wire.closed)
        self.assertEqual(socket.tell(CLOSE, close(1008)), [])
        self.assertTrue(socket.closed)
        self.assertEqual(self.house.taken, [])

    def test_duplicate(self) -> None:
        """A client that is connected already, to the byte."""
        self.house.socket()
        socket = self.house.socket(frame(TEXT, JSON_BATCH))
        self.assertEqual(
            socket.frames(),
            [
                (
                    BINARY,
                    b"\x08\x02\x10\x05\x18\x8b\x8d\x91\x8d\x06\x22\x2aduplicated connection: [--default--] 1234,",
                ),
                (CLOSE, b"\x03\xf0duplicate connection: 1234"),
            ],
        )

    def test_duplicate_in_group(self) -> None:
        """Both refusals name the client; who is in another group is another."""
        self.house.socket(X_User_Group="viewers")
        self.assert_stays_out(
            self.house.socket(X_User_Group="viewers"),
            5,
            "duplicated connection: [viewers] 1234,",
            "duplicate connection: 1234",
        )
        self.assertEqual(self.house.socket().tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_limit(self) -> None:
        """When all places are taken, newcomers hear it in the words of the limit, but duplicates that they are."""
        for number in range(3):
            self.house.socket(X_User_ID=str(number))
        socket = self.house.socket(X_User_ID="3")
        self.assertEqual(
            socket.frames(),
            [
                (BINARY, b"\x08\x02\x10\x04\x18\x8b\x8d\x91\x8d\x06\x22\x16max connection reached"),
                (CLOSE, b"\x03\xf0Max connection reached"),
            ],
        )
        self.assert_stays_out(self.house.socket(X_User_ID="4"), 4, "max connection reached", "Max connection reached")
        self.assert_stays_out(
            self.house.socket(X_User_ID="0"),
            5,
            "duplicated connection: [--default--] 0,",
            "duplicate connection: 0",
        )

    def test_long_id(self) -> None:
        """A long id does not fit into a close frame: it is cut there, at a character, and whole in the message."""
        for identifier, shown in (
            ("x" * 256, "x" * 101),
            ("\u20ac" * 85, "\u20ac" * 33),
            ("x" + "\u20ac" * 85, "x" + "\u20ac" * 33),
            ("xx" + "\u20ac" * 84, "xx" + "\u20ac" * 33),
            ("\U0001f99d" * 64, "\U0001f99d" * 25),
        ):
            header = identifier.encode().decode("latin-1")
            first = self.house.socket(X_User_ID=header)
            self.assertEqual(first.frames(), [])
            message, end = self.house.socket(X_User_ID=header).frames()
            self.assert_reply(self.protobuf([message]), 5, f"duplicated connection: [--default--] {identifier},")
            self.assertEqual(end, (CLOSE, close(1008, f"duplicate connection: {shown}")))
            self.assertLessEqual(len(end[1]), 125)
            first.vanish()

    def test_no_id(self) -> None:
        """Clients without an id are nobody's duplicates, but take places."""
        for _ in range(3):
            self.assertEqual(self.house.socket(X_User_ID="").tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.assertEqual(self.house.taken[0][1], Identity("--default--", ""))
        self.house.taken.clear()
        self.assert_stays_out(self.house.socket(X_User_ID=""), 4, "max connection reached", "Max connection reached")

    def test_again(self) -> None:
        """However a connection ends, its client may come back at once, and nothing is left of it."""
        for leave in (
            lambda socket: socket.vanish(),
            lambda socket: socket.hang_up(),
            lambda socket: socket.tell(CLOSE),
            lambda socket: socket.tell(CLOSE, close(1000, "bye")),
            lambda socket: next(iter(self.house.sockets.open)).abort(),
        ):
            socket = self.house.socket()
            self.assertEqual(len(self.house.connections), 1)
            leave(socket)
            self.house.loop.spin()
            self.assert_gone()

    def test_refused_leaves(self) -> None:
        """The end of a client that was not let in does not end the one that was."""
        first = self.house.socket()
        for leave in ("hang_up", "vanish"):
            getattr(self.house.socket(), leave)()
        self.house.socket().tell(CLOSE, close(1008))
        self.assertEqual(len(self.house.connections), 1)
        self.assertEqual(first.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_refused_stays(self) -> None:
        """A client that was not let in and does not go is closed after a second, not earlier."""
        for fraction in (0.0, 0.3, 0.65, 0.95):
            self.house.loop.advance(fraction)
            self.house.socket()
            socket = self.house.socket()
            self.run_for(0.95)
            self.assertFalse(socket.wire.closed)
            self.run_for(0.1)
            self.assertTrue(socket.closed)

    def test_refused_large(self) -> None:
        """What a client sends that was not let in is not looked at, however large it is."""
        self.house.socket()
        socket = self.house.socket()
        self.assertEqual([opcode for opcode, _ in socket.frames()], [BINARY, CLOSE])
        self.assertEqual(socket.tell(BINARY, bytes(2000)), [])

    def test_deaf(self) -> None:
        """So is one that does not even read the refusal, a little later."""
        self.house.socket()
        client = self.house.client()
        client.wire.blocked = True
        client.send(handshake())
        self.run_for(5.9)
        self.assertFalse(client.wire.closed)
        self.run_for(0.2)
        self.assertTrue(client.reset)


class MessageTests(SocketTestCase):
    """Batches and their answers."""

    settings = WebSocketSettings(max_in_flight=3)

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.house.socket()

    def test_each_in_its_encoding(self) -> None:
        """Text is JSON and binary is protobuf, frame by frame, and so is the answer."""
        for _ in range(2):
            self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
            self.assertEqual(self.socket.tell(BINARY, PROTO_BATCH), [(BINARY, PROTO_OK)])
        self.assertEqual(self.house.taken, [([b"event_1"], Identity("--default--", "1234"))] * 4)

    def test_in_pieces(self) -> None:
        """A frame may come byte by byte."""
        self.socket.send(*[bytes([byte]) for byte in frame(TEXT, JSON_BATCH)])
        self.assertEqual(self.socket.frames(), [(TEXT, JSON_OK)])

    def test_many_in_one(self) -> None:
        """Many frames may come at once; each has one answer, in their order if they are answered in it."""
        batches = [batch(str(number)) for number in range(3)]
        self.socket.send(b"".join(frame(BINARY, each) for each in batches))
        answers = [read_protobuf(payload)["data"]["req_guid"] for _, payload in self.socket.frames()]
        self.assertEqual(answers, ["0", "1", "2"])

    def test_fragments(self) -> None:
        """A message may come in fragments, with pings in between, and empty ones among them."""
        for opcode, message, answer in (TEXT, JSON_BATCH, JSON_OK), (BINARY, PROTO_BATCH, PROTO_OK):
            self.assertEqual(self.socket.tell(opcode, message[:5], fin=False), [])
            self.assertEqual(self.socket.tell(CONTINUATION, b"", fin=False), [])
            self.assertEqual(self.socket.tell(PING, b"?"), [(PONG, b"?")])
            self.assertEqual(self.socket.tell(CONTINUATION, message[5:9], fin=False), [])
            self.assertEqual(self.socket.tell(CONTINUATION, message[9:]), [(opcode, answer)])

    def test_fragmented_character(self) -> None:
        """A character may be cut between two fragments, and two bytes."""
        message = '{"req_guid":"\u20ac"}'.encode()
        self.socket.tell(TEXT, message[:14], fin=False)
        ((_, answer),) = self.socket.tell(CONTINUATION, message[14:])
        self.assertIn("\u20ac".encode(), answer)

    def test_empty_fragments(self) -> None:
        """Fragments of nothing take no memory."""
        self.socket.tell(BINARY, b"", fin=False)
        self.socket.send(frame(CONTINUATION, b"", fin=False) * 1000)
        self.assertEqual(self.socket.wire.protocol.message_data, [])
        self.assertEqual(self.socket.tell(CONTINUATION, PROTO_BATCH), [(BINARY, PROTO_OK)])

    def test_many_fragments(self) -> None:
        """There may be many fragments, but not many small ones: each costs as much as a batch."""
        self.socket.send(frame(BINARY, b"", fin=False) + frame(CONTINUATION, bytes(32), fin=False) * 30)
        self.assertEqual(self.socket.tell(CONTINUATION, bytes(8))[0][0], BINARY)
        self.socket.send(frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 2000)
        self.assertEqual(self.socket.frames(), [(CLOSE, close(1008, "too many small fragments"))])

    def test_in_turns(self) -> None:
        """Many frames at once are not read at once: others have their turn between them. None is lost."""
        for sent, answer in ((frame(BINARY, PROTO_BATCH), (BINARY, PROTO_OK)), (frame(PING, b"?"), (PONG, b"?"))):
            wire = self.socket.wire
            wire.coming.append(sent * 1000)
            wire.serve(True, False)
            wire.serve(False, True)
            few = self.socket.frames()
            self.assertLess(len(few), 700)
            self.house.loop.spin()
            self.assertEqual(few + self.socket.frames(), [answer] * 1000)

    def test_goodbye_to_deaf_ears(self) -> None:
        """Who goes on sending after we said goodbye is cut off."""
        self.socket.send(b"\x82\xff" + (2**40).to_bytes(8, "big") + bytes(4))
        for _ in range(300):
            self.socket.send(bytes(65536))
        self.assertTrue(self.socket.reset)

    def test_empty(self) -> None:
        """An empty binary message is an empty batch; an empty text message is none."""
        answer = self.protobuf(self.socket.tell(BINARY))
        self.assert_reply(answer, 1, data={"req_guid": ""}, status=1)
        ((opcode, payload),) = self.socket.tell(TEXT)
        self.assertEqual(opcode, TEXT)
        self.assertTrue(
            payload.startswith(
                b'{"status":2,"code":2,"sent_time":1638155915,"reason":"cannot deserialize request: not JSON'
            )
        )
        self.assertTrue(payload.endswith(b'","data":{"req_guid":""}}'), payload)

    def test_undecodable(self) -> None:
        """What is no batch is answered with the decoder's reason and what could be read of the guid, and nothing
        else happens."""
        answer = self.protobuf(self.socket.tell(BINARY, b"\x01"))
        self.assertTrue(answer["reason"].startswith("cannot deserialize request: "))
        self.assert_reply(answer, 2, answer["reason"], {"req_guid": ""})
        answer = self.protobuf(self.socket.tell(BINARY, b"\n\x041234\x01"))
        self.assert_reply(answer, 2, answer["reason"], {"req_guid": "1234"})
        ((opcode, payload),) = self.socket.tell(TEXT, b'{"req_guid":"1234","events":1}')
        self.assertEqual(
            (opcode, payload),
            (
                TEXT,
                b'{"status":2,"code":2,"sent_time":1638155915,'
                b'"reason":"cannot deserialize request: events: not an array","data":{"req_guid":"1234"}}',
            ),
        )
        self.assertEqual(self.socket.tell(TEXT, b"null")[0][0], TEXT)
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_failed(self) -> None:
        """What Kafka did not take is told as it is, and the connection stays."""
        self.house.outcome = Reply(Outcome.FAILED, "1234", "cannot publish events: why", {"failed": "0"})
        answer = self.protobuf(self.socket.tell(BINARY, PROTO_BATCH))
        self.assert_reply(answer, 3, "cannot publish events: why", {"req_guid": "1234", "failed": "0"})
        self.house.outcome = None
        self.house.refusal = Saturated("overloaded: full", retry_after=1.0)
        answer = self.protobuf(self.socket.tell(BINARY, PROTO_BATCH))
        data = {"req_guid": "1234", "retryable": "true", "retry_after_ms": "1000"}
        self.assert_reply(answer, 3, "overloaded: full", data)
        self.house.refusal = None
        self.assertEqual(self.socket.tell(BINARY, PROTO_BATCH), [(BINARY, PROTO_OK)])

    def test_out_of_order(self) -> None:
        """Answers come when they are there, each in the encoding of its message."""
        self.house.held = True
        self.socket.tell(BINARY, batch("a"))
        self.socket.tell(TEXT, JSON_BATCH)
        self.house.waiting.reverse()
        self.house.answer()
        first, second = self.socket.frames()
        self.assertEqual(first, (TEXT, JSON_OK))
        self.assertEqual(self.protobuf([second])["data"], {"req_guid": "a"})

    def test_in_flight(self) -> None:
        """A connection may have so many batches unanswered, and is told of each one more, by its guid."""
        self.house.held = True
        for _ in range(3):
            self.assertEqual(self.socket.tell(BINARY, PROTO_BATCH), [])
        reason = "overloaded: too many unanswered batches on this connection"
        data = {"retryable": "true", "retry_after_ms": "1000"}
        answer = self.protobuf(self.socket.tell(BINARY, batch("a")))
        self.assert_reply(answer, 3, reason, {"req_guid": "a", **data})
        ((opcode, payload),) = self.socket.tell(TEXT, b'{"req_guid":"b"}')
        self.assertEqual((opcode, b'"code":3' in payload, b'"req_guid":"b"' in payload), (TEXT, True, True))
        answer = self.protobuf(self.socket.tell(BINARY, b"\x01"))
        self.assertEqual((answer["code"], answer["data"]), (2, {"req_guid": ""}))
        self.house.answer()
        self.assertEqual(self.socket.frames(), [(BINARY, PROTO_OK)] * 3)
        self.assertEqual(len(self.house.taken), 3)
        self.house.held = False
        self.assertEqual(self.socket.tell(BINARY, PROTO_BATCH), [(BINARY, PROTO_OK)])

    def test_each_its_own(self) -> None:
        """That bound is for each connection."""
        self.house.held = True
        for _ in range(3):
            self.socket.tell(BINARY, PROTO_BATCH)
        self.assertEqual(self.house.socket(X_User_ID="2").tell(BINARY, PROTO_BATCH), [])

    def test_gone(self) -> None:
        """A client that has gone before the answer is no error."""
        self.house.held = True
        for leave in ("hang_up", "vanish"):
            socket = self.house.socket(X_User_ID=leave)
            socket.tell(TEXT, JSON_BATCH)
            getattr(socket, leave)()
            self.house.answer()
            self.assertEqual(socket.frames(), [])
        self.socket.tell(TEXT, JSON_BATCH)
        self.assertEqual(self.socket.tell(CLOSE, close(1000)), [(CLOSE, close(1000))])
        self.house.answer()
        self.assertEqual(self.socket.frames(), [])
        self.assert_gone()

    def test_bug(self) -> None:
        """A bug of ours is one entry in the log and the end of that connection, in due form."""
        other = self.house.socket(X_User_ID="2")
        self.house.refusal = ZeroDivisionError("secret")
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [(CLOSE, close(1011, "internal error"))])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.noise, ["a batch could not be taken"])
        self.noise.clear()
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [])
        self.socket.tell(CLOSE, close(1011))
        self.assertTrue(self.socket.closed)
        self.house.refusal = None
        self.assertEqual(other.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_long_guid(self) -> None:
        """An answer may be longer than a message may be, since it has the guid of one."""
        guid = "x" * 980
        ((opcode, payload),) = self.socket.tell(TEXT, b'{"req_guid":"%b"}' % guid.encode())
        self.assertEqual(opcode, TEXT)
        self.assertGreater(len(payload), 1000)
        self.assertIn(guid.encode(), payload)

    def test_time(self) -> None:
        """``sent_time`` is now, in whole seconds."""
        self.patch(websocket, "time", lambda: NOW + 60.9)
        self.assertEqual(self.protobuf(self.socket.tell(BINARY))["sent_time"], NOW + 60)


class LimitTests(SocketTestCase):
    """Messages that are too large, the limit being 1000 bytes."""

    text = "too large: a message may have at most 1000 bytes"

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.house.socket()

    def assert_too_large(self, frames: list[tuple[int, bytes]], opcode: int = BINARY) -> None:
        message, end = frames
        if opcode == BINARY:
            self.assert_reply(self.protobuf([message]), 2, self.text, {"req_guid": "", "retryable": "false"})
        else:
            self.assertEqual(
                message,
                (
                    TEXT,
                    b'{"status":2,"code":2,"sent_time":1638155915,"reason":"' + self.text.encode() + b'",'
                    b'"data":{"req_guid":"","retryable":"false"}}',
                ),
            )
        self.assertEqual(end, (CLOSE, close(1009, self.text)))

    def test_exact(self) -> None:
        """The limit is exact."""
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH.ljust(1000)), [(TEXT, JSON_OK)])
        self.assert_too_large(self.socket.tell(TEXT, JSON_BATCH.ljust(1001)), TEXT)
        self.assertEqual(len(self.house.taken), 1)

    def test_by_length(self) -> None:
        """A frame that says it is too large is refused before it comes, and the client may finish it."""
        whole = frame(BINARY, bytes(100_000))
        self.socket.send(whole[:14])
        self.assert_too_large(self.socket.frames())
        self.socket.send(whole[14:50_000])
        self.assertFalse(self.socket.wire.closed)
        self.assertEqual(self.socket.wire.protocol.frame_data, [])
        self.socket.send(whole[50_000:])
        self.assertFalse(self.socket.wire.closed)
        self.assertEqual(self.socket.tell(CLOSE, close(1009)), [])
        self.assertTrue(self.socket.closed)
        self.assert_gone()

    def test_huge(self) -> None:
        """However large it says it is."""
        self.socket.send(bytes([0x82, 0xFF, 0x7F] + [0xFF] * 7) + b"mask")
        self.assert_too_large(self.socket.frames())

    def test_fragments(self) -> None:
        """Fragments are counted together."""
        self.assertEqual(self.socket.tell(TEXT, b" " * 500, fin=False), [])
        self.assertEqual(self.socket.tell(CONTINUATION, b" " * 500, fin=False), [])
        self.assert_too_large(self.socket.tell(CONTINUATION, b" ", fin=False), TEXT)
        self.assertEqual(self.socket.tell(CONTINUATION, b" " * 2000), [])

    def test_no_end(self) -> None:
        """A client that goes on sending is closed after a second."""
        self.socket.send(bytes([0x82, 0xFF]) + (10**9).to_bytes(8, "big") + b"mask")
        self.assert_too_large(self.socket.frames())
        for _ in range(19):
            self.socket.send(bytes(1000))
            self.run_for(0.05)
            self.assertFalse(self.socket.wire.closed)
        self.run_for(0.1)
        self.assertTrue(self.socket.closed)
        self.assert_gone()

    def test_control(self) -> None:
        """Pings in a message do not count."""
        self.socket.tell(TEXT, JSON_BATCH, fin=False)
        for _ in range(20):
            self.assertEqual(self.socket.tell(PING, b"x" * 125), [(PONG, b"x" * 125)])
        self.assertEqual(self.socket.tell(CONTINUATION, b" " * (1000 - len(JSON_BATCH))), [(TEXT, JSON_OK)])


class CloseTests(SocketTestCase):
    """How a connection ends."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.house.socket()

    def test_echo(self) -> None:
        """A close frame is echoed with its code and no text, and the connection closed."""
        for code in (1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
            socket = self.house.socket(X_User_ID=str(code))
            self.assertEqual(socket.tell(CLOSE, close(code, "\u20ac" * 41)), [(CLOSE, close(code))])
            self.assertTrue(socket.closed)
        self.socket.hang_up()
        self.assert_gone()

    def test_empty(self) -> None:
        """One without a code is echoed without one."""
        self.assertEqual(self.socket.tell(CLOSE), [(CLOSE, b"")])
        self.assertTrue(self.socket.closed)
        self.assert_gone()

    def test_nothing_after(self) -> None:
        """What comes behind a close frame is not looked at."""
        self.socket.send(frame(TEXT, JSON_BATCH) + frame(CLOSE, close(1000)) + frame(TEXT, JSON_BATCH) + frame(PING))
        self.assertEqual(self.socket.frames(), [(TEXT, JSON_OK), (CLOSE, close(1000))])
        self.assertEqual(len(self.house.taken), 1)

    def test_unread(self) -> None:
        """A client that says goodbye and does not read the rest is cut off in the end, and may come back then."""
        self.socket.wire.blocked = True
        self.socket.tell(TEXT, JSON_BATCH)
        self.socket.tell(CLOSE, close(1000))
        self.run_for(4.9)
        self.assertFalse(self.socket.wire.closed)
        self.run_for(0.2)
        self.assertTrue(self.socket.reset)
        self.assert_gone()

    def test_unread_much(self) -> None:
        """So is one that had much to read."""
        self.socket.wire.blocked = True
        self.house.held = True
        reason = "x" * 60_000
        self.house.outcome = Reply(Outcome.FAILED, "1234", reason)
        for _ in range(3):
            self.socket.tell(TEXT, JSON_BATCH)
        self.house.answer()
        self.socket.tell(CLOSE, close(1000))
        self.run_for(5.1)
        self.assertTrue(self.socket.reset)
        self.assert_gone()

    def violate(self, code: int, data: bytes, *words: str) -> None:
        """It is told so with this code, and closed: when it echoes, or after a second."""
        for echo in (True, False):
            socket = self.house.socket(X_User_ID=f"{echo}")
            socket.send(data)
            ((opcode, payload),) = socket.frames()
            self.assertEqual((opcode, payload[:2]), (CLOSE, close(code)), data)
            self.assertLessEqual(len(payload), 125)
            for word in words:
                self.assertIn(word, payload[2:].decode())
            self.run_for(0.9)
            if echo:
                socket.tell(CLOSE, close(code))
            else:
                self.run_for(0.2)
            self.assertEqual(socket.frames(), [])
            self.assertTrue(socket.closed, data)
        self.assertEqual(self.house.taken, [])
        self.assertEqual(len(self.house.connections), 1)

    def test_bad_codes(self) -> None:
        """A close frame with a code that nobody may send, or with half a code, is a violation of the protocol."""
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
            self.violate(1002, frame(CLOSE, close(code)), f"invalid close code {code}")
        self.violate(1002, frame(CLOSE, b"\x03"))

    def test_bad_text(self) -> None:
        """Close frames are UTF-8."""
        self.violate(1007, frame(CLOSE, close(1000) + b"\xff"), "UTF8")
        self.violate(1007, frame(CLOSE, close(1000) + b"\xe2\x82"), "UTF8")

    def test_unmasked(self) -> None:
        """Clients mask what they send."""
        self.violate(1002, frame(TEXT, JSON_BATCH, mask=None), "unmasked")
        self.violate(1002, frame(PING, mask=None), "unmasked")

    def test_reserved(self) -> None:
        """Reserved bits and opcodes are for others."""
        for rsv in range(1, 8):
            self.violate(1002, frame(TEXT, JSON_BATCH, rsv=rsv), "RSV")
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.violate(1002, frame(opcode, b"x"), f"reserved opcode {opcode}")

    def test_fragmentation(self) -> None:
        """Fragments come in order, and control frames in one piece, which is not long."""
        self.violate(1002, frame(CONTINUATION, b"x"), "continuation")
        self.violate(1002, frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), "continuation")
        self.violate(1002, frame(PING, b"x", fin=False), "fragmented")
        self.violate(1002, frame(PING, b"x" * 126), "125")
        self.violate(1002, frame(CLOSE, close(1000, "x" * 124)), "125")

    def test_lengths(self) -> None:
        """A length is written in as few bytes as it needs."""
        self.violate(1002, bytes([0x81, 0xFE, 0, 5]) + b"mask" + bytes(5), "length")
        self.violate(1002, bytes([0x81, 0xFF] + [0] * 6 + [0xFF, 0xFF]) + b"mask", "length")
        self.violate(1002, bytes([0x81, 0xFF, 0x80] + [0] * 7) + b"mask", "length")

    def test_not_utf_8(self) -> None:
        """Text is UTF-8, as soon as it comes; its end may not cut a character."""
        self.violate(1007, frame(TEXT, b'{"req_guid":"\xff"}'), "UTF-8")
        self.violate(1007, frame(TEXT, b"\xff", fin=False), "UTF-8")
        self.violate(1007, frame(TEXT, b"\xe2\x82"), "UTF-8")
        self.violate(1007, frame(TEXT, b"\xed\xa0\x80"), "UTF-8")
        self.violate(1007, frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"x"), "UTF-8")

    def test_frames_after_violation(self) -> None:
        """Nothing is taken after a violation."""
        self.socket.send(frame(3, b"x") + frame(TEXT, JSON_BATCH) + frame(PING))
        self.assertEqual([opcode for opcode, _ in self.socket.frames()], [CLOSE])
        self.socket.send(frame(TEXT, JSON_BATCH) + frame(BINARY, bytes(2000)))
        self.assertEqual(self.socket.frames(), [])
        self.assertEqual(self.house.taken, [])

    def test_twice(self) -> None:
        """A second violation ends the connection, and the first one has been told by then."""
        self.socket.send(frame(3, b"x") + frame(4, b"x"))
        ((opcode, payload),) = self.socket.frames()
        self.assertEqual((opcode, payload[:2]), (CLOSE, close(1002)))
        self.assertTrue(self.socket.closed)
        self.assert_gone()


class SubprotocolTests(SocketTestCase):
    """What a browser can say: contract section 5.6."""

    settings = WebSocketSettings(max_connections=1)

    def agreed(self, offer: str) -> list[str]:
        """What is agreed upon."""
        socket = self.house.socket(Sec_WebSocket_Protocol=offer, X_User_ID="")
        socket.vanish()
        return [line.partition(": ")[2] for line in socket.head if line.startswith("Sec-WebSocket-Protocol:")]

    def test_echo(self) -> None:
        """The first encoding that is offered is agreed upon; an entry that carries a value never is."""
        for offer, agreed in (
            ("raccoon.json.v1", ["raccoon.json.v1"]),
            ("raccoon.proto.v1", ["raccoon.proto.v1"]),
            ("raccoon.proto.v1, raccoon.json.v1", ["raccoon.proto.v1"]),
            ("raccoon.id.MQ,raccoon.group.Zw ,  raccoon.json.v1", ["raccoon.json.v1"]),
            ("bearer, secret, raccoon.proto.v1", ["raccoon.proto.v1"]),
            ("raccoon.id.MQ, raccoon.group.Zw, bearer, secret", []),
            ("Raccoon.JSON.v1, raccoon.json.v2, mqtt", []),
            ("", []),
        ):
            self.assertEqual(self.agreed(offer), agreed, offer)

    def test_refusals(self) -> None:
        """Who has agreed on JSON is refused in it, and whoever has not in protobuf."""
        first = self.house.socket(Sec_WebSocket_Protocol="raccoon.proto.v1")
        self.assertEqual(first.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        for name, code, reason, text in (
            ("1234", 5, "duplicated connection: [--default--] 1234,", "duplicate connection: 1234"),
            ("2", 4, "max connection reached", "Max connection reached"),
        ):
            message, end = self.house.socket(X_User_ID=name, Sec_WebSocket_Protocol="raccoon.json.v1").frames()
            body = f'{{"status":2,"code":{code},"sent_time":1638155915,"reason":"{reason}"}}'
            self.assertEqual(message, (TEXT, body.encode()))
            self.assertEqual(end, (CLOSE, close(1008, text)))
            message, end = self.house.socket(X_User_ID=name, Sec_WebSocket_Protocol="raccoon.proto.v1").frames()
            self.assert_reply(self.protobuf([message]), code, reason)

    def test_messages(self) -> None:
        """Messages are judged frame by frame all the same."""
        socket = self.house.socket(Sec_WebSocket_Protocol="raccoon.json.v1")
        self.assertEqual(socket.tell(BINARY, PROTO_BATCH), [(BINARY, PROTO_OK)])
        self.assertEqual(socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_identity(self) -> None:
        """Who says there who it is, is that."""
        offer = "raccoon.id.YWxpY2U, raccoon.group.dmlld2Vycw, raccoon.json.v1"
        self.house.socket(X_User_ID="", Sec_WebSocket_Protocol=offer).tell(TEXT, JSON_BATCH)
        self.assertEqual(self.house.taken[0][1], Identity("viewers", "alice"))


class CountTests(SocketTestCase):
    """What is counted of a connection: contract section 12.1."""

    settings = WebSocketSettings(write_buffer_limit=1000, max_connections=3)

    def test_connections(self) -> None:
        """Who is let in, who is connected, and how long that lasts."""
        socket = self.house.socket()
        self.house.loop.advance(1.5)
        group = self.house.counts.group("--default--")
        self.assertEqual((group.connected, group.open), (1, 1))
        socket.vanish()
        self.assertEqual((group.connected, group.open), (1, 0))
        self.assertEqual((sum(group.sessions.counts), group.sessions.total), (1, 1500))

    def test_refused(self) -> None:
        """Who is not let in is counted under the reason, in its own group, and nowhere else."""
        for number in (0, 1, 2, 2, 3, 3):
            self.house.socket(X_User_ID=str(number), X_User_Group="viewers")
        self.house.client().send(handshake(Sec_WebSocket_Key="", X_User_Group="viewers"))
        self.assertEqual(
            self.house.counted(), {"viewers": {"refused:exists": 1, "refused:serverlimit": 2, "refused:ugfailure": 1}}
        )

    def test_ends(self) -> None:
        """An orderly end is no failure, one without a word or a code is, and so is any other."""
        ends: list[tuple[Any, str | None]] = [
            (lambda socket: socket.tell(CLOSE, close(1000)), None),
            (lambda socket: socket.tell(CLOSE, close(1001)), None),
            (lambda socket: socket.tell(CLOSE), "closeerror"),
            (lambda socket: socket.vanish(), "closeerror"),
            (lambda socket: socket.hang_up(), "closeerror"),
            (lambda socket: socket.tell(CLOSE, close(1008)), "unknown"),
            (lambda socket: socket.tell(CLOSE, close(4000)), "unknown"),
        ]
        for end, reason in ends:
            self.house = House(settings=self.settings)
            end(self.house.socket())
            self.assertEqual(self.house.counted(), {"--default--": {reason: 1}} if reason else {})

    def test_our_ends(self) -> None:
        """A client that gives no sign of life is a failure; the end of the server is none, whatever it says to it."""
        for end, reply, reason in (
            ("give_up", close(1001), "unknown"),
            ("give_up", None, "unknown"),
            ("drain", close(1001), None),
            ("drain", None, None),
        ):
            self.house = House(settings=self.settings)
            socket = self.house.socket()
            (served,) = self.house.sockets.open
            getattr(served, end)()
            socket.vanish() if reply is None else socket.tell(CLOSE, reply)
            self.assertEqual(self.house.counted(), {"--default--": {reason: 1}} if reason else {})

    def test_times(self) -> None:
        """With acknowledgement after delivery, the time from a message to its answer is observed, whatever becomes of
        it; not that of what was refused."""
        self.house.held = True
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        socket.tell(TEXT, b"x")
        self.house.loop.advance(0.25)
        self.house.answer()
        counts = self.house.counts
        self.assertEqual((sum(counts.answered.counts), counts.answered.total), (1, 250))
        self.assertEqual((sum(counts.acked.counts), counts.acked.total), (1, 0))
        socket.tell(TEXT, JSON_BATCH)
        self.house.outcome = Reply(Outcome.FAILED, "1234", "why")
        self.house.loop.advance(0.125)
        self.house.answer()
        self.assertEqual((sum(counts.answered.counts), counts.answered.total), (2, 375))

    def test_times_of_the_gone(self) -> None:
        """Who has gone before the answer is not answered."""
        self.house.held = True
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        socket.vanish()
        self.house.answer()
        self.assertEqual(sum(self.house.counts.answered.counts), 0)

    def test_no_times(self) -> None:
        """With acknowledgement before it, nothing is observed."""
        self.house.sockets.timed = False
        self.house.socket().tell(TEXT, JSON_BATCH)
        self.assertEqual((sum(self.house.counts.answered.counts), sum(self.house.counts.acked.counts)), (0, 0))

    def stuck(self) -> tuple[SocketClient, Any]:
        """A client that reads nothing, and for which something is stored already."""
        self.house.outcome = Reply(Outcome.FAILED, "1234", "x" * 66_000)
        socket = self.house.socket()
        (served,) = self.house.sockets.open
        socket.wire.blocked = True
        socket.tell(TEXT, JSON_BATCH)
        return socket, served

    def failures(self) -> tuple[int, int, int]:
        group = self.house.counts.group("--default--")
        return group.ping_failures, group.pong_failures, self.house.counts.close_errors

    def test_pings(self) -> None:
        """Pings and pongs that a client has not taken when it is cut off have failed."""
        socket, served = self.stuck()
        served.ping()
        socket.tell(PING, b"x")
        socket.tell(PING, b"y")
        self.assertEqual(self.failures(), (0, 0, 0))
        self.run_for(5.1)
        self.assertTrue(socket.reset)
        self.assertEqual(self.failures(), (1, 2, 0))

    def test_pings_taken(self) -> None:
        """Those that it takes late have not."""
        socket, served = self.stuck()
        served.ping()
        socket.tell(PING, b"x")
        socket.wire.blocked = False
        self.house.loop.spin()
        socket.vanish()
        self.assertEqual(self.failures(), (0, 0, 0))

    def test_close_error(self) -> None:
        """A close frame that a client does not take in time is an error; one that it does not answer is none."""
        socket, served = self.stuck()
        served.give_up()
        self.run_for(6.2)
        self.assertTrue(socket.reset)
        self.assertEqual(self.failures(), (0, 0, 1))
        self.house = House(settings=self.settings)
        socket = self.house.socket()
        (served,) = self.house.sockets.open
        served.give_up()
        self.run_for(1.1)
        self.assertTrue(socket.closed)
        self.assertEqual(self.failures(), (0, 0, 0))


class DuplicateTests(SocketTestCase):
    """Batches that come twice: contract section 8."""

    def setUp(self) -> None:
        super().setUp()
        self.house = self.make()
        self.socket = self.house.socket()

    def make(self, **dedup: Any) -> House:
        return House(dedup=DedupSettings(enabled=True, **dedup))

    def test_twice(self) -> None:
        """The second one is answered, in its own encoding, and not published."""
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        answer = self.protobuf(self.socket.tell(BINARY, PROTO_BATCH))
        self.assert_reply(answer, 1, data={"req_guid": "1234", "duplicate": "true"}, status=1)
        self.assertEqual(len(self.house.taken), 1)
        self.assertEqual(self.house.counted(), {"--default--": {"success": 2, "duplicate": 1}})

    def test_no_guid(self) -> None:
        """A batch without a guid is nobody's duplicate."""
        for _ in range(3):
            self.assert_reply(self.protobuf(self.socket.tell(BINARY, batch(""))), 1, data={"req_guid": ""}, status=1)
        self.assertEqual(len(self.house.taken), 3)

    def test_under_way(self) -> None:
        """One that comes while the first one is under way gets the same answer, also if that is a failure; then it may
        come again."""
        self.house.held = True
        for _ in range(3):
            self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [])
        self.house.outcome = Reply(Outcome.FAILED, "1234", "why")
        self.house.answer()
        frames = self.socket.frames()
        self.assertEqual(len(frames), 3)
        self.assertEqual(len(set(frames)), 1)
        self.assertIn(b'"code":3', frames[0][1])
        self.house.outcome = None
        self.socket.tell(TEXT, JSON_BATCH)
        self.house.answer()
        self.assertEqual(self.socket.frames(), [(TEXT, JSON_OK)])
        self.assertEqual(len(self.house.taken), 2)

    def test_each_its_own(self) -> None:
        """Each connection has its own memory, which ends with it."""
        self.socket.tell(TEXT, JSON_BATCH)
        self.assertEqual(self.house.socket(X_User_ID="2").tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.socket.vanish()
        self.assertEqual(self.house.socket().tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.assertEqual(len(self.house.taken), 3)

    def test_identity(self) -> None:
        """With the scope of identities, a client is known on its next connection, and over REST."""
        self.house = self.make(scope="identity")
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        socket.vanish()
        ((_, payload),) = self.house.socket().tell(TEXT, JSON_BATCH)
        self.assertIn(b'"duplicate":"true"', payload)
        self.assertEqual(self.house.socket(X_User_ID="2").tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.assertEqual(self.house.client().ask(post(X_User_ID="1234")).reply["data"]["duplicate"], "true")
        self.assertEqual(len(self.house.taken), 2)

    def test_limit(self) -> None:
        """So many are remembered, the oldest out first, and for so long."""
        self.house = self.make(most=2, lifetime=60.0)
        socket = self.house.socket()
        for guid in "abc":
            socket.tell(BINARY, batch(guid))
        for guid, known in ("b", True), ("c", True), ("a", False):
            self.assertEqual("duplicate" in self.protobuf(socket.tell(BINARY, batch(guid)))["data"], known)
        self.house.loop.advance(61)
        self.assertNotIn("duplicate", self.protobuf(socket.tell(BINARY, batch("a")))["data"])


class KeepAliveTests(SocketTestCase):
    """Signs of life."""

    settings = WebSocketSettings(ping_interval=3.0, pong_wait=6.0)

    def setUp(self) -> None:
        super().setUp()
        self.house.keepalive.startService()
        self.addCleanup(self.house.keepalive.stopService)

    def test_client_ping(self) -> None:
        """A ping is answered with what it carries."""
        socket = self.house.socket()
        for payload in (b"", b"x", bytes(range(125))):
            self.assertEqual(socket.tell(PING, payload), [(PONG, payload)])

    def test_server_ping(self) -> None:
        """Each connection gets a ping in each interval, spread over it."""
        sockets = [self.house.socket(X_User_ID=str(number)) for number in range(40)]
        busy = 0
        for _ in range(30):
            self.run_for(0.1)
            pinged = 0
            for socket in sockets:
                for received in socket.frames():
                    self.assertEqual(received, (PING, b"--ping--"))
                    socket.tell(PONG, b"--ping--")
                    pinged += 1
            self.assertLess(pinged, 10)
            busy += bool(pinged)
        self.assertGreater(busy, 15)
        self.run_for(3.1)
        for socket in sockets:
            self.assertIn((PING, b"--ping--"), socket.frames())

    def test_silent(self) -> None:
        """A silent client is told so, and closed, within the pong wait and one interval more."""
        socket = self.house.socket()
        self.run_for(5.95)
        self.assertEqual({opcode for opcode, _ in socket.frames()}, {PING})
        self.run_for(3.15)
        *pings, last = socket.frames()
        self.assertEqual(last, (CLOSE, close(1001, "no sign of life")))
        self.assertLessEqual({opcode for opcode, _ in pings}, {PING})
        self.assertEqual(len(self.house.connections), 1 - socket.wire.closed)
        self.run_for(1.1)
        self.assertTrue(socket.closed)
        self.assertEqual(len(self.house.connections), 0)

    def test_vanished(self) -> None:
        """One that is not even there any more is cut off a little later."""
        socket = self.house.socket()
        socket.wire.blocked = True
        self.run_for(6 + 3 + 1 + 5 + 0.2)
        self.assertTrue(socket.reset)
        self.assertEqual(len(self.house.connections), 0)

    def test_whatever(self) -> None:
        """Whatever a client sends is a sign of life, be it part of a frame."""
        long = frame(BINARY, b"\x1a\x02\x12\x00" * 10)
        for what in (
            [frame(PONG)],
            [frame(PONG, b"--ping--")],
            [frame(PING)],
            [frame(TEXT, JSON_BATCH)],
            [long[:5], long[5:6], long[6:7], long[7:8], long[8:]],
        ):
            socket = self.house.socket()
            for turn in range(10):
                self.run_for(5.9)
                socket.send(what[turn % len(what)])
                self.assertNotIn(CLOSE, [opcode for opcode, _ in socket.frames()])
            socket.vanish()

    def test_waiting(self) -> None:
        """A client that waits for an answer has to answer pings all the same."""
        self.house.held = True
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        self.run_for(9.1)
        self.assertIn((CLOSE, close(1001, "no sign of life")), socket.frames())

    def test_unasked_pong(self) -> None:
        """A pong that nobody asked for is nothing to answer."""
        self.assertEqual(self.house.socket().tell(PONG, b"hello"), [])


class SlowReaderTests(SocketTestCase):
    """Clients that do not read their answers."""

    settings = WebSocketSettings(write_wait=5.0, write_buffer_limit=300_000)

    def setUp(self) -> None:
        super().setUp()
        self.house.outcome = Reply(Outcome.FAILED, "1234", "x" * 50_000)
        self.socket = self.house.socket()
        self.socket.wire.blocked = True

    def fill(self, times: int) -> None:
        for _ in range(times):
            self.socket.tell(TEXT, JSON_BATCH)

    def test_catches_up(self) -> None:
        """A client that is slow for a while is read meanwhile, and gets everything."""
        self.fill(4)
        self.assertEqual(len(self.house.taken), 4)
        self.run_for(4.5)
        self.socket.wire.blocked = False
        self.house.loop.spin()
        self.assertEqual(len(self.socket.frames()), 4)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.run_for(10)
        self.assertEqual(len(self.socket.tell(TEXT, JSON_BATCH)), 1)

    def test_deadline(self) -> None:
        """One that has not read everything when its time is over is cut off, and its place is free."""
        self.fill(2)
        self.run_for(4.9)
        self.assertFalse(self.socket.wire.closed)
        self.run_for(0.2)
        self.assertTrue(self.socket.reset)
        self.assert_gone()

    def test_limit(self) -> None:
        """One for which too much is stored is cut off at once."""
        self.fill(6)
        self.assertFalse(self.socket.wire.closed)
        self.fill(2)
        self.assertTrue(self.socket.reset)
        self.assert_gone()

    def test_little(self) -> None:
        """What fits into a socket's buffer is nobody's business."""
        self.fill(1)
        self.run_for(100)
        self.assertFalse(self.socket.wire.closed)

    def test_others(self) -> None:
        """Nobody else waits for it."""
        other = self.house.socket(X_User_ID="2")
        self.fill(3)
        self.house.outcome = None
        self.assertEqual(other.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_again(self) -> None:
        """Each time that it is slow counts for itself."""
        for _ in range(3):
            self.socket.wire.blocked = True
            self.fill(3)
            self.run_for(4.0)
            self.socket.wire.blocked = False
            self.house.loop.spin()
            self.assertEqual(len(self.socket.frames()), 3)

    def test_gone(self) -> None:
        """One that leaves meanwhile leaves nothing behind."""
        self.fill(3)
        self.socket.vanish()
        self.assert_gone()

    def test_answers_in_one_go(self) -> None:
        """Being cut off in the middle of its answers is no error."""
        self.house.held = True
        self.fill(20)
        self.house.answer()
        self.assertTrue(self.socket.reset)
        self.assert_gone()

    def test_close_frame(self) -> None:
        """It may be a close frame that is one byte too much, or any other frame: the connection ends all the same."""
        for end in ("drain", "give_up", "ping", "violation"):
            self.house = House(settings=WebSocketSettings(write_buffer_limit=1000))
            self.house.outcome = Reply(Outcome.FAILED, "1234", "x" * 66_000)
            socket = self.house.socket()
            (served,) = self.house.sockets.open
            socket.wire.blocked = True
            socket.tell(TEXT, JSON_BATCH)
            socket.send(*[frame(PING, bytes(120))] * 8, frame(PING, bytes(20)))
            self.assertFalse(socket.wire.closed)
            if end == "violation":
                socket.send(frame(3))
            else:
                getattr(served, end)()
            self.house.loop.spin()
            self.assertTrue(socket.reset, end)
            self.assert_gone()

    def test_pings(self) -> None:
        """A client that floods with pings and reads no pong is cut off too."""
        for _ in range(40):
            self.socket.send(frame(PING, b"x" * 125) * 100)
        self.assertTrue(self.socket.reset)
        self.assert_gone()


class DrainTests(SocketTestCase):
    """The end of the server, for one connection."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.house.socket()
        (self.served,) = self.house.sockets.open

    def drain(self) -> list[tuple[int, bytes]]:
        self.served.drain()
        self.house.loop.spin()
        return self.socket.frames()

    def test_idle(self) -> None:
        """A connection that waits for nothing is closed at once, and says why."""
        self.assertEqual(self.drain(), [SHUTTING_DOWN])
        self.assertEqual(self.socket.tell(CLOSE, close(1001)), [])
        self.assertTrue(self.socket.closed)
        self.assert_gone()

    def test_unanswered(self) -> None:
        """One that waits for answers gets them first."""
        self.house.held = True
        self.socket.tell(TEXT, JSON_BATCH)
        self.socket.tell(BINARY, PROTO_BATCH)
        self.assertEqual(self.drain(), [])
        self.house.answer()
        self.assertEqual(self.socket.frames(), [(TEXT, JSON_OK), (BINARY, PROTO_OK), SHUTTING_DOWN])

    def test_new_ones(self) -> None:
        """What it sends meanwhile is refused by its guid, and not taken."""
        self.house.held = True
        self.socket.tell(TEXT, JSON_BATCH)
        self.drain()
        answer = self.protobuf(self.socket.tell(BINARY, batch("a")))
        data = {"req_guid": "a", "retryable": "true", "retry_after_ms": "1000"}
        self.assert_reply(answer, 3, "shutting down, send it again on a new connection", data)
        answer = self.protobuf(self.socket.tell(BINARY, b"\x01"))
        self.assertEqual((answer["code"], answer["data"]), (2, {"req_guid": ""}))
        self.assertEqual(self.socket.tell(PING, b"x"), [(PONG, b"x")])
        self.house.answer()
        self.assertEqual(self.socket.frames(), [(TEXT, JSON_OK), SHUTTING_DOWN])
        self.assertEqual(len(self.house.taken), 1)

    def test_after_goodbye(self) -> None:
        """What crosses the goodbye on its way is not taken, and so not acknowledged."""
        self.drain()
        self.assertEqual(self.socket.tell(TEXT, JSON_BATCH), [])
        self.assertEqual(self.house.taken, [])

    def test_twice(self) -> None:
        """Draining twice is draining once."""
        self.assertEqual(self.drain(), [SHUTTING_DOWN])
        self.assertEqual(self.drain(), [])

    def test_gone(self) -> None:
        """Draining a connection that has gone is no error."""
        self.house.held = True
        self.socket.tell(TEXT, JSON_BATCH)
        self.socket.vanish()
        self.drain()
        self.house.answer()
        self.assert_gone()

    def test_stays(self) -> None:
        """A client that does not go is closed after a second."""
        for fraction in (0.0, 0.35, 0.85):
            self.house.loop.advance(fraction)
            socket = self.house.socket(X_User_ID=str(fraction))
            (served,) = self.house.sockets.open - {self.served}
            served.drain()
            self.run_for(0.95)
            self.assertFalse(socket.wire.closed)
            self.run_for(0.1)
            self.assertTrue(socket.closed)

    def test_abort(self) -> None:
        """When there is no time left it is cut off, whatever its state is."""
        self.served.abort()
        self.house.loop.spin()
        self.assertTrue(self.socket.reset)
        self.assert_gone()
        socket = self.house.socket()
        (served,) = self.house.sockets.open
        socket.wire.blocked = True
        socket.tell(CLOSE, close(1000))
        self.assertFalse(socket.wire.closed)
        served.abort()
        served.abort()
        self.house.loop.spin()
        self.assertTrue(socket.reset)
        self.assert_gone()


FRAMES = st.builds(
    frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, TEXT, BINARY, 3, 11]),
    st.sampled_from([b"", JSON_BATCH, PROTO_BATCH, close(1000), close(999), b"\xff", bytes(126), bytes(1001), b"{}"])
    | st.binary(max_size=140),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 4]),
    mask=st.sampled_from([b"\x00\x00\x00\x00", b"abcd", b"abcd", None]),
)
STREAMS = st.lists(FRAMES | st.binary(max_size=20), max_size=8).map(b"".join)


class AnythingTests(WireTestCase):
    """Frames that nobody should send."""

    def serve(self, segments: list[bytes], held: bool = False) -> tuple[list[tuple[int, bytes]], list[Any]]:
        house = House(limits=LimitSettings(body=1000))
        house.held = held
        socket = house.socket()
        socket.send(*segments)
        house.answer()
        frames = socket.frames()
        house.loop.run(1.1, 0.1)
        socket.hang_up()
        house.loop.run(5.1, 0.1)
        self.assertTrue(socket.wire.closed)
        self.assertEqual((len(house.connections), house.sockets.open), (0, set()))
        self.assertEqual(house.loop.getDelayedCalls(), [])
        return frames, house.taken

    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.differing_executors])
    @given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6))
    def test_cuts(self, stream: bytes, places: list[int]) -> None:
        """Whatever comes in, nothing breaks, nothing is left behind, nothing is logged, and it does not matter how it
        is cut."""
        bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
        segments = [stream[start:end] for start, end in pairwise(bounds) if start != end]
        self.assertEqual(self.serve(segments), self.serve([stream]))
        self.assertEqual(self.noise, [])

    @settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.differing_executors])
    @given(STREAMS)
    def test_one_answer_each(self, stream: bytes) -> None:
        """Each batch that is taken has one answer, also when Kafka takes its time, unless the client or its mistake
        has closed the connection before."""
        frames, taken = self.serve([stream], held=True)
        answers = [payload for opcode, payload in frames if opcode in (TEXT, BINARY)]
        self.assertLessEqual(len([each for each in answers if b"1234" in each]), len(taken))
        opcodes = [opcode for opcode, _ in frames]
        self.assertNotIn(CLOSE, opcodes[:-1])
        if CLOSE not in opcodes:
            self.assertEqual(len([each for each in answers if each in (JSON_OK, PROTO_OK)]), len(taken))


class QuietTests(SocketTestCase):
    """The library below."""

    def test_silence(self) -> None:
        """It writes nothing, even if somebody has switched its log on."""
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        self.addCleanup(txaio.set_global_log_level, txaio.get_global_log_level())
        txaio.set_global_log_level("trace")
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        socket.tell(3, b"x")
        self.house.socket().tell(CLOSE, close(999))
        self.house.socket(X_User_ID="2").vanish()
        self.run_for(2)
        self.assertEqual(lines, [])

    def test_errors(self) -> None:
        """An error of its own is ours to know."""
        self.house.sockets.log.error("odd: {what}", what="x")
        self.assertEqual(self.noise, ["WebSocket library: odd: x"])
        self.noise.clear()

    def test_timers(self) -> None:
        """Its timers are ours: none is on the global reactor, which nothing of ours may touch."""
        self.house.socket()
        refused = self.house.socket()
        (timer,) = self.house.loop.getDelayedCalls()
        self.assertEqual(timer.getTime(), self.house.loop.seconds() + 1.0)
        refused.tell(CLOSE, close(1008))
        self.assertEqual(self.house.loop.getDelayedCalls(), [])


in_both_lanes(globals())
