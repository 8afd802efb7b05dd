"""Taking a port, and saying so in one way when it cannot be had."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.tcp import Port


class PortTaken(Exception):
    """A port cannot be listened on. Its text names the port and what is wrong."""

    def __init__(self, what: str, host: str, port: int, problem: str) -> None:
        super().__init__(f"cannot listen on {what} port {host or '*'}:{port}: {problem}")


class _SharedPort(Port):
    """A port that other processes listen on as well; the system gives each of them some of the connections."""

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return made


def listen_tcp(
    reactor: Any, host: str, port: int, factory: Any, backlog: int, what: str = "HTTP", shared: bool = False
) -> Any:
    """Listen on ``host``, or on all interfaces, of IPv6 and IPv4 where the machine has both.

    :param shared: with other processes. :return: an ``IListeningPort``. :raises PortTaken: it cannot be listened on.
    """
    hosts = [host] if host else ["::", "0.0.0.0"]
    for each in hosts:
        try:
            if shared:
                listening: Any = _SharedPort(port, factory, backlog, each, reactor)
                listening.startListening()
            else:
                listening = reactor.listenTCP(port, factory, backlog=backlog, interface=each)
        except CannotListenError as problem:
            cause = problem.socketError
            without_ipv6 = getattr(cause, "errno", None) in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if each != "::" or not without_ipv6:
                raise PortTaken(what, host, port, getattr(cause, "strerror", None) or str(cause)) from None
        else:
            _at_once(listening)
            return listening
    raise AssertionError("not reached")


def _at_once(listening: Any) -> None:
    """Have small answers sent at once. Accepted connections inherit it, which saves a call for each."""
    sock = getattr(listening, "socket", None)
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
