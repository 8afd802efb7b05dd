"""Tests for `raccoon_tx.transports.plain_channel` and `front`: what stays on the way of plain requests, and what leaves
it when. That the answers are those of the other way is the business of test_lanes_http.py, and the tests of HTTP, REST
and TLS run over both.
"""

from __future__ import annotations

import gc
import re
from typing import Any

from raccoon_tx.model import Outcome, Reply
from raccoon_tx.transports import answers, plain_channel
from raccoon_tx.transports.channel import EventChannel
from raccoon_tx.transports.plain_channel import KEPT, PlainChannel
from raccoon_tx.transports.websocket import EventSocket
from tests.wire import (
    JSON_BATCH,
    JSON_OK,
    NOW,
    PROTO_BATCH,
    PROTO_OK,
    TEXT,
    Client,
    House,
    WireTestCase,
    chunked,
    frame,
    handshake,
    parse_frames,
    post,
    request,
)


class FrontTestCase(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        self.client = self.house.client()

    def assert_has(self, protocol: type[Any], client: Client | None = None) -> None:
        self.assertIsInstance((client or self.client).wire.protocol, protocol)


class PlainTests(FrontTestCase):
    """Requests that are plain."""

    def test_answer(self) -> None:
        """A plain POST has its answer in one piece, and the connection stays what it is."""
        writes: list[bytes] = []
        self.patch(plain_channel, "write_now", lambda transport, data: writes.append(data))
        self.client.send(post(PROTO_BATCH, "application/proto"))
        self.assertEqual(
            writes,
            [
                b"HTTP/1.1 200 OK\r\nDate: Mon, 29 Nov 2021 03:18:35 GMT\r\nContent-Type: application/proto\r\n"
                b"Content-Length: 28\r\nX-Content-Type-Options: nosniff\r\n\r\n" + PROTO_OK
            ],
        )
        self.assert_has(PlainChannel)

    def test_refusals(self) -> None:
        """So has one whose batch is refused, unless that is the end of the connection."""
        for outcome in Outcome:
            self.house.outcome = Reply(outcome, "1234", "why", retry_after=1.5)
            if outcome in (Outcome.MAX_CONNECTIONS, Outcome.DUPLICATE_CONNECTION):
                continue  # for WebSockets alone
            client = self.house.client()
            answer = client.ask(post())
            closed = outcome is Outcome.DRAINING
            self.assertEqual((client.closed, answer.headers.get("connection")), (closed, "close" if closed else None))
            if not closed:
                self.assert_has(PlainChannel, client)

    def test_date(self) -> None:
        """The time in an answer is that of its second."""
        times = iter([NOW + 0.1, NOW + 0.9, NOW + 1.0, NOW])
        self.patch(answers, "time", lambda: next(times))
        dates = [self.client.ask(post()).headers["date"][-6:-4] for _ in range(4)]
        self.assertEqual(dates, ["35", "35", "36", "35"])

    def test_many(self) -> None:
        """A connection that served many requests, whole and in parts, has one timer and is what it was."""
        whole = post()
        for number in range(300):
            place = number % len(whole)
            self.client.send(whole[:place], whole[place:])
            self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK])
        self.assert_has(PlainChannel)
        self.client.send(whole * 300)
        self.assertEqual(len(self.client.answers()), 300)
        self.assert_has(PlainChannel)
        self.assertLessEqual(len(self.house.loop.getDelayedCalls()), 3)
        self.client.hang_up()
        self.assertEqual((self.house.loop.getDelayedCalls(), self.house.site.channels), ([], set()))

    def test_small(self) -> None:
        """A connection is small: there may be many that are idle."""
        self.client.ask(post())
        self.assertFalse(hasattr(self.client.wire.protocol, "__dict__"))
        self.assertLess(self.client.wire.protocol.__sizeof__(), 200)

    def test_mixed(self) -> None:
        """One connection may serve many clients, as a proxy's does."""
        self.client.send(post(X_User_ID="1") + post(X_User_ID="2") + post() + post(X_User_ID="1"))
        self.assertEqual([sender.id for _, sender in self.house.taken], ["1", "2", "", "1"])
        self.assert_has(PlainChannel)

    def test_large_in_bytes(self) -> None:
        """A body that comes byte by byte is put together, and what comes behind it is a request of its own."""
        whole = post(JSON_BATCH.ljust(1000)) + post()
        self.client.send(*[bytes([byte]) for byte in whole])
        self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK] * 2)
        self.assert_has(PlainChannel)

    def test_kept(self) -> None:
        """Behind a request that is not answered yet, little is kept, and then nothing is read."""
        self.house.held = True
        self.client.send(post() * 300)
        self.client.send(post())
        self.assertEqual(len(self.client.wire.coming), 1)
        self.assertLess(len(self.client.wire.protocol._kept), KEPT + 65536)
        for _ in range(301):
            self.house.answer()
        self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK] * 301)
        self.assert_has(PlainChannel)

    def test_gone(self) -> None:
        """An answer for a client that has gone goes nowhere."""
        self.house.held = True
        for leave in ("vanish", "cut"):
            client = self.house.client()
            client.send(post())
            if leave == "vanish":
                client.vanish()
            else:
                client.wire.protocol.forceAbortClient()
                self.house.loop.spin()
            self.assertTrue(client.wire.closed)
            self.house.answer()
            self.assertEqual(client.received(), b"")

    def test_forgotten(self) -> None:
        """A connection that has ended is forgotten, with all that it held."""

        def channels() -> int:
            gc.collect()
            return sum(isinstance(thing, PlainChannel) for thing in gc.get_objects())

        before = channels()
        for leave in ("hang_up", "vanish"):
            for whole in (post()[:-1], post()[:30], handshake(), request("GET", "/ping")):
                client = self.house.client()
                client.ask(post())
                client.send(whole)
                getattr(client, leave)()
        del client
        self.assertEqual(channels(), before)


