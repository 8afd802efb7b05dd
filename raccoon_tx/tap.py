"""Where the parts meet: `makeService`, for ``twistd`` and for the ``raccoon`` command alike."""

from __future__ import annotations

import atexit
import os
import sys
from functools import partial
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from raccoon_tx._version import __version__
from raccoon_tx.ingest import Ingest
from raccoon_tx.options import Options
from raccoon_tx.pipeline import Pipeline
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.log import LogPublisher
from raccoon_tx.publishers.producer import capacity, largest_value, make_producer
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.routing import Routes
from raccoon_tx.settings import Settings
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.http import EventSite, HttpFront, upgrade
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.listen import PortTaken
from raccoon_tx.transports.rest import RestApi
from raccoon_tx.transports.rpc import EventService, GrpcFront
from raccoon_tx.transports.websocket import EventSocketFactory

__all__ = ["Options", "Server", "build", "makeService"]

#: Seconds after which an HTTP connection without a request is closed.
IDLE_TIMEOUT = 60.0
#: Seconds that a gRPC call waits beyond the time in which the publisher answers everything.
GRPC_MARGIN = 5.0

_log = Logger()


@frozen
class Parts:
    """What others want to ask after the start. :ivar broker: only with the embedded publisher."""

    http: HttpFront
    grpc: GrpcFront
    publisher: KafkaPublisher | LogPublisher
    broker: EmbeddedBroker | None


class Server(Pipeline):
    """The whole server. :ivar parts: of it."""

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

    def startService(self) -> None:
        super().startService()
        _log.info(
            "raccoon_tx {version} is ready: HTTP port {http} (REST and WebSocket), gRPC port {grpc}, "
            "publisher {publisher}, event.ack {ack}",
            version=__version__,
            http=self.parts.http.port,
            grpc=self.parts.grpc.port,
            publisher=self._settings.publisher,
            ack=int(self._settings.ack),
        )


def _publisher(settings: Settings, reactor: Any) -> tuple[KafkaPublisher | LogPublisher, EmbeddedBroker | None, int]:
    """The publisher, its broker if that is ours, and how many bytes a record may have."""
    if settings.publisher == "log":
        return LogPublisher(), None, settings.limits.body
    properties = dict(settings.kafka.properties)
    broker = EmbeddedBroker() if settings.publisher == "embedded" else None

    def connect(on_error: Any) -> Any:
        if broker is not None:
            properties.pop("metadata.broker.list", None)
            properties["bootstrap.servers"] = broker.address
        return make_producer(properties, on_error)

    publisher = KafkaPublisher(
        connect,
        reactor,
        Reach(reactor, _in_thread(reactor)),
        capacity=capacity(properties),
        batches=settings.buffer.batches,
        patience=settings.buffer.patience,
        flush_interval=settings.kafka.flush_interval,
        publish_timeout=settings.kafka.publish_timeout,
        drain_timeout=settings.stop.flush_timeout,
        close_timeout=settings.kafka.close_timeout,
    )
    return publisher, broker, largest_value(properties)


def _in_thread(reactor: Any) -> Any:
    return lambda call, *arguments: deferToThreadPool(reactor, reactor.getThreadPool(), call, *arguments)


def _from_thread(reactor: Any) -> Any:
    return lambda call, *arguments: reactor.callFromThread(call, *arguments)


def build(settings: Settings, reactor: Any) -> Server:
    """The server with these settings; it does nothing yet."""
    publisher, broker, largest = _publisher(settings, reactor)
    routes = Routes(settings.routing.pattern, settings.routing.max_topics, largest)
    ingest = Ingest(publisher.publish, routes.route, settings.ack, settings.limits.events)
    identify = Identify(settings.identity)

    keepalive = KeepAlive(reactor, settings.websocket.ping_interval, settings.websocket.pong_wait)
    connections = Connections(settings.websocket.max_connections)
    sockets = EventSocketFactory(
        ingest.submit, connections, keepalive, settings.websocket, settings.limits, clock=reactor
    )
    api = RestApi(
        ingest.submit,
        identify,
        partial(upgrade, sockets),
        settings.limits.body,
        settings.http.accept_text_plain,
        settings.websocket.check_origin,
    )
    resource: Any = api.app.resource()
    times = settings.http.head_timeout, settings.http.body_timeout
    site = EventSite(resource, settings.limits.body, reactor, IDLE_TIMEOUT, *times)
    http = HttpFront(
        reactor,
        site,
        sockets,
        settings.http.host,
        settings.http.port,
        drain_delay=settings.stop.drain_delay,
        drain_window=settings.stop.drain_window,
        finish_timeout=settings.stop.flush_timeout,
        give_up=publisher.give_up,
    )
    patience = settings.kafka.publish_timeout + settings.buffer.patience + GRPC_MARGIN
    service = EventService(ingest.submit, identify, settings.identity.id_header, _from_thread(reactor), patience)
    grpc = GrpcFront(service, settings.grpc, settings.limits.body, _in_thread(reactor), settings.stop.flush_timeout)

    # The fronts stop side by side: neither hands anything to the other.
    fronts = MultiService()
    http.setServiceParent(fronts)
    grpc.setServiceParent(fronts)
    rooms: list[Service] = [fronts, keepalive, publisher]
    if broker is not None:
        rooms.append(broker)
    return Server(settings, Parts(http, grpc, publisher, broker), rooms)


class _UnderTwistd(MultiService):
    """Ends the process with the same statuses as the ``raccoon`` command, where ``twistd`` would print a traceback."""

    def privilegedStartService(self) -> None:
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        self._or_exit(super().startService)

    def _or_exit(self, start: Any) -> None:
        try:
            start()
        except PortTaken as problem:
            _log.critical("{problem}", problem=problem)
            raise SystemExit(2) from None


def _tell_status(server: Server) -> None:
    """``twistd`` would end with 0 whatever was given up, and lets nobody say otherwise before its very end."""
    if server.abandoned:
        atexit.register(_end_with, 3)


def _end_with(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def makeService(options: Options, reactor: Any = None) -> MultiService:
    """The service for ``twistd -n raccoon``.

    :param reactor: if not given, the global one, and its process gets our signal handlers.
    """
    loaded = options.loaded
    for warning in loaded.warnings:
        _log.warn("{warning}", warning=warning)
    if reactor is not None:
        return build(loaded.settings, reactor)
    from twisted.internet import reactor as global_reactor

    from raccoon_tx.signals import install

    server = build(loaded.settings, global_reactor)
    install(global_reactor, server.hurry)
    global_reactor.addSystemEventTrigger("after", "shutdown", _tell_status, server)  # type: ignore[arg-type]
    outer = _UnderTwistd()
    server.setServiceParent(outer)
    return outer
