"""Checked values by their names in the file -> `Settings`. Milliseconds become seconds here. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import frozen

from raccoon_tx.config.kinds import Value
from raccoon_tx.model import Ack
from raccoon_tx.settings import (
    BufferSettings,
    GrpcSettings,
    HttpSettings,
    IdentitySettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    RoutingSettings,
    Settings,
    StopSettings,
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

    def seconds(self, name: str) -> float:
        """Of a name that ends in ``_ms``."""
        return self.number(name) / 1000


def assemble(values: Mapping[str, Value], properties: Mapping[str, str]) -> Settings:
    """:param values: of every key, checked. :param properties: of the Kafka client."""
    of = _Values(values)
    return Settings(
        publisher=of.text("publisher.type"),
        ack=Ack(of.number("event.ack")),
        identity=IdentitySettings(
            id_header=of.text("server.websocket.conn.id_header"),
            group_header=of.text("server.websocket.conn.group_header"),
            default_group=of.text("server.websocket.conn.group_default"),
            require_id=of.switch("server.require_id"),
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
        ),
        grpc=GrpcSettings(
            host=of.text("server.grpc.host"),
            port=of.number("server.grpc.port"),
            threads=of.number("server.grpc.threads"),
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
        ),
        stop=StopSettings(
            drain_delay=of.seconds("server.drain_delay_ms"),
            drain_window=of.seconds("server.drain_window_ms"),
            flush_timeout=of.seconds("worker.buffer.flush_timeout_ms"),
        ),
        log=LogSettings(level=of.text("log.level"), format=of.text("log.format")),
    )
