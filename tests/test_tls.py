"""Tests of `raccoon_tx.transports.tls`, and of the HTTP port behind it: without sockets, with Python's own TLS."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.web import http

from raccoon_tx.settings import TlsSettings, WebSocketSettings
from raccoon_tx.transports.tls import Certificates
from tests.certificates import Authority, Pair
from tests.wire import (
    CLOSE,
    JSON_BATCH,
    JSON_OK,
    PING,
    PONG,
    TEXT,
    Client,
    House,
    Wire,
    WireTestCase,
    close,
    frame,
    handshake,
    in_both_lanes,
    parse_answers,
    parse_frames,
    post,
    request,
)


class TlsClient(Client):
    """A client that speaks TLS.

    :ivar tls: its side of it. :ivar ended: the server has said goodbye in the words of TLS.
    """

    def __init__(self, loop: Any, factory: Any, context: ssl.SSLContext) -> None:
        super().__init__(loop, factory)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self.ended = False

    def shake(self) -> None:
        """The TLS handshake. :raises ssl.SSLError: one side does not want the other."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                continue
            break
        self._flush()

    def _flush(self) -> None:
        super().send(self._out.read())
        data = super().received()
        if data:
            self._in.write(data)
        elif self.wire.closed:
            self._in.write_eof()

    def send(self, *segments: bytes) -> None:
        for segment in segments:
            self.tls.write(segment)
            self._flush()

    def received(self) -> bytes:
        self._flush()
        data = b""
        try:
            while piece := self.tls.read(65536):
                data += piece
            self.ended = True
        except ssl.SSLZeroReturnError:
            self.ended = True
        except (ssl.SSLWantReadError, ssl.SSLEOFError):
            pass
        return data

    def goodbye(self) -> None:
        """Say in the words of TLS that nothing more comes."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()


class TlsTestCase(WireTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.authority = Authority(Path(folder.name))
        self.pair = self.authority.issue("server")
        self.open_house()

    def open_house(self, client_ca: str = "", **settings: Any) -> None:
        self.house = House(**settings)
        self.certificates = Certificates(self.files(self.pair, client_ca))
        self.factory = self.certificates.encrypt(self.house.first, self.house.loop)

    def files(self, pair: Pair, client_ca: str = "") -> TlsSettings:
        return TlsSettings(certificate=pair.certificate, private_key=pair.key, client_ca=client_ca)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.path)

    def client(self, context: ssl.SSLContext | None = None) -> TlsClient:
        client = TlsClient(self.house.loop, self.factory, context or self.context())
        client.shake()
        return client

    def raw(self) -> Client:
        return Client(self.house.loop, self.factory)

    def socket(self, **headers: str) -> TlsClient:
        client = self.client()
        client.send(handshake(**headers))
        self.assertEqual(client.received()[:12], b"HTTP/1.1 101")
        return client

    def later(self, seconds: float) -> None:
        self.house.loop.advance(seconds)
        self.house.loop.spin()

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.house.loop.getDelayedCalls(), [])
        self.assertEqual((self.house.site.channels, self.house.sockets.open), (set(), set()))


class RestTests(TlsTestCase):
    """REST by TLS."""

    def test_keep_alive(self) -> None:
        """A connection serves one request after the other, in whatever pieces they come."""
        client = self.client()
        for _ in range(3):
            self.assertEqual(client.ask(post()).body, JSON_OK)
            self.assertEqual(client.ask(request("GET", "/ping")).body, b"pong")
            self.assertEqual(client.ask(*[bytes([byte]) for byte in post()]).body, JSON_OK)
        client.send(post() * 50)
        self.assertEqual([answer.body for answer in client.answers()], [JSON_OK] * 50)

    def test_end(self) -> None:
        """Who wants the connection closed gets the whole answer, and the end in the words of TLS."""
        client = self.client()
        self.assertEqual(client.ask(post(Connection="close")).body, JSON_OK)
        self.assertTrue(client.ended)
        client.goodbye()
        self.assertTrue(client.wire.closed)
        self.assert_nothing_left()

    def test_end_not_answered(self) -> None:
        """A client that does not say goodbye in return is cut off, and what it sends meanwhile is not taken."""
        client = self.client()
        client.send(post(Connection="close"))
        client.send(post() * 2)
        self.assertEqual(len(self.house.taken), 1)
        self.later(15.1)
        self.assertTrue(client.wire.closed)
        self.assert_nothing_left()

    def test_goodbye(self) -> None:
        """A client may leave at any time: in the words of TLS, with the connection, or without a word."""
        for data in (b"", b"POST", post()[:-1], post(), handshake()):
            for leave in ("goodbye", "hang_up", "vanish"):
                client = self.client()
                client.send(data)
                getattr(client, leave)()
                self.assertTrue(client.wire.closed, (data, leave))
                self.assert_nothing_left()

    def test_not_reading(self) -> None:
        """A client that does not read its answers is not read either, until it does."""
        client = self.client()
        client.wire.blocked = True
        for _ in range(2000):
            client.send(post())
        self.assertLess(len(self.house.taken), 1000)
        self.assertGreater(len(client.wire.coming), 1000)
        client.wire.blocked = False
        self.house.loop.spin()
        self.assertEqual(client.received().count(JSON_OK), 2000)

    def test_refused(self) -> None:
        """A body that is too large is refused before it comes, and the answer gets through."""
        client = self.client()
        client.send(request(Content_Length="100000", Content_Type="text/json") + bytes(50_000))
        (answer,) = parse_answers(client.received())
        self.assertEqual((answer.status, answer.headers["connection"]), (413, "close"))
        client.send(bytes(50_000))
        client.received()
        self.assertTrue(client.ended)
        client.hang_up()
        self.assert_nothing_left()

    def test_address(self) -> None:
        """The server knows a client's address as ever."""
        self.open_house(rate=1)
        statuses = [self.client().ask(post()).status for _ in range(2)]
        self.assertEqual(statuses, [200, 429])

    def test_no_delay(self) -> None:
        """Answers are not held back to be sent together with later ones."""
        delays: list[bool] = []
        self.patch(Wire, "setTcpNoDelay", lambda _, enabled: delays.append(enabled))
        self.client()
        self.assertEqual(delays, [True])


