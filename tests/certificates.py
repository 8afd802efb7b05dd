"""Certificates for tests, as files."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_PEM, _NO_PASSPHRASE = serialization.Encoding.PEM, serialization.NoEncryption()

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@frozen
class Pair:
    """A certificate and its key. :ivar number: the serial number of the certificate."""

    certificate: str
    key: str
    number: int


@define
class Authority:
    """Signs certificates, and keeps them in a folder.

    :ivar path: of its own certificate.
    """

    folder: Path
    name: str = "authority"
    path: str = field(init=False)
    _key: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._signed(self.name, self._key, authority=True)
        self.path = self._written(f"{self.name}.crt", own.public_bytes(_PEM))

    def issue(self, name: str, passphrase: bytes = b"", key: Any = None) -> Pair:
        """A certificate for this machine, signed by us."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, key, authority=False)
        secret = serialization.BestAvailableEncryption(passphrase) if passphrase else _NO_PASSPHRASE
        form = serialization.PrivateFormat.PKCS8
        return Pair(
            self._written(f"{name}.crt", certificate.public_bytes(_PEM)),
            self._written(f"{name}.key", key.private_bytes(_PEM, form, secret)),
            certificate.serial_number,
        )

    def issue_weak(self, name: str) -> Pair:
        """One whose key is too small to be of any use."""
        return self.issue(name, key=rsa.generate_private_key(65537, 1024))

    def _signed(self, name: str, key: Any, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        # What Python 3.13 insists on (RFC 5280, sections 4.2.1.1 to 4.2.1.3).
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        uses = dict.fromkeys(_USES, False) | {"key_cert_sign": authority, "digital_signature": True}
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(here, critical=False)
            .add_extension(signer, critical=False)
            .add_extension(subject, critical=False)
            .add_extension(x509.KeyUsage(**uses), critical=True)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _written(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)
