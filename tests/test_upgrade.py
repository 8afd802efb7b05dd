"""Tests for `raccoon_tx.transports.upgrade`: contract sections 5.1 and 10.2."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.upgrade import BadHandshake, Handshake, check_handshake, nobody_else, same_host

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def shake(origins: Callable[[str], bool] | None = nobody_else, **headers: bytes | list[bytes] | None) -> Handshake:
    """A handshake that is good but for the headers that are given; ``None`` leaves one out."""
    named: dict[str, bytes | list[bytes] | None] = {
        "host": b"example.com:8080",
        "connection": b"Upgrade",
        "upgrade": b"websocket",
        "sec_websocket_version": b"13",
        "sec_websocket_key": KEY,
        **headers,
    }
    lists = {
        name.replace("_", "-"): value if isinstance(value, list) else [value]
        for name, value in named.items()
        if value is not None
    }
    return check_handshake(lists, origins)


def check(origins: Callable[[str], bool] | None = nobody_else, **headers: bytes | list[bytes] | None) -> str:
    """The key of such a handshake."""
    return shake(origins, **headers).key


class HandshakeTests(SynchronousTestCase):
    """What a handshake has to have."""

    def assert_refused(self, status: int, *words: str, **headers: bytes | list[bytes] | None) -> None:
        error = self.assertRaises(BadHandshake, check, **headers)
        self.assertEqual(error.status, status)
        for word in words:
            self.assertIn(word, error.reason)

    def test_good(self) -> None:
        """A good one gives its key."""
        self.assertEqual(check(), KEY.decode())

    def test_spelling(self) -> None:
        """Letter case does not matter, nor what else the headers list, nor over how many lines."""
        self.assertEqual(check(connection=b"keep-alive, uPGRADE"), KEY.decode())
        self.assertEqual(check(connection=[b"keep-alive", b"Upgrade"]), KEY.decode())
        self.assertEqual(check(upgrade=b"h2c , WebSocket"), KEY.decode())
        self.assertEqual(check(sec_websocket_version=b"8, 13"), KEY.decode())

    def test_not_an_upgrade(self) -> None:
        """An ordinary GET is told that this is a WebSocket address."""
        self.assert_refused(400, "WebSocket address", "Connection", connection=None)
        self.assert_refused(400, "Connection", connection=b"keep-alive")
        self.assert_refused(400, "Connection", connection=b"upgraded")
        self.assert_refused(400, "WebSocket address", "Upgrade", upgrade=None)
        self.assert_refused(400, "Upgrade", upgrade=b"h2c")

    def test_version(self) -> None:
        """There is one version."""
        self.assert_refused(400, "Sec-WebSocket-Version", sec_websocket_version=None)
        self.assert_refused(400, "Sec-WebSocket-Version", sec_websocket_version=b"8")
        self.assert_refused(400, "Sec-WebSocket-Version", sec_websocket_version=b"130")

    def test_key(self) -> None:
        """Any key will do that is not blank."""
        self.assertEqual(check(sec_websocket_key=b" short "), "short")
        self.assert_refused(400, "Sec-WebSocket-Key", sec_websocket_key=None)
        self.assert_refused(400, "Sec-WebSocket-Key", sec_websocket_key=b"")
        self.assert_refused(400, "Sec-WebSocket-Key", sec_websocket_key=b"  ")

    def test_order(self) -> None:
        """The first mistake decides: an origin is looked at before the key, the version before the origin."""
        self.assert_refused(403, "Origin", origin=b"http://evil.example", sec_websocket_key=None)
        self.assert_refused(400, "Version", origin=b"http://evil.example", sec_websocket_version=None)
        self.assert_refused(400, "Connection", connection=None, upgrade=None, sec_websocket_version=None)

    def test_origin(self) -> None:
        """A page may connect to where it came from; its host and port are compared, not its scheme."""
        for origin in (None, b"http://example.com:8080", b"https://Example.COM:8080"):
            self.assertEqual(check(origin=origin), KEY.decode())
        for origin in (
            b"http://evil.example",
            b"http://example.com",
            b"http://example.com:8081",
            b"http://example.com:8080.evil.example",
            b"http://evil.example:8080",
            b"example.com:8080",
            b"null",
            b"",
            b"http://[",
            b"\xff",
        ):
            self.assert_refused(403, "Origin", origin=origin)

    def test_origin_without_host(self) -> None:
        """An origin without a host does not match a request without one."""
        for origin in (b"null", b"", b"file://"):
            self.assert_refused(403, "Origin", origin=origin, host=None)
            self.assert_refused(403, "Origin", origin=origin, host=b"")

    def test_origin_not_checked(self) -> None:
        """The check can be switched off."""
        self.assertEqual(check(origins=None, origin=b"http://evil.example"), KEY.decode())

    def test_other_origins(self) -> None:
        """Beside pages of this host, those of sites that are allowed may connect; they are compared exactly."""
        allowed = {"https://app.example"}.__contains__
        for origin in (b"https://app.example", b"http://example.com:8080"):
            self.assertEqual(check(allowed, origin=origin), KEY.decode())
        for origin in (b"http://app.example", b"https://APP.example", b"https://app.example:443", b"null"):
            with self.assertRaises(BadHandshake) as raised:
                check(allowed, origin=origin)
            self.assertEqual(raised.exception.status, 403)

    def test_offers(self) -> None:
        """What is offered is told as it came: subprotocols over one line or several, and extensions."""
        good = shake(
            sec_websocket_protocol=[b"raccoon.json.v1, raccoon.id.MQ", b",raccoon.group.Zw ,"],
            sec_websocket_extensions=[b"permessage-deflate; client_max_window_bits", b"x"],
        )
        self.assertEqual(good.offered, ("raccoon.json.v1", "raccoon.id.MQ", "raccoon.group.Zw"))
        self.assertEqual(good.extensions, "permessage-deflate; client_max_window_bits, x")
        self.assertEqual((shake().offered, shake().extensions), ((), ""))

    def test_same_host(self) -> None:
        """IPv6 addresses are hosts too."""
        self.assertTrue(same_host("http://[::1]:8080", "[::1]:8080"))
        self.assertFalse(same_host("http://[::1", "[::1"))