class WebSocketTests(TlsTestCase):
    """WebSocket by TLS."""

    def frames(self, client: TlsClient) -> list[tuple[int, bytes]]:
        return parse_frames(client.received())

    def tell(self, client: TlsClient, opcode: int, payload: bytes = b"") -> list[tuple[int, bytes]]:
        client.send(frame(opcode, payload))
        return self.frames(client)

    def test_batches(self) -> None:
        """Batches are answered, and pings, from the first segment on."""
        client = self.client()
        client.send(handshake() + frame(TEXT, JSON_BATCH))
        head, _, rest = client.received().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(parse_frames(rest), [(TEXT, JSON_OK)])
        for _ in range(100):
            self.assertEqual(self.tell(client, TEXT, JSON_BATCH), [(TEXT, JSON_OK)])
        self.assertEqual(self.tell(client, PING, b"x"), [(PONG, b"x")])

    def test_close(self) -> None:
        """A client that closes is answered, and the connection ends at once: no timer has to bring that about."""
        client = self.socket()
        self.assertEqual(self.tell(client, CLOSE, close(1000)), [(CLOSE, close(1000))])
        self.assertTrue(client.ended)
        client.goodbye()
        self.assertTrue(client.wire.closed)
        self.assert_nothing_left()

    def test_server_closes(self) -> None:
        """So does one that the server closes."""
        client = self.socket()
        front = self.house.front(drain_window=0.0)
        stopped = front.stopService()
        self.house.loop.spin()
        self.assertEqual(self.frames(client), [(CLOSE, close(1001, "server shutting down"))])
        client.send(frame(CLOSE, close(1001)))
        client.received()
        self.assertTrue(client.ended)
        client.goodbye()
        self.assertTrue(client.closed)
        self.house.loop.run(0.1)
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_lost(self) -> None:
        """A client that is gone is gone."""
        for leave in ("goodbye", "hang_up", "vanish"):
            client = self.socket()
            self.assertEqual(len(self.house.connections), 1)
            getattr(client, leave)()
            self.assertEqual(len(self.house.connections), 0)
            self.assertTrue(client.wire.closed)
            self.assert_nothing_left()

    def test_deaf(self) -> None:
        """One that does not read is dropped when its time is over, or when too much waits for it."""
        for limit, count in (1 << 20, 2000), (1000, 5000):
            self.open_house(settings=WebSocketSettings(write_buffer_limit=limit))
            client = self.socket()
            client.wire.blocked = True
            for _ in range(count):
                if not client.wire.closed:
                    client.send(frame(PING, b"x" * 100))
            if limit > 1000:
                self.assertFalse(client.wire.closed)
                self.later(5.1)
            self.assertTrue(client.reset)
            self.assert_nothing_left()

    def test_slow(self) -> None:
        """One that reads late, but reads, loses nothing."""
        client = self.socket()
        client.wire.blocked = True
        for _ in range(2000):
            client.send(frame(PING, b"x" * 100))
        self.later(4.0)
        client.wire.blocked = False
        self.house.loop.spin()
        self.assertEqual(self.frames(client), [(PONG, b"x" * 100)] * 2000)
        self.later(60.0)
        self.assertFalse(client.wire.closed)

    def test_refused(self) -> None:
        """A refused handshake is answered, and the connection stays."""
        client = self.client()
        self.assertEqual(client.ask(handshake(Sec_WebSocket_Version="8")).status, 400)
        self.assertEqual(client.ask(post()).status, 200)

    def test_second(self) -> None:
        """So is a second connection of one client told why it is refused."""
        self.socket()
        client = self.client()
        client.send(handshake())
        _, _, rest = client.received().partition(b"\r\n\r\n")
        self.assertEqual(parse_frames(rest)[-1], (CLOSE, close(1008, "duplicate connection: 1234")))


