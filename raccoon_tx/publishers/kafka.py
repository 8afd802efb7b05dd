"""The Kafka publisher: a buffered producer, flushed by a `LoopingCall`, and woken for its reports by a thread."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from confluent_kafka import KafkaError, KafkaException
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping, pause
from raccoon_tx.delivery import Delivery
from raccoon_tx.logs import Logger
from raccoon_tx.model import Ack, Refused
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.again import Again, is_fatal
from raccoon_tx.publishers.reach import Reach
from raccoon_tx.publishers.token import Report, Token
from raccoon_tx.publishers.watchdog import LOOK_INTERVAL, Watchdog
from raccoon_tx.publishers.words import draining, expired, failure, saturated, unavailable
from raccoon_tx.report import Failure

#: Parts of a record that is a lane and a value; others have a key, a timestamp and headers as well.
PLAIN = 2
#: Seconds between two looks at a producer that has nothing to report.
IDLE_INTERVAL = 0.1
#: Seconds between two looks at one whose reports a thread waits for.
RELAXED_INTERVAL = 0.02
#: Least seconds between two producers.
RENEWAL_INTERVAL = 1.0
#: Seconds that a producer which is replaced gets to report what it has.
DISMISSAL = 5.0
#: Seconds after which a producer that has events and a broker, and delivers nothing, is replaced.
WEDGED = 30.0


class Producer(Protocol):
    """The part of ``confluent_kafka.Producer`` that is used; `raccoon_tx.testing.MemoryProducer` is another."""

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, on_delivery: Any, /, **more: Any
    ) -> None: ...
    def poll(self, timeout: float, /) -> int: ...
    def flush(self, timeout: float, /) -> int: ...
    def purge(self) -> None: ...
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...
    def __len__(self) -> int: ...


#: Makes a producer that calls back with each error that is not about one message.
Connect = Callable[[Callable[[KafkaError], None]], Producer]
#: Has a thread wait for the reports of a producer, and the second argument called in the reactor thread when the third
#: has some. Returns what ends it.
Watch = Callable[[Producer, Callable[[], None], "deque[Report]"], Callable[[], Deferred[None]]]


@define(eq=False)
class KafkaPublisher(Service):
    """librdkafka holds and sends the events; batches it has no room for wait here, in order.

    :ivar connect: makes the producer, at the start of the service. :ivar clock: the reactor, or a ``Clock``.
    :ivar reach: knows whether Kafka can be reached. :ivar accounts: counts what becomes of each batch.
    :ivar rescued: somebody else keeps what has to be given up. :ivar capacity: messages that the producer holds.
    :ivar batches: that may wait for room in it. :ivar patience: seconds that each may wait.
    :ivar flush_interval: seconds between two looks at the producer while something is on its way.
    :ivar wedged: seconds after which a producer is replaced that has events and a broker, and delivers nothing.
    :ivar watch: has a thread serve the delivery reports as they come; ``None`` leaves it to the `LoopingCall`.
    :ivar publish_timeout: seconds a batch may wait for its delivery reports.
    :ivar drain_timeout: seconds that waiting batches get at the stop. :ivar close_timeout: seconds that the events
        in the producer get after that.
    :ivar abandoned: how many events that had not been delivered when the service had to stop, by topic.
    """

    _connect: Connect
    _clock: Clock
    _reach: Reach
    _accounts: Accounts
    _capacity: int = 100_000
    _batches: int = 100
    _patience: float = 0.5
    _flush_interval: float = 0.001
    _publish_timeout: float = 10.0
    _drain_timeout: float = 5.0
    _close_timeout: float = 1.0
    _rescued: bool = False
    _watch: Watch | None = None
    _wedged: float = WEDGED
    abandoned: dict[str, int] = field(factory=dict, init=False)
    _producer: Producer = field(init=False, repr=False)
    _flushing: LoopingCall = field(init=False, repr=False)
    _reports: deque[Report] = field(factory=deque, init=False, repr=False)
    _unwatch: Callable[[], Deferred[None]] | None = field(default=None, init=False, repr=False)
    _waiting: deque[tuple[float, Delivery]] = field(factory=deque, init=False, repr=False)
    _in_flight: OrderedDict[Delivery, None] = field(factory=OrderedDict, init=False, repr=False)
    _overdue: dict[Delivery, None] = field(factory=dict, init=False, repr=False)
    _sending_at_once: bool = field(default=False, init=False)
    _abandoning: bool = field(default=False, init=False)
    _hurried: bool = field(default=False, init=False)
    _broken: bool = field(default=False, init=False)
    _renewing: bool = field(default=False, init=False)
    _again: Again = field(init=False, repr=False)
    _watchdog: Watchdog = field(init=False, repr=False)
    _renew_from: float = field(default=0.0, init=False)

    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._again = Again(self._reports.append)
        self._watchdog = Watchdog(self._wedged)
        self._begin()
        if self._watch is not None:
            self._flush_interval = max(self._flush_interval, RELAXED_INTERVAL)
        self._flushing = looping(self._clock, self.flush)
        self._flushing.start(self._flush_interval, now=False)

    def _begin(self) -> None:
        self._producer = self._connect(self._reach.error)
        self._reach.watch(self._producer)
        self._accounts.counts.queue = self._queue
        if self._watch is not None:
            self._unwatch = self._watch(self._producer, self.serve, self._reports)
        self._renew_from = self._clock.seconds() + RENEWAL_INTERVAL

    def _queue(self) -> tuple[int, int]:
        return len(self._waiting), len(self._in_flight) + len(self._overdue)

    @property
    def state(self) -> tuple[bool, str]:
        """Whether it can take an event that will be delivered soon, and how it is."""
        if not self.running:
            return False, "stopped"
        if self._reach.away:
            return False, "Kafka cannot be reached"
        if not self._reach.heard:
            return False, "connecting to Kafka"
        if len(self._waiting) >= self._batches:
            return False, "overloaded"
        return True, "ok"

    @property
    def room(self) -> int:
        """Messages that the producer would take now; none if batches wait for room already."""
        return 0 if self._waiting or not self.running else self._capacity - len(self._producer)

    def publish(self, delivery: Delivery) -> None:
        """Take one batch, now or as soon as there is room.

        :raises Saturated: as many batches as may wait are waiting already.
        :raises Unavailable: the client wants to hear of the delivery, and Kafka is known to be away.
        :raises Draining: the service stops. Whatever is raised, nothing of the batch was taken.
        """
        if not self.running:
            raise draining()
        if self._reach.away and delivery.ack is Ack.DELIVERED:
            raise unavailable()
        delivery.carried_by(self)
        if self._waiting or not self._produce(delivery):
            self._wait(delivery)

    def _wait(self, delivery: Delivery) -> None:
        if len(self._waiting) >= self._batches:
            raise saturated()
        self._look_often()
        self._waiting.append((self._clock.seconds() + self._patience, delivery))

    def _produce(self, delivery: Delivery) -> bool:
        """Hand what is left of a batch to the producer. :return: whether the producer has all of it now."""
        producer, records = self._producer, delivery.records
        left = len(records) - delivery.taken
        # A batch goes in whole, so that a refused one has left nothing behind; one that can never fit goes in piece
        # by piece.
        if self._broken or (len(producer) + left > self._capacity and left <= self._capacity):
            return False
        if not delivery.taken:
            self._launch(delivery)
        push = self._push_full if len(records[0]) > PLAIN else self._push
        while delivery.taken < len(records):
            # One for each attempt, and gone after it: a reference from here would keep the reports from coming in.
            try:
                push(delivery, Token(delivery, self._reports.append))
            except BufferError:
                return self._not_now(delivery)
            except KafkaException as problem:
                if problem.args[0].code() == KafkaError._FATAL:
                    self._broken = True
                    return self._not_now(delivery)
                delivery.fail(delivery.taken, failure(problem.args[0]))
                delivery.taken += 1
                delivery.settle()
        delivery.accepted()
        return True

    def _not_now(self, delivery: Delivery) -> bool:
        """The producer takes no more. Of what has nothing in it nothing is on its way, and no report will come."""
        if not delivery.taken:
            self._in_flight.pop(delivery, None)
        return False

    def _push(self, delivery: Delivery, token: Token) -> None:
        produce, records, count = self._producer.produce, delivery.records, 0
        try:
            for lane, value in records[delivery.taken :] if delivery.taken else records:
                produce(lane.topic, value, None, -1, token)
                count += 1
        finally:
            token.count = count
            delivery.taken += count

    def _push_full(self, delivery: Delivery, token: Token) -> None:
        produce, count = self._producer.produce, 0
        try:
            for lane, value, key, timestamp, headers in delivery.records[delivery.taken :]:
                produce(lane.topic, value, key, -1, token, timestamp=timestamp, headers=headers)
                count += 1
        finally:
            token.count = count
            delivery.taken += count

    def _launch(self, delivery: Delivery) -> None:
        self._accounts.launched(delivery)
        delivery.deadline = delivery.launched + self._publish_timeout
        self._look_often()
        self._in_flight[delivery] = None

    def _look_often(self) -> None:
        if self._unwatch is None and self._flushing.interval != self._flush_interval:
            self._flushing.interval = self._flush_interval
            self._flushing.reset()

    def flush(self) -> None:
        """Serve the delivery reports, let waiting batches in, and give up on what waited too long.

        Never raises: a `LoopingCall` that raises stops for good.
        """
        try:
            if self._broken and not self._renewing and self._clock.seconds() >= self._renew_from:
                self._renew("failed", "has failed for good")
            if self._sending_at_once:
                # Unlike a poll, this makes librdkafka send what it holds back to fill its batches.
                self._producer.flush(0)
            elif self._unwatch is None:
                self._producer.poll(0)
            self.serve()
            now = self._clock.seconds()
            self._expire(now)
            if self._watchdog.suspects(now, bool(self._in_flight or self._overdue)):
                self._suspect()
            if self._unwatch is None and not self._in_flight and not self._waiting:
                self._flushing.interval = IDLE_INTERVAL
        except Exception:
            self._log.failure("the producer could not be flushed; trying again")

    def _suspect(self) -> None:
        """Nothing was delivered for long. If there is a broker, that is the fault of the producer."""
        if self._reach.away or self._broken or not self.running:
            self._watchdog.rest()
        else:
            self._reach.confirm(self._replace_wedged)

    def _replace_wedged(self) -> None:
        if not self._broken and self._watchdog.suspects(self._clock.seconds() + LOOK_INTERVAL, True):
            self._renew("wedged", "delivers nothing although a broker answers")

    def _renew(self, reason: str, why: str) -> None:
        """Make another producer: this one never takes anything again, or never delivers what it has."""
        self._log.warn(
            "the Kafka producer {why}; another one takes its place ({count} events were in it)",
            why=why,
            count=len(self._producer),
        )
        self._accounts.replaced(reason)
        self._watchdog.replaced()
        # Unless others keep the events, those that it has go first.
        self._renewing = self._broken = not self._rescued
        dismissed = self._dismiss(self._producer, self._unwatch)
        self._begin()
        Deferred.fromCoroutine(dismissed).addErrback(self._dismissal_failed)

    def _dismissal_failed(self, problem: Any) -> None:
        self._log.failure("a producer could not be dismissed", problem)
        self._renewing = self._broken = False

    async def _dismiss(self, producer: Producer, unwatch: Callable[[], Deferred[None]] | None) -> None:
        """Have it report what it has as failed, then forget it, and produce that again. Some of it may be in Kafka all
        the same."""
        producer.purge()
        limit = self._clock.seconds() + DISMISSAL
        while len(producer) and self._clock.seconds() < limit:
            if unwatch is None:
                producer.poll(0)
            await pause(self._clock, RELAXED_INTERVAL)
        del producer  # see `Watcher`
        if unwatch is not None:
            await unwatch()
        if self._renewing:
            await self._produce_again()

    async def _produce_again(self) -> None:
        self.serve()
        self._again.sort()
        count = len(self._again)
        while self._again and not self._abandoning:
            try:
                self._again.produce(self._producer)
            except BufferError:
                pass
            except KafkaException:
                break  # fatal again: the next producer gets the rest
            await pause(self._clock, RELAXED_INTERVAL)
        self._log.info("{count} events were produced again", count=count - len(self._again))
        self._renewing = False
        self._broken = bool(self._again)
        self.serve()

    def serve(self) -> None:
        """Take in the reports that have come, and let batches in that waited for room."""
        reports = self._reports
        if reports:
            self._watchdog.heard(*reports[0][1:])
        while reports:
            delivery, count, errors = reports.popleft()
            try:
                if errors is not None:
                    count -= self._take_back(delivery, errors)
                if count:
                    delivery.settle(count)
            except Exception:
                self._log.failure("a delivery report could not be served")
        waiting = self._waiting
        while waiting and self._produce(waiting[0][1]):
            waiting.popleft()

    def _take_back(self, delivery: Delivery, errors: list[tuple[Any, str, bytes]]) -> int:
        """Explain what failed, but for what goes again. :return: how many events do."""
        kept = start = 0
        for each in errors:
            place = None
            if not self._rescued and not self._abandoning:
                place = self._again.take(delivery, start, *each)
            if place is None:
                self._explain(delivery, *each)
            else:
                kept, start = kept + 1, place + 1
                self._broken = self._broken or is_fatal(each[0])
        return kept

    def _expire(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._turn_away(self._waiting.popleft()[1], saturated())
        # Batches are launched in order and wait equally long, so the first of them is the first to be late.
        while self._in_flight:
            oldest = next(iter(self._in_flight))
            if oldest.deadline > now:
                break
            del self._in_flight[oldest]
            self._overdue[oldest] = None
            oldest.answer(expired(oldest))

    def _turn_away(self, delivery: Delivery, refusal: Refused) -> None:
        """Give up what the producer has not taken of a batch."""
        if not delivery.taken:
            delivery.answer(refusal.reply(delivery.batch.guid))
            return
        for index in range(delivery.taken, len(delivery.records)):
            delivery.fail(index, Failure("no room in the producer's queue"))
            delivery.taken += 1
            delivery.settle()
        delivery.accepted()

    def _explain(self, delivery: Delivery, error: KafkaError, topic: str, value: bytes) -> None:
        """Find the event that a report of failure is about. Success, which is nearly always, pays nothing for it."""
        if self._abandoning:
            self.abandoned[topic] = self.abandoned.get(topic, 0) + 1
        known = delivery.failures
        for index, record in enumerate(delivery.records):
            if record[0].topic == topic and record[1] == value and index not in known:
                delivery.fail(index, failure(error))
                return

    def finished(self, delivery: Delivery) -> None:
        """Nothing of the delivery is on its way any more."""
        if delivery in self._in_flight:
            del self._in_flight[delivery]
        else:
            self._overdue.pop(delivery, None)
        self._accounts.finished(delivery)
        if self._reach.away and not delivery.failures:
            self._reach.reached()

    def give_up(self) -> None:
        """Answer everybody who waits: whoever asked is about to lose the connection. What the producer has goes on
        its way."""
        while self._waiting:
            self._turn_away(self._waiting.popleft()[1], draining())
        for delivery in list(self._in_flight):
            if not delivery.answered:
                delivery.answer(expired(delivery))

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        self._hurried = True

    def stopService(self) -> Deferred[None]:
        """Fires when all events are delivered, or when the time for that is over."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._sending_at_once = True
        self._look_often()
        await self._until(lambda: not self._waiting, self._drain_timeout)
        while self._waiting:
            self._turn_away(self._waiting.popleft()[1], draining())
        await self._until(self._idle, self._close_timeout)
        if not self._idle():
            await self._abandon()
        self._flushing.stop()
        self._reach.stop()
        del self._producer  # see `Watcher`
        if self._unwatch is not None:
            await self._unwatch()

    def _idle(self) -> bool:
        return not self._in_flight and not self._overdue

    async def _until(self, reached: Callable[[], bool], timeout: float) -> None:
        limit = self._clock.seconds() + timeout
        while not reached() and self._clock.seconds() < limit and not self._hurried:
            await pause(self._clock, self._flush_interval)

    async def _abandon(self) -> None:
        """Have the producer drop what it has: each event is reported once more, which tells how many there are."""
        self._abandoning = True
        self._hurried = False
        self._producer.purge()
        self._reports.extend(self._again.give_up(KafkaError(KafkaError._PURGE_QUEUE)))
        await self._until(self._idle, 1.0)
        if self._rescued:
            return
        for topic, count in sorted(self.abandoned.items()):
            self._log.error(
                "{count} events for topic {topic} were not delivered before the stop", count=count, topic=topic
            )
