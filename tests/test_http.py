"""Tests for `raccoon_tx.transports.channel`, `http_request` and `http`, by the bytes on the wire: contract sections
4.2, 4.3 and 15.3."""

from __future__ import annotations

import gc
import gzip
import re
from functools import partial
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from raccoon_tx.model import Draining, Outcome, Reply
from raccoon_tx.settings import CorsSettings, DedupSettings, IdentitySettings
from raccoon_tx.transports import http_request
from raccoon_tx.transports.channel import DRAIN_TIME
from raccoon_tx.transports.http import LAST_REQUEST, LAST_WORDS, HttpFront
from raccoon_tx.transports.http_request import EventRequest
from tests.wire import (
    CLOSE,
    JSON_BATCH,
    JSON_OK,
    PROTO_BATCH,
    PROTO_OK,
    TEXT,
    Answer,
    Client,
    House,
    WireTestCase,
    chunked,
    close,
    frame,
    handshake,
    in_both_lanes,
    post,
)
from tests.wire import (
    request as any_request,
)

#: Bodies are in an encoding that is read, unless a test says otherwise.
request = partial(any_request, Content_Type="application/json")

PING = request("GET", "/ping")
TOO_LARGE = "too large: a body may have at most 1000 bytes"


class HttpTestCase(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        self.client = self.house.client()

    def assert_no_timers(self, client: Client | None = None) -> None:
        """A connection that has ended leaves none behind."""
        self.assertTrue((client or self.client).wire.closed)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.assertEqual(self.house.site.channels, set())


class ConnectionTests(HttpTestCase):
    """Requests in a row."""

    def test_keep_alive(self) -> None:
        """A connection serves one request after the other, good and bad ones."""
        for _ in range(3):
            self.assertEqual(self.client.ask(post()).body, JSON_OK)
            self.assertEqual(self.client.ask(post(b"\x01")).status, 400)
            self.assertEqual(self.client.ask(post(kind=None)).status, 400)
            self.assertEqual(self.client.ask(post(X_User_ID="x" * 257)).status, 400)
            self.assertEqual(self.client.ask(request("GET", "/nothing")).status, 404)
            self.assertEqual(self.client.ask(request("DELETE")).status, 405)
            self.assertEqual(self.client.ask(request("GET")).status, 400)
            self.assertEqual(self.client.ask(post(b"x", Content_Encoding="br")).status, 415)
            self.assertEqual(self.client.ask(PING).body, b"pong")
        self.client.hang_up()
        self.assert_no_timers()

    def test_segments(self) -> None:
        """It does not matter how a request is cut."""
        whole = post(X_User_ID="1234") + post(PROTO_BATCH, "application/proto")
        for size in (1, 2, 3, 7, 100, 10_000):
            self.client.send(*[whole[start : start + size] for start in range(0, len(whole), size)])
            self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK, PROTO_OK])

    def test_pipelined(self) -> None:
        """Requests that come at once are answered in their order, however long the first one takes."""
        self.house.held = True
        self.client.send(post() + PING + post(b"{}") + post(PROTO_BATCH, "application/proto"))
        self.assertEqual(self.client.received(), b"")
        self.house.answer()
        self.assertEqual([answer.status for answer in self.client.answers()], [200, 200, 200])
        self.house.answer()
        (answer,) = self.client.answers()
        self.assertEqual(answer.body, PROTO_OK)

    def test_pipelined_much(self) -> None:
        """A client that sends and sends without waiting is not read for a while, and loses nothing."""
        self.house.held = True
        for _ in range(1000):
            self.client.send(post())
        self.assertGreater(len(self.client.wire.coming), 500)
        for _ in range(1000):
            self.house.answer()
        self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK] * 1000)
        self.assertEqual(len(self.house.taken), 1000)

    def test_not_reading(self) -> None:
        """A client that does not read its answers is not read either, until it does."""
        self.client.wire.blocked = True
        for _ in range(2000):
            self.client.send(post())
        self.assertLess(len(self.house.taken), 1000)
        self.assertGreater(len(self.client.wire.coming), 1000)
        self.client.wire.blocked = False
        self.house.loop.spin()
        self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK] * 2000)

    def test_http_1_0(self) -> None:
        """HTTP/1.0 is spoken too, one request for each connection."""
        self.client.send(request(body=JSON_BATCH, version="1.0", Content_Type="application/json") + PING)
        (answer,) = self.client.answers()
        self.assertEqual((answer.version, answer.status, answer.body), ("HTTP/1.0", 200, JSON_OK))
        self.assertTrue(self.client.closed)
        self.assert_no_timers()

    def test_close(self) -> None:
        """A client may ask for the end of the connection, whatever else it wants of it."""
        for wish in ("close", "Close", "TE, close", "close,TE"):
            client = self.house.client()
            answer = client.ask(post(Connection=wish))
            self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
            self.assertTrue(client.closed)
        self.assertEqual(self.client.ask(post(Connection="keep-alive, x-close")).status, 200)
        self.assertFalse(self.client.wire.closed)

    def test_half_closed(self) -> None:
        """A client that says that it sends no more gets the answers to what it has sent, and the end then."""
        self.client.send(post())
        self.client.hang_up()
        self.assertEqual([answer.body for answer in self.client.answers()], [JSON_OK])
        self.assertTrue(self.client.closed)
        self.house.held = True
        for last in (post(), PING, post(Connection="close"), handshake()):
            client = self.house.client()
            client.send(post() + post() + last)
            client.hang_up()
            self.assertEqual(client.received(), b"")
            while not client.wire.closed:
                self.house.answer()
            self.assertTrue(client.closed)
            self.assertEqual(client.received().count(b"HTTP/1.1 "), 3)
        self.assert_no_timers()

    def test_half_closed_early(self) -> None:
        """One that does so in the middle of a head gets nothing, and after a refusal nothing more."""
        for data in (b"", b"POST", post()[:50], request(Content_Length="9999")):
            client = self.house.client()
            client.send(data)
            received = client.received()
            self.assertEqual(received.count(b" 413 "), "9999" in data.decode())
            client.hang_up()
            self.assertTrue(client.closed)
            self.assertEqual(client.received(), b"")
        self.client.hang_up()
        self.assert_no_timers()

    def test_half_closed_body(self) -> None:
        """One that does so in the middle of a body is told, in its encoding, that the body could not be read."""
        for rest, kind in (
            (post()[:-1], "application/json"),
            (post(PROTO_BATCH, "application/proto")[: -len(PROTO_BATCH)], "application/proto"),
            (post(chunked(PROTO_BATCH)[:-2], "application/proto", Transfer_Encoding="chunked"), "application/proto"),
        ):
            client = self.house.client()
            client.send(rest)
            client.hang_up()
            (answer,) = client.answers()
            self.assertEqual((answer.status, answer.headers["content-type"]), (500, kind))
            self.assertEqual(answer.headers["connection"], "close")
            self.assert_reply(answer.reply, 3, "deserialization failure")
            self.assertTrue(client.closed)
        self.assertEqual(self.house.taken, [])
        self.client.hang_up()
        self.assert_no_timers()

    def test_chunked(self) -> None:
        """Bodies may come in chunks, with trailers and extensions."""
        body = chunked(JSON_BATCH[:10], JSON_BATCH[10:11], JSON_BATCH[11:])
        self.assertEqual(self.client.ask(post(body, Transfer_Encoding="chunked")).body, JSON_OK)
        body = b"%X;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(JSON_BATCH), JSON_BATCH)
        self.assertEqual(self.client.ask(post(body, Transfer_Encoding="Chunked")).body, JSON_OK)
        body = chunked(gzip.compress(JSON_BATCH))
        answer = self.client.ask(post(body, Transfer_Encoding="chunked", Content_Encoding="gzip"))
        self.assertEqual(answer.body, JSON_OK)

    def test_no_length(self) -> None:
        """A request without a length has no body."""
        answer = self.client.ask(request(Content_Type="application/proto"))
        self.assertEqual(answer.reply["data"], {"req_guid": ""})
        self.assertEqual(self.client.ask(request(Content_Type="application/json")).status, 400)

    def test_expect(self) -> None:
        """Who waits for leave to send its body gets it."""
        head, _, body = post(Expect="100-continue").partition(b"\r\n\r\n")
        self.client.send(head + b"\r\n\r\n")
        self.assertEqual(self.client.received(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.client.ask(body).body, JSON_OK)

    def test_empty_lines(self) -> None:
        """An empty line between two requests does not matter."""
        self.client.send(post() + b"\r\n" + post())
        self.assertEqual([answer.status for answer in self.client.answers()], [200, 200])

    def test_many(self) -> None:
        """A connection that served many requests holds none of them."""

        def requests() -> int:
            gc.collect()
            return sum(isinstance(thing, EventRequest) for thing in gc.get_objects())

        before = requests()
        for _ in range(200):
            self.client.ask(post())
        self.assertLessEqual(requests(), before + 1)
        self.client.send(post() * 200)
        self.assertEqual(len(self.client.answers()), 200)
        self.assertLessEqual(requests(), before + 1)
        self.assertEqual(len(self.house.loop.getDelayedCalls()), 1)


class LimitTests(HttpTestCase):
    """Bodies that are too large."""

    def assert_too_large(self, answer: Answer, kind: str = "application/json") -> None:
        self.assertEqual((answer.status, answer.headers["content-type"]), (413, kind))
        self.assertEqual(answer.headers["connection"], "close")
        self.assertIn("date", answer.headers)
        self.assertNotIn("server", answer.headers)
        self.assert_reply(answer.reply, 2, TOO_LARGE)

    def test_limit(self) -> None:
        """The limit is exact."""
        padded = JSON_BATCH.ljust(1000)
        self.assertEqual(self.client.ask(post(padded)).body, JSON_OK)
        self.assertEqual(self.client.ask(post(chunked(padded), Transfer_Encoding="chunked")).body, JSON_OK)
        self.assert_too_large(self.client.ask(post(padded + b" ")))
        client = self.house.client()
        self.assert_too_large(client.ask(post(chunked(padded, b" "), Transfer_Encoding="chunked")))

    def test_by_length(self) -> None:
        """A body that says it is too large is refused before it comes, and the client may finish sending it."""
        head = request(Content_Type="application/proto", Content_Length="100000")
        self.assert_too_large(self.client.ask(head), "application/proto")
        for _ in range(99):
            self.client.send(bytes(1000))
            self.assertFalse(self.client.wire.closed)
        self.client.send(bytes(1000))
        self.assertTrue(self.client.closed)
        self.assertEqual(self.client.received(), b"")
        self.assert_no_timers()

    def test_by_chunks(self) -> None:
        """A body in chunks is refused as soon as it is too large, and the client may finish sending it."""
        self.client.send(request(Content_Type="application/json", Transfer_Encoding="chunked"))
        self.client.send(b"3e8\r\n" + bytes(1000) + b"\r\n")
        self.assertEqual(self.client.received(), b"")
        self.client.send(b"ffff\r\n")
        self.assertEqual(self.client.received(), b"")
        self.assert_too_large(self.client.ask(b"x"))
        self.client.send(bytes(65534) + b"\r\n0\r\n")
        self.assertFalse(self.client.wire.closed)
        self.client.send(b"\r\n")
        self.assertTrue(self.client.closed)
        self.assert_no_timers()

    def test_at_once(self) -> None:
        """The answer comes through when the whole body is there already, and what follows is not looked at."""
        self.client.send(post(bytes(5000)) + post())
        (answer,) = self.client.answers()
        self.assert_too_large(answer)
        self.assertTrue(self.client.closed)
        self.assertEqual(self.house.taken, [])
        self.assert_no_timers()

    def test_behind_another(self) -> None:
        """The refusal waits for the answers before it."""
        self.house.held = True
        self.client.send(post() + post(bytes(5000)))
        self.assertEqual(self.client.received(), b"")
        self.house.answer()
        first, second = self.client.answers()
        self.assertEqual(first.body, JSON_OK)
        self.assert_too_large(second)
        self.assertTrue(self.client.closed)

    def test_drain_time(self) -> None:
        """A client that does not come to an end is cut off after some time, without a line in the log."""
        self.client.send(request(Content_Length="100000"))
        self.client.answers()
        for _ in range(10):
            self.client.send(b"x")
            self.house.loop.advance(DRAIN_TIME / 10 - 0.01)
        self.assertFalse(self.client.wire.closed)
        self.house.loop.advance(0.2)
        self.house.loop.spin()
        self.assertTrue(self.client.reset)
        self.assert_no_timers()

    def test_drained(self) -> None:
        """So is one that sends more than anybody wants to throw away."""
        self.patch(http_request, "DRAINED", 50_000)
        self.client.send(request(Transfer_Encoding="chunked") + b"fffffff\r\n" + bytes(50_000))
        self.assert_too_large(self.client.answers()[0])
        self.assertFalse(self.client.wire.closed)
        self.client.send(b"x", bytes(1000))
        self.assertTrue(self.client.reset)
        self.assert_no_timers()

    def test_gone(self) -> None:
        """A client that leaves after the refusal is no error."""
        for leave in ("hang_up", "vanish"):
            client = self.house.client()
            self.assert_too_large(client.ask(request(Content_Length="100000")))
            getattr(client, leave)()
            self.assertTrue(client.wire.closed)
        self.client.hang_up()
        self.assert_no_timers()

    def test_expect(self) -> None:
        """Who waits for leave to send too much does not get it."""
        self.assert_too_large(self.client.ask(request(Content_Length="1001", Expect="100-continue")))

    def test_accept(self) -> None:
        """The refusal is in the encoding of the request, or in the one it asks for."""
        for headers, kind in (
            ({"Content_Type": "application/proto"}, "application/proto"),
            ({"Content_Type": "application/json", "Accept": "application/proto"}, "application/proto"),
            ({}, "application/json"),
        ):
            self.assert_too_large(self.house.client().ask(request(Content_Length="9999", **headers)), kind)

    def test_any_route(self) -> None:
        """The limit is for every request."""
        self.assert_too_large(self.client.ask(request("GET", "/ping", Content_Length="9999")))

    def test_memory(self) -> None:
        """Nothing is kept of a refused body."""
        self.client.send(request(Transfer_Encoding="chunked") + b"fffff\r\n" + bytes(100_000))
        (request_,) = self.client.wire.protocol.requests
        self.assertEqual(request_.content.getvalue(), b"")


class TimeTests(HttpTestCase):
    """Clients that are slow."""

    def test_idle(self) -> None:
        """A connection without requests is closed after a minute, without a line in the log."""
        self.client.ask(post())
        self.house.loop.advance(59.9)
        self.assertEqual(self.client.ask(post()).status, 200)
        self.house.loop.advance(59.9)
        self.assertFalse(self.client.wire.closed)
        self.house.loop.advance(0.2)
        self.house.loop.spin()
        self.assertTrue(self.client.closed)
        self.assertEqual(self.client.received(), b"")
        self.assert_no_timers()

    def test_never_a_request(self) -> None:
        """So is one that never has any."""
        self.house.loop.advance(60.1)
        self.house.loop.spin()
        self.assertTrue(self.client.closed)
        self.assert_no_timers()

    def test_slow_head(self) -> None:
        """The head of a request has its time, and one byte now and then does not prolong it."""
        for letter in b"POST /api/v1":
            self.client.send(bytes([letter]))
            self.house.loop.advance(0.8)
            self.assertFalse(self.client.wire.closed)
        self.client.send(b"/")
        self.house.loop.advance(0.5)
        self.house.loop.spin()
        self.assert_late_head()

    def assert_late_head(self, kind: str = "application/json", rest: bytes = b"") -> None:
        """The head was answered as late; what comes then is not answered any more, and the end comes soon."""
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers["content-type"]), (408, kind))
        self.assertEqual(answer.headers["connection"], "close")
        self.assert_reply(answer.reply, 2, "the head of the request did not arrive in time")
        self.client.send(rest)
        self.assertEqual(self.client.received(), b"")
        self.house.loop.advance(DRAIN_TIME + 0.1)
        self.house.loop.spin()
        self.assertTrue(self.client.wire.closed)
        self.assertEqual(self.house.taken, [])
        self.assert_no_timers()

    def test_slow_headers(self) -> None:
        """The same behind the first line, in the encoding that is known by then."""
        whole = post(PROTO_BATCH, "application/proto")
        cut = -2 - len(PROTO_BATCH)
        self.client.send(whole[:cut])
        self.house.loop.advance(10.1)
        self.house.loop.spin()
        self.assert_late_head("application/proto", whole[cut:] + post())

    def test_slow_head_goes_on(self) -> None:
        """However the rest of a late head looks, it is neither served nor refused once more."""
        self.client.hang_up()
        for cut in (5, 10, 40, 60):
            for whole in (post(), post(bytes(2000)), handshake(), PING, request("PUT"), b"POST / nonsense\r\n\r\n"):
                self.client = self.house.client()
                self.client.send(whole[:cut])
                received = self.client.received()
                self.house.loop.advance(10.1)
                self.house.loop.spin()
                if not received and b"\r\n\r\n" not in whole[:cut]:
                    self.assert_late_head(rest=whole[cut:] + whole)

    def test_no_method(self) -> None:
        """A connection on which there is not even a method yet is closed without a word."""
        for data in (b"POST", b"\r\n", b"\x16\x03\x01"):
            client = self.house.client()
            client.send(data)
            self.house.loop.advance(10.1)
            self.house.loop.spin()
            self.assertTrue(client.closed)
            self.assertEqual(client.received(), b"")

    def test_end_not_awaited(self) -> None:
        """A client that wants the connection closed, and does not read the answer, is cut off in the end."""
        self.client.wire.blocked = True
        self.client.send(post(Connection="close"))
        self.house.loop.advance(14.9)
        self.house.loop.spin()
        self.assertFalse(self.client.wire.closed)
        self.house.loop.advance(0.2)
        self.house.loop.spin()
        self.assertTrue(self.client.reset)
        self.assert_no_timers()

    def test_slow_body(self) -> None:
        """So has its body: the answer to a late one is 408, in its encoding."""
        self.client.send(post(PROTO_BATCH, "application/proto")[:-15])
        for _ in range(14):
            self.house.loop.advance(2.0)
            self.client.send(b"x")
            self.assertEqual(self.client.received(), b"")
        self.house.loop.advance(2.1)
        self.house.loop.spin()
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers["content-type"]), (408, "application/proto"))
        self.assertEqual(answer.headers["connection"], "close")
        self.assert_reply(answer.reply, 2, "the body did not arrive in time")
        self.assertFalse(self.client.wire.closed)
        self.client.send(b"x")
        self.assertTrue(self.client.closed)
        self.assertEqual(self.house.taken, [])
        self.assert_no_timers()

    def test_never_a_body(self) -> None:
        """A body that never comes to an end keeps a connection open for a bounded time."""
        self.client.send(request(Content_Length="10"))
        self.house.loop.advance(30.1)
        self.house.loop.spin()
        self.assertEqual(self.client.answers()[0].status, 408)
        self.house.loop.advance(DRAIN_TIME + 0.1)
        self.house.loop.spin()
        self.assertTrue(self.client.reset)
        self.assert_no_timers()

    def test_times_in_turn(self) -> None:
        """Each request has its own times, and the time without one begins anew behind it, also when they come cut in
        odd places."""
        whole = post()
        for cut in (1, 20, len(whole) - 5):
            self.client.send(whole[:cut])
            self.house.loop.advance(9.0)
            self.assertEqual(self.client.ask(whole[cut:]).status, 200)
            self.house.loop.advance(59.0)
            self.client.send(whole + whole[:cut])
            self.assertEqual(self.client.answers()[0].status, 200)
            self.house.loop.advance(9.0)
            self.assertEqual(self.client.ask(whole[cut:]).status, 200)
            self.house.loop.advance(59.0)
        self.assertFalse(self.client.wire.closed)

    def test_slow_second(self) -> None:
        """A late body behind another request is answered as late, when its own time is over."""
        self.client.send(post() + post()[:-10])
        self.assertEqual(self.client.answers()[0].status, 200)
        for _ in range(3):
            self.house.loop.advance(9.9)
            self.client.send(b"x")
            self.assertEqual(self.client.received(), b"")
        self.house.loop.advance(0.5)
        self.house.loop.spin()
        self.assertEqual(self.client.answers()[0].status, 408)

    def test_slow_and_large(self) -> None:
        """Who was refused already is not told that it is late too."""
        head = request(Content_Length="9999")
        self.client.send(head[:10])
        self.house.loop.advance(9.0)
        self.assertEqual(self.client.ask(head[10:]).status, 413)
        self.house.loop.advance(DRAIN_TIME - 0.1)
        self.house.loop.spin()
        self.assertEqual(self.client.received(), b"")
        self.assertFalse(self.client.wire.closed)

    def test_slow_server(self) -> None:
        """The time that we need is not the client's: there is no limit here."""
        self.house.held = True
        self.client.send(post())
        self.house.loop.advance(1000)
        self.client.send(b"POST")
        self.house.loop.advance(1000)
        self.house.loop.spin()
        self.house.answer()
        self.assertEqual(self.client.answers()[0].status, 200)

    def test_end_not_read(self) -> None:
        """A client that does not read what is left for it is cut off in the end."""
        self.client.wire.blocked = True
        self.client.send(post())
        self.house.loop.advance(60.1)
        self.house.loop.spin()
        self.assertFalse(self.client.wire.closed)
        self.house.loop.advance(15.1)
        self.house.loop.spin()
        self.assertTrue(self.client.reset)
        self.assert_no_timers()


