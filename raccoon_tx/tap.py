"""Where the parts meet: `makeService`, for ``twistd`` and for the ``raccoon`` command alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from time import time
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool

from raccoon_tx import logs
from raccoon_tx.clock import pause
from raccoon_tx.codec import protobuf
from raccoon_tx.dedup import Guids
from raccoon_tx.ingest import Ingest
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, Histogram, SampledHistogram
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.kafka_statistics import KafkaStatistics
from raccoon_tx.metrics.prometheus import PrometheusExporter
from raccoon_tx.metrics.statsd import StatsdExporter
from raccoon_tx.options import Options
from raccoon_tx.process import UnderTwistd, or_exit, tell_status
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.log import LogPublisher
from raccoon_tx.publishers.producer import capacity, largest_value, make_producer, never_giving_up
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.publishers.watcher import watch
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.records import FullRecords
from raccoon_tx.reload import reload
from raccoon_tx.routing import Route, Routes
from raccoon_tx.server import Parts, Server
from raccoon_tx.settings import DedupSettings, MetricSettings, Settings
from raccoon_tx.signals import install
from raccoon_tx.spool.parts import Spool, build_spool
from raccoon_tx.spool.store import threaded
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.grpc_health import GrpcHealth, health_pb2
from raccoon_tx.transports.grpc_reflection import reflection_handlers
from raccoon_tx.transports.health import Health, Part
from raccoon_tx.transports.http import EventSite, HttpFront, upgrade
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.listen import listen_tcp
from raccoon_tx.transports.rest import RestApi
from raccoon_tx.transports.rpc import SERVICES, EventService, GrpcFront
from raccoon_tx.transports.tls import Certificates
from raccoon_tx.transports.upgrade import nobody_else
from raccoon_tx.transports.websocket import EventSocketFactory

__all__ = ["Options", "Server", "build", "makeService"]

#: Seconds after which an HTTP connection without a request is closed.
IDLE_TIMEOUT = 60.0
#: How many times the guids of one connection everybody's together may be.
EVERYBODY = 20
#: Scrapes that may wait to be accepted.
SCRAPERS = 16
#: Seconds that a gRPC call waits beyond the time in which the publisher answers everything.
GRPC_MARGIN = 5.0

#: Under ``twistd``, whose log is its own.
_FORMAT_HINT: dict[str, list[str]] = {
    "json": ["LOG_FORMAT (--log.format) has no effect under twistd; use twistd --logger=raccoon_tx.logs.json_log"]
}

_log = Logger()


def make_publisher(
    settings: Settings, reactor: Any, counts: Counts
) -> tuple[KafkaPublisher | LogPublisher, EmbeddedBroker | None, int]:
    """The publisher, its broker if that is ours, and how many bytes a record may have."""
    accounts = Accounts(counts, reactor.seconds, time)
    if settings.publisher == "log":
        return LogPublisher(accounts), None, settings.limits.body
    properties = dict(settings.kafka.properties)
    if settings.spool.path:
        properties = never_giving_up(properties)
    broker = EmbeddedBroker() if settings.publisher == "embedded" else None

    def connect(on_error: Any) -> Any:
        if broker is not None:
            properties.pop("metadata.broker.list", None)
            properties["bootstrap.servers"] = broker.address
        return make_producer(properties, on_error, KafkaStatistics(counts), _from_thread(reactor))

    publisher = KafkaPublisher(
        connect,
        reactor,
        Reach(reactor, _in_thread(reactor)),
        accounts,
        rescued=bool(settings.spool.path),
        capacity=capacity(properties),
        batches=settings.buffer.batches,
        patience=settings.buffer.patience,
        flush_interval=settings.kafka.flush_interval,
        publish_timeout=settings.kafka.publish_timeout,
        drain_timeout=settings.stop.flush_timeout,
        close_timeout=settings.kafka.close_timeout,
        watch=watch(_from_thread(reactor)),
    )
    return publisher, broker, largest_value(properties)


def make_spool(
    settings: Settings, reactor: Any, publisher: KafkaPublisher | LogPublisher, counts: Counts
) -> Spool | None:
    """The spool around a publisher, if there is to be one."""
    if not settings.spool.path:
        return None
    room = sys.maxsize if settings.publisher == "log" else capacity(settings.kafka.properties)
    histogram = SampledHistogram if settings.metrics.statsd else Histogram
    box = threaded(_from_thread(reactor))
    return build_spool(settings.spool, settings.ack, publisher, room, counts, reactor, time, box, histogram)


def _in_thread(reactor: Any) -> Any:
    return lambda call, *arguments: deferToThreadPool(reactor, reactor.getThreadPool(), call, *arguments)


def _from_thread(reactor: Any) -> Any:
    return lambda call, *arguments: reactor.callFromThread(call, *arguments)


def _route(settings: Settings, routes: Routes) -> Route:
    records = settings.records
    if records.plain:
        return routes.route
    full = FullRecords(routes, records.key, records.headers, records.timestamp, records.dead_letters, time)
    return full.route


def build(settings: Settings, reactor: Any) -> Server:
    """The server with these settings; it does nothing yet.

    :raises OSError: :raises OpenSSL.SSL.Error: the certificates cannot be used.
    """
    counts = Counts(
        "log" if settings.publisher == "log" else "kafka",
        settings.metrics.max_label_values,
        histogram=SampledHistogram if settings.metrics.statsd else Histogram,
    )
    behind, broker, largest = make_publisher(settings, reactor, counts)
    spool = make_spool(settings, reactor, behind, counts)
    publisher = spool.publisher if spool is not None else behind
    routes = Routes(settings.routing.pattern, settings.routing.max_topics, largest, counts)
    routes.allow(settings.routing.allowed_types)
    rate_limit = RateLimit(settings.rate_limit.events_per_second, settings.rate_limit.burst, reactor.seconds)
    everybodys, for_connection = _guids(settings.dedup, reactor.seconds)
    ingest = Ingest(
        publisher.publish,
        _route(settings, routes),
        settings.ack,
        settings.limits.events,
        counts,
        reactor.seconds,
        rate_limit,
        everybodys,
    )
    certificates = Certificates(settings.tls) if settings.tls.certificate else None
    http, keepalive = _http(settings, reactor, ingest, counts, publisher, spool, certificates, for_connection)
    grpc_health = GrpcHealth(SERVICES, lambda: not http.stopping and publisher.state[0], reactor)
    grpc = _grpc(settings, reactor, ingest, certificates, grpc_health)

    # The fronts stop side by side: neither hands anything to the other.
    fronts = MultiService()
    http.setServiceParent(fronts)
    grpc.setServiceParent(fronts)
    grpc_health.setServiceParent(fronts)
    rooms: list[Service] = [fronts, keepalive, behind]
    if spool is not None:
        rooms = [fronts, keepalive, spool.drain, behind, spool.publisher, spool.store]
    if broker is not None:
        rooms.append(broker)
    rooms += _exporters(settings.metrics, reactor, counts)
    return Server(settings, Parts(http, grpc, publisher, broker, routes, rate_limit, certificates, counts), rooms)


def _guids(settings: DedupSettings, now: Callable[[], float]) -> tuple[Guids | None, Callable[[], Guids | None]]:
    """The memory of everybody's batches, or a maker of one for each connection, or neither."""
    if not settings.enabled:
        return None, lambda: None
    if settings.scope == "identity":
        return Guids(settings.most * EVERYBODY, settings.lifetime, now), lambda: None
    return None, lambda: Guids(settings.most, settings.lifetime, now)


