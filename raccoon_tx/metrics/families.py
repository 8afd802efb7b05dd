"""All metrics as they stand at one moment. Plain data.

`Families.snapshot` is quick and belongs into the reactor thread, where everything is counted; what it returns changes
no more, so that any thread may write it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from raccoon_tx.metrics.counts import Counts, Histogram, SampledHistogram
from raccoon_tx.metrics.names import KNOWN, Buckets, Family, Observed, Values


@define(eq=False)
class Families:
    """:ivar now: seconds of the reactor. :ivar interval: seconds that the number of open connections is shown for,
    before it is looked up again."""

    _counts: Counts
    _now: Callable[[], float]
    _interval: float
    _connections: dict[Values, int] = field(factory=dict, init=False)
    _sampled: float | None = field(default=None, init=False)

    def snapshot(self) -> list[Family]:
        """All metrics, those that have no samples as well."""
        found: dict[str, dict[Values, Any]] = {
            **self._of_groups(),
            **self._of_lanes(),
            **self._of_client(),
            **self._of_spool(),
            "conn_close_err_count": {(): self._counts.close_errors},
            "connections_count_current": self._sample(),
            "producers_replaced_total": {(reason,): count for reason, count in self._counts.replaced.items()},
            **self._of_queue(),
        }
        for name, values, histogram in self._histograms():
            if not values or any(histogram.counts):
                buckets = Buckets(histogram.bounds, tuple(histogram.counts), histogram.total)
                found.setdefault(name, {})[values] = buckets
        publisher = self._counts.publisher
        return [
            Family(known.name.replace("%", publisher), known.kind, known.labels, known.help, found.get(known.name, {}))
            for known in KNOWN
        ]

    def observations(self) -> list[Observed]:
        """What the histograms have kept since this was last asked; nothing unless they are `SampledHistogram`."""
        labels = {known.name: known.labels for known in KNOWN}
        taken = []
        for name, values, histogram in self._histograms():
            if isinstance(histogram, SampledHistogram) and histogram.seen:
                kept, seen = histogram.take()
                taken.append(Observed(name.replace("%", self._counts.publisher), labels[name], values, kept, seen))
        return taken

    def _sample(self) -> dict[Values, int]:
        if self._sampled is None or self._now() - self._sampled >= self._interval:
            self._sampled = self._now()
            groups = self._counts.groups()
            self._connections = {(group.name,): group.open for group in groups if group.open or group.connected}
        return self._connections

    def _of_groups(self) -> dict[str, dict[Values, Any]]:
        read: dict[Values, Any] = {}
        duplicates: dict[Values, Any] = {}
        connected: dict[Values, Any] = {}
        refused: dict[Values, Any] = {}
        pings: dict[Values, Any] = {}
        pongs: dict[Values, Any] = {}
        for group in self._counts.groups():
            name = group.name
            if group.read:
                read["success", "NA", name] = group.read
            for reason, count in group.not_read.items():
                read["failed", reason, name] = count
            for reason, count in group.refused.items():
                refused[name, reason] = count
            if group.duplicates:
                duplicates[name, "duplicate"] = group.duplicates
            for count, samples in (
                (group.connected, connected),
                (group.ping_failures, pings),
                (group.pong_failures, pongs),
            ):
                if count:
                    samples[(name,)] = count
        return {
            "batches_read_total": read,
            "events_duplicate_total": duplicates,
            "user_connection_success_total": connected,
            "user_connection_failure_total": refused,
            "server_ping_failure_total": pings,
            "server_pong_failure_total": pongs,
        }

    def _of_lanes(self) -> dict[str, dict[Values, Any]]:
        received: dict[Values, Any] = {}
        size: dict[Values, Any] = {}
        delivered: dict[Values, Any] = {}
        undelivered: dict[Values, Any] = {}
        unknown: dict[Values, Any] = {}
        label = self._counts.topic_label
        for group in self._counts.groups():
            for lane in group.all_lanes():
                if lane.received:
                    event = lane.group, lane.type
                    received[event] = received.get(event, 0) + lane.received
                    size[event] = size.get(event, 0) + lane.bytes
                if lane.delivered or lane.undelivered:
                    topic = label(lane.topic)
                    record = topic, lane.group, lane.type
                    if lane.delivered:
                        delivered[record] = delivered.get(record, 0) + lane.delivered
                    if lane.undelivered:
                        undelivered[record] = undelivered.get(record, 0) + lane.undelivered
                    if lane.unknown_topic:
                        missing = topic, lane.type, lane.group
                        unknown[missing] = unknown.get(missing, 0) + lane.unknown_topic
        return {
            "events_rx_total": received,
            "events_rx_bytes_total": size,
            "%_messages_delivered_total": delivered,
            "%_messages_undelivered_total": undelivered,
            "%_unknown_topic_failure_total": unknown,
        }

    def _of_queue(self) -> dict[str, dict[Values, Any]]:
        if self._counts.queue is None:
            return {}
        waiting, in_flight = self._counts.queue()
        return {"batches_waiting_current": {(): waiting}, "batches_in_flight_current": {(): in_flight}}

    def _of_client(self) -> dict[str, dict[Values, Any]]:
        client = self._counts.client
        if not client:
            return {}
        brokers = client["brokers"].items()
        return {
            "kafka_tx_messages_total": {(): client["txmsgs"]},
            "kafka_tx_messages_bytes_total": {(): client["txmsg_bytes"]},
            "kafka_brokers_tx_total": {(broker,): requests for broker, (requests, _, _) in brokers},
            "kafka_brokers_tx_bytes_total": {(broker,): size for broker, (_, size, _) in brokers},
            "kafka_brokers_rtt_average_milliseconds": {(broker,): rtt for broker, (_, _, rtt) in brokers},
            "kafka_brokers_rtt_average_seconds": {(broker,): rtt / 1_000_000 for broker, (_, _, rtt) in brokers},
        }

    def _of_spool(self) -> dict[str, dict[Values, Any]]:
        spool = self._counts.spool
        if spool is None:
            return {}
        return {
            "spool_written_batches_total": {(): spool.written},
            "spool_drained_batches_total": {(): spool.drained},
            "spool_buried_batches_total": {(): spool.buried},
            "spool_refused_batches_total": {(reason,): count for reason, count in spool.refused.items()},
            "spool_failures_total": {(kind,): count for kind, count in spool.failures.items()},
            "spool_batches_current": {(): spool.batches},
            "spool_events_current": {(): spool.events},
            "spool_bytes_current": {(): spool.bytes},
            "spool_file_bytes_current": {(): spool.file},
            "spool_dead_batches_current": {(): spool.dead},
            "spool_oldest_age_seconds": {(): round(spool.age, 3)},
            "spool_usable_current": {(): int(spool.usable)},
        }

    def _histograms(self) -> Iterator[tuple[str, Values, Histogram]]:
        counts = self._counts
        worker = (counts.worker,)
        yield "batch_idle_in_channel_milliseconds", worker, counts.waited
        yield "%_producebulk_tt_ms", (), counts.published
        yield "worker_processing_duration_milliseconds", worker, counts.worked
        yield "ack_event_rtt_ms", (), counts.acked
        yield "event_rtt_ms", (), counts.answered
        if counts.spool is not None:
            yield "spool_commit_milliseconds", (), counts.spool.commits
        for group in counts.groups():
            name = (group.name,)
            yield "event_processing_duration_milliseconds", name, group.processing
            yield "server_processing_latency_milliseconds", name, group.latency
            yield "batch_processing_duration_milliseconds", name, group.batch_processing
            yield "batch_processing_latency_milliseconds", name, group.batch_latency
            yield "user_session_duration_milliseconds", name, group.sessions
