"""Events that a producer had when it was replaced, on their way into the next one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from attrs import define, field
from confluent_kafka import KafkaError, KafkaException

from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Ack
from raccoon_tx.publishers.token import Report, Token
from raccoon_tx.publishers.words import failure

#: What is wrong with an event of which only its producer was wrong: it was purged, or met an error that is fatal.
_PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}
_FATAL = {KafkaError._FATAL, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER}
#: Events that are produced in one go. More would hold the reactor.
SLICE = 2000
#: Parts of a record that is a lane and a value.
_PLAIN = 2


@define(eq=False)
class Again:
    """Keeps no more than a producer held.

    :ivar reported: is told of the events that are produced again, like that of a `Token`.
    """

    _reported: Callable[[Report], object]
    _events: list[tuple[float, int, Delivery]] = field(factory=list, init=False, repr=False)
    _known: set[tuple[Delivery, int]] = field(factory=set, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._events)

    def take(self, delivery: Delivery, start: int, error: KafkaError, topic: str, value: bytes) -> int | None:
        """Keep an event that failed, if nothing was wrong with it and its client was not told that it failed.

        :param start: where in its batch it is looked for first. :return: its place, if it is kept.
        """
        if error.code() not in _PURGED | _FATAL or (delivery.ack is Ack.DELIVERED and delivery.answered):
            return None
        records = delivery.records
        for index in chain(range(start, len(records)), range(min(start, len(records)))):
            record = records[index]
            if record[0].topic == topic and record[1] == value and (delivery, index) not in self._known:
                self._known.add((delivery, index))
                self._events.append((delivery.launched, index, delivery))
                return index
        return None

    def sort(self) -> None:
        """The order in which they came, the last one first."""
        self._events.sort(key=lambda event: event[:2], reverse=True)

    def produce(self, producer: Any) -> None:
        """Hand over as many as may go in one go. :raises BufferError: :raises KafkaException: the producer takes none
        any more; they are kept."""
        for _ in range(min(SLICE, len(self._events))):
            _, index, delivery = self._events[-1]
            lane, value, *more = delivery.records[index]
            token = Token(delivery, self._reported)
            try:
                if more:
                    key, timestamp, headers = more
                    producer.produce(lane.topic, value, key, -1, token, timestamp=timestamp, headers=headers)
                else:
                    producer.produce(lane.topic, value, None, -1, token)
            except KafkaException as problem:
                if problem.args[0].code() == KafkaError._FATAL:
                    raise
                self._drop()
                delivery.fail(index, failure(problem.args[0]))
                delivery.settle()
            else:
                token.count = 1
                self._drop()

    def give_up(self, error: KafkaError) -> list[Report]:
        """Reports of failure for all that is left, which is kept no longer."""
        events, self._events = self._events, []
        self._known.clear()
        reports: list[Report] = []
        for _, index, delivery in events:
            lane, value = delivery.records[index][:_PLAIN]
            reports.append((delivery, 1, [(error, lane.topic, value)]))
        return reports

    def _drop(self) -> None:
        _, index, delivery = self._events.pop()
        self._known.discard((delivery, index))


def is_fatal(error: KafkaError) -> bool:
    """Whether the producer of an event will never work again."""
    return error.code() in _FATAL
