"""Tests for `raccoon_tx.transports.rest`, by the bytes on the wire: contract sections 1 and 4."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from raccoon_tx import ingest
from raccoon_tx.model import Draining, Identity, Outcome, Reply, Saturated, Unavailable
from raccoon_tx.settings import DedupSettings, IdentitySettings
from raccoon_tx.transports import answers, rest
from raccoon_tx.transports.health import Part
from tests.wire import (
    JSON_BATCH,
    JSON_OK,
    NOW,
    PROTO_BATCH,
    PROTO_OK,
    Answer,
    House,
    Refusal,
    WireTestCase,
    chunked,
    handshake,
    in_both_lanes,
    post,
    request,
)

REQUIRED = IdentitySettings(id_header="X-User-ID", require_id=True)
EVERYWHERE = IdentitySettings(
    id_header="X-User-ID",
    group_header="X-User-Group",
    id_query="id",
    group_query="group",
    id_cookie="uid",
    group_cookie="ugroup",
)
TAKEN = [([b"event_1"], Identity("--default--", ""))]


class RestTestCase(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        self.client = self.house.client()

    def ask(self, *segments: bytes) -> Answer:
        """Send a request on a connection that stays open. :return: the answer, which comes back at once."""
        answer = self.client.ask(*segments)
        self.assertEqual((answer.version, self.client.wire.closed), ("HTTP/1.1", False))
        self.assertNotIn("connection", answer.headers)
        self.assertNotIn("server", answer.headers)
        self.assertIn("date", answer.headers)
        return answer

    def refused(self, status: int, reason: str | None, answer: Answer, **expected: Any) -> None:
        """The answer has this status, this reason, code 2, and no data."""
        self.assertEqual(answer.status, status)
        self.assert_reply(answer.reply, 2, reason, **expected)


class RouteTests(RestTestCase):
    """What is served where."""

    def test_ping(self) -> None:
        """``/ping`` says that the process lives."""
        answer = self.ask(request("GET", "/ping"))
        self.assertEqual((answer.status, answer.phrase, answer.body), (200, "OK", b"pong"))
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(answer.headers["content-length"], "4")

    def test_head_ping(self) -> None:
        """``HEAD /ping`` says so with no body; the next request is answered as ever."""
        self.client.send(request("HEAD", "/ping"), request("GET", "/ping"))
        head, get = self.client.answers("HEAD")
        self.assertEqual((head.status, head.headers["content-length"], head.body), (200, "4", b""))
        self.assertEqual((get.status, get.body), (200, b"pong"))

    def test_query(self) -> None:
        """A query changes nothing."""
        self.assertEqual(self.ask(request("GET", "/ping?a=b&c=%ff;#")).body, b"pong")
        self.assertEqual(self.ask(request("GET", "/ping?")).body, b"pong")
        self.assertEqual(self.ask(post().replace(b"/events", b"/events?x=/../y")).status, 200)

    def test_method_not_allowed(self) -> None:
        """Other methods on a known path are refused, with no body and a list of those that are allowed."""
        for target, allowed in ("/ping", "GET, HEAD"), ("/api/v1/events", "GET, POST"):
            for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"):
                answer = self.ask(request(method, target))
                self.assertEqual((answer.status, answer.headers["allow"], answer.body), (405, allowed, b""))
                self.assertNotIn("access-control-allow-origin", answer.headers)
        self.assertEqual(self.ask(post().replace(b"/api/v1/events", b"/ping")).headers["allow"], "GET, HEAD")
        self.assertEqual(self.ask(request("PUT", "//%70ing/")).headers["allow"], "GET, HEAD")
        self.client.send(request("HEAD", "/api/v1/events"))
        (answer,) = self.client.answers("HEAD")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, POST"))

    def test_not_found(self) -> None:
        """Unknown paths are not found, whatever the method is."""
        for target in (
            "/",
            "/pin",
            "/pingg",
            "/Ping",
            "/ping/x",
            "/api/v1/event",
            "/api/v1",
            "/api/v2/events",
            "/ping%00",
            "/%2a",
            "/%ff",
            "/ping%ff",
            "/%c3%28",
            "/ping;x",
            "/|",
            "/%0d%0aX:%20y",
        ):
            for method in ("GET", "POST", "DELETE"):
                answer = self.ask(request(method, target))
                self.assertEqual((answer.status, answer.body), (404, b"404 page not found\n"), target)
                self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.client.send(request("HEAD", "/nothing"))
        (answer,) = self.client.answers("HEAD")
        self.assertEqual((answer.status, answer.headers["content-length"]), (404, "19"))

    def test_unclean(self) -> None:
        """Unclean paths are understood, and never a reason for a redirect."""
        for target in (
            "/ping/",
            "//ping",
            "/./ping",
            "/ping/.",
            "/x/../ping",
            "/../ping",
            "/ping//",
            "///x/..//./ping/",
            "/%70ing",
            "/%2fping",
            "/%2e/ping",
            "/x/%2E%2e/ping%2f",
        ):
            answer = self.ask(request("GET", target))
            self.assertEqual((answer.status, answer.body), (200, b"pong"), target)
        for target in ("/api/v1/events/", "/api//v1/./events", "/api%2Fv1%2fevents", "/api/%2f/v1/events"):
            answer = self.ask(post().replace(b"/api/v1/events", target.encode()))
            self.assertEqual((answer.status, answer.body), (200, JSON_OK), target)

    def test_target_with_host(self) -> None:
        """A target may be a whole address, as proxies send it; what host it names does not matter."""
        for target in ("http://example.com/ping", "HTTPS://other:1/ping", "http:///ping", "http://h//x/../ping?q"):
            self.assertEqual(self.ask(request("GET", target)).body, b"pong", target)
        answer = self.ask(post().replace(b"/api/v1/events", b"http://example.com/api/v1/events"))
        self.assertEqual(answer.body, JSON_OK)
        for target in (
            "http://ping",
            "http:/ping",
            "ftp://h/ping",
            "ping",
            "xping",
            "?",
            "://h/ping",
            "h:80",
            "/http://",
        ):
            self.assertEqual(self.ask(request("GET", target)).status, 404, target)

    def test_asterisk(self) -> None:
        """``OPTIONS *`` is for the server as a whole."""
        answer = self.ask(request("OPTIONS", "*"))
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.ask(request("GET", "*")).status, 405)

    def test_host(self) -> None:
        """What a client calls this host does not matter, nor whether it is a name at all; but it has to call it
        something, and not two things (RFC 9112, section 3.2)."""
        for host in ("", "localhost:8080", "[::1]:99999", "a b", "\xff\xfe", "x" * 5000, "..", "xn--\x80", "h:x", "*"):
            answer = self.ask(request("GET", "/ping", Host=host))
            self.assertEqual(answer.body, b"pong", host)
        self.assertEqual(self.house.client().ask(b"GET /ping HTTP/1.0\r\n\r\n").body, b"pong")
        upgrade = handshake().replace(b"Host: example.com\r\n", b"")
        for head in (b"GET /ping HTTP/1.1\r\n\r\n", request("GET", "/ping", host="a"), post(host="a"), upgrade):
            client = self.house.client()
            client.send(head)
            self.assertEqual(client.answers()[0].status, 400, head)
            self.assertTrue(client.closed)


class ContentTypeTests(RestTestCase):
    """Which encodings are understood, and which comes back."""

    def test_json(self) -> None:
        """JSON in, JSON out, under whichever of its names it came."""
        for kind in (
            "application/json",
            "application/json; charset=utf-8",
            "Application/Json;Charset=UTF-8",
            "text/json",
            "application/vnd.api+json",
        ):
            answer = self.ask(post(kind=kind))
            self.assertEqual((answer.status, answer.body), (200, JSON_OK))
            self.assertEqual(answer.headers["content-type"], "application/json")

    def test_protobuf(self) -> None:
        """Protobuf in, protobuf out."""
        for kind in (
            "application/proto",
            "application/x-protobuf",
            "application/protobuf",
            "application/vnd.google.protobuf",
            "application/x-google-protobuf",
            "APPLICATION/PROTO; x=y",
        ):
            answer = self.ask(post(PROTO_BATCH, kind))
            self.assertEqual((answer.status, answer.body), (200, PROTO_OK))
            self.assertEqual(answer.headers["content-type"], "application/proto")

    def test_refused(self) -> None:
        """Everything else is refused in JSON, whatever the client accepts, before anyone looks at the body."""
        for kind in (None, "", "text/plain", "application/xml", "application/json; charset=latin-1", "\xff"):
            answer = self.ask(post(PROTO_BATCH, kind, Accept="application/proto"))
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.refused(400, "invalid content type", answer)
        self.refused(400, "invalid content type", self.ask(post(b"", None)))
        twice = post().replace(b"Content-Type: ", b"Content-Type: application/json\r\nContent-Type: ")
        self.refused(400, "invalid content type", self.ask(twice))
        self.assertEqual(self.house.taken, [])

    def test_exact(self) -> None:
        """The refusal, to the byte."""
        self.assertEqual(
            self.ask(post(kind=None)).body,
            b'{"status":2,"code":2,"sent_time":1638155915,"reason":"invalid content type"}',
        )

    def test_forms(self) -> None:
        """Form bodies are refused like any other, and not taken apart before that."""
        part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
        for kind, body in (
            ("application/x-www-form-urlencoded", b"a=b&" * 200),
            ("multipart/form-data; boundary=b", part * 5 + b"--b--"),
            ("multipart/form-data", b"no boundary"),
            ("multipart/form-data; boundary=b", b"never ends"),
        ):
            self.refused(400, "invalid content type", self.ask(post(body, kind)))

    def test_text_plain(self) -> None:
        """``text/plain`` is JSON if an operator wants that, for ``sendBeacon``."""
        self.client = House(text_plain=True).client()
        answer = self.ask(post(kind="text/plain;charset=UTF-8"))
        self.assertEqual((answer.status, answer.body), (200, JSON_OK))
        self.assertEqual(answer.headers["content-type"], "application/json")

    def test_accept(self) -> None:
        """``Accept`` may ask for the other encoding, of a refusal as of a success."""
        answer = self.ask(post(Accept="application/proto"))
        self.assertEqual((answer.headers["content-type"], answer.body), ("application/proto", PROTO_OK))
        answer = self.ask(post(PROTO_BATCH, "application/proto", Accept="application/json"))
        self.assertEqual((answer.headers["content-type"], answer.body), ("application/json", JSON_OK))
        answer = self.ask(post(b"\x01", Accept="application/proto"))
        self.assertEqual(answer.headers["content-type"], "application/proto")
        self.refused(400, "deserialization failure", answer)

    def test_accept_both(self) -> None:
        """What names both, neither, or anything at all leaves the encoding as it was."""
        default = "application/json, text/plain, */*"  # of the HTTP library of the official JavaScript client
        for accept in ("application/json, application/proto", "text/html", "*/*", "", default):
            answer = self.ask(post(PROTO_BATCH, "application/proto", Accept=accept))
            self.assertEqual((answer.headers["content-type"], answer.body), ("application/proto", PROTO_OK))


class IdentityTests(RestTestCase):
    """Who sends."""

    def client_of(self, **headers: str) -> Identity:
        self.assertEqual(self.ask(post(**headers)).status, 200)
        return self.house.taken.pop()[1]

    def test_headers(self) -> None:
        """Id and group come from their headers; neither has to be there."""
        self.assertEqual(self.client_of(X_User_ID="1234", x_user_group="viewers"), Identity("viewers", "1234"))
        self.assertEqual(self.client_of(X_User_ID="\u00c3\u00bc"), Identity("--default--", "\u00fc"))
        self.assertEqual(self.client_of(X_User_Group=""), Identity("--default--", ""))
        self.assertEqual(self.client_of(), Identity("--default--", ""))

    def test_first(self) -> None:
        """The first of several values counts."""
        answer = self.ask(post(X_User_ID="1").replace(b"X-User-ID: 1\r\n", b"X-User-ID: 1\r\nx-user-id: 2\r\n"))
        self.assertEqual((answer.status, self.house.taken[0][1].id), (200, "1"))

    def test_refused(self) -> None:
        """What cannot go into a log line or a label is refused, in the encoding of the request."""
        for value, reason in (
            ("x" * 257, "is longer than 256 bytes"),
            ("a\x01b", "has control characters"),
            ("\xff", "is not UTF-8"),
        ):
            for name in ("X-User-ID", "X-User-Group"):
                headers = {name.replace("-", "_"): value}
                self.refused(400, f"the header {name} {reason}", self.ask(post(**headers)))
                answer = self.ask(post(PROTO_BATCH, "application/proto", **headers))
                self.refused(400, f"the header {name} {reason}", answer)
                self.assertEqual(answer.headers["content-type"], "application/proto")
        self.assertEqual(self.house.taken, [])

    def test_required(self) -> None:
        """An operator may want an id of everybody."""
        self.client = House(identity=REQUIRED).client()
        reason = "the header X-User-ID with the connection id is missing or empty"
        self.refused(400, reason, self.ask(post()))
        self.refused(400, reason, self.ask(post(X_User_ID="")))
        self.assertEqual(self.ask(post(X_User_ID="1")).status, 200)


class OtherPlacesTests(RestTestCase):
    """An identity that is not in a header."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House(identity=EVERYWHERE)
        self.client = self.house.client()

    def sender(self, query: str = "", *cookies: str, **headers: str) -> Identity:
        answer = self.ask(self.written(query, *cookies, **headers))
        self.assertEqual(answer.status, 200, answer.body)
        return self.house.taken.pop()[1]

    def written(self, query: str = "", *cookies: str, **headers: str) -> bytes:
        """A batch, with a query and with ``Cookie`` headers."""
        data = post(**headers).replace(b"/events ", f"/events{query} ".encode("latin-1"))
        lines = "".join(f"Cookie: {cookie}\r\n" for cookie in cookies).encode("latin-1")
        return data.replace(b"Host: ", lines + b"Host: ")

    def test_query(self) -> None:
        """The query may name id and group; the first of several values counts."""
        self.assertEqual(self.sender("?id=7&group=g"), Identity("g", "7"))
        self.assertEqual(self.sender("?x=y&id=1&id=2"), Identity("--default--", "1"))
        self.assertEqual(self.sender("?id=%C3%BC+%26"), Identity("--default--", "\u00fc &"))
        self.assertEqual(self.sender("?id=&group"), Identity("--default--", ""))
        self.assertEqual(self.sender("?id=7", X_User_ID="1"), Identity("--default--", "1"))

    def test_cookie(self) -> None:
        """So may cookies, however many there are, and over however many lines; quotes around a value do not count."""
        self.assertEqual(self.sender("", "uid=7; ugroup=g"), Identity("g", "7"))
        self.assertEqual(self.sender("", "a=b;uid=7", " ugroup=g ;; ="), Identity("g", "7"))
        self.assertEqual(self.sender("", 'uid="7"; uid=8'), Identity("--default--", "7"))
        self.assertEqual(self.sender("", "uid=a=b"), Identity("--default--", "a=b"))
        self.assertEqual(self.sender("?id=1", "uid=7"), Identity("--default--", "1"))

    def test_odd_cookies(self) -> None:
        """Cookies that are none of ours do not matter, however broken; a name is the whole name."""
        for cookie in ("", ";", "uid", "xuid=7", "uidx=7", "Uid=7", "=7", ";;;=;=;", "a" * 8000, "\xff=\x01", "uid ="):
            self.assertEqual(self.sender("", cookie), Identity("--default--", ""), cookie)
        self.assertEqual(self.sender("", 'uid="'), Identity("--default--", '"'))
        self.assertEqual(self.sender("", 'uid=""'), Identity("--default--", ""))

    def test_subprotocol(self) -> None:
        """A subprotocol is a matter of WebSockets: a POST that has one is as if it had none."""
        for value in ("raccoon.id.MQ", "raccoon.id.!!"):
            self.assertEqual(self.sender(Sec_WebSocket_Protocol=value), Identity("--default--", ""))

    def test_refused(self) -> None:
        """What cannot be used is refused, and the place is named."""
        for query, cookie, reason in (
            ("?id=" + "x" * 257, "", "the query parameter id is longer than 256 bytes"),
            ("?id=%00", "", "the query parameter id has control characters"),
            ("?group=a%0d%0ab", "", "the query parameter group has control characters"),
            ("?id=%ff", "", "the query of the address is not in its usual form"),
            ("?" + "a=b&" * 2000, "", "the query of the address is not in its usual form"),
            ("", "uid=" + "x" * 257, "the cookie uid is longer than 256 bytes"),
            ("", "uid=\xff", "the cookie uid is not UTF-8"),
            ("", "ugroup=\x01", "the cookie ugroup has control characters"),
        ):
            self.refused(400, reason, self.ask(self.written(query, cookie)))
        self.assertEqual(self.house.taken, [])
        self.assertEqual(self.house.counted(), {"NA": {"invalidevent": 8}})

    def test_not_configured(self) -> None:
        """Without the settings, neither is looked at, whatever is in it."""
        self.house = House()
        self.client = self.house.client()
        for query in ("?id=7&=8", "?" + "a=b&" * 2000, "?%ff", "?id=%00"):
            self.assertEqual(self.sender(query, "uid=7; =8"), Identity("--default--", ""))

    def test_websocket(self) -> None:
        """An upgrade may use all of them."""
        for headers, expected in (
            ({"Sec_WebSocket_Protocol": "raccoon.json.v1, raccoon.id.Nw, raccoon.group.Zw"}, Identity("g", "7")),
            ({"Cookie": "uid=8"}, Identity("--default--", "8")),
            ({"Cookie": "uid=8", "Sec_WebSocket_Protocol": "raccoon.id.Nw"}, Identity("--default--", "7")),
            ({"Cookie": "uid=8", "X_User_ID": "9"}, Identity("--default--", "9")),
        ):
            self.house.socket(**{"X_User_ID": "", **headers})
            (socket,) = self.house.sockets.open
            self.assertEqual(socket.client.identity, expected)
            socket.abort()
            self.house.loop.spin()

    def test_websocket_refused(self) -> None:
        """One whose identity cannot be used is refused, and counted once under its group."""
        answer = self.ask(handshake(X_User_ID="", Sec_WebSocket_Protocol="raccoon.id.!!"))
        self.assertEqual((answer.status, answer.headers["sec-websocket-version"]), (400, "13"))
        self.assertIn(b"raccoon.id.", answer.body)
        self.assertEqual(self.ask(handshake(X_User_ID="x" * 257)).status, 400)
        offer = "raccoon.group.Zw"
        self.assertEqual(self.ask(handshake(Sec_WebSocket_Key="", Sec_WebSocket_Protocol=offer)).status, 400)
        self.assertEqual(self.ask(handshake(Sec_WebSocket_Key="", X_User_Group="v")).status, 400)
        self.assertEqual(
            self.house.counted(),
            {"NA": {"refused:ugfailure": 2}, "g": {"refused:ugfailure": 1}, "v": {"refused:ugfailure": 1}},
        )