class OtherTests(FrontTestCase):
    """Requests that are not plain."""

    def test_leaves(self) -> None:
        """They leave for good, and are answered as ever; so is what comes behind them."""
        for odd in (
            post(chunked(JSON_BATCH), Transfer_Encoding="chunked"),
            post(Connection="keep-alive, x"),
            post(Accept="text/html", Expect="x"),
            request("GET", "/ping"),
            request("POST", "/api/v1/events/", JSON_BATCH, Content_Type="application/json"),
            b"\r\n" + post(),
            post(b"x", "text/plain"),
        ):
            client = self.house.client()
            client.send(post() + odd + post())
            first, _, last = client.answers()
            self.assertEqual((first.body, last.body), (JSON_OK, JSON_OK))
            self.assert_has(EventChannel, client)
            client.hang_up()
            self.assertTrue(client.closed)

    def test_at_once(self) -> None:
        """They leave at the first byte that differs, or line that is odd."""
        for start in (b"G", b"GET /api", b"POST /api/v1/events HTTP/1.1\r\nHost: a\r\n", b"P"):
            client = self.house.client()
            client.send(start)
            self.assert_has(PlainChannel, client)
        for start in (b"H", b"GET /ping", b"POST /api/v1/events HTTP/1.1\r\nExpect: x\r\n", b"PUT"):
            client = self.house.client()
            client.send(start)
            self.assert_has(EventChannel, client)

    def test_byte_for_byte(self) -> None:
        """What they see is what came, in the time that was left."""
        self.client.send(b"POST /api/v1/events HTTP/1.1\r\nA: ")
        self.house.loop.advance(9.0)
        self.client.send(b"b\r\nExp")
        self.client.send(b"ect: x\r\n")
        self.assert_has(EventChannel)
        self.house.loop.advance(1.1)
        self.house.loop.spin()
        self.assertEqual(self.client.answers()[0].status, 408)

    def test_long_head(self) -> None:
        """So does a head that is long, whole or not."""
        for cut in (5000, 100, 10_000):
            client = self.house.client()
            whole = post(Cookie="x" * 6000)
            client.send(whole[:cut], whole[cut:])
            self.assertEqual(client.answers()[0].body, JSON_OK)
            self.assert_has(EventChannel, client)

    def test_body_left(self) -> None:
        """A body that is late, or breaks off, or that the server's stop meets, leaves in the middle."""
        for end in ("late", "half", "drain"):
            client = self.house.client()
            client.send(post()[:-5])
            self.assert_has(PlainChannel, client)
            if end == "late":
                self.house.loop.advance(30.1)
            elif end == "half":
                client.hang_up()
            else:
                client.wire.protocol.drain()
                client.send(post()[-5:])
            self.house.loop.spin()
            (answer,) = client.answers()
            self.assertEqual(
                (answer.status, answer.headers["connection"]), ({"late": 408, "half": 500}.get(end, 200), "close")
            )
            self.assert_has(EventChannel, client)

    def test_broken(self) -> None:
        """A mistake of ours is answered once, whoever answers that batch later; what comes behind it is served."""
        late: list[Any] = []

        def submit(body: bytes, codec: Any, sender: Any, answer: Any) -> None:
            late.append(answer)
            if len(late) == 1:
                raise ZeroDivisionError
            answer(Reply(Outcome.OK, "second"))

        client = House(submit=submit).client()
        client.send(post() + post())
        late[0](Reply(Outcome.OK, "first"))
        self.assertEqual([answer.status for answer in client.answers()], [500, 200])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.noise, ["a request could not be served"])
        self.noise.clear()

    def test_draining(self) -> None:
        """A connection that comes when the server stops is none of ours."""
        self.house.site.draining = True
        client = self.house.client()
        self.assert_has(EventChannel, client)
        self.assertEqual(client.ask(post()).headers["connection"], "close")


class UpgradeTests(FrontTestCase):
    """WebSockets."""

    def test_opens(self) -> None:
        """A plain upgrade becomes a WebSocket at once, whole or in parts, also behind a POST."""
        for before in (b"", post()):
            for cut in (0, 10, 40, 100):
                client = self.house.client()
                whole = before + handshake(X_User_ID="") + frame(TEXT, JSON_BATCH)
                client.send(whole[:cut], whole[cut:])
                self.assert_has(EventSocket, client)
                received = client.received()
                self.assertEqual(received.count(b"HTTP/1.1 101"), 1)
                head = re.search(rb"HTTP/1\.1 101.*?\r\n\r\n", received, re.DOTALL)
                assert head is not None
                self.assertEqual(parse_frames(received[head.end() :]), [(TEXT, JSON_OK)])
        self.assertEqual(len(self.house.connections), 8)
        self.assertEqual(self.house.site.channels, {self.client.wire.protocol})

    def test_refused(self) -> None:
        """One that is to be refused is, in the usual way."""
        self.assertEqual(self.client.ask(handshake(Origin="http://evil.example")).status, 403)
        self.assert_has(EventChannel)
        self.assertEqual(self.house.counted(), {"--default--": {"refused:ugfailure": 1}})
