"""Tests of `raccoon_tx.pipeline`."""

from __future__ import annotations

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.pipeline import Pipeline


class Room(Service):
    """Writes down what happens to it, and stops when told."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary
        self.stopped: Deferred[None] = Deferred()

    def privilegedStartService(self) -> None:
        self.diary.append(f"prepare {self.name}")

    def startService(self) -> None:
        super().startService()
        self.diary.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.diary.append(f"stop {self.name}")
        return self.stopped

    def hurry(self) -> None:
        self.diary.append(f"hurry {self.name}")


class PipelineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.diary: list[str] = []
        self.pipeline = Pipeline()
        self.rooms = [Room(name, self.diary) for name in ("front", "middle", "back")]
        for room in self.rooms:
            room.setServiceParent(self.pipeline)

    def start(self) -> None:
        self.pipeline.privilegedStartService()
        self.pipeline.startService()
        self.diary.clear()

    def test_start(self) -> None:
        """Who is downstream starts first: nobody is handed an event too early."""
        self.pipeline.privilegedStartService()
        self.pipeline.startService()
        prepared = ["prepare back", "prepare middle", "prepare front"]
        self.assertEqual(self.diary, [*prepared, "start back", "start middle", "start front"])

    def test_stop(self) -> None:
        """Who is upstream stops first, and the next one not before that."""
        self.start()
        stopped = self.pipeline.stopService()
        self.assertEqual(self.diary, ["stop front"])
        self.rooms[0].stopped.callback(None)
        self.assertEqual(self.diary, ["stop front", "stop middle"])
        self.rooms[1].stopped.callback(None)
        self.assertNoResult(stopped)
        self.rooms[2].stopped.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(self.pipeline.running)

    def test_failing_stop(self) -> None:
        """A service that fails to stop is logged, and the next ones are stopped all the same."""
        self.start()
        stopped = self.pipeline.stopService()
        self.rooms[0].stopped.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        for room in self.rooms[1:]:
            room.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.diary, ["stop front", "stop middle", "stop back"])

    def test_hurry(self) -> None:
        """Everybody who can hurry is told to, also those who stand side by side."""
        Service().setServiceParent(self.pipeline)
        beside = MultiService()
        Room("beside", self.diary).setServiceParent(beside)
        beside.setServiceParent(self.pipeline)
        self.pipeline.hurry()
        self.assertEqual(self.diary, ["hurry front", "hurry middle", "hurry back", "hurry beside"])