class HealthTests(RestTestCase):
    """``/healthz`` and ``/readyz``."""

    def test_alive(self) -> None:
        """``/healthz`` is 200 as long as anybody answers at all."""
        self.house.parts["publisher"] = lambda: Part(False, "away")
        answer = self.ask(request("GET", "/healthz"))
        self.assertEqual((answer.status, answer.body), (200, b"ok"))

    def test_ready(self) -> None:
        """``/readyz`` is 200 when every part can take an event, and names each."""
        self.house.parts.update(listeners=lambda: Part(True, "ok"), publisher=lambda: Part(True, "connected"))
        answer = self.ask(request("GET", "/readyz"))
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        self.assertEqual(
            json.loads(answer.body),
            {
                "status": "ready",
                "parts": {
                    "listeners": {"ok": True, "state": "ok"},
                    "publisher": {"ok": True, "state": "connected"},
                },
            },
        )

    def test_not_ready(self) -> None:
        """One part that cannot is enough to be not ready; it is asked each time."""
        self.house.parts.update(listeners=lambda: Part(True, "ok"), publisher=lambda: Part(False, "no broker"))
        answer = self.ask(request("GET", "/readyz"))
        self.assertEqual(answer.status, 503)
        body = json.loads(answer.body)
        self.assertEqual(body["status"], "not ready")
        self.assertEqual(body["parts"]["publisher"], {"ok": False, "state": "no broker"})
        self.house.parts["publisher"] = lambda: Part(True, "ok")
        self.assertEqual(self.ask(request("GET", "//readyz/")).status, 200)

    def test_head(self) -> None:
        """``HEAD`` says the same without a body; other methods are not allowed."""
        self.house.parts["publisher"] = lambda: Part(False, "away")
        for target, status in ("/healthz", 200), ("/readyz", 503):
            self.client.send(request("HEAD", target))
            (answer,) = self.client.answers("HEAD")
            self.assertEqual((answer.status, answer.body), (status, b""))
            self.assertNotEqual(answer.headers["content-length"], "0")
            answer = self.ask(request("POST", target, b""))
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))


