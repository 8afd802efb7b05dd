"""Threads that wait for Kafka: one for delivery reports, which wakes the reactor once for each burst of them, and one
for each question. The end of a process waits for none of them."""

from __future__ import annotations

from collections.abc import Callable, Sized
from threading import Thread
from typing import Any, Protocol

from confluent_kafka import KafkaException
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raccoon_tx.logs import Logger

#: Seconds that the thread waits at once. So long may its end take.
TURN = 0.1


class Polled(Protocol):
    """Who calls back when polled; ``confluent_kafka.Producer`` is one."""

    def poll(self, timeout: float, /) -> int: ...


class Watcher:
    """Polls a producer in a thread of its own. The callbacks run there, and may only put aside what they are told.

    A `LoopingCall` alone would find a report half a turn late, and would turn a thousand times a second for it.

    Whoever destroys a producer waits for threads of it that may just be waiting for a broker. So its last reference is
    to be the one here, which goes in this thread.

    :ivar call_from_thread: like ``reactor.callFromThread``.
    """

    _log = Logger()

    def __init__(self, call_from_thread: Callable[..., Any], producer: Polled, serve: Callable[[], None], new: Sized):
        """:param serve: is called in the reactor thread when there is something in ``new``."""
        self._call_from_thread = call_from_thread
        self._serve = serve
        self._new = new
        self._woken = False
        self._stopping = False
        self._stopped: Deferred[None] = Deferred()
        # A thread keeps its arguments until it is over, which is too long.
        self._producer: Polled | None = producer
        Thread(target=self._watch, name="reports", daemon=True).start()

    def stop(self) -> Deferred[None]:
        """Fires when the thread has ended, and the producer with it unless somebody else still has a reference."""
        self._stopping = True
        return self._stopped

    def _watch(self) -> None:
        producer, self._producer = self._producer, None
        while not self._stopping:
            try:
                producer.poll(TURN)  # type: ignore[union-attr]
            except KafkaException as problem:
                # An error that is fatal is raised, once, and not handed to ``error_cb``. The next event finds it again.
                self._log.error("the Kafka producer: {error}", error=problem.args[0].str())
            except Exception:
                self._log.failure("the producer could not be polled; trying again")
            # Whoever comes between the two looks is served by the call that is on its way, or by the next turn.
            if self._new and not self._woken:
                self._woken = True
                self._call_from_thread(self._wake)
        del producer  # before the end is told
        self._call_from_thread(self._stopped.callback, None)

    def _wake(self) -> None:
        self._woken = False
        self._serve()


def watch(call_from_thread: Callable[..., Any]) -> Callable[..., Callable[[], Deferred[None]]]:
    """What `raccoon_tx.publishers.kafka.KafkaPublisher` takes as its ``watch``."""
    return lambda producer, serve, new: Watcher(call_from_thread, producer, serve, new).stop


def aside(call_from_thread: Callable[..., Any]) -> Callable[..., Deferred[Any]]:
    """Like ``deferToThread``, for calls that come one at a time, in a thread of its own each.

    The reactor waits for the threads of its pool when it stops, and is not free meanwhile: a question to a Kafka that
    is away would hold it for seconds.
    """

    def defer(call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()

        def ask(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
            try:
                found = call(*arguments)
            except BaseException:
                call_from_thread(result.errback, Failure())
            else:
                call_from_thread(result.callback, found)

        Thread(target=ask, args=(call, arguments), name="question", daemon=True).start()
        return result

    return defer
