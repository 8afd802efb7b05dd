"""Whether Kafka can be reached: what the client library complains of, checked before it is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from confluent_kafka import KafkaError, KafkaException
from twisted.internet.defer import Deferred

from raccoon_tx.clock import Clock, Timer
from raccoon_tx.logs import Logger

#: Seconds that the first question for metadata may take, and each one after it.
FIRST_TIMEOUT, TIMEOUT = 1.0, 2.0
#: Seconds between two questions while there is no answer.
INTERVAL = 0.5


class Metadata(Protocol):
    """Who can be asked for the metadata of the cluster; ``confluent_kafka.Producer`` is one."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...


@define(eq=False)
class Reach:
    """Asks for metadata, in a thread, when the client library says that all brokers are down, and goes on asking
    until there is an answer. Single lost connections are no reason: they are mended every day.

    :ivar in_thread: like ``deferToThread``. :ivar away: Kafka is known not to be reachable now. :ivar heard: it has
        answered at least once.
    """

    _clock: Clock
    _in_thread: Callable[..., Deferred[Any]]
    away: bool = field(default=False, init=False)
    heard: bool = field(default=False, init=False)
    _source: Metadata | None = field(default=None, init=False, repr=False)
    _asking: bool = field(default=False, init=False)
    _again: Timer | None = field(default=None, init=False, repr=False)
    _then: Callable[[], None] | None = field(default=None, init=False, repr=False)

    _log = Logger()

    def watch(self, source: Metadata) -> None:
        """Begin, with a first question."""
        self._source = source
        self._ask(FIRST_TIMEOUT)

    def error(self, error: KafkaError) -> None:
        """Take an error that is not about one message; the producer's ``error_cb``."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._ask(FIRST_TIMEOUT)
        elif error.fatal():
            self._log.error("the Kafka producer has failed for good: {error}", error=error.str())

    def confirm(self, then: Callable[[], None]) -> None:
        """Ask now, and call ``then`` if there is an answer."""
        self._then = then
        self._ask(TIMEOUT)

    def reached(self) -> None:
        """An event was delivered, which is as good as an answer."""
        self.heard = True
        if self.away:
            self.away = False
            self._log.info("Kafka can be reached again")

    def stop(self) -> None:
        """Ask no more. A question that is under way ends by itself."""
        self._source = self._then = None
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _ask(self, timeout: float) -> None:
        if self._asking or self._again is not None or self._source is None:
            return
        self._asking = True
        self._in_thread(_answers, self._source, timeout).addCallbacks(self._heard, self._broke)

    def _heard(self, complaint: str) -> None:
        self._asking = False
        then, self._then = self._then, None
        if not complaint:
            self.reached()
            if then is not None and self._source is not None:
                then()
        elif self._source is not None:
            if not self.away:
                self.away = True
                self._log.error("Kafka cannot be reached: {complaint}; trying again", complaint=complaint)
            self._again = self._clock.callLater(INTERVAL, self._once_more)

    def _broke(self, problem: Any) -> None:
        self._asking = False
        self._log.failure("asking Kafka for metadata went wrong", problem)

    def _once_more(self) -> None:
        self._again = None
        self._ask(TIMEOUT)


def _answers(source: Metadata, timeout: float) -> str:
    """Blocks. :return: what is wrong, or nothing."""
    try:
        source.list_topics(timeout=timeout)
    except KafkaException as problem:
        return str(problem.args[0].str())
    return ""