class CountTests(RestTestCase):
    """Under which reason a batch is counted that was not taken: each once."""

    def counted(self) -> dict[str, dict[str, int]]:
        self.house.loop.spin()
        return self.house.counted()

    def test_success(self) -> None:
        """A batch that was read counts as such, whatever becomes of it, under its group."""
        self.ask(post(X_User_Group="g"))
        self.house.outcome = Reply(Outcome.FAILED, "1234", "why")
        self.ask(post())
        self.assertEqual(self.counted(), {"g": {"success": 1}, "--default--": {"success": 1}})

    def test_content_type(self) -> None:
        """One whose type is refused has no group."""
        self.ask(post(kind=None, X_User_Group="g"))
        self.assertEqual(self.counted(), {"NA": {"unknowncontentype": 1}})

    def test_content(self) -> None:
        """What is wrong with a body has its reasons, under the client's group."""
        self.ask(post(b"\x01", X_User_Group="a"))
        self.ask(post(b"x", Content_Encoding="br", X_User_Group="b"))
        self.ask(post(b"x", Content_Encoding="gzip", X_User_Group="c"))
        self.ask(post(gzip.compress(bytes(2000)), Content_Encoding="gzip", X_User_Group="d"))
        self.ask(post(b'{"events":[{"type":"","event_bytes":""}]}', X_User_Group="e"))
        self.ask(post(X_User_ID="x" * 257))
        self.assertEqual(
            self.counted(),
            {
                "a": {"serde": 1},
                "b": {"encoding": 1},
                "c": {"serde": 1},
                "d": {"toolarge": 1},
                "e": {"invalidevent": 1},
                "NA": {"invalidevent": 1},
            },
        )

    def test_overload(self) -> None:
        """So has what is wrong with us."""
        self.house.refusal = Saturated("full")
        self.ask(post())
        self.house.refusal = Unavailable("away")
        self.ask(post())
        self.house.refusal = Draining("ending")
        self.client.send(post())
        self.assertEqual(self.counted(), {"--default--": {"overload": 2, "draining": 1}})

    def test_too_large(self) -> None:
        """A body that is refused before it is there counts once, under its group, in each of its forms."""
        odd = {"Transfer_Encoding": "chunked", "Content_Type": "text/json"}
        for data, more in (
            (post(bytes(1001), X_User_Group="g"), b""),
            (request(Content_Length="99999", Content_Type="text/json", X_User_Group="g"), bytes(99999)),
            (post(chunked(bytes(1001)), Transfer_Encoding="chunked", X_User_Group="g"), b""),
            (request(**odd, X_User_Group="g") + b"fff\r\n" + bytes(1001), b"nonsense"),
        ):
            self.house.client().send(data, more)
        self.house.client().send(post(bytes(1001), X_User_Group="x" * 257))
        self.assertEqual(self.counted(), {"g": {"toolarge": 4}, "NA": {"toolarge": 1}})

    def test_too_large_in_no_encoding(self) -> None:
        """A body that is too large, and in an encoding that nobody reads, is told and counted as the latter."""
        client = self.house.client()
        client.send(request(Content_Length="99999", Content_Type="text/html", X_User_Group="g"))
        (answer,) = client.answers()
        self.assertEqual((answer.status, json.loads(answer.body)["reason"]), (400, "invalid content type"))
        self.assertEqual(self.counted(), {"NA": {"unknowncontentype": 1}})

    def test_late(self) -> None:
        """So does a batch that is late."""
        for data in (post(X_User_Group="g")[:-1], post(X_User_Group="g")[: -len(JSON_BATCH) - 2]):
            client = self.house.client()
            client.send(data)
            self.house.loop.advance(30.1)
            self.house.loop.spin()
            client.send(b"x" * 10)
        self.assertEqual(self.counted(), {"g": {"timeout": 2}})

    def test_broken_off(self) -> None:
        """So does one that breaks off, or whose chunks are none."""
        for leave in ("hang_up", "vanish"):
            client = self.house.client()
            client.send(post(X_User_Group="g")[:-1])
            getattr(client, leave)()
        self.house.client().send(post(b"nonsense\r\n", Transfer_Encoding="chunked", X_User_Group="g"))
        self.assertEqual(self.counted(), {"g": {"readerr": 3}})

    def test_other_requests(self) -> None:
        """What was no batch does not count as one."""
        for data in (
            request("GET", "/ping", Content_Length="99999"),
            request("GET", Content_Length="99999"),
            request("POST", "/ping", Content_Length="99999"),
            b"nonsense\r\n",
            b"POST /api/v1/events HTTP/1.1\r\nnonsense\r\n\r\n",
            request("PUT", body=b"abc")[:-1],
            request("GET", "/ping")[:20],
            b"POST /api/v1/events",
        ):
            client = self.house.client()
            client.send(data)
            self.house.loop.advance(30.1)
            self.house.loop.spin()
            client.vanish()
        self.assertEqual(self.counted(), {})

    def test_upgrade(self) -> None:
        """A refused upgrade counts once, under its group; a plain GET on the address is one too."""
        self.ask(handshake(Origin="http://evil.example", X_User_Group="g"))
        self.ask(request("GET"))
        self.assertEqual(self.counted(), {"g": {"refused:ugfailure": 1}, "--default--": {"refused:ugfailure": 1}})


