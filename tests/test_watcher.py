"""Tests of `raccoon_tx.publishers.watcher`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, get_ident
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.publishers.watcher import Watcher


class Bursts:
    """A producer whose poll brings the reports of one burst, and waits for the next."""

    def __init__(self, reports: deque[int]) -> None:
        self.bursts: SimpleQueue[list[int] | Exception] = SimpleQueue()
        self.polled = Event()
        self.thread = 0
        self._reports = reports

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
