"""Where the parts meet: `makeService`, for ``twistd`` and for the ``raccoon`` command alike."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from google.protobuf.internal import api_implementation
from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool

from raccoon_tx import logs
from raccoon_tx._version import __version__
from raccoon_tx.codec import protobuf
from raccoon_tx.dedup import Guids
from raccoon_tx.descriptors import fitted, is_default, raise_limit
from raccoon_tx.ingest import REASONS, Ingest
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, Histogram, SampledHistogram
from raccoon_tx.metrics.exposition import Exposition
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.kafka_statistics import KafkaStatistics
from raccoon_tx.metrics.prometheus import PrometheusExporter, SiteService, Snapshot
from raccoon_tx.metrics.statsd import Snapshots, StatsdExporter
from raccoon_tx.metrics.status import Status
from raccoon_tx.model import Outcome
from raccoon_tx.options import Options
from raccoon_tx.process import UnderTwistd, or_exit, tell_status
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.publishers.kafka import KafkaPublisher
from raccoon_tx.publishers.log import LogPublisher
from raccoon_tx.publishers.producer import capacity, largest_value, make_producer, never_giving_up
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.publishers.watcher import aside, watch
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.records import FullRecords
from raccoon_tx.reload import reload
from raccoon_tx.routing import Route, Routes
from raccoon_tx.server import Parts, Server
from raccoon_tx.settings import DedupSettings, MetricSettings, Settings
from raccoon_tx.signals import install
from raccoon_tx.spool.parts import Spool, build_spool, left_behind, of_worker
from raccoon_tx.spool.store import threaded
from raccoon_tx.systemd import watchdogs
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.cors import Cors
from raccoon_tx.transports.front import FrontFactory
from raccoon_tx.transports.grpc_health import GrpcHealth, health_pb2
from raccoon_tx.transports.grpc_reflection import reflection_handlers
from raccoon_tx.transports.health import Health, Part
from raccoon_tx.transports.http import EventSite, HttpFront, upgrade
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.listen import listen_tcp
from raccoon_tx.transports.mask import NVX
from raccoon_tx.transports.plain import Heads
from raccoon_tx.transports.rest import RestApi
from raccoon_tx.transports.rpc import SERVICES, EventService, GrpcFront
from raccoon_tx.transports.tls import Certificates
from raccoon_tx.transports.upgrade import nobody_else
from raccoon_tx.transports.websocket import EventSocketFactory

if TYPE_CHECKING:
    from raccoon_tx.workers.child import Shared
    from raccoon_tx.workers.parent import Workers

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
        Reach(reactor, aside(_from_thread(reactor))),
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
    settings: Settings, reactor: Any, publisher: KafkaPublisher | LogPublisher, counts: Counts, number: int = 0
) -> Spool | None:
    """The spool around a publisher, if there is to be one. :param number: of the worker whose it is."""
    if not settings.spool.path:
        return None
    own = of_worker(settings.spool, number, settings.workers)
    if number == 0:
        for path in left_behind(settings.spool, settings.workers):
            _log.warn(
                "the spool {path} is of a worker that there no longer is; "
                "raccoon spool drain --spool.path={path} brings its batches to Kafka",
                path=path,
            )
    else:
        # The first worker may not have come to it yet. If it cannot be made, that is said when it is used.
        with suppress(OSError):
            os.mkdir(settings.spool.path, 0o700)
    room = sys.maxsize if settings.publisher == "log" else capacity(settings.kafka.properties)
    histogram = SampledHistogram if settings.metrics.statsd else Histogram
    box = threaded(_from_thread(reactor))
    return build_spool(own, settings.ack, publisher, room, counts, reactor, time, box, histogram)


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


def build_all(settings: Settings, reactor: Any, relayed: bool, lane: bool = True) -> Server | Workers:
    """The server, or the parent of several; it does nothing yet.

    :param relayed: log lines of workers have to come through this process. :param lane: as `build` has it.
    :raises: as `build`.
    """
    fitting, said = fitted(settings, raise_limit())
    if said:
        (_log.info if is_default(settings) else _log.warn)("{text}", text=said)
    settings = fitting
    if settings.workers == 1:
        return build(settings, reactor, lane)
    from raccoon_tx.workers import parent

    return parent.build(settings, reactor, relayed)


def build(settings: Settings, reactor: Any, lane: bool = True, shared: Shared | None = None) -> Server:
    """The server with these settings; it does nothing yet.

    :param lane: plain requests have a way of their own; tests compare it with the one that all others go.
    :param shared: what it has in common with others, if it is one of several workers.
    :raises OSError: :raises OpenSSL.SSL.Error: the certificates cannot be used.
    """
    if not NVX:
        _log.warn(
            "Autobahn's compiled functions (NVX) are missing or switched off: WebSocket messages of more than some "
            "hundred bytes cost several times more; install an autobahn wheel for this machine"
        )
    if api_implementation.Type() == "python":
        _log.warn(
            "protobuf runs without its compiled part (pure Python): reading a batch costs many times more; install a "
            "protobuf wheel for this machine, and leave PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION unset"
        )
    counts = Counts(
        "log" if settings.publisher == "log" else "kafka",
        settings.metrics.max_label_values,
        worker=f"worker-{shared.number}" if shared is not None else "worker-0",
        histogram=SampledHistogram if settings.metrics.statsd else Histogram,
    )
    behind, broker, largest = make_publisher(settings, reactor, counts)
    spool = make_spool(settings, reactor, behind, counts, shared.number if shared is not None else 0)
    publisher = spool.publisher if spool is not None else behind
    routes = Routes(settings.routing.pattern, settings.routing.max_topics, largest, counts)
    routes.allow(settings.routing.allowed_types)
    rate_limit = RateLimit(settings.rate_limit.events_per_second, settings.rate_limit.burst, reactor.seconds)
    everybodys, for_connection = _guids(settings.dedup, reactor.seconds)
    elsewhere = shared.guids if shared is not None and everybodys is not None else None
    ingest = Ingest(
        publisher.publish,
        _route(settings, routes),
        settings.ack,
        settings.limits.events,
        counts,
        reactor.seconds,
        rate_limit,
        everybodys,
        elsewhere,
    )
    certificates = Certificates(settings.tls) if settings.tls.certificate else None
    http, keepalive, health = _http(
        settings, reactor, ingest, counts, publisher, spool, certificates, for_connection, lane, shared
    )
    grpc_health = GrpcHealth(SERVICES, lambda: not http.stopping and publisher.state[0], reactor)
    grpc = _grpc(settings, reactor, ingest, counts, certificates, grpc_health)

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
    if shared is None:
        families = Families(counts, reactor.seconds, settings.metrics.sample_interval)
        rooms += exporters(settings.metrics, reactor, families.snapshot, families)
        rooms += status_page(settings, reactor, families.snapshot, health.states)
        rooms += watchdogs(reactor)
    parts = Parts(http, grpc, publisher, broker, routes, rate_limit, certificates, counts, health.states)
    return Server(settings, parts, rooms)


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
    lane: bool,
    shared: Shared | None,
) -> tuple[HttpFront, KeepAlive, Health]:
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
        lane,
    )
    if shared is not None:
        sockets.admission = shared.admission
    cors = Cors(settings.cors, [identity.id_header, identity.group_header]) if settings.cors.enabled else None
    parts: dict[str, Callable[[], Part]] = {
        "listeners": lambda: _listening(http),
        "publisher": lambda: Part(*publisher.state),
    }
    if spool is not None:
        parts["spool"] = lambda: Part(*spool.state())
    health = Health(parts)
    allowed = cors.allows if cors is not None else nobody_else
    origins = allowed if websocket.check_origin else None
    identify, text_plain = Identify(identity), settings.http.accept_text_plain
    api = RestApi(
        ingest.submit,
        identify,
        partial(upgrade, sockets),
        settings.limits.body,
        counts,
        health,
        text_plain,
        origins,
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
        text_plain,
    )
    heads = Heads(identify, settings.limits.body, text_plain, origins, cors)
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
        shared=shared is not None,
        first=FrontFactory(site, sockets, heads, ingest.submit, reactor) if lane else None,
    )
    return http, keepalive, health


def _listening(http: HttpFront) -> Part:
    return Part(False, "stopping") if http.stopping else Part(True, "ok")


def _grpc(
    settings: Settings,
    reactor: Any,
    ingest: Ingest,
    counts: Counts,
    certificates: Certificates | None,
    health: GrpcHealth,
) -> GrpcFront:
    more = [health.handler()]
    if settings.grpc.reflection:
        files = [protobuf.SendEventRequest.DESCRIPTOR.file, health_pb2.DESCRIPTOR]  # type: ignore[attr-defined]
        more += reflection_handlers(files)
    patience = settings.kafka.publish_timeout + settings.buffer.patience + GRPC_MARGIN
    largest = settings.limits.body
    service = EventService(
        ingest.submit,
        Identify(settings.identity),
        _from_thread(reactor),
        settings.grpc.max_in_flight,
        lambda group: counts.group(group).could_not_read(REASONS[Outcome.SATURATED]),
        patience,
        largest,
    )
    return GrpcFront(
        service,
        settings.grpc,
        largest,
        _in_thread(reactor),
        reactor,
        settings.stop.flush_timeout,
        certificates.credentials if certificates is not None else None,
        more,
        settings.stop.drain_delay,
        settings.http.body_timeout,
        settings.workers > 1,
    )


def exporters(
    settings: MetricSettings,
    reactor: Any,
    snapshot: Snapshot,
    snapshots: Snapshots,
    processes: Callable[[], Mapping[str, int]] | None = None,
) -> list[Service]:
    """What offers the metrics, and what sends them.

    :param snapshot: has them for the one, :param snapshots: for the other. :param processes: by name, of which the
        metrics are beside this one's.
    """
    in_thread = _in_thread(reactor)
    found: list[Service] = []
    if settings.statsd:
        found.append(StatsdExporter(reactor, settings.address, settings.period, snapshots, in_thread))
    if settings.prometheus:
        listen = partial(listen_tcp, reactor, settings.host, settings.port, backlog=SCRAPERS, what="Prometheus")
        exposition = Exposition(processes)
        found.append(PrometheusExporter(listen, reactor, settings.path, snapshot, in_thread, exposition))
    return found


def status_page(
    settings: Settings,
    reactor: Any,
    snapshot: Snapshot,
    parts: Callable[[], Mapping[str, Any]],
) -> list[Service]:
    """The status page, if there is to be one.

    :param snapshot: has the metrics. :param parts: how the parts of the server are.
    """
    if not settings.status.port:
        return []
    host, began = settings.status.host, reactor.seconds()

    def about() -> Mapping[str, Any]:
        return {
            "version": __version__,
            "uptime_seconds": round(reactor.seconds() - began, 1),
            "workers": settings.workers,
            "parts": parts(),
        }

    listen = partial(listen_tcp, reactor, host, settings.status.port, backlog=SCRAPERS, what="status")
    return [SiteService(listen, reactor, Status(snapshot, _in_thread(reactor), reactor.seconds, about, host))]


def makeService(options: Options, reactor: Any = None, lane: bool = True) -> MultiService:
    """The service for ``twistd -n raccoon``.

    :param reactor: if not given, the global one, and its process gets our signal handlers. :param lane: as `build`
        has it.
    """
    loaded = options.loaded
    if reactor is not None:
        return build_all(loaded.settings, reactor, True, lane)
    logs.threshold.set(loaded.settings.log.level)
    for warning in [*loaded.warnings, *_FORMAT_HINT.get(loaded.settings.log.format, ())]:
        _log.warn("{text}", text=warning)
    from twisted.internet import reactor as global_reactor

    running: Any = global_reactor
    server: Server | Workers = or_exit(partial(build_all, loaded.settings, running, True, lane))
    install(running, server.hurry, partial(reload, loaded, server.change))
    running.addSystemEventTrigger("after", "shutdown", tell_status, lambda: server.status)
    running.callWhenRunning(gc.freeze)  # what is there by then stays to the end
    outer = UnderTwistd()
    server.setServiceParent(outer)
    return outer
