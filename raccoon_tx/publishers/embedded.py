"""A Kafka cluster inside the process, for trying things out: librdkafka's own test cluster."""

from __future__ import annotations

from attrs import define, field
from confluent_kafka import Producer
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from raccoon_tx.logs import Logger
from raccoon_tx.publishers import whereabouts


@define(eq=False)
class EmbeddedBroker(Service):
    """Speaks Kafka on a free loopback port; any Kafka client of this machine can read from it.

    Everything is in memory: at most the newest 5 MB (or 100,000 records) of each partition, and nothing of it is
    left when the process ends. Topics come into being when they are named, with four partitions.

    :ivar address: ``127.0.0.1:port``, known once the service has started.
    """

    address: str = field(default="", init=False)
    _cluster: Producer | None = field(default=None, init=False, repr=False)

    _log = Logger()

    def startService(self) -> None:
        super().startService()
        # The cluster lives as long as this client of it, which does nothing else.
        self._cluster = Producer({"test.mock.num.brokers": "1", "log_level": "3"})
        broker = next(iter(self._cluster.list_topics(timeout=5).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        whereabouts.note(self.address)
        self._log.warn(
            "EMBEDDED BROKER at {address}: events are kept in memory only and are gone when this process ends",
            address=self.address,
        )

    def stopService(self) -> Deferred[None]:
        super().stopService()
        whereabouts.forget()
        self._cluster = None
        return succeed(None)