class NegotiationTests(TlsTestCase):
    """Clients that ask which protocol it is going to be."""

    def test_alpn(self) -> None:
        """It is HTTP/1.1, whatever else they offer."""
        for offered in (["h2", "http/1.1"], ["http/1.1"]):
            context = self.context()
            context.set_alpn_protocols(offered)
            client = self.client(context)
            self.assertEqual(client.tls.selected_alpn_protocol(), "http/1.1")
            self.assertEqual(client.ask(post()).body, JSON_OK)

    def test_h2_libraries(self) -> None:
        """Also where Twisted finds what it needs for HTTP/2."""
        self.patch(http, "H2_ENABLED", True)
        self.test_alpn()


class HandshakeTests(TlsTestCase):
    """Connections that do not get as far as a request."""

    def test_silent(self) -> None:
        """Who opens a connection and says nothing, or not enough, is cut off like anybody who sends no head."""
        hello = TlsClient(self.house.loop, self.factory, self.context())
        try:
            hello.tls.do_handshake()
        except ssl.SSLWantReadError:
            whole = hello._out.read()
        for data in (b"", whole[:1], whole[:-1], whole):
            client = self.raw()
            client.send(data)
            self.later(9.9)
            self.assertFalse(client.wire.closed)
            self.later(0.2)
            self.later(15.0)
            self.assertTrue(client.wire.closed)
        self.assert_nothing_left()

    def test_slow(self) -> None:
        """One byte now and then does not prolong its time."""
        client = self.raw()
        for byte in b"\x16\x03\x01\x02\x00\x01":
            client.send(bytes([byte]))
            self.later(1.6)
        self.assertFalse(client.wire.closed)
        self.later(1.0)
        self.later(15.0)
        self.assertTrue(client.wire.closed)

    def test_not_tls(self) -> None:
        """Who speaks something else is not served, and nothing is logged."""
        for data in (post(), request("GET", "/ping"), b"\0" * 100, b"\x16\x03\x01\x00\x05hello", bytes(range(256))):
            client = self.raw()
            client.send(data)
            client.received()
            self.assertTrue(client.wire.closed)
        self.assertEqual(self.house.taken, [])
        self.assert_nothing_left()

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, and nothing older."""
        for version in ("TLSv1.2", "TLSv1.3"):
            context = self.context()
            context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version.replace(".", "_"))
            client = self.client(context)
            self.assertEqual((client.tls.version(), client.ask(post()).status), (version, 200))
        old = SSL.Context(SSL.TLS_METHOD)
        old.set_min_proto_version(SSL.TLS1_VERSION)
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        connection = SSL.Connection(old, None)
        connection.set_connect_state()
        with self.assertRaises(SSL.WantReadError):
            connection.do_handshake()
        client = self.raw()
        client.send(connection.bio_read(65536))
        connection.bio_write(client.received())
        self.assertRaises(SSL.Error, connection.do_handshake)
        self.assertTrue(client.wire.closed)


class ClientCertificateTests(TlsTestCase):
    """Where clients have to show a certificate."""

    def setUp(self) -> None:
        super().setUp()
        self.open_house(client_ca=self.authority.path)

    def status(self, pair: Pair | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int | None:
        """Of a batch that is sent with this certificate; ``None`` if the connection fails."""
        context = self.context()
        context.maximum_version = version
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        client = TlsClient(self.house.loop, self.factory, context)
        try:
            client.shake()
            client.send(post())
            return parse_answers(client.received())[0].status
        except ssl.SSLError:
            self.assertTrue(client.wire.closed)
            return None

    def test_required(self) -> None:
        """One that the authority has signed lets a client in; none at all, or another's, does not."""
        stranger = Authority(self.authority.folder, "stranger").issue("strange-client")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertEqual(self.status(self.authority.issue("client"), version), 200)
            self.assertIsNone(self.status(None, version))
            self.assertIsNone(self.status(stranger, version))
        self.assertEqual(len(self.house.taken), 2)

    def test_session(self) -> None:
        """A client that would rather go on with an old session is let in with a new one."""
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        pair = self.authority.issue("client")
        context.load_cert_chain(pair.certificate, pair.key)
        first = self.client(context)
        self.assertEqual(first.ask(post()).status, 200)
        second = TlsClient(self.house.loop, self.factory, context)
        second.tls.session = first.tls.session
        second.shake()
        self.assertEqual((second.ask(post()).status, second.tls.session_reused), (200, False))


