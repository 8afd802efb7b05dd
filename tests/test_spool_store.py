"""Tests of `raccoon_tx.spool.store` and `writer`."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.spool.database import Broken, Changes, Database, Full, Put
from raccoon_tx.spool.folder import Unusable
from raccoon_tx.spool.store import LAZY_INTERVAL, MOST_BYTES, MOST_LAZY, TROUBLE_INTERVAL, NoRoom, threaded
from raccoon_tx.spool.writer import MOST
from tests.spooled import BEGIN, Spooled


class Case(SynchronousTestCase):
    min_free = 0

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "spool")
        self.spooled = self.started()
        self.told: list[bool] = []

    def started(self, **settings: Any) -> Spooled:
        spooled = Spooled(self.path, **{"min_free": self.min_free, **settings})
        spooled.start()
        self.addCleanup(self.stop, spooled)
        return spooled

    def stop(self, spooled: Spooled) -> None:
        spooled.stop()
        self.assertEqual(spooled.clock.getDelayedCalls(), [])

    @property
    def store(self) -> Any:
        return self.spooled.store

    @property
    def counts(self) -> Any:
        return self.spooled.counts.spool

    def put(self, body: bytes = b"x" * 100, events: int = 2) -> int:
        number: int = self.store.put(body, events, self.told.append)
        return number

    def commit(self) -> None:
        self.spooled.box.commit()

    def break_database(self, *problems: Exception) -> list[Changes]:
        """Have the next transactions fail; what was to be done is noted."""
        seen: list[Changes] = []
        left = list(problems)
        apply = Database.apply

        def failing(database: Database, changes: Changes) -> None:
            seen.append(changes)
            if left:
                raise left.pop(0)
            apply(database, changes)

        self.patch(Database, "apply", failing)
        return seen


class PutTests(Case):
    def test_durable(self) -> None:
        """A row is durable when its transaction is over, and not before that is told."""
        self.assertEqual((self.put(), self.put()), (1, 2))
        self.assertEqual((self.told, self.counts.batches), ([], 0))
        self.commit()
        self.assertEqual(self.told, [True, True])
        self.assertEqual(self.spooled.rows(), [1, 2])
        self.assertEqual((self.counts.batches, self.counts.events, self.counts.bytes), (2, 4, 200))
        self.assertEqual(
            (self.counts.written, sum(self.counts.commits.counts)), (2, 0 + sum(self.counts.commits.counts))
        )

    def test_one_transaction(self) -> None:
        """All that has gathered goes in one transaction, deletions too."""
        seen = self.break_database()
        self.put()
        self.commit()
        self.store.delete(1, 2, 100)
        for _ in range(70):
            self.put()
        self.commit()
        self.assertEqual(len(seen), 2)
        self.assertEqual((len(seen[1].put), seen[1].deleted), (70, [1]))
        self.assertEqual(self.spooled.rows(), [*range(2, 72)])

    def test_lazy(self) -> None:
        """Nothing is written for a deletion alone, until a while has passed or many have gathered."""
        for _ in range(3):
            self.put()
        self.commit()
        self.store.delete(1, 2, 100)
        self.assertEqual((self.counts.batches, self.counts.bytes, self.spooled.box.orders), (2, 200, []))
        self.spooled.clock.advance(LAZY_INTERVAL)
        self.commit()
        self.assertEqual(self.spooled.rows(), [2, 3])
        for _ in range(MOST_LAZY):
            self.store.delete(2, 0, 0)
        self.assertEqual(len(self.spooled.box.orders), 1)

    def test_replaced_and_buried(self) -> None:
        """A row can become smaller, and be given up."""
        row = self.put()
        self.commit()
        self.store.replace(row, 2, 100, b"small", 1)
        self.assertEqual((self.counts.events, self.counts.bytes), (1, 5))
        self.store.bury(row, 1, 5, "hopeless")
        self.assertEqual((self.counts.batches, self.counts.dead, self.counts.buried), (0, 1, 1))
        self.spooled.clock.advance(LAZY_INTERVAL)
        self.commit()
        (dead,) = self.spooled.box.writer._database.dead()
        self.assertEqual((dead.body, dead.reason, dead.died), (b"small", "hopeless", BEGIN))

    def test_again(self) -> None:
        """After a restart the figures are right, and numbers go on."""
        for _ in range(3):
            self.put()
        self.commit()
        self.store.delete(2, 2, 100)
        self.spooled.stop()
        self.spooled = self.started()
        self.assertEqual((self.counts.batches, self.counts.events, self.counts.oldest), (2, 4, BEGIN))
        self.assertEqual(self.put(), 4)

    def test_stop(self) -> None:
        """What was put before the stop is on the disk after it; nothing is taken any more, and the folder is free."""
        self.put()
        stopped = self.store.stopService()
        self.successResultOf(stopped)
        self.assertEqual(self.told, [True])
        self.assertEqual(self.assertRaises(NoRoom, self.put).why, "stopped")
        self.spooled = self.started()
        self.assertEqual(self.counts.batches, 1)

    def test_read(self) -> None:
        """What is read is what there is when all that was ordered before is done."""
        found: list[list[Put]] = []
        for _ in range(3):
            self.put()
        self.commit()
        self.store.delete(1, 2, 100)
        self.store.read(0, {3}, 10, 1000, found.append)
        self.commit()
        self.assertEqual([[row.id for row in rows] for rows in found], [[2]])

    def test_age(self) -> None:
        """The age is that of the oldest row that is still there; an empty spool has none."""
        self.assertEqual(self.counts.age, 0)
        self.put()
        self.commit()
        self.spooled.clock.advance(5)
        self.put()
        self.commit()
        self.assertEqual(self.counts.age, 5)
        self.store.delete(1, 2, 100)
        self.spooled.clock.advance(2)
        self.commit()
        self.assertEqual(self.counts.age, 2)
        self.store.delete(2, 2, 100)
        self.assertEqual(self.counts.age, 0)

    def test_bug_in_an_answer(self) -> None:
        """Whoever breaks on being told keeps nobody else from being told."""
        self.store.put(b"x", 1, lambda durable: 1 / 0)
        self.put()
        self.commit()
        self.assertEqual(self.told, [True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_second_server(self) -> None:
        """A second server on the same folder does not start."""
        self.assertRaises(Unusable, Spooled(self.path).start)


class TroubleTests(Case):
    def test_busy(self) -> None:
        """More than so many bytes do not wait for the disk."""
        body = bytes(MOST_BYTES // 8)
        for _ in range(8):
            self.put(body)
        self.assertEqual(self.assertRaises(NoRoom, self.put).why, "busy")
        self.assertFalse(self.store.usable)
        self.spooled.box.orders.clear()

    def test_full(self) -> None:
        """When it is full, rows are refused, nothing that is there is lost, and deleting makes room."""
        self.spooled.stop()
        self.spooled = self.started(max_bytes=1024 * 1024)
        while self.store.usable:
            self.put(bytes(50_000))
            self.commit()
        self.assertEqual((self.told[-1], self.told[0]), (False, True))
        kept = self.told.count(True)
        self.assertEqual((self.store.status.trouble, len(self.spooled.rows())), ("full", kept))
        self.assertEqual(self.assertRaises(NoRoom, self.put).why, "full")
        self.assertEqual((self.counts.refused, self.counts.usable), ({"full": 2}, False))
        for row in range(1, 11):
            self.store.delete(row, 2, 50_000)
        self.spooled.clock.advance(LAZY_INTERVAL)
        self.commit()
        self.assertTrue(self.store.usable)
        self.put(bytes(50_000))
        self.commit()
        self.assertEqual((self.told[-1], len(self.spooled.rows())), (True, kept - 9))
        self.spooled.clock.advance(TROUBLE_INTERVAL)

    def test_write_error(self) -> None:
        """A transaction that fails is told to all who were in it; deletions are done later; the next one works."""
        self.put()
        self.commit()
        self.store.delete(1, 2, 100)
        self.break_database(*[Broken("disk I/O error")] * 3)
        self.put()
        self.put()
        self.commit()
        self.assertEqual(self.told, [True, False, False])
        self.assertEqual((self.store.status.trouble, self.store.status.left), ("error", 1))
        self.assertEqual((self.counts.failures, self.spooled.rows()), ({"write": 3}, [1]))
        self.spooled.clock.advance(TROUBLE_INTERVAL)
        self.commit()
        self.assertEqual((self.store.status.trouble, self.spooled.rows()), ("", []))
        self.put()
        self.commit()
        self.assertTrue(self.told[-1])

    def test_undeleted_is_not_read(self) -> None:
        """What was delivered and could not be deleted is not read again."""
        found: list[list[Put]] = []
        self.put()
        self.commit()
        self.break_database(*[Broken("disk I/O error")] * 3)
        self.store.delete(1, 2, 100)
        self.store.read(0, (), 10, 1000, found.append)
        self.commit()
        self.assertEqual((found, self.spooled.rows()), ([[]], [1]))
        self.spooled.clock.advance(TROUBLE_INTERVAL)

    def test_reserve(self) -> None:
        """On a disk on which not even a deletion can be written, the reserve is given up for it."""
        folder = self.spooled.box.writer._folder
        self.assertTrue(folder.ballast.exists())
        self.put()
        self.commit()
        self.break_database(*[Full("database or disk is full")] * 3)
        self.store.delete(1, 2, 100)
        self.put()
        self.commit()
        self.assertFalse(folder.ballast.exists())
        self.assertEqual((self.told, self.spooled.rows()), ([True, False], []))
        self.spooled.clock.advance(TROUBLE_INTERVAL)

    def test_read_error(self) -> None:
        """What cannot be read is nothing, and is said."""
        found: list[list[Put]] = []

        def broken(*_: Any) -> list[Put]:
            raise Broken("disk I/O error")

        self.patch(Database, "read", broken)
        self.store.read(0, (), 1, 1, found.append)
        self.commit()
        self.assertEqual((found, self.counts.failures), ([[]], {"write": 1}))
        self.spooled.clock.advance(TROUBLE_INTERVAL)

    def test_full_of_the_hopeless(self) -> None:
        """What is given up needs room to be kept; what is deleted makes it."""
        self.spooled.stop()
        self.spooled = self.started(max_bytes=1)
        while self.store.usable:
            self.put(bytes(20_000))
            self.commit()
        rows = self.spooled.rows()
        for row in rows[2:]:
            self.store.bury(row, 2, 20_000, "hopeless")
        for row in rows[:2]:
            self.store.delete(row, 2, 20_000)
        self.spooled.clock.advance(LAZY_INTERVAL)
        self.commit()
        self.assertEqual((self.spooled.rows(), self.store.status.left), ([], 0))
        self.assertEqual(len(self.spooled.box.writer._database.dead()), len(rows) - 2)
        self.spooled.clock.advance(TROUBLE_INTERVAL)


class FloorTests(Case):
    min_free = 1 << 60

    def test_floor(self) -> None:
        """On a disk that has less left than is to be left it starts, refuses rows, and lets what is there go."""
        self.assertEqual(self.assertRaises(NoRoom, self.put).why, "floor")
        self.spooled.box.writer._folder.min_free = 0
        self.spooled.clock.advance(TROUBLE_INTERVAL)
        self.commit()
        self.put()
        self.commit()
        self.spooled.box.writer._folder.min_free = 1 << 60
        self.store.delete(1, 2, 100)
        self.put()
        self.commit()
        self.assertEqual((self.told, self.spooled.rows()), ([True, False], []))
        self.spooled.clock.advance(TROUBLE_INTERVAL)


class ThreadTests(SynchronousTestCase):
    """The store with its thread; the calls from there are served here."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.calls: SimpleQueue[Any] = SimpleQueue()
        self.spooled = Spooled(Path(folder.name, "spool"))
        self.spooled.store._make_box = threaded(lambda *call: self.calls.put(call))
        self.spooled.store.startService()

    def serve(self) -> None:
        call, *arguments = self.calls.get(timeout=10)
        call(*arguments)

    def stop(self) -> None:
        stopped: Deferred[None] = self.spooled.store.stopService()
        while not stopped.called:
            self.serve()

    def test_group_commit(self) -> None:
        """Rows are durable in their order, with fewer calls from the thread than rows; all are there after a stop."""
        told: list[int] = []
        for number in range(2 * MOST):
            self.spooled.store.put(b"x", 1, lambda durable, number=number: told.append(number if durable else -1))
        calls = 0
        while len(told) < 2 * MOST:
            self.serve()
            calls += 1
        self.assertEqual(told, [*range(2 * MOST)])
        self.assertLess(calls, MOST)
        self.stop()
        again = Spooled(self.spooled.path)
        again.start()
        self.assertEqual(len(again.rows()), 2 * MOST)
        again.stop()

    def test_bug(self) -> None:
        """A bug in the thread is logged, fails those rows, and does not end the thread."""
        told: list[bool] = []
        while self.spooled.store.status.file == 0:
            self.serve()
        apply, bugs = Database.apply, [RuntimeError("a bug")]

        def buggy(database: Database, changes: Changes) -> None:
            if bugs:
                raise bugs.pop()
            apply(database, changes)

        self.patch(Database, "apply", buggy)
        self.spooled.store.put(b"x", 1, told.append)
        while not told:
            self.serve()
        self.spooled.clock.advance(TROUBLE_INTERVAL)
        while not self.spooled.store.usable:
            self.serve()
        self.spooled.store.put(b"x", 1, told.append)
        while len(told) < 2:
            self.serve()
        self.assertEqual(told, [False, True])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.stop()

    def tearDown(self) -> None:
        if self.spooled.store.running:
            self.stop()
        self.assertEqual(self.spooled.clock.getDelayedCalls(), [])