class MalformedTests(HttpTestCase):
    """What is not HTTP."""

    def assert_bad(self, data: bytes, kind: str = "application/json") -> None:
        client = self.house.client()
        client.send(data)
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers["content-type"]), (400, kind), data)
        self.assertEqual(answer.headers["connection"], "close")
        self.assert_reply(answer.reply, 2, "malformed HTTP")
        self.assertTrue(client.closed)
        self.client.hang_up()
        self.assert_no_timers(client)

    def test_request_line(self) -> None:
        """A first line that is no request line is a 400 with a body, and the end of the connection."""
        for line in (
            b"x",
            b"GET",
            b"GET /ping",
            b"GET /ping HTTP/1.1 x",
            b"GET  /ping HTTP/1.1",
            b"GET /ping HTTP/2.0",
            b"G\xffT /ping HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET /pi\x00ng HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01",
            b"PRI * HTTP/2.0",
        ):
            self.assert_bad(line + b"\r\n")

    def test_odd_bytes(self) -> None:
        """A path in bytes that are no text leads nowhere, without a line in the log."""
        for path in (b"/\x80", b"/\x92", b"/ping\xb0", b"/\xc3\xa9", b"\x92"):
            answer = self.house.client().ask(b"GET " + path + b" HTTP/1.1\r\n\r\n")
            self.assertIn(answer.status, (400, 404))

    def test_headers(self) -> None:
        """So are headers that are none."""
        for line in (b"x", b": y", b"a b: c", b"Content-Length: -1", b"Content-Length: x", b"\xff: y"):
            self.assert_bad(b"POST /ping HTTP/1.1\r\n" + line + b"\r\nA: b\r\n\r\n")
            self.assert_bad(b"POST /ping HTTP/1.1\r\n" + line + b"\r\n\r\n")

    def test_framing(self) -> None:
        """So are bodies whose end nobody can be sure of."""
        for lines in (
            b"Content-Length: 1\r\nContent-Length: 2",
            b"Content-Length: 1, 2",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 1",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: gzip, chunked",
        ):
            self.assert_bad(b"POST /api/v1/events HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n\r\n")

    def test_absurd_length(self) -> None:
        """So is a length that nobody can have meant; one that is only huge is too large."""
        self.assert_bad(request(Content_Length="9" * 4301))
        self.assert_bad(b"POST / HTTP/1.1\r\nContent-Length: " + b"0" * 10_000 + b"\r\nA: b\r\n\r\n")
        self.assertEqual(self.house.client().ask(request(Content_Length="9" * 4300)).status, 413)

    def test_long(self) -> None:
        """So is a head without end."""
        self.assert_bad(b"x" * 20_000)
        self.assert_bad(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n")
        self.assert_bad(b"GET /ping HTTP/1.1\r\n" + b"".join(b"A%d: %b\r\n" % (n, b"x" * 1000) for n in range(17)))
        self.assert_bad(b"GET /ping HTTP/1.1\r\n" + b"a: b\r\n" * 501 + b"\r\n")

    def test_chunks(self) -> None:
        """So are bad chunks; the answer is in the encoding of the request."""
        for body in (
            b"x\r\n",
            b"-1\r\n",
            b"1\r\nab\r\n",
            b"1 \r\na\r\n",
            b"1;\x00\r\n",
            b"1" * 2000,
            b"0\r\n" + b"x" * 70_000,
        ):
            data = request(body=body, Content_Type="application/proto", Transfer_Encoding="chunked")
            self.assert_bad(data, "application/proto")

    def test_chunks_after_refusal(self) -> None:
        """Who was refused already is not refused twice."""
        self.client.send(request(Transfer_Encoding="chunked") + b"1000\r\n" + bytes(0x1000) + b"bad\r\n")
        (answer,) = self.client.answers()
        self.assertEqual(answer.status, 413)
        self.assertTrue(self.client.closed)
        self.assert_no_timers()

    def test_behind_another(self) -> None:
        """What came before it is answered before it."""
        self.client.send(post() + b"nonsense\r\n" + post())
        first, second = self.client.answers()
        self.assertEqual((first.body, second.status), (JSON_OK, 400))
        self.assertTrue(self.client.closed)
        self.assertEqual(len(self.house.taken), 1)

    def test_broken_off(self) -> None:
        """A client that leaves in the middle of something is no error, and its batch is not taken."""
        whole = post()
        for size in range(len(whole)):
            for leave in ("hang_up", "vanish"):
                client = self.house.client()
                client.send(whole[:size])
                getattr(client, leave)()
                in_body = size >= len(whole) - len(JSON_BATCH) and leave == "hang_up"
                self.assertEqual([answer.status for answer in client.answers()], [500] if in_body else [])
        self.assertEqual(self.house.taken, [])
        self.client.hang_up()
        self.assert_no_timers()


class StopTests(HttpTestCase):
    """The orderly end."""

    def setUp(self) -> None:
        super().setUp()
        self.client.hang_up()

    def start(self, **times: Any) -> HttpFront:
        self.front = self.house.front(**times)
        return self.front

    def stop(self) -> Deferred[None]:
        stopped = self.front.stopService()
        self.house.loop.spin()
        return stopped

    def run_for(self, seconds: float) -> None:
        self.house.loop.run(seconds)

    def test_start(self) -> None:
        """The port is taken once, in the privileged part of the start if there is one."""
        front = HttpFront(self.house.loop, self.house.site, self.house.sockets, "127.0.0.1", 0)
        front.privilegedStartService()
        front.startService()
        (port,) = self.house.loop.ports
        self.assertEqual((port.interface, port.backlog, port.factory), ("127.0.0.1", 4096, self.house.site))
        self.assertEqual(front.port, 40000)

    def test_first(self) -> None:
        """What connections begin as is what the port is given."""
        self.start()
        self.assertIs(self.house.loop.ports[0].factory, self.house.first)

    def test_nobody(self) -> None:
        """Without connections the stop takes no time."""
        self.start()
        self.successResultOf(self.stop())
        self.assertFalse(self.house.loop.ports[0].listening)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_not_started(self) -> None:
        """What never listened can be stopped all the same."""
        front = HttpFront(self.house.loop, self.house.site, self.house.sockets, "", 8080)
        self.successResultOf(front.stopService())

    def test_port_first(self) -> None:
        """First the port is closed, and only when it is, connections are."""
        self.start()
        idle = self.house.client()
        port = self.house.loop.ports[0]
        port.stopping = Deferred()
        stopped = self.stop()
        self.assertEqual((port.listening, idle.wire.closed), (False, False))
        self.assertEqual(idle.ask(post()).status, 200)
        port.stopping.callback(None)
        self.run_for(LAST_REQUEST + 0.1)
        self.assertTrue(idle.closed)
        self.successResultOf(stopped)

    def test_last_request(self) -> None:
        """What a connection without a request brings in the next moment is served, and told that the connection ends:
        it was on its way when the stop began."""
        self.start()
        busy, idle = self.house.client(), self.house.client()
        self.assertEqual(busy.ask(post()).status, 200)
        stopped = self.stop()
        self.run_for(LAST_REQUEST / 2)
        self.assertEqual((busy.wire.closed, idle.wire.closed), (False, False))
        answer = busy.ask(post())
        self.assertEqual((answer.status, answer.headers["connection"], answer.body), (200, "close", JSON_OK))
        self.assertTrue(busy.closed)
        self.assertNoResult(stopped)
        self.run_for(LAST_REQUEST / 2 + 0.1)
        self.assertTrue(idle.closed)
        self.successResultOf(stopped)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_last_request_is_another(self) -> None:
        """So is one that is not a plain batch; a WebSocket does not begin any more."""
        self.start()
        asking, opening = self.house.client(), self.house.client()
        stopped = self.stop()
        for client, data, status in (asking, PING, 200), (opening, handshake(), 503):
            answer = client.ask(data)
            self.assertEqual((answer.status, answer.headers["connection"]), (status, "close"))
            self.assertTrue(client.closed)
        self.run_for(0.1)
        self.successResultOf(stopped)
        self.assertEqual(len(self.house.connections), 0)

    def test_delay(self) -> None:
        """With a delay, everything is served for that long, so that a load balancer gets to know."""
        self.start(drain_delay=3.0)
        idle = self.house.client()
        stopped = self.stop()
        self.run_for(2.9)
        self.assertTrue(self.house.loop.ports[0].listening)
        answer = idle.ask(post())
        self.assertEqual((answer.status, "connection" in answer.headers), (200, False))
        socket = self.house.socket()
        self.assertEqual(socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.run_for(0.2)
        self.assertFalse(self.house.loop.ports[0].listening)
        self.assertEqual(socket.frames(), [(CLOSE, close(1001, "server shutting down"))])
        socket.tell(CLOSE, close(1001))
        self.run_for(LAST_REQUEST)
        self.assertTrue(idle.closed)
        self.successResultOf(stopped)

    def test_stopping(self) -> None:
        """Whoever asks gets to know from the first moment."""
        front = self.start(drain_delay=3.0)
        self.assertFalse(front.stopping)
        self.stop()
        self.assertTrue(front.stopping)

    def test_running_request(self) -> None:
        """A request that is under way is answered, and told that the connection ends."""
        self.start()
        self.house.held = True
        client = self.house.client()
        client.send(post() + post())
        stopped = self.stop()
        self.run_for(1.0)
        self.assertNoResult(stopped)
        self.house.answer()
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers["connection"], answer.body), (200, "close", JSON_OK))
        self.assertTrue(client.closed)
        self.run_for(0.1)
        self.successResultOf(stopped)
        self.assertEqual(len(self.house.taken), 1)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_half_a_request(self) -> None:
        """So is one that has come in part only, head or body."""
        self.start()
        whole = post()
        clients = [self.house.client() for _ in range(2)]
        clients[0].send(whole[:50])
        clients[1].send(whole[:-5])
        stopped = self.stop()
        self.run_for(1.0)
        for client, rest in (clients[0], whole[50:]), (clients[1], whole[-5:]):
            answer = client.ask(rest)
            self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
            self.assertTrue(client.closed)
        self.run_for(0.1)
        self.successResultOf(stopped)

    def test_last_words(self) -> None:
        """Who still waits for an answer when time is over gets one, and a moment to read it."""
        given_up: list[str] = []

        def give_up() -> None:
            given_up.append("all")
            self.house.outcome = Reply(Outcome.EXPIRED, "1234")
            self.house.answer()

        self.start(finish_timeout=5.0, give_up=give_up)
        self.house.held = True
        rest, socket = self.house.client(), self.house.socket(X_User_ID="1")
        rest.send(post())
        socket.tell(TEXT, JSON_BATCH)
        stopped = self.stop()
        self.run_for(4.9)
        self.assertEqual(given_up, [])
        self.run_for(0.2)
        self.assertEqual(given_up, ["all"])
        self.run_for(LAST_WORDS)
        self.successResultOf(stopped)
        self.assertEqual([answer.status for answer in rest.answers()], [504])

    def test_leftovers(self) -> None:
        """What is not finished in time is cut off, silent or not, reading or not."""
        self.start(finish_timeout=5.0)
        self.house.held = True
        waiting, half, refused, socket, deaf = (
            self.house.client(),
            self.house.client(),
            self.house.client(),
            self.house.socket(X_User_ID="1"),
            self.house.client(),
        )
        waiting.send(post())
        half.send(post()[:-5])
        refused.send(request(Content_Length="9999"))
        socket.tell(TEXT, JSON_BATCH)
        deaf.wire.blocked = True
        deaf.send(PING)
        stopped = self.stop()
        self.run_for(4.9 + LAST_WORDS)
        self.assertNoResult(stopped)
        self.run_for(0.2)
        self.successResultOf(stopped)
        for client in (waiting, half, refused, socket, deaf):
            self.assertTrue(client.reset)
        self.assertEqual(self.house.sockets.open, set())
        self.house.answer()
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.assertEqual(self.house.site.channels, set())

    def test_spread(self) -> None:
        """WebSockets are closed one after another, evenly over the window, and say why."""
        self.start(drain_window=2.0)
        sockets = [self.house.socket(X_User_ID=str(number)) for number in range(20)]
        stopped = self.stop()
        moments: dict[int, int] = {}
        for moment in range(200):
            for number, socket in enumerate(sockets):
                if number not in moments and (frames := socket.frames()):
                    self.assertEqual(frames, [(CLOSE, close(1001, "server shutting down"))])
                    moments[number] = moment
                    socket.tell(CLOSE, close(1001))
                    self.assertTrue(socket.closed)
            self.run_for(0.01)
        self.assertEqual(len(moments), 20)
        # Every 100 ms, looked at every 10 ms, in the resolution of the stop's own 50 ms.
        for position, moment in enumerate(sorted(moments.values())):
            self.assertTrue(position * 10 <= moment <= position * 10 + 6, (position, moment))
        self.run_for(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_many_sockets(self) -> None:
        """However many there are, the window is kept."""
        self.start(drain_window=2.0)
        sockets = [self.house.socket(X_User_ID=str(number)) for number in range(500)]
        stopped = self.stop()
        self.run_for(1.0)
        closing = [socket for socket in sockets if socket.frames()]
        self.assertTrue(230 <= len(closing) <= 270, len(closing))
        self.run_for(1.1)
        self.assertEqual(len(closing) + len([socket for socket in sockets if socket.frames()]), 500)
        self.assertNoResult(stopped)
        self.run_for(1.1)
        self.successResultOf(stopped)

    def test_serving_meanwhile(self) -> None:
        """Until its turn comes a WebSocket is served, and one that has gone by then is passed over."""
        self.start(drain_window=10.0)
        sockets = [self.house.socket(X_User_ID=str(number)) for number in range(10)]
        stopped = self.stop()
        self.run_for(0.1)
        rest = [socket for socket in sockets if not socket.frames()]
        self.assertEqual(len(rest), 9)
        for socket in rest[1:]:
            self.assertEqual(socket.tell(TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
            socket.vanish()
        self.run_for(9.2)
        self.assertEqual(rest[0].frames(), [(CLOSE, close(1001, "server shutting down"))])
        rest[0].tell(CLOSE, close(1001))
        self.run_for(0.1)
        self.successResultOf(stopped)

    def test_last_batches(self) -> None:
        """A WebSocket is closed when what it sent has been answered."""
        self.start(drain_window=0.0)
        self.house.held = True
        socket = self.house.socket()
        socket.tell(TEXT, JSON_BATCH)
        stopped = self.stop()
        self.run_for(1.0)
        self.assertEqual(socket.frames(), [])
        self.house.answer()
        self.assertEqual(socket.frames(), [(TEXT, JSON_OK), (CLOSE, close(1001, "server shutting down"))])
        socket.tell(CLOSE, close(1001))
        self.run_for(0.1)
        self.successResultOf(stopped)

    def test_no_echo(self) -> None:
        """A WebSocket whose client does not answer the close frame is closed soon after."""
        self.start(drain_window=0.0)
        socket = self.house.socket()
        stopped = self.stop()
        self.assertEqual(socket.frames(), [(CLOSE, close(1001, "server shutting down"))])
        self.run_for(0.9)
        self.assertFalse(socket.wire.closed)
        self.run_for(0.2)
        self.assertTrue(socket.closed)
        self.successResultOf(stopped)
        self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_late_upgrade(self) -> None:
        """Nobody is upgraded any more: it is told to come back."""
        self.start()
        self.house.held = True
        client = self.house.client()
        client.send(handshake()[:30])
        stopped = self.stop()
        answer = client.ask(handshake()[30:])
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
        self.assertEqual(answer.headers["connection"], "close")
        self.assertEqual(answer.body, b"Service Unavailable: shutting down, connect again later\n")
        self.assertTrue(client.closed)
        self.run_for(0.1)
        self.successResultOf(stopped)
        self.assertEqual(len(self.house.connections), 0)

    def test_stopped_publisher(self) -> None:
        """A request that comes after the publisher has stopped is told to come back."""
        self.start()
        self.house.refusal = Draining("shutting down, send it again later")
        client = self.house.client()
        client.send(post()[:-1])
        self.stop()
        answer = client.ask(post()[-1:])
        self.assertEqual((answer.status, answer.headers["connection"]), (503, "close"))
        self.assertEqual(answer.headers["retry-after"], "1")

    def test_hurry(self) -> None:
        """When there is no time left, everything ends at once, whichever step the stop is at."""
        for reached in (0.0, 1.5, 2.5, 4.5):
            self.house = House()
            self.house.held = True
            self.start(drain_delay=1.0, drain_window=1.0, finish_timeout=100.0)
            client, idle = self.house.client(), self.house.client()
            client.send(post())
            sockets = [self.house.socket(X_User_ID=str(number)) for number in range(5)]
            for socket in sockets:
                socket.tell(TEXT, JSON_BATCH)
            stopped = self.stop()
            self.run_for(reached)
            self.assertNoResult(stopped)
            self.front.hurry()
            self.run_for(0.1)
            self.successResultOf(stopped)
            for each in [client, *sockets]:
                self.assertTrue(each.wire.closed)
            self.assertTrue(idle.wire.closed)
            self.assertFalse(self.house.loop.ports[0].listening)
            self.assertEqual(self.house.loop.getDelayedCalls(), [])

    def test_hurry_before(self) -> None:
        """Hurrying before the stop makes it short."""
        self.start(drain_delay=1.0)
        client = self.house.client()
        client.send(post()[:-1])
        self.front.hurry()
        stopped = self.stop()
        self.house.loop.spin()
        self.successResultOf(stopped)
        self.assertTrue(client.reset)


# Those that follow are compared over both lanes in test_lanes_http.py; Hypothesis wants a test to have one case only.
in_both_lanes(globals())


def normal(data: bytes) -> bytes:
    """Answers without what depends on the time."""
    return re.sub(rb"Date: [^\r]*", b"Date: now", data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds) if start != end]


PIECES = st.sampled_from(
    [
        post(),
        post(PROTO_BATCH, "application/proto", X_User_ID="1"),
        post(b"\x01"),
        post(bytes(1001)),
        post(chunked(JSON_BATCH), Transfer_Encoding="chunked"),
        post(chunked(bytes(600), bytes(600)), Transfer_Encoding="chunked"),
        post(gzip.compress(JSON_BATCH), Content_Encoding="gzip"),
        post(Expect="100-continue"),
        post(Connection="close"),
        request("GET", "/ping"),
        request("HEAD", "//ping/"),
        request("GET", "/%ff", version="1.0"),
        request("OPTIONS", "*"),
        request("OPTIONS", Origin="http://a.example", Access_Control_Request_Method="POST"),
        post(Origin="http://a.example", Cookie="uid=7; ugroup"),
        post(Origin="http://evil.example"),
        post(b"x", Origin="http://a.example", Content_Encoding="gzip"),
        handshake(Origin="http://a.example", Sec_WebSocket_Protocol="raccoon.json.v1, raccoon.id.MQ"),
        request("GET"),
        handshake(),
        handshake(Origin="http://evil.example"),
        frame(TEXT, JSON_BATCH),
        frame(CLOSE),
        chunked(b"abc"),
        b"POST /api/v1/events HTTP/1.1\r\n",
        b"Content-Length: 10\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Type: application/json\r\n",
        b"\r\n",
        b"\r",
        b" ",
        b"x" * 3000,
        b"1000\r\n",
    ]
)
EVERYWHERE = IdentitySettings(
    id_header="X-User-ID",
    group_header="X-User-Group",
    id_query="id",
    group_query="group",
    id_cookie="uid",
    group_cookie="ugroup",
)
CORS = CorsSettings(enabled=True, origins=("http://a.example", "http://b.example"), refuse=True, max_age=5)
NAMES = st.sampled_from(
    [
        "Origin",
        "Host",
        "Cookie",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
        "X-User-ID",
        "X-User-Group",
        "Content-Type",
        "Content-Encoding",
        "Content-Length",
        "Accept",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Expect",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            b"http://a.example",
            b"http://b.example",
            b"http://evil.example",
            b"null",
            b"POST",
            b"x-user-id, content-type",
            b"uid=1; ugroup=g; uid=\xff",
            b"uid",
            b";=;=" * 1000,
            b"id=1&group=2&id=%00",
            b"a=b&" * 3000,
            b"x" * 16_000,
            b"http://a.example\x01",
            b"raccoon.id.MQ, raccoon.json.v1",
            b"raccoon.id.!, bearer",
            b"permessage-deflate; x",
            b"websocket",
            b"upgrade",
            b"13",
            b"application/json",
            b"gzip",
            b"0",
        ]
    ),
    st.binary(max_size=300).map(lambda value: re.sub(rb"[\r\n]", b" ", value)),
)
STREAMS = st.lists(PIECES | st.binary(max_size=30), max_size=8).map(b"".join)


class AnythingTests(WireTestCase):
    """Streams that nobody should send."""

    def serve(self, segments: list[bytes], held: bool) -> tuple[bytes, list[Any]]:
        house = House(identity=EVERYWHERE, cors=CORS, dedup=DedupSettings(enabled=True, scope="identity"))
        house.held = held
        client = house.client()
        client.send(*segments)
        house.held = False
        house.answer()
        answer = normal(client.received())
        house.loop.advance(100.0)
        house.loop.spin()
        client.hang_up()
        house.loop.advance(10.0)
        self.assertTrue(client.wire.closed)
        self.assertEqual(house.loop.getDelayedCalls(), [])
        self.assertEqual(house.site.channels, set())
        self.assertEqual((house.sockets.open, len(house.connections)), (set(), 0))
        return answer, house.taken

    @settings(deadline=None, max_examples=300)
    @given(
        st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "PUT"]),
        st.lists(st.tuples(NAMES, VALUES), max_size=6),
        VALUES,
        st.sampled_from(["/api/v1/events", "/ping", "/readyz", "/x"]),
    )
    def test_heads(self, method: str, headers: list[tuple[str, bytes]], query: bytes, path: str) -> None:
        """Whatever stands in the headers that we read, and in the query, the answer is one of ours, and nothing of it
        comes back but an origin that is allowed."""
        target = f"{path}?".encode() + re.sub(rb"[^!-~]", b"%ff", query)
        lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
        stream = method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"
        answer, _ = self.serve([stream], False)
        if not answer:  # a body is waited for
            return
        status, head = int(answer[9:12]), answer.partition(b"\r\n\r\n")[0]
        self.assertIn(status, (101, 200, 400, 403, 404, 405, 408, 413, 415, 503))
        self.assertTrue(head.isascii())
        self.assertLess(len(head), 1000)
        for line in head.split(b"\r\n"):
            if line.startswith(b"Access-Control-Allow-Origin"):
                self.assertIn(line.partition(b": ")[2], (b"http://a.example", b"http://b.example"))
        self.assertEqual(self.noise, [])

    @settings(deadline=None, max_examples=300)
    @given(STREAMS, st.lists(st.integers(0, 100_000), max_size=6), st.booleans())
    def test_cuts(self, stream: bytes, places: list[int], held: bool) -> None:
        """Whatever comes in, nothing breaks, nothing is left behind, nothing is logged, and it does not matter how it
        is cut, whether Kafka confirms at once or only afterwards."""
        whole = self.serve([stream], held)
        self.assertEqual(self.serve(cut(stream, places), held), whole)
        self.assertEqual(self.noise, [])

    @settings(deadline=None, max_examples=300)
    @given(st.lists(PIECES, min_size=1, max_size=3), st.data())
    def test_damage(self, pieces: list[bytes], data: st.DataObject) -> None:
        """The same for good requests with a few bytes changed."""
        stream = bytearray(b"".join(pieces))
        for place in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=4)):
            stream[place] = data.draw(st.integers(0, 255))
        self.serve(cut(bytes(stream), [len(stream) // 3, len(stream) // 2]), False)
        self.assertEqual(self.noise, [])

    def test_each_byte(self) -> None:
        """The same, byte by byte."""
        stream = post() + post(b"\x01") + request("HEAD", "//ping/")
        stream += post(chunked(JSON_BATCH), Transfer_Encoding="chunked")
        stream += handshake() + frame(TEXT, JSON_BATCH) + frame(CLOSE, close(1000))
        self.assertEqual(self.serve([bytes([byte]) for byte in stream], False), self.serve([stream], False))
