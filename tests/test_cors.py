"""Tests of `raccoon_tx.transports.cors`: the rows of contract section 10.1."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.model import Saturated
from raccoon_tx.settings import CorsSettings, WebSocketSettings
from raccoon_tx.transports.cors import Cors, Verdict
from raccoon_tx.transports.health import Part
from tests.wire import (
    JSON_OK,
    PROTO_BATCH,
    TEXT,
    Answer,
    House,
    WireTestCase,
    chunked,
    handshake,
    post,
    request,
)

HERE = "http://localhost:3000"
VARY = ("Vary", "Origin")
ALLOWED = ("Access-Control-Allow-Origin", HERE)
EXPOSED = ("Access-Control-Expose-Headers", "Retry-After")


class CorsTests(SynchronousTestCase):
    def judge(
        self, method: str, origin: str | None, asked: str | None = None, wanted: str = "", **settings: Any
    ) -> Verdict:
        values = {"enabled": True, "origins": (HERE,), **settings}
        return Cors(CorsSettings(**values), ["X-User-ID", ""]).judge(method, origin, asked, wanted)

    def test_no_origin(self) -> None:
        """Who is no browser is served as ever; OPTIONS is answered, and grants nothing."""
        self.assertEqual(self.judge("POST", None), Verdict(None, [VARY]))
        self.assertEqual(self.judge("OPTIONS", None), Verdict(200, [VARY]))

    def test_other_origin(self) -> None:
        """Pages of other sites are served, and told nothing that lets them read the answer."""
        for origin in ("http://localhost:5050", "HTTP://LOCALHOST:3000", "null", ""):
            self.assertEqual(self.judge("POST", origin), Verdict(None, [VARY], foreign=True), origin)
            self.assertEqual(self.judge("OPTIONS", origin, "POST"), Verdict(200, [VARY], foreign=True), origin)

    def test_allowed(self) -> None:
        """Pages of allowed sites may read the answer, and when to come back."""
        self.assertEqual(self.judge("POST", HERE), Verdict(None, [ALLOWED, EXPOSED, VARY]))

    def test_preflight(self) -> None:
        """A preflight for what is allowed is granted; simple methods and headers are not spelled out."""
        self.assertEqual(
            self.judge("OPTIONS", HERE, "POST", "content-type, x-user-id,accept"),
            Verdict(200, [ALLOWED, ("Access-Control-Allow-Headers", "Content-Type,X-User-Id"), VARY]),
        )
        self.assertEqual(self.judge("OPTIONS", HERE, "POST"), Verdict(200, [ALLOWED, VARY]))

    def test_preflight_method(self) -> None:
        """A method beyond the simple ones is spelled out if it is allowed; methods are compared exactly."""
        granted = self.judge("OPTIONS", HERE, "PUT", methods=("PUT",))
        self.assertIn(("Access-Control-Allow-Methods", "PUT"), granted.headers)
        self.assertEqual(self.judge("OPTIONS", HERE, "DELETE"), Verdict(405, [VARY]))
        self.assertEqual(self.judge("OPTIONS", HERE, "post"), Verdict(405, [VARY]))

    def test_preflight_without_method(self) -> None:
        """A preflight that asks for no method is none."""
        self.assertEqual(self.judge("OPTIONS", HERE), Verdict(400, [VARY]))
        self.assertEqual(self.judge("OPTIONS", HERE, ""), Verdict(400, [VARY]))

    def test_preflight_header(self) -> None:
        """One header that is not allowed spoils the preflight, unless the operator allows it."""
        self.assertEqual(self.judge("OPTIONS", HERE, "POST", "content-type,fake-header"), Verdict(403, [VARY]))
        granted = self.judge("OPTIONS", HERE, "POST", "AUTHORIZATION", headers=("Authorization",))
        self.assertIn(("Access-Control-Allow-Headers", "Authorization"), granted.headers)

    def test_everybody(self) -> None:
        """With ``*`` the answer is ``*``, the same for everybody."""
        self.assertEqual(
            self.judge("POST", "http://anybody", origins=("*",)),
            Verdict(None, [("Access-Control-Allow-Origin", "*"), EXPOSED]),
        )

    def test_nobody(self) -> None:
        """An empty list allows nobody."""
        self.assertTrue(self.judge("POST", HERE, origins=()).foreign)

    def test_credentials(self) -> None:
        """Where cookies are allowed, both the preflight and the answer say so."""
        for verdict in (
            self.judge("POST", HERE, credentials=True),
            self.judge("OPTIONS", HERE, "POST", credentials=True),
        ):
            self.assertIn(("Access-Control-Allow-Credentials", "true"), verdict.headers)

    def test_max_age(self) -> None:
        """Browsers may remember a preflight for as long as is configured, and for ten minutes at most."""
        for configured, told in ((0, None), (5, "5"), (600, "600"), (86400, "600")):
            headers = dict(self.judge("OPTIONS", HERE, "POST", max_age=configured).headers)
            self.assertEqual(headers.get("Access-Control-Max-Age"), told)


def cors(answer: Answer) -> dict[str, str]:
    """What an answer says of CORS: its headers without their common beginning, and ``vary``."""
    found = {name.removeprefix("access-control-"): value for name, value in answer.headers.items()}
    return {name: value for name, value in found.items() if name not in answer.headers or name == "vary"}


OPEN = {"allow-origin": HERE, "expose-headers": "Retry-After", "vary": "Origin"}
CLOSED = {"vary": "Origin"}
EVIL = "http://evil.example"
PATHS = ("/api/v1/events", "/ping", "/healthz", "/readyz", "/nothing", "/", "/api//v1/events/", "*")


class WireCorsTestCase(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.open_house()

    def open_house(self, **settings: Any) -> None:
        values = {"enabled": True, "origins": (HERE,), **settings}
        self.house = House(cors=CorsSettings(**values))
        self.client = self.house.client()

    def preflight(self, origin: str | None = HERE, method: str | None = "POST", headers: str | None = None) -> Answer:
        asked = {"Origin": origin, "Access_Control_Request_Method": method, "Access_Control_Request_Headers": headers}
        return self.client.ask(
            request("OPTIONS", **{name: value for name, value in asked.items() if value is not None})
        )


class RowTests(WireCorsTestCase):
    """The rows of contract section 10.1, by the bytes on the wire."""

    def test_off(self) -> None:
        """Without CORS nothing is said of it, and OPTIONS is a method like any other that does not exist."""
        self.house = House()
        self.client = self.house.client()
        self.assertEqual((cors(self.client.ask(post(Origin=HERE)))), {})
        answer = self.preflight()
        self.assertEqual((answer.status, cors(answer), answer.headers["allow"]), (405, {}, "GET, POST"))

    def test_no_origin(self) -> None:
        """Who is no browser is served as ever; OPTIONS is an empty 200, wherever it is sent."""
        answer = self.client.ask(post())
        self.assertEqual((answer.status, answer.body, cors(answer)), (200, JSON_OK, CLOSED))
        for path in PATHS:
            answer = self.client.ask(request("OPTIONS", path, Access_Control_Request_Method="POST"))
            self.assertEqual((answer.status, answer.body, cors(answer)), (200, b"", CLOSED), path)

    def test_not_allowed(self) -> None:
        """A page of another site is served too, but may not read the answer; its preflight grants nothing."""
        answer = self.client.ask(post(Origin=EVIL))
        self.assertEqual((answer.status, answer.body, cors(answer)), (200, JSON_OK, CLOSED))
        self.assertEqual(len(self.house.taken), 1)
        for path in PATHS:
            answer = self.client.ask(request("OPTIONS", path, Origin=EVIL, Access_Control_Request_Method="POST"))
            self.assertEqual((answer.status, answer.body, cors(answer)), (200, b"", CLOSED), path)

    def test_preflight(self) -> None:
        """What is allowed is granted, on every path, whether anything is there or not."""
        for path in PATHS:
            answer = self.client.ask(
                request(
                    "OPTIONS",
                    path,
                    Origin=HERE,
                    Access_Control_Request_Method="POST",
                    Access_Control_Request_Headers="content-type, X-USER-ID,x-user-group, accept",
                )
            )
            self.assertEqual((answer.status, answer.body), (200, b""), path)
            self.assertEqual(
                cors(answer),
                {
                    "allow-origin": HERE,
                    "allow-headers": "Content-Type,X-User-Id,X-User-Group",
                    "vary": "Origin",
                },
            )
            self.assertEqual(answer.headers["content-length"], "0")
            self.assertIn("date", answer.headers)

    def test_preflight_refused(self) -> None:
        """One that asks for no method, for one that is not allowed, or for a header that is not: 400, 405, 403."""
        for method, headers, status in (
            (None, None, 400),
            ("DELETE", None, 405),
            ("post", None, 405),
            ("DELETE", "x-other", 405),
            ("POST", "content-type, x-other", 403),
            ("POST", "x-user-id\x01", 403),
            ("POST", "\xff", 403),
        ):
            answer = self.preflight(HERE, method, headers)
            self.assertEqual((answer.status, answer.body, cors(answer)), (status, b"", CLOSED))
            self.assertEqual(answer.headers.get("allow"), "GET, POST" if status == 405 else None)

    def test_allowed(self) -> None:
        """A page of an allowed site may read whatever it gets, good or bad."""
        for data, status in (
            (post(Origin=HERE), 200),
            (post(b"\x01", Origin=HERE), 400),
            (post(kind=None, Origin=HERE), 400),
            (post(X_User_ID="x" * 257, Origin=HERE), 400),
            (post(b"x", Content_Encoding="br", Origin=HERE), 415),
            (request("GET", Origin=HERE), 400),
            (request("GET", "/nothing", Origin=HERE), 404),
            (request("DELETE", Origin=HERE), 405),
            (request("GET", "/ping", Origin=HERE), 200),
            (request("GET", "/healthz", Origin=HERE), 200),
        ):
            answer = self.client.ask(data)
            self.assertEqual((answer.status, cors(answer)), (status, OPEN), data)
        self.house.parts["publisher"] = lambda: Part(False, "away")
        answer = self.client.ask(request("GET", "/readyz", Origin=HERE))
        self.assertEqual((answer.status, cors(answer)), (503, OPEN))
        self.house.refusal = Saturated("full")
        answer = self.client.ask(post(Origin=HERE))
        self.assertEqual((answer.status, answer.headers["retry-after"], cors(answer)), (503, "1", OPEN))

    def test_bug(self) -> None:
        """Even of a bug of ours it gets to know."""
        self.house.refusal = ZeroDivisionError()
        answer = self.client.ask(post(Origin=HERE))
        self.assertEqual((answer.status, cors(answer)), (500, OPEN))
        self.flushLoggedErrors(ZeroDivisionError)
        self.noise.clear()

    def test_early(self) -> None:
        """And of what was answered before it was complete."""
        for data, seconds, leave, status in (
            (request(Content_Length="9999", Content_Type="text/json", Origin=HERE), 0, False, 413),
            (post(chunked(bytes(1001)), Transfer_Encoding="chunked", Origin=HERE), 0, False, 413),
            (post(b"x\r\n", Transfer_Encoding="chunked", Origin=HERE), 0, False, 400),
            (request(Origin=HERE, Transfer_Encoding="gzip", A="b"), 0, False, 400),
            (post(Origin=HERE)[:-1], 30.1, False, 408),
            (request(Origin=HERE, A="b")[:-2], 10.1, False, 408),
            (post(Origin=HERE)[:-1], 0, True, 500),
        ):
            client = self.house.client()
            client.send(data)
            self.house.loop.advance(seconds)
            self.house.loop.spin()
            if leave:
                client.hang_up()
            (answer,) = client.answers()
            self.assertEqual((answer.status, cors(answer)), (status, OPEN), data)
            client = self.house.client()
            client.send(data.replace(HERE.encode(), EVIL.encode()))
            self.house.loop.advance(seconds)
            self.house.loop.spin()
            if leave:
                client.hang_up()
            (answer,) = client.answers()
            self.assertEqual((answer.status, cors(answer)), (status, CLOSED), data)

    def test_exact(self) -> None:
        """Origins are compared to the letter, and a second one does not count."""
        for origin in (HERE.upper(), HERE + "/", HERE + ":80", "null", "", f"{HERE}, {HERE}", HERE + "\x01", HERE[:-1]):
            self.assertEqual(cors(self.client.ask(post(Origin=origin))), CLOSED, origin)
        twice = post(Origin=EVIL).replace(b"Host:", f"Origin: {HERE}\r\nHost:".encode())
        self.assertEqual(cors(self.client.ask(twice)), OPEN)
        twice = post(Origin=HERE).replace(b"Host:", f"Origin: {EVIL}\r\nHost:".encode())
        self.assertEqual(cors(self.client.ask(twice)), CLOSED)

    def test_vary(self) -> None:
        """With ``*`` the answer is the same for everybody, and caches may know that."""
        self.open_house(origins=("*",))
        answer = self.client.ask(post(Origin=EVIL))
        self.assertEqual(cors(answer), {"allow-origin": "*", "expose-headers": "Retry-After"})
        self.assertEqual(cors(self.client.ask(post())), {})
        self.assertEqual(cors(self.preflight(EVIL)), {"allow-origin": "*"})

    def test_several(self) -> None:
        """Of several origins the one that asks is named."""
        self.open_house(origins=(HERE, "https://shop.example"))
        for origin in (HERE, "https://shop.example"):
            self.assertEqual(cors(self.client.ask(post(Origin=origin)))["allow-origin"], origin)
        self.assertEqual(cors(self.client.ask(post(Origin=EVIL))), CLOSED)

    def test_nobody(self) -> None:
        """An empty list allows nobody."""
        self.open_house(origins=())
        self.assertEqual(cors(self.client.ask(post(Origin=HERE))), CLOSED)
        self.assertEqual(cors(self.preflight()), CLOSED)

    def test_options(self) -> None:
        """Credentials, age, further methods and headers are granted if they are configured."""
        self.open_house(credentials=True, max_age=9999, methods=("PUT",), headers=("X-Trace-ID",))
        self.assertEqual(
            cors(self.preflight(HERE, "PUT", "x-trace-id")),
            {
                "allow-origin": HERE,
                "allow-credentials": "true",
                "allow-methods": "PUT",
                "allow-headers": "X-Trace-Id",
                "max-age": "600",
                "vary": "Origin",
            },
        )
        self.assertEqual(cors(self.client.ask(post(Origin=HERE))), {**OPEN, "allow-credentials": "true"})
        self.assertEqual(self.preflight().status, 405)

    def test_long(self) -> None:
        """However much a browser says, it is read or refused as too much, and nothing of it comes back."""
        for size in (1000, 8000, 20_000):
            for headers in (
                {"Origin": "http://" + "x" * size},
                {"Origin": HERE, "Access_Control_Request_Headers": "x," * (size // 2)},
                {"Origin": HERE, "Access_Control_Request_Headers": "," * size},
                {"Origin": HERE, "Access_Control_Request_Headers": "content-type," * (size // 13)},
                {"Origin": HERE, "Access_Control_Request_Method": "X" * size},
            ):
                client = self.house.client()
                answer = client.ask(request("OPTIONS", **{"Access_Control_Request_Method": "POST", **headers}))
                self.assertIn(answer.status, (400,) if size > 16384 else (200, 403, 405))
                self.assertLess(len(str(answer.headers)), 1000)


class RefuseTests(WireCorsTestCase):
    """``server.cors.refuse_disallowed``: pages of other sites are not served."""

    def setUp(self) -> None:
        super().setUp()
        self.open_house(refuse=True)

    def test_refused(self) -> None:
        """They get 403, in the encoding of the request; nothing is taken, and the connection stays."""
        for body, kind, accept, encoding in (
            (b"{}", "application/json", "*/*", "application/json"),
            (PROTO_BATCH, "application/proto", "*/*", "application/proto"),
            (PROTO_BATCH, "application/proto", "application/json", "application/json"),
        ):
            answer = self.client.ask(post(body, kind, Accept=accept, Origin=EVIL))
            self.assertEqual((answer.status, answer.headers["content-type"]), (403, encoding))
            self.assert_reply(answer.reply, 2, "the Origin is not allowed")
            self.assertEqual(cors(answer), CLOSED)
        self.assertEqual(self.house.taken, [])
        self.assertEqual(self.client.ask(post(Origin=HERE)).status, 200)

    def test_others(self) -> None:
        """Who is no browser is served, and so are pages of this very host, and all that is not an event."""
        self.assertEqual(self.client.ask(post()).status, 200)
        self.assertEqual(self.client.ask(post(Origin="https://example.com")).status, 200)
        self.assertEqual(self.client.ask(post(Origin="null")).status, 403)
        self.assertEqual(self.client.ask(request("GET", "/ping", Origin=EVIL)).status, 200)
        self.assertEqual(self.client.ask(request("GET", "/nothing", Origin=EVIL)).status, 404)
        self.assertEqual(self.client.ask(request("PUT", Origin=EVIL)).status, 405)

    def test_preflight(self) -> None:
        """Preflights are answered as ever."""
        answer = self.preflight(EVIL)
        self.assertEqual((answer.status, cors(answer)), (200, CLOSED))


class WebSocketTests(WireCorsTestCase):
    """Contract section 10.2, with a CORS list."""

    def status(self, **headers: str) -> int:
        client = self.house.client()
        client.send(handshake(**headers))
        status = int(client.received()[9:12])
        client.vanish()
        return status

    def test_list(self) -> None:
        """Beside pages of this host, those of an allowed site may open a WebSocket; their scheme counts."""
        self.assertEqual(self.status(Origin=HERE), 101)
        self.assertEqual(self.status(Origin="https://example.com"), 101)
        self.assertEqual(self.status(), 101)
        for origin in (EVIL, "null", HERE.replace("http", "https"), HERE.upper()):
            self.assertEqual(self.status(Origin=origin), 403)

    def test_refused(self) -> None:
        """The refusal says why, and the page that may not connect may not read it either."""
        answer = self.client.ask(handshake(Origin=EVIL))
        self.assertEqual((answer.status, answer.headers["sec-websocket-version"]), (403, "13"))
        self.assertEqual((cors(answer), answer.body), (CLOSED, b"Forbidden: the Origin is not allowed\n"))
        answer = self.client.ask(handshake(Origin=HERE, Sec_WebSocket_Key=""))
        self.assertEqual((answer.status, cors(answer)), (400, OPEN))

    def test_everybody(self) -> None:
        """With ``*`` every page may."""
        self.open_house(origins=("*",))
        self.assertEqual(self.status(Origin=EVIL), 101)

    def test_off(self) -> None:
        """Without CORS its list plays no part; with the check off, nothing does."""
        self.open_house(enabled=False)
        self.assertEqual(self.status(Origin=HERE), 403)
        self.house = House(settings=WebSocketSettings(check_origin=False))
        self.assertEqual(self.status(Origin=EVIL), 101)

    def test_works(self) -> None:
        """What was opened so works like any other."""
        socket = self.house.socket(Origin=HERE)
        ((kind, body),) = socket.tell(TEXT, b"{}")
        self.assertEqual((kind, body[:20]), (TEXT, b'{"status":1,"code":1'))