def _http(
    settings: Settings,
    reactor: Any,
    ingest: Ingest,
    counts: Counts,
    publisher: Any,
    spool: Spool | None,
    certificates: Certificates | None,
    guids: Callable[[], Guids | None],
) -> tuple[HttpFront, KeepAlive]:
    identity, websocket = settings.identity, settings.websocket
    keepalive = KeepAlive(reactor, websocket.ping_interval, websocket.pong_wait)
    sockets = EventSocketFactory(
        ingest.submit,
        Connections(websocket.max_connections),
        keepalive,
        websocket,
        settings.limits,
        reactor,
        counts,
        guids,
        settings.ack,
    )
    cors = Cors(settings.cors, [identity.id_header, identity.group_header]) if settings.cors.enabled else None
    parts: dict[str, Callable[[], Part]] = {
        "listeners": lambda: _listening(http),
        "publisher": lambda: Part(*publisher.state),
    }
    if spool is not None:
        parts["spool"] = lambda: Part(*spool.state())
    health = Health(parts)
    origins = cors.allows if cors is not None else nobody_else
    api = RestApi(
        ingest.submit,
        Identify(identity),
        partial(upgrade, sockets),
        settings.limits.body,
        counts,
        health,
        settings.http.accept_text_plain,
        origins if websocket.check_origin else None,
        settings.cors.refuse,
    )
    resource: Any = api.app.resource()
    times = settings.http.head_timeout, settings.http.body_timeout
    site = EventSite(
        resource,
        settings.limits.body,
        reactor,
        IDLE_TIMEOUT,
        counts,
        *times,
        cors,
        api.group,
        settings.http.accept_text_plain,
    )
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
        encrypt=certificates.encrypt if certificates is not None else None,
    )
    return http, keepalive


