"""Tests of `raccoon_tx.tap`."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.log import LogPublisher
from raccoon_tx.settings import GrpcSettings, IdentitySettings, KafkaSettings, Settings, SpoolSettings
from raccoon_tx.spool.folder import Unusable
from raccoon_tx.tap import Options, Server, build, makeService
from raccoon_tx.transports.listen import PortTaken

MINIMAL = ["--publisher.type=log", "--server.websocket.conn.id.header=X-User-ID", "--server.grpc.port=0"]


def make(*flags: str, reactor: Any = None) -> Any:
    options = Options()
    options.parseOptions([*flags, *MINIMAL])
    return makeService(options, reactor or MemoryReactorClock())


class MakeServiceTests(SynchronousTestCase):
    def test_listens(self) -> None:
        """``--server.websocket.port`` is the port that REST and WebSocket share."""
        reactor = MemoryReactorClock()
        service = make("--server.websocket.port=9999", reactor=reactor)
        service.parts.http.privilegedStartService()
        self.assertEqual([port for port, *_ in reactor.tcpServers], [9999])

    def test_backlog(self) -> None:
        """Thousands of clients may come back at once."""
        reactor = MemoryReactorClock()
        make(reactor=reactor).parts.http.privilegedStartService()
        self.assertGreaterEqual(reactor.tcpServers[0][2], 1024)

    def test_host(self) -> None:
        """Without a host all interfaces are listened on; with one, that one."""
        reactor = MemoryReactorClock()
        make(reactor=reactor).parts.http.privilegedStartService()
        make("--server.host=127.0.0.1", reactor=reactor).parts.http.privilegedStartService()
        self.assertEqual([interface for *_, interface in reactor.tcpServers], ["::", "127.0.0.1"])

    def test_does_nothing_yet(self) -> None:
        """Making the service opens no port and starts no thread: ``twistd`` may still fork."""
        reactor = MemoryReactorClock()
        make(reactor=reactor)
        self.assertEqual((reactor.tcpServers, reactor.getDelayedCalls()), ([], []))

    def test_taken_port(self) -> None:
        """A port that is taken ends the start with a sentence that names it."""

        class Taken(MemoryReactorClock):
            def listenTCP(self, port: int, *_: Any, **__: Any) -> Any:
                raise CannotListenError("", port, OSError(98, "Address already in use"))

        service = make("--server.websocket.port=8080", reactor=Taken())
        problem = self.assertRaises(PortTaken, service.privilegedStartService)
        self.assertEqual(str(problem), "cannot listen on HTTP port *:8080: Address already in use")

    def test_order(self) -> None:
        """What takes events comes before what passes them on."""
        names = [type(service).__name__ for service in make().services]
        self.assertEqual(names, ["MultiService", "KeepAlive", "LogPublisher"])


class BuildTests(SynchronousTestCase):
    def server(self, publisher: str, **properties: str) -> Server:
        settings = Settings(
            identity=IdentitySettings(id_header="X-User-ID"),
            publisher=publisher,
            kafka=KafkaSettings(properties=properties),
            grpc=GrpcSettings(port=0),
        )
        return build(settings, MemoryReactorClock())

    def test_publishers(self) -> None:
        """``publisher.type`` decides where events go; only ``embedded`` brings a broker."""
        self.assertIsInstance(self.server("log").parts.publisher, LogPublisher)
        self.assertIsInstance(self.server("kafka").parts.publisher, KafkaPublisher)
        self.assertIsNone(self.server("kafka").parts.broker)
        embedded = self.server("embedded")
        self.assertEqual(
            [type(service).__name__ for service in embedded.services][-2:], ["KafkaPublisher", "EmbeddedBroker"]
        )

    def test_spool(self) -> None:
        """With a spool, it is opened before anything that takes events, and closed after all that passes them on."""
        settings = Settings(
            identity=IdentitySettings(id_header="X-User-ID"), spool=SpoolSettings(path="/nowhere/spool")
        )
        server = build(settings, MemoryReactorClock())
        names = [type(service).__name__ for service in server.services]
        self.assertEqual(names[2:], ["Drain", "KafkaPublisher", "SpoolingPublisher", "Store"])
        self.assertRaises(Unusable, server.startService)

    def test_nothing_abandoned(self) -> None:
        """A server that has done nothing has lost nothing."""
        self.assertEqual(self.server("kafka").abandoned, 0)