class ExchangeTests(TlsTestCase):
    """New certificates while connections are open."""

    def number(self, client: TlsClient) -> int:
        certificate: Any = client.tls.getpeercert()
        return int(certificate["serialNumber"], 16)

    def test_exchange(self) -> None:
        """New connections see the new certificate; those that are open, and those in the middle of their handshake,
        go on."""
        before = self.client()
        half = TlsClient(self.house.loop, self.factory, self.context())
        self.assertRaises(ssl.SSLWantReadError, half.tls.do_handshake)
        half._flush()
        new = self.authority.issue("new")
        self.certificates.load(self.files(new))
        half.shake()
        after = self.client()
        self.assertEqual([self.number(client) for client in (before, half)], [self.pair.number] * 2)
        self.assertEqual(self.number(after), new.number)
        for client in (before, half, after):
            self.assertEqual(client.ask(post()).status, 200)

    def test_mistake(self) -> None:
        """Files that cannot be used change nothing."""
        locked = self.authority.issue("locked", passphrase=b"secret")
        other = Pair(self.pair.certificate, self.authority.issue("other").key, 0)
        for files in (
            self.files(locked),
            self.files(other),
            self.files(Pair("/nowhere/at/all", self.pair.key, 0)),
            self.files(self.pair, client_ca=self.pair.key),
        ):
            self.assertRaises((OSError, SSL.Error), self.certificates.load, files)
            self.assertEqual(self.number(self.client()), self.pair.number)
            self.assertEqual(self.certificates.settings, self.files(self.pair))

    def test_authority(self) -> None:
        """Who has to have signed for clients can change as well."""
        self.certificates.load(self.files(self.pair, client_ca=self.authority.path))
        client = TlsClient(self.house.loop, self.factory, self.context())
        with self.assertRaises(ssl.SSLError):
            client.shake()
            client.send(post())
            client.received()
            client.tls.read()
        self.certificates.load(self.files(self.pair))
        self.assertEqual(self.client().ask(post()).status, 200)


in_both_lanes(globals())