def _listening(http: HttpFront) -> Part:
    return Part(False, "stopping") if http.stopping else Part(True, "ok")


def _grpc(
    settings: Settings, reactor: Any, ingest: Ingest, certificates: Certificates | None, health: GrpcHealth
) -> GrpcFront:
    more = [health.handler()]
    if settings.grpc.reflection:
        files = [protobuf.SendEventRequest.DESCRIPTOR.file, health_pb2.DESCRIPTOR]  # type: ignore[attr-defined]
        more += reflection_handlers(files)
    patience = settings.kafka.publish_timeout + settings.buffer.patience + GRPC_MARGIN
    identify = Identify(settings.identity)
    id_header, largest = settings.identity.id_header, settings.limits.body
    service = EventService(ingest.submit, identify, id_header, _from_thread(reactor), patience, largest)
    return GrpcFront(
        service,
        settings.grpc,
        largest,
        _in_thread(reactor),
        settings.stop.flush_timeout,
        certificates.credentials if certificates is not None else None,
        more,
        partial(pause, reactor),
        settings.stop.drain_delay,
    )


def _exporters(settings: MetricSettings, reactor: Any, counts: Counts) -> list[Service]:
    families = Families(counts, reactor.seconds, settings.sample_interval)
    in_thread = _in_thread(reactor)
    exporters: list[Service] = []
    if settings.statsd:
        exporters.append(StatsdExporter(reactor, settings.address, settings.period, families, in_thread))
    if settings.prometheus:
        listen = partial(listen_tcp, reactor, settings.host, settings.port, backlog=SCRAPERS, what="Prometheus")
        exporters.append(PrometheusExporter(listen, reactor, settings.path, families.snapshot, in_thread))
    return exporters


def makeService(options: Options, reactor: Any = None) -> MultiService:
    """The service for ``twistd -n raccoon``.

    :param reactor: if not given, the global one, and its process gets our signal handlers.
    """
    loaded = options.loaded
    if reactor is not None:
        return build(loaded.settings, reactor)
    logs.threshold.set(loaded.settings.log.level)
    for warning in [*loaded.warnings, *_FORMAT_HINT.get(loaded.settings.log.format, ())]:
        _log.warn("{text}", text=warning)
    from twisted.internet import reactor as global_reactor

    running: Any = global_reactor
    server: Server = or_exit(partial(build, loaded.settings, running))
    install(running, server.hurry, partial(reload, loaded, server.change))
    running.addSystemEventTrigger("after", "shutdown", tell_status, lambda: server.abandoned)
    outer = UnderTwistd()
    server.setServiceParent(outer)
    return outer
