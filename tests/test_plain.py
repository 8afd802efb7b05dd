"""Tests for `raccoon_tx.transports.plain`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.codec import JSON, PROTOBUF
from raccoon_tx.model import Identity
from raccoon_tx.settings import CorsSettings, IdentitySettings
from raccoon_tx.transports import plain
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.plain import GET, LONGEST, POST, Heads, read
from raccoon_tx.transports.upgrade import nobody_else
from tests.wire import handshake, post, request

IDENTITY = IdentitySettings(id_header="X-User-ID", group_header="X-User-Group")
NOBODY = Identity("--default--", "")


def head(**headers: str) -> bytes:
    """The head of a POST. :param headers: with ``_`` for ``-``; an empty one is left out."""
    named = {"Content_Type": "application/json", "Content_Length": "10", **headers}
    return request(**{name: value for name, value in named.items() if value})


def opening(**headers: str) -> bytes:
    return handshake(**headers)


class HeadsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.heads = self.understanding()

    def understanding(
        self, identity: IdentitySettings = IDENTITY, cors: CorsSettings | None = None, text_plain: bool = False
    ) -> Heads:
        judge = None if cors is None else Cors(cors, [])
        return Heads(Identify(identity), 1000, text_plain, nobody_else, judge)


class PostTests(HeadsTestCase):
    """Heads of POSTs."""

    def test_plain(self) -> None:
        """What a plain head says is understood."""
        found = self.heads.plain(head(X_User_ID="7", X_User_Group="g"))
        assert found is not None
        self.assertEqual((found.length, found.codec, found.back), (10, JSON, JSON))
        self.assertEqual((found.identity, found.extra), (Identity("g", "7"), b""))

    def test_codecs(self) -> None:
        """The body is in the encoding of ``Content-Type``, the answer in that of ``Accept`` if it names one."""
        for content, accept, codec, back in (
            ("application/proto", "", PROTOBUF, PROTOBUF),
            ("Application/X-Protobuf; v=1", "*/*", PROTOBUF, PROTOBUF),
            ("application/json", "application/proto", JSON, PROTOBUF),
            ("application/proto", "application/json, text/html", PROTOBUF, JSON),
        ):
            found = self.heads.plain(head(Content_Type=content, Accept=accept))
            assert found is not None
            self.assertEqual((found.codec, found.back), (codec, back))

    def test_ordinary_headers(self) -> None:
        """Headers that nobody here reads do not matter, however often they come, nor do case and white space."""
        more = b"VIA: 1.1 a\r\nvia: 1.1 b\r\nuser-agent:x\r\nCookie: a=b\r\nConnection: Keep-Alive \r\nEmpty:\r\n"
        found = self.heads.plain(head()[:-2] + more + b"x-USER-id: \t7\t \r\n\r\n")
        assert found is not None
        self.assertEqual(found.identity, Identity("--default--", "7"))

    def test_odd(self) -> None:
        """Anything else is not understood."""
        good = head()
        self.assertIsNotNone(self.heads.plain(good))
        for bad in (
            good.replace(b"Host: example.com\r\n", b""),
            head(Content_Type=""),
            head(Content_Type="text/plain"),
            head(Content_Length=""),
            head(Content_Length="0"),
            head(Content_Length="1001"),
            head(Content_Length="+5"),
            head(Content_Length="5,5"),
            head(Content_Length="0x5"),
            head(Content_Length="9" * 30),
            head(Transfer_Encoding="chunked"),
            head(Transfer_Encoding="identity"),
            head(Expect="100-continue"),
            head(TE="trailers"),
            head(Trailer="X"),
            head(Upgrade="h2c"),
            head(Content_Encoding="gzip"),
            head(Connection="close"),
            head(Connection="keep-alive, close"),
            head(Connection="upgrade"),
            head(X_User_ID="x" * 257),
            head(X_User_ID="a\x7f"),
            head(X_User_ID="a\tb"),
            head(X="x" * LONGEST),
            *[good[:-2] + b"A: b\r\n" * 101 + b"\r\n"],
            *[good[:-2] + line + b"\r\n\r\n" for line in ODD_LINES],
            good.replace(b"POST", b"post"),
            good.replace(b"1.1", b"1.0"),
            good.replace(b"events ", b"events/ "),
            good.replace(b"events ", b"events? "),
            good.replace(b"POST /", b"POST  /"),
            b"\r\n" + good,
            good.replace(b"\r\n", b"\n"),
        ):
            self.assertIsNone(self.heads.plain(bad), bad)

    def test_text(self) -> None:
        """Settings count: text as JSON, ids that are required, cookies with an identity in them."""
        text = self.heads.plain(head(Content_Type="text/plain"))
        self.assertIsNone(text)
        text = self.understanding(text_plain=True).plain(head(Content_Type="text/plain"))
        assert text is not None
        self.assertIs(text.codec, JSON)
        required = self.understanding(IdentitySettings(id_header="X-User-ID", require_id=True))
        self.assertIsNone(required.plain(head()))
        self.assertIsNotNone(required.plain(head(X_User_ID="1")))
        for name in ("id_cookie", "group_cookie"):
            by_cookie = self.understanding(IdentitySettings(id_header="X-User-ID", **{name: "c"}))
            self.assertIsNone(by_cookie.plain(head(Cookie="c=d")))
            self.assertIsNotNone(by_cookie.plain(head()))

    def test_cors(self) -> None:
        """What CORS says in the answer is known beforehand; what it says of a foreign page is not our business."""
        some = CorsSettings(enabled=True, origins=("http://a.example",))
        heads = self.understanding(cors=some)
        found = heads.plain(head())
        assert found is not None
        self.assertEqual(found.extra, b"Vary: Origin\r\n")
        self.assertIsNone(heads.plain(head(Origin="http://b.example")))
        found = heads.plain(head(Origin="http://a.example"))
        assert found is not None
        self.assertIn(b"Access-Control-Allow-Origin: http://a.example\r\n", found.extra)
        found = self.heads.plain(head(Origin="http://b.example"))
        assert found is not None
        self.assertEqual(found.extra, b"")

    def test_remembered(self) -> None:
        """A head is understood once; only so many are remembered, and only good ones."""
        self.assertIs(self.heads.plain(head()), self.heads.plain(head()))
        self.patch(plain, "REMEMBERED", 3)
        for number in range(20):
            found = self.heads.plain(head(X_User_ID=str(number)))
            assert found is not None
            self.assertEqual(found.identity.id, str(number))
            self.assertIsNone(self.heads.plain(head(Expect=str(number))))
            self.assertLessEqual(len(self.heads._known), 3)


ODD_LINES = (
    b" folded",
    b"\tfolded",
    b"no colon",
    b": no name",
    b"A : b",
    b"A: b\rc",
    b"A: b\nc: d",
    b"A: \x00",
    b"A: \x1b",
    b"\xff: b",
    b"Host: b",
    b"Content-Length: 10",
    b"Content-Type: application/json",
    b"Connection: keep-alive\r\nConnection: keep-alive",
    b"X-User-ID: 1\r\nX-User-Id: 2",
    b"X-User-Group: 1\r\nx-user-group: 2",
    b"Accept: application/json\r\nAccept: application/proto",
)


class OpeningTests(HeadsTestCase):
    """Heads of upgrades."""

    def test_good(self) -> None:
        """Who opens a WebSocket, and how, is understood."""
        found = self.heads.opening(opening(Sec_WebSocket_Protocol="raccoon.json.v1, x", Sec_WebSocket_Extensions="y"))
        assert found is not None
        identity, shaken = found
        self.assertEqual(identity, Identity("--default--", "1234"))
        self.assertEqual((shaken.key, shaken.extensions), ("dGhlIHNhbXBsZSBub25jZQ==", "y"))
        self.assertEqual(shaken.offered, ("raccoon.json.v1", "x"))

    def test_subprotocol(self) -> None:
        """An identity may come in a subprotocol, and an origin of this host is welcome."""
        heads = self.understanding(IdentitySettings(id_header="X-User-ID", subprotocol=True))
        found = heads.opening(
            opening(X_User_ID="", Sec_WebSocket_Protocol="raccoon.id.MQ", Origin="http://example.com")
        )
        assert found is not None
        self.assertEqual(found[0].id, "1")

    def test_odd(self) -> None:
        """What is to be refused, or is odd, is not understood."""
        for bad in (
            opening(Connection="keep-alive"),
            opening(Upgrade="h2c"),
            opening(Sec_WebSocket_Version="8"),
            opening(Sec_WebSocket_Key=""),
            opening(Origin="http://evil.example"),
            opening(X_User_ID="x" * 257),
            opening(Content_Length="0"),
            opening(Transfer_Encoding="chunked"),
            opening(Expect="100-continue"),
            opening(X="x" * LONGEST),
            opening().replace(b"events ", b"events?id=1 "),
            opening().replace(b"1.1", b"1.0"),
            opening()[:-2] + b" folded\r\n\r\n",
            head(),
        ):
            self.assertIsNone(self.heads.opening(bad), bad)


class PromisingTests(HeadsTestCase):
    """Heads that have come in part."""

    def test_prefixes(self) -> None:
        """Every beginning of a plain head is promising."""
        for whole in (head(X_User_ID="1"), opening()):
            for size in range(1, len(whole)):
                self.assertTrue(self.heads.promising(whole[:size]), whole[:size])

    def test_differs(self) -> None:
        """It is not from the first line on that cannot be part of one."""
        for bad in (b"x", b"\r\n", b"GET /p", b"POST /api/v1/events?", b"POST /api/v1/events HTTP/1.0", b"PUT"):
            self.assertFalse(self.heads.promising(bad), bad)
        for line in (*ODD_LINES, b"Expect: 100-continue", b"Content-Length: x", b"Transfer-Encoding: chunked"):
            beginning = POST + b"Host: a\r\nContent-Length: 10\r\n" + line.partition(b"\r\n")[0]
            if not line.lower().startswith((b"x-user", b"accept", b"connection", b"content-type")):
                self.assertFalse(self.heads.promising(beginning + b"\r\n"), line)
        self.assertFalse(self.heads.promising(GET + b"Expect: x\r\n"))
        self.assertFalse(self.heads.promising(POST + b"x" * LONGEST))


class ReadTests(SynchronousTestCase):
    """Reading lines."""

    def test_lines(self) -> None:
        """Names come in lower case, values without white space around them, in their order."""
        found = read(POST + b"A:  b c \t\r\nA:\r\nB:\xc3\xbc\r\n\r\n", POST)
        self.assertEqual(found, [(b"a", b"b c"), (b"a", b""), (b"b", b"\xc3\xbc")])

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, what is read stands there, and lines with control characters are not read."""
        found = read(POST + data + b"\r\n\r\n", POST)
        for name, value in found or ():
            self.assertIn(name, data.lower())
            self.assertIn(value, data)
        if set(data) - {9} & set(range(32)) - {10, 13}:
            self.assertTrue(found is None or not any(byte < 9 for byte in data))

    def test_post(self) -> None:
        """A client of every library that we know is plain."""
        for lines in (
            "Host: h\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
            "Connection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 3\r\n",
            "Host: h\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 3\r\nContent-Type: application/proto\r\n"
            "Accept-Encoding: gzip\r\n",
            "Content-Type: application/json\r\nAccept: application/json, */*\r\nUser-Agent: Java-http-client/17\r\n"
            "Host: h\r\nContent-Length: 3\r\nConnection: keep-alive\r\n",
        ):
            heads = Heads(Identify(IDENTITY), 1000, False, None, None)
            self.assertIsNotNone(heads.plain(POST + lines.encode() + b"\r\n"))
        self.assertIsNotNone(heads.plain(post().partition(b"{")[0]))
