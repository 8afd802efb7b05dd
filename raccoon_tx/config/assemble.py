"""Checked values by their names in the file -> `Settings`. Milliseconds become seconds here. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from attrs import frozen

from raccoon_tx.config.kinds import Value
from raccoon_tx.model import Ack
from raccoon_tx.settings import (
    BufferSettings,
    CorsSettings,
    DedupSettings,
    GrpcSettings,
    HttpSettings,
    IdentitySettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    MetricSettings,
    RateLimitSettings,
    RecordSettings,
    RoutingSettings,
    Settings,
    SpoolSettings,
    StatusSettings,
    StopSettings,
    TlsSettings,
    WebSocketSettings,
)


@frozen
class _Values:
    """The table of keys says which kind a value is; here that is believed."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        return cast(str, self.values[name])

    def number(self, name: str) -> int:
        return cast(int, self.values[name])

    def switch(self, name: str) -> bool:
        return cast(bool, self.values[name])

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(cast("Sequence[str]", self.values[name]))

    def seconds(self, name: str) -> float:
        """Of a name that ends in ``_ms``."""
        return self.number(name) / 1000


def assemble(values: Mapping[str, Value], properties: Mapping[str, str]) -> Settings:
    """:param values: of every key, checked. :param properties: of the Kafka client."""
    of = _Values(values)
    return Settings(
        publisher=of.text("publisher.type"),
        workers=of.number("server.workers"),
        ack=Ack(of.number("event.ack")),
        identity=IdentitySettings(
            id_header=of.text("server.websocket.conn.id_header"),
            group_header=of.text("server.websocket.conn.group_header"),
            default_group=of.text("server.websocket.conn.group_default"),
            require_id=of.switch("server.require_id"),
            id_query=of.text("server.websocket.conn.id_query"),
            group_query=of.text("server.websocket.conn.group_query"),
            id_cookie=of.text("server.websocket.conn.id_cookie"),
            group_cookie=of.text("server.websocket.conn.group_cookie"),
            subprotocol=of.switch("server.websocket.conn.subprotocol_identity"),
        ),
        limits=LimitSettings(body=of.number("server.max_body_bytes"), events=of.number("server.max_events")),
        http=HttpSettings(
            host=of.text("server.host"),
            port=of.number("server.websocket.port"),
            head_timeout=of.seconds("server.head_timeout_ms"),
            body_timeout=of.seconds("server.body_timeout_ms"),
            accept_text_plain=of.switch("server.accept_text_plain"),
        ),
        websocket=WebSocketSettings(
            max_connections=of.number("server.websocket.max_conn"),
            ping_interval=of.seconds("server.websocket.ping_interval_ms"),
            pong_wait=of.seconds("server.websocket.pong_wait_interval_ms"),
            write_wait=of.seconds("server.websocket.write_wait_interval_ms"),
            max_in_flight=of.number("server.websocket.max_in_flight"),
            write_buffer_limit=of.number("server.websocket.write_buffer_limit"),
            check_origin=of.switch("server.websocket.check_origin"),
            duplicate_policy=of.text("server.websocket.duplicate_policy"),
            compression=of.switch("server.websocket.compression"),
        ),
        grpc=GrpcSettings(
            host=of.text("server.grpc.host"),
            port=of.number("server.grpc.port"),
            threads=of.number("server.grpc.threads"),
            max_in_flight=of.number("server.grpc.max_in_flight"),
            reflection=of.switch("server.grpc.reflection"),
        ),
        buffer=BufferSettings(
            batches=of.number("worker.buffer.channel_size"),
            patience=of.seconds("server.enqueue_timeout_ms"),
        ),
        kafka=KafkaSettings(
            properties=dict(properties),
            flush_interval=of.seconds("publisher.flush_interval_ms"),
            publish_timeout=of.seconds("publisher.publish_timeout_ms"),
            close_timeout=of.seconds("publisher.kafka.flush_interval_ms"),
        ),
        routing=RoutingSettings(
            pattern=of.text("event.distribution_publisher_pattern"),
            max_topics=of.number("event.max_topics"),
            allowed_types=of.list("event.allowed_types"),
        ),
        records=RecordSettings(
            key=of.text("event.partition_key"),
            headers=of.list("event.record_headers"),
            timestamp=of.text("event.timestamp"),
            dead_letters=of.text("event.dead_letter_topic"),
        ),
        dedup=DedupSettings(
            enabled=of.switch("server.batch.dedup_in_connection_enabled"),
            scope=of.text("server.batch.dedup_scope"),
            most=of.number("server.batch.dedup_max"),
            lifetime=of.seconds("server.batch.dedup_ttl_ms"),
        ),
        rate_limit=RateLimitSettings(
            events_per_second=of.number("server.rate_limit.events_per_second"),
            burst=of.number("server.rate_limit.burst"),
        ),
        cors=CorsSettings(
            enabled=of.switch("server.cors.enabled"),
            origins=of.list("server.cors.allowed_origin"),
            methods=of.list("server.cors.allowed_methods"),
            headers=of.list("server.cors.allowed_headers"),
            credentials=of.switch("server.cors.allow_credentials"),
            max_age=of.number("server.cors.preflight_max_age_seconds"),
            refuse=of.switch("server.cors.refuse_disallowed"),
        ),
        tls=TlsSettings(
            certificate=of.text("server.tls.certificate"),
            private_key=of.text("server.tls.private_key"),
            client_ca=of.text("server.tls.client_ca"),
        ),
        metrics=MetricSettings(
            prometheus=of.switch("metric.prometheus.enabled"),
            host=of.text("metric.prometheus.host"),
            port=of.number("metric.prometheus.port"),
            path=of.text("metric.prometheus.path"),
            statsd=of.switch("metric.statsd.enabled"),
            address=of.text("metric.statsd.address"),
            period=of.seconds("metric.statsd.flush_period_ms"),
            sample_interval=of.seconds("metric.runtime_stats_record_interval_ms"),
            max_label_values=of.number("metric.max_label_values"),
        ),
        status=StatusSettings(host=of.text("server.status.host"), port=of.number("server.status.port")),
        spool=SpoolSettings(
            path=of.text("spool.path"),
            max_bytes=of.number("spool.max_bytes"),
            min_free=of.number("spool.min_free_bytes"),
        ),
        stop=StopSettings(
            drain_delay=of.seconds("server.drain_delay_ms"),
            drain_window=of.seconds("server.drain_window_ms"),
            flush_timeout=of.seconds("worker.buffer.flush_timeout_ms"),
        ),
        log=LogSettings(level=of.text("log.level"), format=of.text("log.format")),
    )
