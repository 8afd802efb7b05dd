"""Every setting there is, by the name it has in the file; the names elsewhere follow (contract sections 13.2, 13.5).

`SECTIONS` drives the file, the environment, the flags and the help. The properties of the Kafka client are not in it:
any property may be given (`raccoon_tx.config.kafka_properties`).
"""

from __future__ import annotations

import re

from attrs import field, frozen

from raccoon_tx.config import kinds
from raccoon_tx.config.kinds import (
    BOOL,
    COUNT,
    LIST,
    MILLISECONDS,
    PATH,
    PORT,
    TEXT,
    Kind,
    Value,
    integer,
    one_of,
    several_of,
)


@frozen
class Key:
    """One setting.

    :ivar name: in the file, dotted. :ivar help: one line.
    :ivar ignored: accepted, and without effect for good or as long as another setting does not ask for it.
    :ivar older: names that it had in the file.
    """

    name: str
    kind: Kind
    default: Value
    help: str
    ignored: bool = field(default=False, kw_only=True)
    older: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def env(self) -> str:
        """The environment variable."""
        return env_name(self.name)

    @property
    def flag(self) -> str:
        """The flag, without its two dashes."""
        return flag_name(self.name)

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.env} (--{self.flag})"


def env_name(name: str) -> str:
    """The environment variable of the setting that is ``name`` in the file."""
    return name.replace(".", "_").upper()


def flag_name(name: str) -> str:
    """The flag, without dashes, of the setting that is ``name`` in the file."""
    return name.replace("_", ".")


_SECRET = re.compile(r"password|passphrase|secret|key\.pem|oauthbearer\.config|(pubsub|kinesis)\.credentials")


def is_secret(name: str) -> bool:
    """Whether the value of ``name``, in any spelling, must not be shown (contract section 13.3)."""
    return _SECRET.search(flag_name(name).lower()) is not None


_UNIQ_ID = ("server.websocket.conn.uniq_id_header",)
_POLICY = one_of("reject", "replace", "probe")
_RECORD_KEY = one_of("none", "identity", "group", "guid", "type")
_RECORD_HEADERS = several_of("time", "guid", "index", "id", "group", "type", "transport", "content_type")
_RECORD_TIME = one_of("produce", "receive", "sent_time")
_AGE = integer(0, metavar="SECONDS")
_STREAM_MODE = one_of("ON_DEMAND", "PROVISIONED")