class RateLimitTests(RestTestCase):
    """Clients that send more than their share."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(ingest.random, "uniform", lambda low, high: low)
        self.house = House(rate=2)
        self.client = self.house.client()

    def test_limit(self) -> None:
        """The answer is 429 with code 3, and says when to come back; then there is room again."""
        for body, kind in (JSON_BATCH, "application/json"), (PROTO_BATCH, "application/proto"):
            for _ in range(2):
                self.assertEqual(self.ask(post(body, kind, X_User_ID=kind)).status, 200)
            answer = self.ask(post(body, kind, X_User_ID=kind))
            self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "1"))
            self.assertEqual(answer.headers["content-type"], kind)
            self.assert_reply(
                answer.reply,
                3,
                "too many events from this client, try again later",
                {"req_guid": "1234", "retryable": "true", "retry_after_ms": "1000"},
            )
            self.house.loop.advance(1.0)
            self.assertEqual(self.ask(post(body, kind, X_User_ID=kind)).status, 200)
        self.assertEqual(self.house.counted(), {"--default--": {"success": 6, "ratelimit": 2}})

    def test_without_id(self) -> None:
        """Clients without an id share the bucket of their address, over all their connections."""
        for expected in (200, 200, 429):
            self.assertEqual(self.house.client().ask(post()).status, expected)
        self.assertEqual(self.ask(post(X_User_ID="1")).status, 200)

    def test_group(self) -> None:
        """The same id in another group is another client."""
        for group in ("a", "b"):
            for expected in (200, 200, 429):
                self.assertEqual(self.ask(post(X_User_ID="1", X_User_Group=group)).status, expected)


class DuplicateTests(RestTestCase):
    """Batches that come again."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House(dedup=DedupSettings(enabled=True, scope="identity"))
        self.client = self.house.client()

    def test_again(self) -> None:
        """One that was published is answered as a success that says so, and not published again."""
        for body, kind in (JSON_BATCH, "application/json"), (PROTO_BATCH, "application/proto"):
            self.assertEqual(self.ask(post(body, kind, X_User_ID=kind)).status, 200)
            answer = self.house.client().ask(post(body, kind, X_User_ID=kind))
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, kind))
            self.assert_reply(answer.reply, 1, data={"req_guid": "1234", "duplicate": "true"}, status=1)
        self.assertEqual(len(self.house.taken), 2)
        self.assertEqual(self.house.counted(), {"--default--": {"success": 4, "duplicate": 2}})

    def test_meanwhile(self) -> None:
        """One that is still on its way has the same end as the first, good or bad."""
        self.house.held = True
        first, second = self.house.client(), self.house.client()
        for outcome in (Reply(Outcome.FAILED, "1234", "why"), None):
            for client in (first, second):
                client.send(post(X_User_ID="1"))
            self.assertEqual(second.received(), b"")
            self.house.outcome = outcome
            self.house.answer()
            statuses = [client.answers()[0].status for client in (first, second)]
            self.assertEqual(statuses, [500, 500] if outcome else [200, 200])
        self.assertEqual(len(self.house.taken), 2)

    def test_nobody(self) -> None:
        """A client without an id, and a batch without a guid, are never taken for another."""
        anonymous = JSON_BATCH.replace(b"1234", b"")
        for _ in range(2):
            self.assertEqual(self.ask(post()).body, JSON_OK)
            self.assertEqual(self.ask(post(anonymous, X_User_ID="1")).reply["data"], {"req_guid": ""})
        self.assertEqual(len(self.house.taken), 4)

    def test_per_connection(self) -> None:
        """In the scope of a connection, which is WebSockets' alone, REST knows no duplicates."""
        self.house = House(dedup=DedupSettings(enabled=True))
        self.client = self.house.client()
        for _ in range(2):
            self.assertEqual(self.ask(post(X_User_ID="1")).body, JSON_OK)
        self.assertEqual(len(self.house.taken), 2)


