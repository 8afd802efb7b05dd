"""The metrics by the names that dashboards know, with their labels: contract section 12.1. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

#: The values of a sample's labels, in the order in which its family names them.
Values = tuple[str, ...]


@frozen
class Buckets:
    """A histogram at one moment. :ivar counts: of each bucket alone, with those above the last bound at the end."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    total: int


@frozen
class Family:
    """One metric. :ivar samples: numbers, or the `Buckets` of a histogram, by the values of the labels; there is none
    for what has never happened, unless there are no labels."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    samples: Mapping[Values, Any] = field(factory=dict)


@frozen
class Observed:
    """Some of the observations of a histogram. :ivar seen: how many they stand for."""

    name: str
    labels: tuple[str, ...]
    values: Values
    kept: list[int]
    seen: int


_GROUP = ("conn_group",)
_EVENT = ("conn_group", "event_type")
_RECORD = ("topic", "conn_group", "event_type")
_PER_EVENT = "divided by the number of events in the batch"

#: All of them, without samples. In the names, ``%`` stands for the publisher.
KNOWN = (
    Family(
        "batches_read_total",
        COUNTER,
        ("status", "reason", "conn_group"),
        "Batches that were taken, and those that could not be, with the reason.",
    ),
    Family("events_rx_total", COUNTER, _EVENT, "Events in the batches that were read."),
    Family("events_rx_bytes_total", COUNTER, _EVENT, "Bytes of those events, without what wraps them."),
    Family(
        "events_duplicate_total",
        COUNTER,
        ("conn_group", "reason"),
        "Batches that had been sent before and were not published again.",
    ),
    Family("%_messages_delivered_total", COUNTER, _RECORD, "Events that the publisher has delivered."),
    Family("%_messages_undelivered_total", COUNTER, _RECORD, "Events that the publisher could not deliver."),
    Family(
        "%_unknown_topic_failure_total",
        COUNTER,
        ("topic", "event_type", "conn_group"),
        "Events that could not be delivered because there is no such topic.",
    ),
    Family("user_connection_success_total", COUNTER, _GROUP, "WebSocket connections that were let in."),
    Family(
        "user_connection_failure_total",
        COUNTER,
        ("conn_group", "reason"),
        "WebSocket connections that were not let in, with the reason.",
    ),
    Family("server_ping_failure_total", COUNTER, _GROUP, "Pings that could not be written to a WebSocket."),
    Family("server_pong_failure_total", COUNTER, _GROUP, "Answers to pings that could not be written to a WebSocket."),
    Family("conn_close_err_count", COUNTER, (), "Errors while a connection was closed."),
    Family("connections_count_current", GAUGE, _GROUP, "WebSocket connections that are open."),
    Family(
        "producers_replaced_total",
        COUNTER,
        ("reason",),
        "Producers that were of no more use and were replaced: failed for good, or wedged.",
    ),
    Family("batches_waiting_current", GAUGE, (), "Batches that wait for room in the producer."),
    Family("batches_in_flight_current", GAUGE, (), "Batches that the producer has and that are not confirmed yet."),
    Family("spool_written_batches_total", COUNTER, (), "Batches that were written into the spool."),
    Family("spool_drained_batches_total", COUNTER, (), "Batches that were read of the spool again and delivered."),
    Family("spool_buried_batches_total", COUNTER, (), "Batches in the spool that were given up and are kept as dead."),
    Family(
        "spool_refused_batches_total", COUNTER, ("reason",), "Batches that the spool had no room for, with the reason."
    ),
    Family("spool_failures_total", COUNTER, ("kind",), "What went wrong in the spool, with the kind."),
    Family("spool_batches_current", GAUGE, (), "Batches in the spool."),
    Family("spool_events_current", GAUGE, (), "Events in the spool."),
    Family("spool_bytes_current", GAUGE, (), "Bytes of the batches in the spool."),
    Family("spool_file_bytes_current", GAUGE, (), "Bytes of the file of the spool, used or not, and of its log."),
    Family("spool_dead_batches_current", GAUGE, (), "Batches that were given up and are kept as dead."),
    Family("spool_oldest_age_seconds", GAUGE, (), "Time since the oldest batch in the spool came."),
    Family("spool_usable_current", GAUGE, (), "Whether the spool takes batches: 1 if it does, 0 if not."),
    Family("kafka_tx_messages_total", GAUGE, (), "Messages that the Kafka client has sent."),
    Family("kafka_tx_messages_bytes_total", GAUGE, (), "Bytes of the messages that the Kafka client has sent."),
    Family("kafka_brokers_tx_total", GAUGE, ("broker",), "Requests that were sent to a Kafka broker."),
    Family("kafka_brokers_tx_bytes_total", GAUGE, ("broker",), "Bytes that were sent to a Kafka broker."),
    Family(
        "kafka_brokers_rtt_average_milliseconds",
        GAUGE,
        ("broker",),
        "Average round trip to a Kafka broker in microseconds, whatever the name says; "
        "kafka_brokers_rtt_average_seconds has the same in seconds.",
    ),
    Family("kafka_brokers_rtt_average_seconds", GAUGE, ("broker",), "Average round trip to a Kafka broker."),
    Family(
        "batch_idle_in_channel_milliseconds",
        HISTOGRAM,
        ("worker",),
        "Time from the arrival of a batch until its first event went to the publisher.",
    ),
    Family("%_producebulk_tt_ms", HISTOGRAM, (), "Time that the publisher took for a whole batch."),
    Family(
        "event_processing_duration_milliseconds",
        HISTOGRAM,
        _GROUP,
        f"Time from the sent_time of a batch until it was published, {_PER_EVENT}.",
    ),
    Family(
        "worker_processing_duration_milliseconds",
        HISTOGRAM,
        ("worker",),
        f"Time that the publisher took for a batch, {_PER_EVENT}.",
    ),
    Family(
        "server_processing_latency_milliseconds",
        HISTOGRAM,
        _GROUP,
        f"Time from the arrival of a batch until it was published, {_PER_EVENT}.",
    ),
    Family(
        "batch_processing_duration_milliseconds",
        HISTOGRAM,
        _GROUP,
        "Time from the sent_time of a batch until all of it was published.",
    ),
    Family(
        "batch_processing_latency_milliseconds",
        HISTOGRAM,
        _GROUP,
        "Time from the arrival of a batch until all of it was published.",
    ),
    Family("spool_commit_milliseconds", HISTOGRAM, (), "Time of a transaction of the spool until it was on the disk."),
    Family("ack_event_rtt_ms", HISTOGRAM, (), "Time from the acknowledgement of a batch until its frame was written."),
    Family("event_rtt_ms", HISTOGRAM, (), "Time from the arrival of a WebSocket message until its answer was written."),
    Family("user_session_duration_milliseconds", HISTOGRAM, _GROUP, "Time that a WebSocket connection was open."),
)
