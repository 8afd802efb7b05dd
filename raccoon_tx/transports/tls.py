"""TLS on both ports, with certificates that can be exchanged while connections are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from raccoon_tx.settings import TlsSettings


def _private_key(path: str) -> Any:
    # OpenSSL would ask whoever sits at the terminal for a passphrase.
    try:
        return load_pem_private_key(Path(path).read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise SSL.Error(str(problem)) from None


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """What new connections are shown. Those that are open keep what they were shown.

    :ivar settings: the files.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self.load(settings)

    def load(self, settings: TlsSettings) -> None:
        """Read the files (again).

        :raises OSError: :raises SSL.Error: they cannot be read, or do not fit together; then nothing has changed.
        """
        context = CertificateOptions().getContext()
        context.use_certificate_chain_file(settings.certificate)
        context.use_privatekey(_private_key(settings.private_key))
        context.check_privatekey()
        if settings.client_ca:
            context.load_verify_locations(settings.client_ca)
            # So that a client with several certificates knows which one to show.
            context.load_client_ca(settings.client_ca.encode())
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        key, chain = Path(settings.private_key).read_bytes(), Path(settings.certificate).read_bytes()
        authority = Path(settings.client_ca).read_bytes() if settings.client_ca else None
        for_calls = grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authority)
        self.settings, self._context, self._for_calls = settings, context, for_calls

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)

    def encrypt(self, factory: Any, clock: Any) -> Any:
        """A factory of connections like ``factory``, by TLS."""
        creator: Any = self
        return TLSMemoryBIOFactory(creator, False, factory, clock)

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC port."""
        return grpc.dynamic_ssl_server_credentials(
            self._for_calls, lambda: self._for_calls, require_client_authentication=bool(self.settings.client_ca)
        )