class OutcomeTests(RestTestCase):
    """What a client is told of its batch."""

    def test_success(self) -> None:
        """Success is 200 and nothing else, and echoes the guid."""
        answer = self.ask(post())
        self.assertEqual((answer.status, answer.phrase, answer.body), (200, "OK", JSON_OK))
        self.assertNotIn("retry-after", answer.headers)
        self.assertEqual(self.house.taken, TAKEN)

    def test_empty_batch(self) -> None:
        """An empty batch is a success with an empty guid."""
        answer = self.ask(post(b"{}"))
        self.assertEqual(
            (answer.status, answer.body),
            (200, b'{"status":1,"code":1,"sent_time":1638155915,"data":{"req_guid":""}}'),
        )
        answer = self.ask(post(b"", "application/proto"))
        self.assertEqual(answer.status, 200)
        self.assert_reply(answer.reply, 1, data={"req_guid": ""}, status=1)

    def test_undecodable(self) -> None:
        """What is no batch is told in the words that were always used for it, and without data."""
        for body in (b"\x01", b"", b"null", b"[]", b'{"events":[null]}', b'{"req_guid":"1","events":1}'):
            self.refused(400, "deserialization failure", self.ask(post(body)))
        for body in (b"\x01", b"\n\xff", JSON_BATCH):
            answer = self.ask(post(body, "application/proto"))
            self.refused(400, "deserialization failure", answer)
            self.assertEqual(answer.headers["content-type"], "application/proto")
        self.assertEqual(self.house.taken, [])

    def test_statuses(self) -> None:
        """Each outcome has its status and its code; 3 is what is worth sending again."""
        for outcome, status, code in (
            (Outcome.INVALID, 400, 2),
            (Outcome.FAILED, 500, 3),
            (Outcome.UNREADABLE, 500, 3),
            (Outcome.SATURATED, 503, 3),
            (Outcome.UNAVAILABLE, 503, 3),
            (Outcome.DRAINING, 503, 3),
            (Outcome.RATE_LIMITED, 429, 3),
            (Outcome.EXPIRED, 504, 3),
            (Outcome.TOO_LARGE, 413, 2),
        ):
            self.house.outcome = Reply(outcome, "1234", "why", {"retryable": "x"})
            for body, kind in (JSON_BATCH, "application/json"), (PROTO_BATCH, "application/proto"):
                answer = self.house.client().ask(post(body, kind))
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.headers["content-type"], kind)
                self.assert_reply(answer.reply, code, "why", {"req_guid": "1234", "retryable": "x"})

    def test_every_outcome(self) -> None:
        """No outcome of a batch is without a status."""
        self.assertEqual(set(Outcome) - rest._STATUS.keys(), {Outcome.MAX_CONNECTIONS, Outcome.DUPLICATE_CONNECTION})

    def test_refusal(self) -> None:
        """A refusal after decoding echoes the guid and says whether to come again, and when."""
        self.house.refusal = Saturated("overloaded: full", retry_after=1.234)
        answer = self.ask(post())
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "2"))
        self.assert_reply(
            answer.reply,
            3,
            "overloaded: full",
            {"req_guid": "1234", "retryable": "true", "retry_after_ms": "1234"},
        )

    def test_retry_after(self) -> None:
        """Whole seconds, at least one, wherever coming again may help soon, and nowhere else."""
        for outcome in (Outcome.SATURATED, Outcome.UNAVAILABLE, Outcome.DRAINING, Outcome.RATE_LIMITED):
            for seconds, told in (None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (2.999, "3"):
                self.house.refusal = Refusal(outcome, "later", seconds)
                answer = self.house.client().ask(post())
                self.assertEqual(answer.headers["retry-after"], told)
        for outcome in (Outcome.FAILED, Outcome.EXPIRED, Outcome.INVALID, Outcome.OK):
            self.house.refusal = Refusal(outcome, "never", 1.0)
            self.assertNotIn("retry-after", self.house.client().ask(post()).headers)

    def test_draining(self) -> None:
        """A server that is about to stop says so, and closes the connection after it."""
        self.house.refusal = Draining("shutting down", retry_after=2.0)
        self.client.send(post() + post())
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "2"))
        self.assertEqual(answer.headers["connection"], "close")
        self.assertTrue(self.client.closed)

    def test_unavailable(self) -> None:
        """A connection is kept when only Kafka is away."""
        self.house.refusal = Unavailable("unavailable", retry_after=1.0)
        self.assertEqual(self.ask(post()).status, 503)
        self.house.refusal = None
        self.assertEqual(self.ask(post()).status, 200)

    def test_reason(self) -> None:
        """A reason may have any character."""
        self.house.outcome = Reply(Outcome.FAILED, '\u20ac<&>"\\\n', '\u20ac<&>"\\\n\x00')
        answer = self.ask(post())
        self.assert_reply(answer.reply, 3, '\u20ac<&>"\\\n\x00', {"req_guid": '\u20ac<&>"\\\n'})
        answer = self.ask(post(PROTO_BATCH, "application/proto"))
        self.assert_reply(answer.reply, 3, '\u20ac<&>"\\\n\x00', {"req_guid": '\u20ac<&>"\\\n'})

    def test_later(self) -> None:
        """The answer comes when Kafka has confirmed, and not before."""
        self.house.held = True
        self.client.send(post())
        self.assertEqual(self.client.received(), b"")
        self.house.answer()
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.body), (200, JSON_OK))

    def test_gone(self) -> None:
        """A client that has gone by then is no error, and its answer goes nowhere."""
        self.house.held = True
        self.client.send(post())
        self.client.vanish()
        self.house.answer()
        self.assertEqual(self.client.received(), b"")
        self.assertEqual(len(self.house.taken), 1)
        self.assertEqual(self.house.site.channels, set())

    def test_bug(self) -> None:
        """A bug of ours is a 500 in the client's encoding and one entry in the log; the next request is served."""
        self.house.refusal = ZeroDivisionError("secret")
        for body, kind in (JSON_BATCH, "application/json"), (PROTO_BATCH, "application/proto"):
            answer = self.ask(post(body, kind))
            self.assertEqual((answer.status, answer.headers["content-type"]), (500, kind))
            self.assert_reply(answer.reply, 3, "internal error")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.noise, ["a request could not be served"])
            self.noise.clear()
        self.house.refusal = None
        self.assertEqual(self.ask(post()).status, 200)

    def test_time(self) -> None:
        """``sent_time`` is now, in whole seconds."""
        for module in answers, rest:
            self.patch(module, "time", lambda: NOW + 60.1)
        self.assertEqual(self.ask(post()).reply["sent_time"], NOW + 60)


