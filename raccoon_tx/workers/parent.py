"""The parent as a whole: what it is made of."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from raccoon_tx import logs, systemd
from raccoon_tx.dedup import Guids
from raccoon_tx.pipeline import Pipeline
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.server import announce
from raccoon_tx.settings import Settings
from raccoon_tx.tap import EVERYBODY, exporters, status_page
from raccoon_tx.transports.admission import Admission
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.tls import Certificates
from raccoon_tx.workers.collect import Collector, WithObservations
from raccoon_tx.workers.crew import Crew
from raccoon_tx.workers.merge import Totals
from raccoon_tx.workers.states import together


class Broker(EmbeddedBroker):
    """The embedded broker, which all workers write to."""

    crew: Crew

    def startService(self) -> None:
        super().startService()
        settings = self.crew.settings
        properties = {**settings.kafka.properties, "bootstrap.servers": self.address}
        kafka = evolve(settings.kafka, properties=properties)
        self.crew.settings = evolve(settings, publisher="kafka", kafka=kafka)


class Workers(Pipeline):
    """Several servers on the same ports. To whoever runs it, it is like `raccoon_tx.server.Server`."""

    def __init__(self, settings: Settings, crew: Crew, services: list[Service]) -> None:
        super().__init__()
        self._crew = crew
        self._settings = settings
        for service in services:
            service.setServiceParent(self)

    @property
    def status(self) -> int:
        """With which the process should end."""
        return self._crew.status

    @property
    def failed(self) -> bool:
        """Whether the workers could not start."""
        return self._crew.failed

    def change(self, settings: Settings) -> None:
        """Take over what can change while the workers run.

        :raises OSError: :raises OpenSSL.SSL.Error: the certificates cannot be used; then nothing has changed.
        """
        if self._settings.tls.certificate and settings.tls.certificate:
            Certificates(settings.tls)
        logs.threshold.set(settings.log.level)
        self._crew.change(settings)

    def stopService(self) -> Deferred[None]:
        systemd.tell(systemd.STOPPING)
        return super().stopService()


def build(settings: Settings, reactor: Any, relayed: bool) -> Workers:
    """The parent with these settings; it does nothing yet.

    :param relayed: log lines of the workers come through this process's own log, which is no simple stream.
    :raises OSError: :raises OpenSSL.SSL.Error: the certificates cannot be used.
    """
    if settings.tls.certificate:
        Certificates(settings.tls)
    admission = Admission(Connections(settings.websocket.max_connections), settings.websocket.duplicate_policy, reactor)
    guids = Guids(settings.dedup.most * EVERYBODY, settings.dedup.lifetime, reactor.seconds)
    crew = Crew(
        reactor,
        settings,
        admission,
        guids,
        relayed,
        lambda http, grpc: announce(settings, http, grpc),
        reactor.stop,
        reactor.spawnProcess,
    )
    publisher = "log" if settings.publisher == "log" else "kafka"
    crew.collector = Collector(reactor, Totals(publisher, settings.metrics.max_label_values), crew.ready)
    rooms: list[Service] = [crew]
    if settings.publisher == "embedded":
        broker = Broker()
        broker.crew = crew
        rooms.append(broker)
    snapshot: Any = crew.collector.snapshot
    rooms += exporters(settings.metrics, reactor, snapshot, WithObservations(crew.collector), crew.pids)
    rooms += status_page(settings, reactor, snapshot, lambda: together(crew.collector.states(), settings.workers))
    rooms += systemd.watchdogs(reactor)
    return Workers(settings, crew, rooms)
