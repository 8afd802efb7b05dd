"""Tests for `raccoon_tx.transports.admission`, with real connections: contract section 5.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from raccoon_tx.settings import WebSocketSettings
from tests.wire import (
    BINARY,
    CLOSE,
    JSON_BATCH,
    JSON_OK,
    PING,
    PONG,
    TEXT,
    House,
    SocketClient,
    WireTestCase,
    batch,
    close,
    frame,
    handshake,
    read_protobuf,
)

ASKED = (PING, b"--ping--")
REPLACED = (CLOSE, close(1008, "replaced by a new connection of this client"))
REFUSED = (CLOSE, close(1008, "duplicate connection: 1234"))


class PolicyTestCase(WireTestCase):
    """:ivar policy: of `house`."""

    policy: ClassVar[str]

    def setUp(self) -> None:
        super().setUp()
        self.house = self.make()

    def make(self, **settings: Any) -> House:
        return House(settings=WebSocketSettings(duplicate_policy=self.policy, **settings))

    def assert_gone(self) -> None:
        """Nobody is connected, and nothing is left of those who were."""
        sockets = self.house.sockets
        self.assertEqual((len(self.house.connections), sockets.open, sockets.admission._probes), (0, set(), {}))
        self.assertEqual(self.house.keepalive._slots, [set()] * len(self.house.keepalive._slots))
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.assertEqual([group.open for group in self.house.counts.groups()], [0])

    def assert_serves(self, socket: SocketClient) -> None:
        self.assertEqual([each for each in socket.tell(TEXT, JSON_BATCH) if each != ASKED], [(TEXT, JSON_OK)])

    def assert_refused(self, socket: SocketClient) -> None:
        (opcode, payload), end = socket.frames()
        self.assertEqual((opcode, end), (BINARY, REFUSED))
        self.assert_reply(read_protobuf(payload), 5, "duplicated connection: [--default--] 1234,")


class RejectTests(PolicyTestCase):
    """Who is connected stays."""

    policy = "reject"

    def test_crowd(self) -> None:
        """Of 200 that come at once, the first one stays."""
        sockets = [self.house.socket() for _ in range(200)]
        self.assert_serves(sockets[0])
        for socket in sockets[1:]:
            self.assert_refused(socket)
        self.house.loop.run(1.1)
        self.assertEqual([socket.closed for socket in sockets], [False] + [True] * 199)
        self.assertEqual(self.house.counted()["--default--"], {"success": 1, "refused:exists": 199})
        sockets[0].vanish()
        self.assert_gone()


class ReplaceTests(PolicyTestCase):
    """Who comes later stays."""

    policy = "replace"

    def test_replaced(self) -> None:
        """The first one is told so and closed, and its end does not end the second one."""
        first = self.house.socket()
        second = self.house.socket()
        self.assertEqual(first.frames(), [REPLACED])
        self.assert_serves(second)
        self.assertEqual(first.tell(TEXT, JSON_BATCH), [])
        first.tell(CLOSE, close(1008))
        self.assertTrue(first.closed)
        self.assertEqual(len(self.house.connections), 1)
        third = self.house.socket()
        self.assertEqual(second.frames(), [REPLACED])
        self.assert_serves(third)
        for socket in second, third:
            socket.vanish()
        self.assert_gone()

    def test_dead(self) -> None:
        """One that does not answer is closed a little later; that is no failure to read."""
        first = self.house.socket()
        first.wire.blocked = True
        second = self.house.socket()
        self.house.loop.run(1 + 5 + 0.1)
        self.assertTrue(first.reset)
        self.assert_serves(second)
        second.tell(CLOSE, close(1000))
        self.assert_gone()
        self.assertEqual(self.house.counted()["--default--"], {"success": 1})

    def test_unanswered(self) -> None:
        """What the first one has sent is published all the same, only its answer has nowhere to go."""
        self.house.held = True
        first = self.house.socket(frame(TEXT, JSON_BATCH))
        second = self.house.socket()
        self.house.answer()
        self.assertEqual(first.frames(), [REPLACED])
        self.assertEqual((len(self.house.taken), second.frames()), (1, []))

    def test_full(self) -> None:
        """Replacing takes no place more; others find none."""
        self.house = self.make(max_connections=1)
        self.house.socket()
        self.assert_serves(self.house.socket())
        ((_, payload), _) = self.house.socket(X_User_ID="2").frames()
        self.assert_reply(read_protobuf(payload), 4, "max connection reached")

    def test_without_id(self) -> None:
        """Clients without an id do not replace each other."""
        for socket in [self.house.socket(X_User_ID="") for _ in range(3)]:
            self.assert_serves(socket)

    def test_crowd(self) -> None:
        """Of 200 that come at once, the last one stays, and is there once."""
        sockets = [self.house.socket() for _ in range(200)]
        self.house.loop.run(1.1)
        self.assertEqual([socket.closed for socket in sockets], [True] * 199 + [False])
        self.assert_serves(sockets[-1])
        self.assertEqual([group.open for group in self.house.counts.groups()], [1])
        sockets[-1].vanish()
        self.assert_gone()


class ProbeTests(PolicyTestCase):
    """Who is connected stays if it is alive."""

    policy = "probe"

    def setUp(self) -> None:
        super().setUp()
        self.first = self.house.socket()

    def test_alive(self) -> None:
        """If the first one gives a sign of life, the second one is refused at that moment."""
        for sign in (frame(PONG, b"--ping--"), frame(PING), frame(TEXT, JSON_BATCH), frame(TEXT, JSON_BATCH)[:3]):
            self.house = self.make()
            first = self.house.socket()
            second = self.house.socket()
            self.assertEqual(first.frames(), [ASKED])
            self.house.loop.run(1.9)
            self.assertEqual(second.frames(), [])
            first.send(sign)
            self.assert_refused(second)
            second.tell(CLOSE, close(1008))
            self.assertTrue(second.closed)
            self.assertFalse(first.wire.closed)
            self.house.loop.run(5)
            first.vanish()
            self.assert_gone()

    def test_dead(self) -> None:
        """If it gives none for two seconds it is dropped, and the second one is let in."""
        second = self.house.socket()
        self.house.loop.run(1.95)
        self.assertFalse(self.first.wire.closed)
        self.house.loop.run(0.1)
        self.assertTrue(self.first.reset)
        self.assert_serves(second)
        self.assertEqual(len(self.house.connections), 1)
        self.assertEqual(self.house.counted()["--default--"], {"success": 1, "unknown": 1})
        second.vanish()
        self.assert_gone()

    def test_earlier_signs(self) -> None:
        """What the first one has sent before does not help it."""
        self.assert_serves(self.first)
        second = self.house.socket()
        self.house.loop.run(2.1)
        self.assertTrue(self.first.reset)
        self.assert_serves(second)

    def test_first_leaves(self) -> None:
        """If the first one leaves meanwhile, in whatever way, the second one is let in at once."""
        leaves: list[Callable[[SocketClient], object]] = [
            SocketClient.vanish,
            SocketClient.hang_up,
            lambda socket: socket.tell(CLOSE, close(1000)),
            lambda socket: socket.send(frame(3), frame(CLOSE, close(1002))),
        ]
        for leave in leaves:
            self.house = self.make()
            first, second = self.house.socket(), self.house.socket()
            leave(first)
            self.assert_serves(second)
            self.assertEqual(len(self.house.connections), 1)
            self.house.loop.run(3)
            self.assert_serves(second)
            second.vanish()
            self.assert_gone()

    def test_second_leaves(self) -> None:
        """If the second one leaves meanwhile, nothing happens to the first one."""
        second = self.house.socket()
        second.send(frame(TEXT, JSON_BATCH))
        second.vanish()
        self.house.loop.run(3)
        self.assertEqual(self.house.taken, [])
        self.assert_serves(self.first)
        self.first.vanish()
        self.assert_gone()

    def test_third(self) -> None:
        """While one waits, more are refused."""
        second = self.house.socket()
        self.assert_refused(self.house.socket())
        self.house.loop.run(2.1)
        self.assert_serves(second)

    def test_chain(self) -> None:
        """The second one can be replaced in its turn."""
        second = self.house.socket()
        self.house.loop.run(2.1)
        third = self.house.socket()
        self.assertEqual(second.frames(), [ASKED])
        self.house.loop.run(2.1)
        self.assertTrue(second.reset)
        self.assert_serves(third)

    def test_messages_wait(self) -> None:
        """What the second one sends meanwhile is taken when it is let in, each in its encoding."""
        second = self.house.socket(frame(TEXT, JSON_BATCH))
        self.assertEqual(second.tell(BINARY, batch("b")), [])
        self.assertEqual(second.tell(PING, b"x"), [(PONG, b"x")])
        self.assertEqual(self.house.taken, [])
        self.house.loop.run(2.1)
        answered, (opcode, payload) = second.frames()
        self.assertEqual((answered, opcode), ((TEXT, JSON_OK), BINARY))
        self.assert_reply(read_protobuf(payload), 1, data={"req_guid": "b"}, status=1)

    def test_messages_of_a_refused(self) -> None:
        """If it is refused, they are not taken."""
        second = self.house.socket(frame(TEXT, JSON_BATCH))
        self.first.tell(PONG)
        self.assert_refused(second)
        self.assertEqual(self.house.taken, [])

    def test_bound(self) -> None:
        """So many may wait as may be unanswered; those beyond hear so at once, by their guids."""
        self.house = self.make(max_in_flight=3)
        self.house.socket()
        second = self.house.socket()
        second.send(*[frame(BINARY, batch(str(number))) for number in range(5)])
        for guid, (_, payload) in zip("34", second.frames(), strict=True):
            self.assertEqual(read_protobuf(payload)["data"]["req_guid"], guid)
            self.assertEqual(read_protobuf(payload)["code"], 3)
        self.house.loop.run(2.1)
        answers = [read_protobuf(payload) for _, payload in second.frames()]
        self.assertEqual([(each["data"]["req_guid"], each["code"]) for each in answers], [("0", 1), ("1", 1), ("2", 1)])
        self.assertEqual(second.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])

    def test_bytes(self) -> None:
        """They have no more bytes together than one may have."""
        second = self.house.socket()
        self.assertEqual(second.tell(BINARY, batch("a", bytes(900))), [])
        ((_, payload),) = second.tell(BINARY, batch("b", bytes(100)))
        self.assertEqual(read_protobuf(payload)["code"], 3)
        self.assertEqual(second.tell(BINARY, batch("c", b"x")), [])

    def test_too_large(self) -> None:
        """One that is too large ends the waiting."""
        second = self.house.socket()
        self.assertEqual([opcode for opcode, _ in second.tell(BINARY, bytes(1001))], [BINARY, CLOSE])
        second.tell(CLOSE, close(1009))
        self.assertTrue(second.closed)
        self.house.loop.run(2.1)
        self.assert_serves(self.first)

    def test_does_not_read(self) -> None:
        """One that waits, and reads nothing, is bounded like any other."""
        client = self.house.client()
        client.wire.blocked = True
        client.send(handshake())
        for _ in range(200):
            client.send(frame(PING, b"x" * 125) * 100)
        self.assertTrue(client.reset)
        self.house.loop.run(2.1)
        self.assert_serves(self.first)

    def test_drain_waiting(self) -> None:
        """At the end of the server, one that waits is told so, and what it has sent is refused by its guid."""
        second = self.house.socket(frame(BINARY, batch("a")) + frame(BINARY, batch("b")))
        (waiting,) = [socket for socket in self.house.sockets.open if socket._held is not None]
        waiting.drain()
        self.house.loop.spin()
        *answers, end = second.frames()
        self.assertEqual([read_protobuf(payload)["data"]["req_guid"] for _, payload in answers], ["a", "b"])
        self.assertEqual(end, (CLOSE, close(1001, "server shutting down")))
        self.assertEqual(self.house.taken, [])
        second.tell(CLOSE, close(1001))
        self.house.loop.run(2.1)
        self.assert_serves(self.first)
        self.first.vanish()
        self.assert_gone()

    def test_crowd(self) -> None:
        """Of 200 that come at once exactly one stays: of the living the first, of the others the second."""
        sockets = [self.house.socket() for _ in range(200)]
        self.house.loop.run(3.2)
        self.assertEqual([socket.wire.closed for socket in sockets], [False] + [True] * 199)
        self.assertTrue(self.first.reset)
        self.assert_serves(sockets[0])
        self.assertEqual([group.open for group in self.house.counts.groups()], [1])
        sockets[0].vanish()
        self.assert_gone()