class CompressionTests(RestTestCase):
    """Bodies in a content coding."""

    def test_each(self) -> None:
        """gzip and deflate are understood, in both encodings."""
        for squeeze, coding in (gzip.compress, "gzip"), (zlib.compress, "deflate"), (bytes, "identity"):
            self.assertEqual(self.ask(post(squeeze(JSON_BATCH), Content_Encoding=coding)).body, JSON_OK)
            answer = self.ask(post(squeeze(PROTO_BATCH), "application/proto", Content_Encoding=coding))
            self.assertEqual(answer.body, PROTO_OK)
        body = gzip.compress(JSON_BATCH[:20]) + gzip.compress(JSON_BATCH[20:])
        self.assertEqual(self.ask(post(body, Content_Encoding="GZip")).body, JSON_OK)
        two = post(zlib.compress(gzip.compress(JSON_BATCH)), Content_Encoding="gzip")
        two = two.replace(b"Content-Encoding: gzip\r\n", b"Content-Encoding: gzip\r\nContent-Encoding: deflate\r\n")
        self.assertEqual(self.ask(two).body, JSON_OK)

    def test_unknown(self) -> None:
        """Another coding is refused, with a list of those that are not."""
        for coding in ("br", "zstd", "gzip, br"):
            answer = self.ask(post(gzip.compress(JSON_BATCH), Content_Encoding=coding))
            self.assertEqual(answer.headers["accept-encoding"], "gzip, deflate")
            self.refused(415, "unknown content encoding; accepted are gzip, deflate", answer)
        answer = self.ask(post(PROTO_BATCH, "application/proto", Content_Encoding="br"))
        self.assertEqual((answer.status, answer.headers["content-type"]), (415, "application/proto"))
        self.assertNotIn("accept-encoding", self.ask(post()).headers)

    def test_bomb(self) -> None:
        """The limit is for what comes out as well."""
        for squeeze, coding in (gzip.compress, "gzip"), (zlib.compress, "deflate"):
            answer = self.ask(post(squeeze(bytes(1_000_000))[:1000], Content_Encoding=coding))
            self.refused(413, "too large: a body may have at most 1000 bytes", answer)
            padded = JSON_BATCH + b" " * (1000 - len(JSON_BATCH))
            self.assertEqual(self.ask(post(squeeze(padded), Content_Encoding=coding)).status, 200)
            answer = self.ask(post(squeeze(padded + b" "), Content_Encoding=coding))
            self.refused(413, "too large: a body may have at most 1000 bytes", answer)

    def test_damaged(self) -> None:
        """A body that is not what it is said to be does not decode."""
        whole = gzip.compress(JSON_BATCH)
        for body in (JSON_BATCH, whole[:-1], whole[:10], whole + b"x", whole + b"xx", b"\x1f\x8b"):
            self.refused(400, "deserialization failure", self.ask(post(body, Content_Encoding="gzip")))
        for body in (JSON_BATCH, whole, zlib.compress(JSON_BATCH) + b"x"):
            self.refused(400, "deserialization failure", self.ask(post(body, Content_Encoding="deflate")))