#: What the help shows together.
SECTIONS = {
    "Identity": (
        Key(
            "server.websocket.conn.id_header",
            kinds.HEADER,
            "",
            "header that carries the client's id; required",
            older=_UNIQ_ID,
        ),
        Key("server.websocket.conn.group_header", kinds.HEADER, "", "header that carries the client's group"),
        Key("server.websocket.conn.group_default", kinds.GROUP, "--default--", "group of clients that name none"),
        Key("server.require_id", BOOL, False, "refuse clients without an id"),
        Key("server.websocket.conn.id_query", TEXT, "", "query parameter that may carry the id"),
        Key("server.websocket.conn.group_query", TEXT, "", "query parameter that may carry the group"),
        Key("server.websocket.conn.id_cookie", TEXT, "", "cookie that may carry the id"),
        Key("server.websocket.conn.group_cookie", TEXT, "", "cookie that may carry the group"),
        Key("server.websocket.conn.subprotocol_identity", BOOL, True, "id from a WebSocket subprotocol"),
    ),
    "REST and WebSocket": (
        Key("server.host", TEXT, "", "address to listen on; empty for all interfaces"),
        Key("server.websocket.port", PORT, 8080, "port of REST, WebSocket and /ping; 0 takes a free one"),
        Key("server.max_body_bytes", kinds.BYTES, 4 * 1024 * 1024, "largest batch, on every transport"),
        Key("server.max_events", COUNT, 5000, "most events of one batch, on every transport"),
        Key("server.head_timeout_ms", MILLISECONDS, 10000, "time for the head of a request to arrive"),
        Key("server.body_timeout_ms", MILLISECONDS, 30000, "time for the body of a request to arrive"),
        Key("server.accept_text_plain", BOOL, False, "read text/plain bodies as JSON"),
        Key("server.websocket.max_conn", COUNT, 30000, "most WebSocket connections"),
        Key("server.websocket.ping_interval_ms", MILLISECONDS, 30000, "time between two pings of a connection"),
        Key("server.websocket.pong_wait_interval_ms", MILLISECONDS, 60000, "silence after which a peer is dropped"),
        Key("server.websocket.write_wait_interval_ms", MILLISECONDS, 5000, "time for a closing frame to be taken"),
        Key("server.websocket.max_in_flight", COUNT, 64, "most unanswered batches of one connection"),
        Key("server.websocket.write_buffer_limit", kinds.BYTES, 1024 * 1024, "bytes a peer may leave unread"),
        Key("server.websocket.check_origin", BOOL, True, "refuse browsers that come from another site"),
        Key("server.websocket.compression", BOOL, False, "compress messages where offered"),
        Key("server.websocket.duplicate_policy", _POLICY, "reject", "answer to a second connection"),
        Key("server.websocket.read_buffer_size", COUNT, 10240, "buffer for reading", ignored=True),
        Key("server.websocket.write_buffer_size", COUNT, 10240, "buffer for writing", ignored=True),
        Key("server.websocket.pinger_size", COUNT, 1, "tasks that ping", ignored=True),
    ),
    "gRPC": (
        Key("server.grpc.host", TEXT, "", "address to listen on; empty for all interfaces"),
        Key("server.grpc.port", PORT, 8081, "port of gRPC; 0 takes a free one"),
        Key("server.grpc.threads", COUNT, 64, "threads for the other methods, such as health checks"),
        Key("server.grpc.max_in_flight", COUNT, 1024, "calls served at once; more are refused with code 3"),
        Key("server.grpc.reflection", BOOL, False, "let clients ask for the services"),
    ),
    "Events": (
        Key("event.ack", kinds.ACK, 0, "acknowledge a batch when it is taken (0), in Kafka (1) or on the disk (2)"),
        Key("event.distribution_publisher_pattern", kinds.PATTERN, "clickstream-%s-log", "topic; %s is the type"),
        Key("event.max_topics", COUNT, 1000, "most topics of one process"),
        Key("event.allowed_types", LIST, (), "types that are taken; empty for all"),
        Key("event.dead_letter_topic", kinds.TOPIC, "", "topic of events that cannot be published"),
        Key("event.partition_key", _RECORD_KEY, "none", "what becomes the key of a record"),
        Key("event.record_headers", _RECORD_HEADERS, (), "what goes into a record's headers"),
        Key("event.timestamp", _RECORD_TIME, "produce", "which time a record bears"),
    ),
    "Publisher": (
        Key("publisher.type", kinds.PUBLISHER, "kafka", "where events go"),
        Key("publisher.publish_timeout_ms", MILLISECONDS, 10000, "longest wait for Kafka under event.ack 1"),
        Key("publisher.flush_interval_ms", MILLISECONDS, 1, "time between two looks at the Kafka client"),
        Key("publisher.kafka.flush_interval_ms", MILLISECONDS, 1000, "time for Kafka to take the rest at a stop"),
        Key("publisher.kafka.delivery_channel_size", COUNT, 10, "reports that may wait", ignored=True),
        Key("server.enqueue_timeout_ms", MILLISECONDS, 500, "longest wait of a batch for room"),
        Key("worker.buffer.channel_size", COUNT, 100, "batches that may wait for room; more are refused"),
        Key("worker.buffer.flush_timeout_ms", MILLISECONDS, 5000, "time for taken batches at a stop"),
        Key("worker.pool_size", COUNT, 5, "tasks that publish", ignored=True),
        Key("worker.kafka_delivery_channel_size", COUNT, 10, "reports that may wait", ignored=True),
    ),
    "Process": (
        Key("log.level", kinds.LEVEL, "info", "least important messages that are logged"),
        Key("log.format", one_of("text", "json"), "text", "form of the log lines"),
        Key("server.drain_delay_ms", kinds.MILLISECONDS_OR_NONE, 0, "time to go on serving at a stop"),
        Key("server.drain_window_ms", kinds.MILLISECONDS_OR_NONE, 2000, "time over which WebSockets are closed"),
        Key("server.workers", COUNT, 1, "processes that share the ports"),
        Key("server.status.host", TEXT, "127.0.0.1", "address of the status page; empty for all interfaces"),
        Key("server.status.port", PORT, 0, "port of the status page; 0 for none"),
    ),
    "Limits, duplicates, TLS": (
        Key("server.rate_limit.events_per_second", kinds.COUNT_OR_NONE, 0, "of one identity; 0 for any"),
        Key("server.rate_limit.burst", kinds.COUNT_OR_NONE, 0, "events at once; 0 for a second's worth"),
        Key("server.batch.dedup_in_connection_enabled", BOOL, False, "drop batches seen before"),
        Key("server.batch.dedup_scope", one_of("connection", "identity"), "connection", "who saw it"),
        Key("server.batch.dedup_max", COUNT, 10000, "most batches remembered"),
        Key("server.batch.dedup_ttl_ms", MILLISECONDS, 600000, "how long they are remembered"),
        Key("server.tls.certificate", PATH, "", "certificate of both ports"),
        Key("server.tls.private_key", PATH, "", "file of its private key"),
        Key("server.tls.client_ca", PATH, "", "authority of client certificates"),
    ),
    "Browsers (CORS)": (
        Key("server.cors.enabled", BOOL, False, "answer browsers of other sites"),
        Key("server.cors.allowed_origin", LIST, (), "sites that may post; * for all"),
        Key("server.cors.allowed_methods", LIST, ("GET", "HEAD", "POST", "OPTIONS"), "methods allowed"),
        Key("server.cors.allowed_headers", LIST, (), "headers allowed besides ours"),
        Key("server.cors.allow_credentials", BOOL, False, "let browsers send cookies"),
        Key("server.cors.preflight_max_age_seconds", _AGE, 0, "time browsers may remember; 0 unsaid"),
        Key("server.cors.refuse_disallowed", BOOL, False, "answer 403 to other sites"),
    ),
    "Metrics and spool": (
        Key("metric.runtime_stats_record_interval_ms", MILLISECONDS, 10000, "between two samples"),
        Key("metric.statsd.enabled", BOOL, False, "send metrics to StatsD"),
        Key("metric.statsd.address", kinds.ADDRESS, ":8125", "host and port of StatsD"),
        Key("metric.statsd.flush_period_ms", MILLISECONDS, 10000, "between two reports to StatsD"),
        Key("metric.prometheus.enabled", BOOL, False, "offer metrics to Prometheus"),
        Key("metric.prometheus.host", TEXT, "", "address to listen on; empty for all interfaces"),
        Key("metric.prometheus.port", PORT, 9090, "port for Prometheus"),
        Key("metric.prometheus.path", kinds.URL_PATH, "/metrics", "path for Prometheus"),
        Key("metric.max_label_values", COUNT, 200, "most values of one label"),
        Key("spool.path", PATH, "", "folder of the disk spool; empty for none"),
        Key("spool.max_bytes", kinds.DISK_BYTES, 1073741824, "most it may hold"),
        Key("spool.min_free_bytes", kinds.DISK_BYTES_OR_NONE, 268435456, "room to leave on disk"),
    ),
    "Pub/Sub and Kinesis, whose publishers this release does not have": (
        Key("publisher.pubsub.project_id", TEXT, "", "Google Cloud project", ignored=True),
        Key("publisher.pubsub.credentials", TEXT, "", "file of the credentials", ignored=True),
        Key("publisher.pubsub.topic_autocreate", BOOL, False, "create missing topics", ignored=True),
        Key("publisher.pubsub.topic_retention_ms", kinds.MILLISECONDS_OR_NONE, 0, "of created topics", ignored=True),
        Key("publisher.pubsub.publish_timeout_ms", MILLISECONDS, 60000, "longest wait of a batch", ignored=True),
        Key("publisher.pubsub.publish_delay_threshold_ms", MILLISECONDS, 10, "send after", ignored=True),
        Key("publisher.pubsub.publish_count_threshold", COUNT, 100, "send with as many events", ignored=True),
        Key("publisher.pubsub.publish_byte_threshold", kinds.BYTES, 1000000, "send with as many bytes", ignored=True),
        Key("publisher.kinesis.aws_region", TEXT, "", "region", ignored=True),
        Key("publisher.kinesis.credentials", TEXT, "", "file of the credentials", ignored=True),
        Key("publisher.kinesis.stream_autocreate", BOOL, False, "create missing streams", ignored=True),
        Key("publisher.kinesis.stream_probe_interval_ms", MILLISECONDS, 1000, "between two looks", ignored=True),
        Key("publisher.kinesis.stream_mode", _STREAM_MODE, "ON_DEMAND", "of created streams", ignored=True),
        Key("publisher.kinesis.stream_shards", COUNT, 4, "of created streams", ignored=True),
        Key("publisher.kinesis.publish_timeout_ms", MILLISECONDS, 60000, "longest wait of a batch", ignored=True),
    ),
}

KEYS = tuple(key for section in SECTIONS.values() for key in section)

#: Keys by file name, by environment variable and by flag; older names lead to the key of today.
BY_NAME = {name: key for key in KEYS for name in (key.name, *key.older)}
BY_ENV = {env_name(name): key for name, key in BY_NAME.items()}
BY_FLAG = {flag_name(name): key for name, key in BY_NAME.items()}
