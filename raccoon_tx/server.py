"""The server as a whole: what it is made of, and what changes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from raccoon_tx import logs, systemd
from raccoon_tx._version import __version__
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.pipeline import Pipeline
from raccoon_tx.process import ABANDONED, ORDERLY
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.log import LogPublisher
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.routing import Routes
from raccoon_tx.settings import Settings
from raccoon_tx.spool.publisher import SpoolingPublisher
from raccoon_tx.transports.http import HttpFront
from raccoon_tx.transports.rpc import GrpcFront
from raccoon_tx.transports.tls import Certificates

_log = Logger()


@frozen
class Parts:
    """What others want to ask after the start. :ivar broker: only with the embedded publisher. :ivar states: how each
    part is, as ``/readyz`` has it."""

    http: HttpFront
    grpc: GrpcFront
    publisher: KafkaPublisher | LogPublisher | SpoolingPublisher
    broker: EmbeddedBroker | None
    routes: Routes
    rate_limit: RateLimit
    certificates: Certificates | None
    counts: Counts
    states: Callable[[], Mapping[str, Mapping[str, Any]]]


class Server(Pipeline):
    """The whole server. :ivar parts: of it. :ivar failed: it could not start after all; what is wrong here is known at
    once."""

    failed = False

    def __init__(self, settings: Settings, parts: Parts, services: list[Service]) -> None:
        super().__init__()
        self._settings = settings
        self.parts = parts
        for service in services:
            service.setServiceParent(self)

    @property
    def abandoned(self) -> int:
        """Events that could not be delivered before the stop."""
        return sum(self.parts.publisher.abandoned.values())

    @property
    def status(self) -> int:
        """With which the process should end."""
        return ABANDONED if self.abandoned else ORDERLY

    def change(self, settings: Settings) -> None:
        """Take over what can change while the server runs: log level, certificates, rate limit, allowed types.

        :raises OSError: :raises OpenSSL.SSL.Error: the certificates cannot be used; then nothing has changed.
        """
        before, parts = self._settings, self.parts
        if parts.certificates is not None and settings.tls.certificate:
            parts.certificates.load(settings.tls)
        logs.threshold.set(settings.log.level)
        parts.routes.allow(settings.routing.allowed_types)
        if settings.rate_limit != before.rate_limit:
            parts.rate_limit.change(settings.rate_limit.events_per_second, settings.rate_limit.burst)
        self._settings = settings

    def startService(self) -> None:
        super().startService()
        if self._settings.workers == 1:
            announce(self._settings, self.parts.http.port, self.parts.grpc.port)

    def stopService(self) -> Deferred[None]:
        if self._settings.workers == 1:
            systemd.tell(systemd.STOPPING)
        return super().stopService()


def announce(settings: Settings, http: int, grpc: int) -> None:
    """Log, and tell systemd, that everything listens. :param http: :param grpc: the ports."""
    _log.info(
        "raccoon_tx {version} is ready: HTTP port {http} (REST and WebSocket), gRPC port {grpc}, "
        "publisher {publisher}, event.ack {ack}{workers}",
        version=__version__,
        http=http,
        grpc=grpc,
        publisher=settings.publisher,
        ack=int(settings.ack),
        workers=f", {settings.workers} workers" if settings.workers > 1 else "",
    )
    systemd.tell(systemd.READY, f"STATUS=HTTP port {http}, gRPC port {grpc}")
