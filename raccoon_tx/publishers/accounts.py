"""What became of each batch, counted when it is known: contract section 12.1. Plain data."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import Counts


@frozen
class Accounts:
    """:ivar counts: where it is counted. :ivar now: seconds of the publisher's clock. :ivar wall: Unix seconds."""

    counts: Counts
    now: Callable[[], float]
    wall: Callable[[], float]

    def replaced(self, reason: str) -> None:
        """Another producer takes the place of one that is of no more use. :param reason: ``failed`` or ``wedged``."""
        self.counts.replaced[reason] = self.counts.replaced.get(reason, 0) + 1

    def launched(self, delivery: Delivery) -> None:
        """The first event of a batch goes to the producer."""
        delivery.launched = self.now()
        self.counts.waited.observe((delivery.launched - delivery.received) * 1000)

    def finished(self, delivery: Delivery) -> None:
        """Nothing of a batch is on its way any more."""
        records, failures = delivery.records, delivery.failures
        if failures:
            for index, record in enumerate(records):
                failure = failures.get(index)
                if failure is None:
                    record[0].delivered += 1
                else:
                    record[0].undelivered += 1
                    record[0].unknown_topic += failure.unknown_topic
        else:
            for record in records:
                record[0].delivered += 1
        now, count = self.now(), len(records)
        took = (now - delivery.launched) * 1000
        counts, group = self.counts, delivery.group
        counts.published.observe(took)
        counts.worked.observe(took / count)
        latency = (now - delivery.received) * 1000
        group.batch_latency.observe(latency)
        group.latency.observe(latency / count)
        sent_time = delivery.batch.sent_time
        if sent_time is not None:
            age = self.wall() - sent_time
            if age >= 0:
                group.batch_processing.observe(age * 1000)
                group.processing.observe(age * 1000 / count)
