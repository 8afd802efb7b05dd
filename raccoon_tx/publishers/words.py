"""What clients are told when something does not go as it should on the way to Kafka."""

from __future__ import annotations

import random

from confluent_kafka import KafkaError

from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Draining, Outcome, Reply, Saturated, Unavailable
from raccoon_tx.report import Failure

_HOPELESS = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}


def failure(error: KafkaError) -> Failure:
    """What a client may read of ``error``: librdkafka's text for its code, which names no host and no setting."""
    code = error.code()
    return Failure(KafkaError(code).str(), code not in _HOPELESS, code in _UNKNOWN_TOPIC)


def retry_after() -> float:
    """Seconds until a refused client should come back, different for each so that they do not come together."""
    return random.uniform(1.0, 3.0)


def saturated() -> Saturated:
    """There is no room."""
    return Saturated("overloaded: no room for the batch, try again later", retry_after=retry_after())


def unavailable() -> Unavailable:
    """Kafka is away, and the client wants to hear of the delivery."""
    return Unavailable("unavailable: Kafka cannot be reached, try again later", retry_after=retry_after())


def draining() -> Draining:
    """The server stops."""
    return Draining("shutting down, send it again later", retry_after=retry_after())


def expired(delivery: Delivery) -> Reply:
    """The delivery reports did not come in time."""
    reason = "cannot publish events: not confirmed in time; they may still be delivered"
    return Reply(Outcome.EXPIRED, delivery.batch.guid, reason, {"retryable": "true"})
