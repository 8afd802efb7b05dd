"""Opens many connections, a few at a time."""

from __future__ import annotations

import resource
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from raccoon_tx.bench.address import Address

T = TypeVar("T")

#: Connections that are being opened at once; servers have a queue for those they have not accepted yet.
AT_ONCE = 50

#: Seconds that one may take.
TIMEOUT = 10

#: Descriptors that are not connections.
_OTHERS = 100


class CannotConnect(Exception):
    """The server is not to be had; the text says why."""


def endpoint(reactor: Any, address: Address, ca: str | None) -> Any:
    """What connects to a server. :param ca: PEM file with certificates to trust, instead of the system's."""
    plain: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=TIMEOUT)
    if not address.tls:
        return plain
    trust = None
    if ca is not None:
        blocks = Path(ca).read_bytes().split(b"-----END CERTIFICATE-----")[:-1]
        ended = [block + b"-----END CERTIFICATE-----\n" for block in blocks]
        trust = trustRootFromCertificates([Certificate.loadPEM(pem) for pem in ended])
    return wrapClientTLS(optionsForClientTLS(address.host, trustRoot=trust), plain)


def check_ca(ca: str) -> None:
    """:raises CannotConnect: there are no certificates in this file."""
    try:
        ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CannotConnect(f"--ca {ca}: {getattr(error, 'strerror', None) or error}") from None


def allow(connections: int) -> None:
    """Make room for so many descriptors. :raises CannotConnect: the system does not let us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise CannotConnect(f"{connections} connections are more than this system allows: see `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def open_all(count: int, open_one: Callable[[int], Awaitable[T]]) -> list[T]:
    """Open connections 0 to ``count - 1``. :raises Exception: what the first failed with."""
    limit = DeferredSemaphore(AT_ONCE)

    def begin(number: int) -> Deferred[T]:
        return Deferred.fromCoroutine(_awaited(open_one(number)))

    try:
        return list(await gatherResults([limit.run(begin, number) for number in range(count)], consumeErrors=True))
    except FirstError as error:
        problem = error.subFailure.value
        raise CannotConnect(in_words(problem)) from problem


def in_words(problem: BaseException | None) -> str:
    """Why a connection could not be opened."""
    if isinstance(problem, SSL.Error):
        reasons = [str(one[-1]) for one in problem.args[0]] if problem.args and problem.args[0] else []
        return f"TLS: {', '.join(reasons) or 'the connection was closed'}"
    if isinstance(problem, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(problem, DNSLookupError):
        return "there is no such host"
    return str(problem).strip().rstrip(".") or type(problem).__name__


async def _awaited(waiting: Awaitable[T]) -> T:
    return await waiting
