"""What a running server is told, checked once. Times are seconds and sizes bytes.

`raccoon_tx.config` makes these from file, environment and flags; the names an operator knows are in
`raccoon_tx.config.keys`. A room is given the part it needs, not all of `Settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen, validators

from raccoon_tx.model import Ack

#: Seconds that clients get at a stop to take an answer before they are cut off.
LAST_WORDS = 0.5
#: Seconds that a browser may remember a preflight, at most (contract section 10.1).
LONGEST_AGE = 600

_positive: Any = validators.gt(0)
_not_negative: Any = validators.ge(0)


@frozen(kw_only=True)
class IdentitySettings:
    """What carries the identity, and what stands in for a missing group (contract sections 3 and 5.6).

    :ivar group_header: empty if none is configured, as are the query parameters and cookies.
    :ivar subprotocol: offered WebSocket subprotocols may carry it. :ivar require_id: refuse clients without an id.
    """

    id_header: str = field(validator=validators.min_len(1))
    group_header: str = ""
    default_group: str = "--default--"
    require_id: bool = False
    id_query: str = ""
    group_query: str = ""
    id_cookie: str = ""
    group_cookie: str = ""
    subprotocol: bool = True


@frozen(kw_only=True)
class LimitSettings:
    """What one batch may be. :ivar body: bytes, before and after decompression. :ivar events: in one batch."""

    body: int = field(default=4 * 1024 * 1024, validator=_positive)
    events: int = field(default=5000, validator=_positive)


@frozen(kw_only=True)
class HttpSettings:
    """The port that REST and WebSocket share. :ivar host: empty for all interfaces. :ivar port: 0 takes a free one."""

    host: str = ""
    port: int = 8080
    head_timeout: float = field(default=10.0, validator=_positive)
    body_timeout: float = field(default=30.0, validator=_positive)
    accept_text_plain: bool = False


@frozen(kw_only=True)
class WebSocketSettings:
    """Connections, their life signs and their bounds (contract section 5)."""

    max_connections: int = field(default=30000, validator=_positive)
    ping_interval: float = field(default=30.0, validator=_positive)
    pong_wait: float = field(default=60.0, validator=_positive)
    write_wait: float = field(default=5.0, validator=_positive)
    max_in_flight: int = field(default=64, validator=_positive)
    write_buffer_limit: int = field(default=1024 * 1024, validator=_positive)
    check_origin: bool = True
    duplicate_policy: str = "reject"
    compression: bool = False


@frozen(kw_only=True)
class GrpcSettings:
    """The gRPC port. :ivar threads: of methods that need one. :ivar max_in_flight: calls under way at once."""

    host: str = ""
    port: int = 8081
    threads: int = field(default=64, validator=_positive)
    max_in_flight: int = field(default=1024, validator=_positive)
    reflection: bool = False


@frozen(kw_only=True)
class BufferSettings:
    """:ivar batches: may wait for room in the producer; more are refused. :ivar patience: seconds a batch may wait."""

    batches: int = field(default=100, validator=_positive)
    patience: float = field(default=0.5, validator=_positive)


@frozen(kw_only=True)
class KafkaSettings:
    """:ivar properties: of the Kafka client, as librdkafka names them. :ivar flush_interval: between two looks at
    the producer. :ivar publish_timeout: a batch may wait for its delivery reports. :ivar close_timeout: for what is
    in flight when the server stops."""

    properties: Mapping[str, str] = field(factory=dict)
    flush_interval: float = field(default=0.001, validator=_positive)
    publish_timeout: float = field(default=10.0, validator=_positive)
    close_timeout: float = field(default=1.0, validator=_positive)


@frozen(kw_only=True)
class RoutingSettings:
    """:ivar pattern: the topic, with ``%s`` for the event's type. :ivar max_topics: a process may open.
    :ivar allowed_types: empty for any."""

    pattern: str = "clickstream-%s-log"
    max_topics: int = field(default=1000, validator=_positive)
    allowed_types: Sequence[str] = ()


@frozen(kw_only=True)
class RecordSettings:
    """What a record has beside its value (contract section 9), and where events go that cannot be published.

    :ivar key: ``none``, ``identity``, ``group``, ``guid`` or ``type``. :ivar headers: words of
        ``event.record_headers``. :ivar timestamp: ``produce``, ``receive`` or ``sent_time``.
    :ivar dead_letters: topic; empty: such events are refused.
    """

    key: str = "none"
    headers: Sequence[str] = ()
    timestamp: str = "produce"
    dead_letters: str = ""

    @property
    def plain(self) -> bool:
        """Whether a value is all that a record has."""
        return self == RecordSettings()


@frozen(kw_only=True)
class DedupSettings:
    """Batches seen before (contract section 8). :ivar scope: ``connection`` or ``identity``. :ivar most: guids
    remembered. :ivar lifetime: seconds."""

    enabled: bool = False
    scope: str = "connection"
    most: int = field(default=10_000, validator=_positive)
    lifetime: float = field(default=600.0, validator=_positive)


@frozen(kw_only=True)
class RateLimitSettings:
    """For each client. :ivar events_per_second: 0 for any. :ivar burst: 0 for one second's worth."""

    events_per_second: int = field(default=0, validator=_not_negative)
    burst: int = field(default=0, validator=_not_negative)


