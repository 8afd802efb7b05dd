"""The table of keys against the contract."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config.keys import BY_ENV, BY_FLAG, BY_NAME, KEYS, SECTIONS, is_secret
from raccoon_tx.config.kinds import BOOL, Value

#: Contract section 13.2: name in the file, environment variable, flag, default.
THEIRS: tuple[tuple[str, str, str, Value], ...] = (
    ("server.cors.enabled", "SERVER_CORS_ENABLED", "server.cors.enabled", False),
    ("server.cors.allowed_origin", "SERVER_CORS_ALLOWED_ORIGIN", "server.cors.allowed.origin", ()),
    (
        "server.cors.allowed_methods",
        "SERVER_CORS_ALLOWED_METHODS",
        "server.cors.allowed.methods",
        ("GET", "HEAD", "POST", "OPTIONS"),
    ),
    ("server.cors.allowed_headers", "SERVER_CORS_ALLOWED_HEADERS", "server.cors.allowed.headers", ()),
    ("server.cors.allow_credentials", "SERVER_CORS_ALLOW_CREDENTIALS", "server.cors.allow.credentials", False),
    (
        "server.cors.preflight_max_age_seconds",
        "SERVER_CORS_PREFLIGHT_MAX_AGE_SECONDS",
        "server.cors.preflight.max.age.seconds",
        0,
    ),
    ("server.grpc.port", "SERVER_GRPC_PORT", "server.grpc.port", 8081),
    ("server.websocket.conn.id_header", "SERVER_WEBSOCKET_CONN_ID_HEADER", "server.websocket.conn.id.header", ""),
    (
        "server.websocket.conn.group_header",
        "SERVER_WEBSOCKET_CONN_GROUP_HEADER",
        "server.websocket.conn.group.header",
        "",
    ),
    (
        "server.websocket.conn.group_default",
        "SERVER_WEBSOCKET_CONN_GROUP_DEFAULT",
        "server.websocket.conn.group.default",
        "--default--",
    ),
    ("server.websocket.port", "SERVER_WEBSOCKET_PORT", "server.websocket.port", 8080),
    ("server.websocket.max_conn", "SERVER_WEBSOCKET_MAX_CONN", "server.websocket.max.conn", 30000),
    (
        "server.websocket.read_buffer_size",
        "SERVER_WEBSOCKET_READ_BUFFER_SIZE",
        "server.websocket.read.buffer.size",
        10240,
    ),
    (
        "server.websocket.write_buffer_size",
        "SERVER_WEBSOCKET_WRITE_BUFFER_SIZE",
        "server.websocket.write.buffer.size",
        10240,
    ),
    (
        "server.websocket.ping_interval_ms",
        "SERVER_WEBSOCKET_PING_INTERVAL_MS",
        "server.websocket.ping.interval.ms",
        30000,
    ),
    (
        "server.websocket.pong_wait_interval_ms",
        "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS",
        "server.websocket.pong.wait.interval.ms",
        60000,
    ),
    (
        "server.websocket.write_wait_interval_ms",
        "SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS",
        "server.websocket.write.wait.interval.ms",
        5000,
    ),
    ("server.websocket.pinger_size", "SERVER_WEBSOCKET_PINGER_SIZE", "server.websocket.pinger.size", 1),
    ("server.websocket.check_origin", "SERVER_WEBSOCKET_CHECK_ORIGIN", "server.websocket.check.origin", True),
    (
        "server.batch.dedup_in_connection_enabled",
        "SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED",
        "server.batch.dedup.in.connection.enabled",
        False,
    ),
    ("publisher.type", "PUBLISHER_TYPE", "publisher.type", "kafka"),
    (
        "publisher.kafka.flush_interval_ms",
        "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS",
        "publisher.kafka.flush.interval.ms",
        1000,
    ),
    (
        "publisher.kafka.delivery_channel_size",
        "PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE",
        "publisher.kafka.delivery.channel.size",
        10,
    ),
    ("publisher.pubsub.project_id", "PUBLISHER_PUBSUB_PROJECT_ID", "publisher.pubsub.project.id", ""),
    (
        "publisher.pubsub.topic_autocreate",
        "PUBLISHER_PUBSUB_TOPIC_AUTOCREATE",
        "publisher.pubsub.topic.autocreate",
        False,
    ),
    (
        "publisher.pubsub.topic_retention_ms",
        "PUBLISHER_PUBSUB_TOPIC_RETENTION_MS",
        "publisher.pubsub.topic.retention.ms",
        0,
    ),
    (
        "publisher.pubsub.publish_timeout_ms",
        "PUBLISHER_PUBSUB_PUBLISH_TIMEOUT_MS",
        "publisher.pubsub.publish.timeout.ms",
        60000,
    ),
    (
        "publisher.pubsub.publish_delay_threshold_ms",
        "PUBLISHER_PUBSUB_PUBLISH_DELAY_THRESHOLD_MS",
        "publisher.pubsub.publish.delay.threshold.ms",
        10,
    ),
    (
        "publisher.pubsub.publish_count_threshold",
        "PUBLISHER_PUBSUB_PUBLISH_COUNT_THRESHOLD",
        "publisher.pubsub.publish.count.threshold",
        100,
    ),
    (
        "publisher.pubsub.publish_byte_threshold",
        "PUBLISHER_PUBSUB_PUBLISH_BYTE_THRESHOLD",
        "publisher.pubsub.publish.byte.threshold",
        1000000,
    ),
    ("publisher.pubsub.credentials", "PUBLISHER_PUBSUB_CREDENTIALS", "publisher.pubsub.credentials", ""),
    ("publisher.kinesis.aws_region", "PUBLISHER_KINESIS_AWS_REGION", "publisher.kinesis.aws.region", ""),
    ("publisher.kinesis.credentials", "PUBLISHER_KINESIS_CREDENTIALS", "publisher.kinesis.credentials", ""),
    (
        "publisher.kinesis.stream_autocreate",
        "PUBLISHER_KINESIS_STREAM_AUTOCREATE",
        "publisher.kinesis.stream.autocreate",
        False,
    ),
    (
        "publisher.kinesis.stream_probe_interval_ms",
        "PUBLISHER_KINESIS_STREAM_PROBE_INTERVAL_MS",
        "publisher.kinesis.stream.probe.interval.ms",
        1000,
    ),
    ("publisher.kinesis.stream_mode", "PUBLISHER_KINESIS_STREAM_MODE", "publisher.kinesis.stream.mode", "ON_DEMAND"),
    ("publisher.kinesis.stream_shards", "PUBLISHER_KINESIS_STREAM_SHARDS", "publisher.kinesis.stream.shards", 4),
    (
        "publisher.kinesis.publish_timeout_ms",
        "PUBLISHER_KINESIS_PUBLISH_TIMEOUT_MS",
        "publisher.kinesis.publish.timeout.ms",
        60000,
    ),
    ("worker.pool_size", "WORKER_POOL_SIZE", "worker.pool.size", 5),
    ("worker.buffer.channel_size", "WORKER_BUFFER_CHANNEL_SIZE", "worker.buffer.channel.size", 100),
    ("worker.buffer.flush_timeout_ms", "WORKER_BUFFER_FLUSH_TIMEOUT_MS", "worker.buffer.flush.timeout.ms", 5000),
    (
        "worker.kafka_delivery_channel_size",
        "WORKER_KAFKA_DELIVERY_CHANNEL_SIZE",
        "worker.kafka.delivery.channel.size",
        10,
    ),
    ("event.ack", "EVENT_ACK", "event.ack", 0),
    (
        "event.distribution_publisher_pattern",
        "EVENT_DISTRIBUTION_PUBLISHER_PATTERN",
        "event.distribution.publisher.pattern",
        "clickstream-%s-log",
    ),
    (
        "metric.runtime_stats_record_interval_ms",
        "METRIC_RUNTIME_STATS_RECORD_INTERVAL_MS",
        "metric.runtime.stats.record.interval.ms",
        10000,
    ),
    ("metric.statsd.enabled", "METRIC_STATSD_ENABLED", "metric.statsd.enabled", False),
    ("metric.statsd.address", "METRIC_STATSD_ADDRESS", "metric.statsd.address", ":8125"),
    ("metric.statsd.flush_period_ms", "METRIC_STATSD_FLUSH_PERIOD_MS", "metric.statsd.flush.period.ms", 10000),
    ("metric.prometheus.enabled", "METRIC_PROMETHEUS_ENABLED", "metric.prometheus.enabled", False),
    ("metric.prometheus.port", "METRIC_PROMETHEUS_PORT", "metric.prometheus.port", 9090),
    ("metric.prometheus.path", "METRIC_PROMETHEUS_PATH", "metric.prometheus.path", "/metrics"),
    ("log.level", "LOG_LEVEL", "log.level", "info"),
)

#: Contract section 13.5: name in the file and default.
OURS: dict[str, Value] = {
    "server.host": "",
    "server.grpc.host": "",
    "metric.prometheus.host": "",
    "server.workers": 1,
    "server.require_id": False,
    "server.max_body_bytes": 4194304,
    "server.max_events": 5000,
    "server.head_timeout_ms": 10000,
    "server.body_timeout_ms": 30000,
    "server.enqueue_timeout_ms": 500,
    "server.drain_delay_ms": 0,
    "server.drain_window_ms": 2000,
    "server.rate_limit.events_per_second": 0,
    "server.rate_limit.burst": 0,
    "server.tls.certificate": "",
    "server.tls.private_key": "",
    "server.tls.client_ca": "",
    "server.websocket.duplicate_policy": "reject",
    "server.websocket.max_in_flight": 64,
    "server.websocket.write_buffer_limit": 1048576,
    "server.websocket.compression": False,
    "server.websocket.conn.id_query": "",
    "server.websocket.conn.group_query": "",
    "server.websocket.conn.id_cookie": "",
    "server.websocket.conn.group_cookie": "",
    "server.websocket.conn.subprotocol_identity": True,
    "server.batch.dedup_scope": "connection",
    "server.batch.dedup_max": 10000,
    "server.batch.dedup_ttl_ms": 600000,
    "server.cors.refuse_disallowed": False,
    "server.accept_text_plain": False,
    "server.status.port": 0,
    "server.status.host": "127.0.0.1",
    "server.grpc.threads": 64,
    "server.grpc.max_in_flight": 1024,
    "server.grpc.reflection": False,
    "publisher.publish_timeout_ms": 10000,
    "event.allowed_types": (),
    "event.max_topics": 1000,
    "event.dead_letter_topic": "",
    "event.partition_key": "none",
    "event.record_headers": (),
    "event.timestamp": "produce",
    "metric.max_label_values": 200,
    "log.format": "text",
    "spool.path": "",
    "spool.max_bytes": 1073741824,
    "spool.min_free_bytes": 268435456,
}

#: The default of `publisher.flush_interval_ms` is what was measured to be good.
MEASURED = "publisher.flush_interval_ms"


def as_text(value: Value) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


class KeyTests(SynchronousTestCase):
    def test_reference(self) -> None:
        """Each setting of the reference has its three names and its default."""
        for name, env, flag, default in THEIRS:
            key = BY_NAME[name]
            self.assertEqual((key.name, key.env, key.flag, key.default), (name, env, flag, default))
            self.assertEqual((BY_ENV[env], BY_FLAG[flag]), (key, key))

    def test_additions(self) -> None:
        """Each setting that only this server has is there, with its default."""
        self.assertEqual({name: BY_NAME[name].default for name in OURS}, OURS)

    def test_complete(self) -> None:
        """There are no other settings than those of the contract."""
        self.assertEqual({key.name for key in KEYS}, {name for name, *_ in THEIRS} | {*OURS, MEASURED})

    def test_names_are_distinct(self) -> None:
        """No environment variable and no flag means two settings, and no setting is a section as well."""
        self.assertEqual(len(BY_NAME), len(BY_ENV))
        self.assertEqual(len(BY_NAME), len(BY_FLAG))
        self.assertEqual(len(KEYS), len({key.name for key in KEYS}))
        for name in BY_NAME:
            self.assertFalse([other for other in BY_NAME if other.startswith(name + ".")], name)

    def test_defaults_are_legal(self) -> None:
        """Each default is what its own text means."""
        for key in KEYS:
            self.assertEqual(key.kind.parse(as_text(key.default)), key.default, key.name)
            self.assertEqual(isinstance(key.default, bool), key.kind is BOOL, key.name)
            self.assertEqual(isinstance(key.default, tuple), key.kind.many, key.name)

    def test_help(self) -> None:
        """Each setting says in one line what it does."""
        for section, keys in SECTIONS.items():
            self.assertTrue(section and keys)
            for key in keys:
                self.assertTrue(key.help and "\n" not in key.help, key.name)

    def test_secrets(self) -> None:
        """Secrets are known by every spelling of their names, and nothing else is taken for one."""
        for name in (
            "publisher.kafka.client.sasl_password",
            "publisher.kafka.client.ssl.key.password",
            "PUBLISHER_KAFKA_CLIENT_SSL_KEY_PEM",
            "sasl.oauthbearer.client.secret",
            "sasl_oauthbearer_config",
            "publisher.pubsub.credentials",
            "publisher.kinesis.credentials",
        ):
            self.assertTrue(is_secret(name), name)
        shown = [key.name for key in KEYS if not is_secret(key.name)]
        self.assertEqual(len(shown), len(KEYS) - 2)
        self.assertIn("server.cors.allow_credentials", shown)
