"""In the parent: the ports that the workers share. ``SO_REUSEPORT`` lets processes of one user share a port, and would
let two servers do so by mistake."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from raccoon_tx.settings import Settings
from raccoon_tx.transports.listen import PortTaken

_GRPC_PROBLEM = "Address already in use or not available"


def reserve(what: str, host: str, port: int) -> socket.socket:
    """Make sure that nobody else listens on a port, and keep it.

    :param port: 0 takes a free one. :return: a socket that is bound to it, shared, and does not listen.
    :raises PortTaken: somebody has it, or it cannot be had.
    """
    with _told(what, host, port):
        with _bound(host, port, shared=False) as probe:
            probe.listen(1)
            number = probe.getsockname()[1]
        return _bound(host, number, shared=True)


def reserve_all(settings: Settings) -> tuple[list[socket.socket], Settings]:
    """Reserve the ports that the workers listen on.

    :return: what keeps them, and the settings with their numbers. :raises PortTaken: one of them cannot be had.
    """
    kept: list[socket.socket] = []
    try:
        kept.append(reserve("HTTP", settings.http.host, settings.http.port))
        kept.append(reserve("gRPC", settings.grpc.host, settings.grpc.port))
    except PortTaken:
        for each in kept:
            each.close()
        raise
    http, grpc = (each.getsockname()[1] for each in kept)
    return kept, evolve(settings, http=evolve(settings.http, port=http), grpc=evolve(settings.grpc, port=grpc))


@contextmanager
def _told(what: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        # In the words in which one process says it.
        text = _GRPC_PROBLEM if what == "gRPC" else problem.strerror or str(problem)
        raise PortTaken(what, host, port, text) from None


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    if host:
        return _one(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port, shared)
    try:
        return _one(socket.AF_INET6, "::", port, shared)
    except OSError as problem:
        if problem.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _one(socket.AF_INET, "0.0.0.0", port, shared)


def _one(family: int, host: str, port: int, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
