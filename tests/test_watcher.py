"""Tests of `raccoon_tx.publishers.watcher`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, current_thread, get_ident
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.publishers.watcher import Watcher, aside


class Bursts:
    """A producer whose poll brings the reports of one burst, and waits for the next."""

    def __init__(self, reports: deque[int]) -> None:
        self.bursts: SimpleQueue[list[int] | Exception] = SimpleQueue()
        self.polled = Event()
        self.thread = 0
        self._reports = reports
        self.gone: SimpleQueue[int] = SimpleQueue()

    def __del__(self) -> None:
        self.gone.put(get_ident())

    def poll(self, timeout: float, /) -> int:
        self.thread = get_ident()
        self.polled.set()
        try:
            burst = self.bursts.get(timeout=timeout)
        except Empty:
            return 0
        if isinstance(burst, Exception):
            raise burst
        self._reports.extend(burst)
        return len(burst)


class WatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reports: deque[int] = deque()
        self.served: list[list[int]] = []
        self.calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.producer = Bursts(self.reports)
        self.watcher = Watcher(self.call_from_thread, self.producer, self.serve, self.reports)

    def tearDown(self) -> None:
        stopped = self.watcher.stop()
        while not stopped.called:
            self.turn()

    def call_from_thread(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.calls.put(lambda: call(*arguments))

    def serve(self) -> None:
        self.served.append(list(self.reports))
        self.reports.clear()

    def turn(self) -> None:
        """One turn of the reactor, with one call from the thread."""
        self.calls.get(timeout=5)()

    def test_wakes(self) -> None:
        """Reports are served in the reactor thread as soon as they are there."""
        self.producer.bursts.put([1, 2])
        self.turn()
        self.assertEqual(self.served, [[1, 2]])
        self.assertNotEqual(self.producer.thread, get_ident())

    def test_one_call_for_a_burst(self) -> None:
        """However many reports come before the reactor has time: it is called once."""
        for burst in ([1], [2, 3], [4]):
            self.producer.bursts.put(burst)
        while len(self.reports) < 4:
            self.producer.polled.clear()
            self.assertTrue(self.producer.polled.wait(5))
        self.turn()
        self.assertEqual(self.served, [[1, 2, 3, 4]])
        self.assertTrue(self.calls.empty())

    def test_goes_on(self) -> None:
        """A poll that fails is not the end."""
        self.producer.bursts.put(ValueError("for the test"))
        self.producer.bursts.put([1])
        self.turn()
        self.assertEqual(self.served, [[1]])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stop(self) -> None:
        """The stop is over when the thread is."""
        stopped = self.watcher.stop()
        self.assertNoResult(stopped)
        self.turn()
        self.successResultOf(stopped)

    def test_destroys(self) -> None:
        """Whoever waits for the end has nothing to wait for when the producer goes: it went in the thread."""
        gone, thread = self.producer.gone, self.producer.polled
        self.assertTrue(thread.wait(5))
        polling = self.producer.thread
        del self.producer
        stopped = self.watcher.stop()
        self.turn()
        self.successResultOf(stopped)
        self.assertEqual(gone.get_nowait(), polling)


class AsideTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.defer = aside(lambda call, *arguments: self.calls.put(lambda: call(*arguments)))

    def test_result(self) -> None:
        """The call is made in another thread, and its result comes in the reactor's."""
        result = self.defer(lambda number: (number, get_ident()), 7)
        self.assertNoResult(result)
        self.calls.get(timeout=5)()
        number, thread = self.successResultOf(result)
        self.assertEqual(number, 7)
        self.assertNotEqual(thread, get_ident())

    def test_mistake(self) -> None:
        """So does what it raises."""
        result = self.defer(int, "seven")
        self.calls.get(timeout=5)()
        self.failureResultOf(result, ValueError)

    def test_nobody_waits(self) -> None:
        """A process may end while the question is open."""
        asked, over = Event(), Event()
        seen: list[bool] = []

        def ask() -> None:
            seen.append(current_thread().daemon)
            asked.set()
            over.wait(5)

        result = self.defer(ask)
        self.assertTrue(asked.wait(5))
        self.assertEqual(seen, [True])
        over.set()
        self.calls.get(timeout=5)()
        self.successResultOf(result)