class UpgradeTests(RestTestCase):
    """``GET /api/v1/events`` without a good handshake."""

    def refused_upgrade(self, status: int, phrase: str, **headers: str) -> str:
        answer = self.ask(request("GET", **headers))
        self.assertEqual((answer.status, answer.headers["sec-websocket-version"]), (status, "13"))
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        text = answer.body.decode()
        self.assertTrue(text.startswith(f"{phrase}: ") and text.endswith("\n"), text)
        return text

    good = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }

    def test_refused(self) -> None:
        """It says what was wrong, and the version that it wants; the connection stays usable."""
        self.assertIn("WebSocket address", self.refused_upgrade(400, "Bad Request"))
        for name in self.good:
            headers = {other: value for other, value in self.good.items() if other != name}
            self.assertIn(name.replace("_", "-"), self.refused_upgrade(400, "Bad Request", **headers))
        self.refused_upgrade(400, "Bad Request", **{**self.good, "Sec_WebSocket_Version": "8"})
        text = self.refused_upgrade(403, "Forbidden", **self.good, Origin="http://evil.example")
        self.assertIn("Origin", text)

    def test_identity(self) -> None:
        """An identity that cannot be used is refused before the upgrade."""
        text = self.refused_upgrade(400, "Bad Request", **self.good, X_User_ID="x" * 257)
        self.assertIn("X-User-ID is longer than 256 bytes", text)
        self.client = House(identity=REQUIRED).client()
        self.assertIn("missing or empty", self.refused_upgrade(400, "Bad Request", **self.good))

    def test_nobody_counted(self) -> None:
        """Nobody who was refused is connected."""
        self.test_refused()
        self.assertEqual((len(self.house.connections), self.house.sockets.open), (0, set()))


