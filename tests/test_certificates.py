"""Tests of `raccoon_tx.config.certificates`, and of how its findings are told."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config import ConfigurationError, load
from raccoon_tx.config.certificates import check_certificates
from tests.certificates import Authority


class CertificatesTests(SynchronousTestCase):
    """Files that a server cannot use."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder)
        self.pair = self.authority.issue("server")

    def file(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def check(self, certificate: str = "", key: str = "", client_ca: str = "") -> dict[str, str]:
        problems = check_certificates(certificate or self.pair.certificate, key or self.pair.key, client_ca)
        found = dict(problems)
        self.assertEqual(len(found), len(problems))
        return found

    def test_good(self) -> None:
        """A certificate, alone or with its chain, with its key, and an authority for clients."""
        self.assertEqual(self.check(), {})
        self.assertEqual(self.check(client_ca=self.authority.path), {})
        chain = Path(self.pair.certificate).read_text() + Path(self.authority.path).read_text()
        self.assertEqual(self.check(self.file("chain.crt", chain), client_ca=self.file("two.crt", chain)), {})
        both = Path(self.pair.certificate).read_text() + Path(self.pair.key).read_text()
        path = self.file("both.pem", both)
        self.assertEqual(self.check(path, path), {})

    def test_no_certificate(self) -> None:
        """What holds no certificate, or a damaged one, is named for each of the two settings."""
        whole = Path(self.pair.certificate).read_text()
        for content in (
            "",
            "nonsense",
            Path(self.pair.key).read_text(),
            whole[:-60],
            whole.replace("MII", "MIJ"),
            b"\xff\0",
        ):
            path = self.file("bad.crt", content)
            problem = "has no certificate in PEM form, or a damaged one"
            self.assertEqual(self.check(path), {"certificate": problem})
            self.assertEqual(self.check(client_ca=path), {"client_ca": problem})

    def test_no_key(self) -> None:
        """So is what holds no key."""
        whole = Path(self.pair.key).read_text()
        for content in ("", "nonsense", Path(self.pair.certificate).read_text(), whole[:-60], b"\xff\0"):
            found = self.check(key=self.file("bad.key", content))
            self.assertEqual(found, {"private_key": "has no private key in PEM form, or a damaged one"})

    def test_other_key(self) -> None:
        """So is the key of another certificate."""
        found = self.check(key=self.authority.issue("other").key)
        self.assertEqual(found, {"private_key": "is not the key of the certificate"})

    def test_encrypted(self) -> None:
        """A key with a passphrase cannot be used, and nobody is asked for it."""
        locked = self.authority.issue("locked", passphrase=b"secret")
        with patch("getpass.getpass", side_effect=AssertionError):
            found = self.check(locked.certificate, locked.key)
        self.assertEqual(found, {"private_key": "is encrypted: the server cannot ask for its passphrase"})

    def test_weak(self) -> None:
        """A key that is too small is the certificate's fault."""
        weak = self.authority.issue_weak("weak")
        self.assertEqual(
            self.check(weak.certificate, weak.key), {"certificate": "cannot be used: its key is too small"}
        )

    def test_gone(self) -> None:
        """Files that are not there, or are folders, are no reason for a traceback either."""
        nowhere = str(self.folder / "nowhere")
        for path in (nowhere, str(self.folder)):
            self.assertEqual(set(self.check(path)), {"certificate"})
            self.assertEqual(set(self.check(key=path)), {"private_key"})
            self.assertEqual(set(self.check(client_ca=path)), {"client_ca"})

    def test_told(self) -> None:
        """All mistakes are told at once, by the names of the settings and of the files, with whatever else is wrong."""
        bad = self.file("bad.crt", "nonsense")
        environ = {
            "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
            "PUBLISHER_TYPE": "log",
            "SERVER_TLS_CERTIFICATE": self.pair.certificate,
            "SERVER_TLS_PRIVATE_KEY": self.authority.issue("other").key,
            "SERVER_TLS_CLIENT_CA": bad,
            "SERVER_GRPC_PORT": "x",
        }
        with self.assertRaises(ConfigurationError) as raised:
            load({}, environ, None, self.folder)
        about = [mistake.split(" ")[0] for mistake in raised.exception.mistakes]
        self.assertEqual(sorted(about), ["SERVER_GRPC_PORT", "SERVER_TLS_CLIENT_CA", "SERVER_TLS_PRIVATE_KEY"])
        self.assertTrue(any("has no certificate in PEM form" in mistake for mistake in raised.exception.mistakes))

    def test_unreadable(self) -> None:
        """A file that is missing is told once."""
        missing = str(self.folder / "nowhere.crt")
        environ = {
            "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
            "PUBLISHER_TYPE": "log",
            "SERVER_TLS_CERTIFICATE": missing,
            "SERVER_TLS_PRIVATE_KEY": self.pair.key,
        }
        with self.assertRaises(ConfigurationError) as raised:
            load({}, environ, None, self.folder)
        (mistake,) = raised.exception.mistakes
        self.assertIn("SERVER_TLS_CERTIFICATE", mistake)
        self.assertIn("does not exist or cannot be read", mistake)
