"""Tests of `raccoon_tx.metrics.statsd`."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import SampledHistogram
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.statsd import BREATH, BURST, StatsdExporter, parse_address
from raccoon_tx.metrics.statsd_lines import PACKET
from tests.test_statsd_lines import EXPECTED
from tests.traffic import Threads, known_traffic

PERIOD = 10.0


class UdpPort:
    """A UDP port without a network.

    :ivar sent: its packets. :ivar refusing: nobody listens. :ivar broken: the error of every packet.
    """

    def __init__(self, reactor: UdpClock, protocol: Any, interface: str) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.interface = interface
        self.peer: tuple[str, int] | None = None
        self.sent: list[bytes] = []
        self.open = self.reading = True
        protocol.makeConnection(self)

    def stopReading(self) -> None:
        self.reading = False

    def connect(self, host: str, port: int) -> None:
        assert not self.reading
        if self.reactor.unreachable:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        self.peer = host, port

    def write(self, packet: bytes, addr: Any = None) -> None:
        assert self.open
        if self.reactor.broken:
            raise OSError(self.reactor.broken, "broken")
        self.sent.append(packet)
        if self.reactor.refusing:
            self.protocol.connectionRefused()

    def stopListening(self) -> Any:
        self.open = False
        self.protocol.doStop()
        return succeed(None)


class UdpClock(Clock):
    """A clock that opens UDP ports."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[UdpPort] = []
        self.refusing = self.unreachable = self.full = False
        self.broken = 0

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> UdpPort:
        if self.full:
            raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "in use"))
        assert port == 0
        self.ports.append(UdpPort(self, protocol, interface))
        return self.ports[-1]


class ExporterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = UdpClock()
        self.counts = known_traffic(SampledHistogram)
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def start(self, address: str = ":8125", in_thread: Any = maybeDeferred) -> StatsdExporter:
        families = Families(self.counts, self.reactor.seconds, PERIOD)
        exporter = StatsdExporter(self.reactor, address, PERIOD, families, in_thread)
        exporter.startService()
        return exporter

    def told(self) -> list[str]:
        """The lines that were sent since this was last asked."""
        port = self.reactor.ports[-1]
        found = [line for packet in port.sent for line in packet.decode().split("\n")]
        port.sent.clear()
        return found

    def complaints(self) -> list[Any]:
        return [event for event in self.events if "StatsD" in (event.get("log_format") or "")]

    def test_period(self) -> None:
        """What was counted is sent when the first period is over, to this machine if no other is named."""
        self.start()
        (port,) = self.reactor.ports
        self.assertEqual((port.peer, port.interface), (("127.0.0.1", 8125), ""))
        self.reactor.advance(PERIOD - 0.1)
        self.assertEqual(port.sent, [])
        self.reactor.advance(0.1)
        self.assertEqual(self.told(), EXPECTED)

    def test_sums(self) -> None:
        """What happens in one period is one line."""
        self.start()
        self.reactor.advance(PERIOD)
        self.told()
        for _ in range(3):
            self.counts.group("web").could_not_read("overload")
        self.reactor.advance(PERIOD)
        self.assertEqual(self.told()[0], "batches_read_total,conn_group=web,reason=overload,status=failed:3|c")

    def test_stop(self) -> None:
        """At the stop the rest is sent, and nothing is left behind."""
        exporter = self.start()
        self.successResultOf(exporter.stopService())
        self.assertEqual(self.told(), EXPECTED)
        self.assertFalse(self.reactor.ports[0].open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_starts_again(self) -> None:
        """A service that has stopped can start again, and tells nothing twice."""
        exporter = self.start()
        self.successResultOf(exporter.stopService())
        exporter.startService()
        self.reactor.advance(PERIOD)
        self.assertEqual([line for line in self.told() if not line.endswith("|g")], [])

    def test_packets(self) -> None:
        """Packets fit into a frame, and do not come all at once."""
        self.start()
        for number in range(BURST * 20):
            self.counts.group("app").could_not_read(f"{number:0100}")
        self.reactor.advance(PERIOD)
        port = self.reactor.ports[0]
        self.assertEqual(len(port.sent), BURST)
        self.reactor.advance(BREATH)
        self.assertEqual(len(port.sent), 2 * BURST)
        self.reactor.advance(BREATH)
        self.assertLessEqual(max(map(len, port.sent)), PACKET)
        self.assertEqual(len([line for line in self.told() if "reason=000" in line]), BURST * 20)

    def test_hurried(self) -> None:
        """Who is told to hurry sends all of it at once."""
        exporter = self.start()
        for number in range(BURST * 20):
            self.counts.group("app").could_not_read(f"{number:0100}")
        exporter.hurry()
        self.successResultOf(exporter.stopService())
        self.assertEqual(len([line for line in self.told() if "reason=000" in line]), BURST * 20)

    def test_one_at_a_time(self) -> None:
        """While a report is still being written, the next one waits for its turn, and the last one as well."""
        threads = Threads()
        exporter = self.start(in_thread=threads)
        self.reactor.advance(PERIOD)
        self.assertEqual(len(threads.calls), 1)
        self.counts.close_errors += 1
        self.reactor.advance(PERIOD)
        self.assertEqual(len(threads.calls), 1)
        stopped = exporter.stopService()
        self.assertNoResult(stopped)
        threads.finish()
        self.assertEqual(self.told(), EXPECTED)
        threads.finish()
        self.assertIn("conn_close_err_count:1|c", self.told())
        self.successResultOf(stopped)

    def test_names(self) -> None:
        """A name is looked up once, in a thread."""
        looked_up = []

        def in_thread(call: Any, *arguments: Any) -> Any:
            if arguments == ("statsd.example", 9125):
                looked_up.append(arguments)
                return succeed("2001:db8::1")
            return maybeDeferred(call, *arguments)

        self.start("statsd.example:9125", in_thread)
        for _ in range(3):
            self.reactor.advance(PERIOD)
        (port,) = self.reactor.ports
        self.assertEqual((port.peer, port.interface, len(looked_up)), (("2001:db8::1", 9125), "::", 1))

    def test_this_machine(self) -> None:
        """The system's own look-up finds this machine."""
        self.start("localhost:1")
        assert self.reactor.ports[0].peer is not None
        self.assertIn(self.reactor.ports[0].peer[0], ("127.0.0.1", "::1"))

    def test_unknown_name(self) -> None:
        """While a name is unknown nothing is sent and nothing is lost; it is complained of once."""
        known: list[str] = []

        def in_thread(call: Any, *arguments: Any) -> Any:
            if arguments == ("statsd.example", 9125):
                if not known:
                    return maybeDeferred(self.fail_to_find)
                return succeed(known[0])
            return maybeDeferred(call, *arguments)

        self.start("statsd.example:9125", in_thread)
        for _ in range(3):
            self.reactor.advance(PERIOD)
        self.assertEqual((self.reactor.ports, len(self.complaints())), ([], 1))
        known.append("192.0.2.1")
        self.reactor.advance(PERIOD)
        self.assertEqual(self.told(), EXPECTED)

    def fail_to_find(self) -> None:
        raise OSError(-2, "Name or service not known")

    def test_stop_while_unknown(self) -> None:
        """A name server that does not answer does not keep the service from stopping, and no port is opened later."""
        threads = Threads()
        exporter = self.start("statsd.example:9125", threads)
        self.successResultOf(exporter.stopService())
        threads.calls.pop()[0].callback("192.0.2.1")
        self.assertEqual((self.reactor.ports, self.reactor.getDelayedCalls()), ([], []))

    def test_refused(self) -> None:
        """That nobody listens is said once, without a traceback, and sending goes on."""
        self.reactor.refusing = True
        self.start()
        for _ in range(3):
            self.reactor.advance(PERIOD)
        (complaint,) = self.complaints()
        self.assertEqual((complaint["problem"], complaint.get("log_failure")), ("nobody listens there", None))
        self.assertGreater(len(self.reactor.ports[0].sent), 2)

    def test_unsendable(self) -> None:
        """So is any other error of sending."""
        self.reactor.broken = errno.EHOSTUNREACH
        self.start()
        for _ in range(3):
            self.reactor.advance(PERIOD)
        self.assertEqual(len(self.complaints()), 1)
        self.reactor.broken = 0
        self.reactor.advance(PERIOD)
        self.assertIn("connections_count_current,conn_group=app:2|g", self.told())

    def test_unreachable(self) -> None:
        """Without a way to that network, or a port of ours, it is tried again, with one complaint of each."""
        self.reactor.unreachable = True
        self.start("192.0.2.1:8125")
        self.reactor.advance(PERIOD)
        self.assertEqual([port.open for port in self.reactor.ports], [False, False])
        self.reactor.full = True
        self.reactor.pump([PERIOD] * 2)
        self.assertEqual(len(self.complaints()), 2)
        self.reactor.unreachable = self.reactor.full = False
        self.reactor.advance(PERIOD)
        self.assertEqual(self.told(), EXPECTED)

    def test_goes_on(self) -> None:
        """A mistake of ours is loud, and does not end the reports."""

        def in_thread(*_: Any) -> Any:
            raise ZeroDivisionError

        self.start(in_thread=in_thread)
        self.reactor.advance(PERIOD)
        self.reactor.advance(PERIOD)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class AddressTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """A host is optional, a port is not."""
        cases = {
            ":8125": ("127.0.0.1", 8125),
            "statsd:1": ("statsd", 1),
            "10.0.0.1:65535": ("10.0.0.1", 65535),
            "[::1]:8125": ("::1", 8125),
            " statsd:8125 ": ("statsd", 8125),
        }
        self.assertEqual({address: parse_address(address) for address in cases}, cases)
        for wrong in ("", "statsd", "statsd:", "statsd:0", "statsd:65536", "statsd:x", "statsd:-1", "8125"):
            with self.assertRaises(ValueError, msg=wrong):
                parse_address(wrong)