class VectorTests(RestTestCase):
    """Further conformance vectors of contract section 19."""

    def test_spellings(self) -> None:
        """Vectors 2 to 6: one batch in five spellings, two events each."""
        plain = {
            "req_guid": "1234",
            "sent_time": {"seconds": 1, "nanos": 2},
            "events": [
                {"event_bytes": "ZXZlbnRfMQ==", "type": "type_a"},
                {"event_bytes": "ZXZlbnRfMg==", "type": "type_b"},
            ],
        }
        camel = {
            "reqGuid": "1234",
            "sentTime": {"seconds": 1, "nanos": 2},
            "events": [
                {"eventBytes": "ZXZlbnRfMQ==", "type": "type_a"},
                {"eventBytes": "ZXZlbnRfMg==", "type": "type_b"},
            ],
        }
        octets = {
            "req_guid": "1234",
            "events": [
                {"event_bytes": [101, 118, 101, 110, 116, 95, 49], "type": "type_a"},
                {"event_bytes": [101, 118, 101, 110, 116, 95, 50], "type": "type_b"},
            ],
        }
        for batch in (plain, camel, octets, {**plain, "sent_time": "2021-11-29T03:08:47.376499Z"}):
            answer = self.ask(post(json.dumps(batch).encode()))
            self.assertEqual((answer.status, answer.body), (200, JSON_OK))
            self.assertEqual(self.house.taken.pop()[0], [b"event_1", b"event_2"])


in_both_lanes(globals())
