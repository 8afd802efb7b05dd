"""Tests for `raccoon_tx.transports.listen`: contract section 1."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from attrs import define, field
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.listen import PortTaken, listen_tcp


@define
class Host:
    """A reactor. :ivar without: which addresses it cannot listen on, and why."""

    without: dict[str, Exception] = field(factory=dict)
    listening: list[tuple[int, str, int, str]] = field(factory=list)

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> str:
        if interface in self.without:
            raise CannotListenError(interface, port, self.without[interface])
        self.listening.append((port, factory, backlog, interface))
        return f"port on {interface}"


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class ListenTests(SynchronousTestCase):
    """Taking a port."""

    def test_all_interfaces(self) -> None:
        """Without a host, IPv6 and IPv4 are listened on, which Linux does with one socket."""
        host = Host()
        self.assertEqual(listen_tcp(host, "", 8080, "site", 4096), "port on ::")
        self.assertEqual(host.listening, [(8080, "site", 4096, "::")])

    def test_one_interface(self) -> None:
        """With a host, nothing else is listened on."""
        host = Host()
        self.assertEqual(listen_tcp(host, "127.0.0.1", 0, "site", 4096), "port on 127.0.0.1")
        self.assertEqual(host.listening, [(0, "site", 4096, "127.0.0.1")])

    def test_without_ipv6(self) -> None:
        """Where there is no IPv6, or no address in it, IPv4 is enough."""
        for number in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            host = Host({"::": failure(number)})
            self.assertEqual(listen_tcp(host, "", 8080, "site", 4096), "port on 0.0.0.0")

    def test_taken(self) -> None:
        """A port that is taken is one error with one text, which names the port and what is wrong. IPv4 is not tried:
        half a port is worse than none."""
        host = Host({"::": failure(errno.EADDRINUSE)})
        error = self.assertRaises(PortTaken, listen_tcp, host, "", 8080, "site", 4096)
        self.assertEqual(str(error), "cannot listen on HTTP port *:8080: Address already in use")
        self.assertEqual(host.listening, [])

    def test_taken_without_ipv6(self) -> None:
        """The same where there is only IPv4."""
        host = Host({"::": failure(errno.EAFNOSUPPORT), "0.0.0.0": failure(errno.EADDRINUSE)})
        error = self.assertRaises(PortTaken, listen_tcp, host, "", 8080, "site", 4096, "metrics")
        self.assertEqual(str(error), "cannot listen on metrics port *:8080: Address already in use")

    def test_not_here(self) -> None:
        """A host that is not of this machine is an error, and no reason to listen elsewhere."""
        host = Host({"203.0.113.1": failure(errno.EADDRNOTAVAIL)})
        error = self.assertRaises(PortTaken, listen_tcp, host, "203.0.113.1", 80, "site", 4096)
        self.assertEqual(str(error), "cannot listen on HTTP port 203.0.113.1:80: Cannot assign requested address")

    def test_no_such_host(self) -> None:
        """A name that nobody knows is an error of the same kind."""
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        host = Host({"nowhere": unknown})
        error = self.assertRaises(PortTaken, listen_tcp, host, "nowhere", 80, "site", 4096)
        self.assertEqual(str(error), "cannot listen on HTTP port nowhere:80: Name or service not known")

    def test_other_cause(self) -> None:
        """Whatever the cause is, it is shown."""
        host = Host({"::": ValueError("odd")})
        error = self.assertRaises(PortTaken, listen_tcp, host, "", 80, "site", 4096)
        self.assertEqual(str(error), "cannot listen on HTTP port *:80: odd")