@frozen(kw_only=True)
class CorsSettings:
    """Browsers on pages of other sites (contract section 10). :ivar origins: allowed ones; ``*`` for all.
    :ivar headers: allowed beside ours. :ivar max_age: seconds; 0 says nothing. :ivar refuse: answer 403 to others."""

    enabled: bool = False
    origins: Sequence[str] = ()
    methods: Sequence[str] = ("GET", "HEAD", "POST", "OPTIONS")
    headers: Sequence[str] = ()
    credentials: bool = False
    max_age: int = field(default=0, validator=_not_negative)
    refuse: bool = False


@frozen(kw_only=True)
class TlsSettings:
    """Files, in PEM form. :ivar certificate: with its chain; empty: no TLS. :ivar client_ca: who must have signed the
    certificates that clients show; empty: they need none."""

    certificate: str = ""
    private_key: str = ""
    client_ca: str = ""


@frozen(kw_only=True)
class MetricSettings:
    """Where metrics go. :ivar prometheus: offer them there. :ivar statsd: send them there. :ivar address: of StatsD,
    ``host:port``. :ivar period: seconds between two reports to it. :ivar sample_interval: seconds between two
    samples. :ivar max_label_values: of one label."""

    prometheus: bool = False
    host: str = ""
    port: int = 9090
    path: str = "/metrics"
    statsd: bool = False
    address: str = ":8125"
    period: float = field(default=10.0, validator=_positive)
    sample_interval: float = field(default=10.0, validator=_positive)
    max_label_values: int = field(default=200, validator=_positive)


@frozen(kw_only=True)
class StatusSettings:
    """The status page. :ivar host: empty for all interfaces. :ivar port: 0: there is none."""

    host: str = "127.0.0.1"
    port: int = 0


@frozen(kw_only=True)
class SpoolSettings:
    """The disk spool. :ivar path: of its folder; empty: there is none. :ivar max_bytes: it may hold. :ivar min_free:
    bytes of the disk to leave to others."""

    path: str = ""
    max_bytes: int = field(default=1024**3, validator=_positive)
    min_free: int = field(default=256 * 1024**2, validator=_not_negative)


@frozen(kw_only=True)
class StopSettings:
    """How long an orderly stop may take (contract section 15.3). :ivar flush_timeout: for batches already taken."""

    drain_delay: float = field(default=0.0, validator=_not_negative)
    drain_window: float = field(default=2.0, validator=_not_negative)
    flush_timeout: float = field(default=5.0, validator=_positive)


@frozen(kw_only=True)
class LogSettings:
    """:ivar level: the least that is logged, of `raccoon_tx.logs.LEVELS`. :ivar format: ``text`` or ``json``."""

    level: str = "info"
    format: str = "text"


@frozen(kw_only=True)
class Settings:
    """Everything. :ivar publisher: ``kafka``, ``embedded`` or ``log``. :ivar workers: processes that share the
    ports."""

    identity: IdentitySettings
    publisher: str = "kafka"
    workers: int = field(default=1, validator=_positive)
    ack: Ack = Ack.ACCEPTED
    limits: LimitSettings = field(factory=LimitSettings)
    http: HttpSettings = field(factory=HttpSettings)
    websocket: WebSocketSettings = field(factory=WebSocketSettings)
    grpc: GrpcSettings = field(factory=GrpcSettings)
    buffer: BufferSettings = field(factory=BufferSettings)
    kafka: KafkaSettings = field(factory=KafkaSettings)
    routing: RoutingSettings = field(factory=RoutingSettings)
    stop: StopSettings = field(factory=StopSettings)
    log: LogSettings = field(factory=LogSettings)
    records: RecordSettings = field(factory=RecordSettings)
    dedup: DedupSettings = field(factory=DedupSettings)
    rate_limit: RateLimitSettings = field(factory=RateLimitSettings)
    cors: CorsSettings = field(factory=CorsSettings)
    tls: TlsSettings = field(factory=TlsSettings)
    metrics: MetricSettings = field(factory=MetricSettings)
    status: StatusSettings = field(factory=StatusSettings)
    spool: SpoolSettings = field(factory=SpoolSettings)
