"""Tests of `raccoon_tx.spool.database`, `folder` and `opening`: the file, and what can be wrong with it."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from raccoon_tx.spool.database import FILE, Broken, Changes, Database, Full, Put, files
from raccoon_tx.spool.entry import checksum
from raccoon_tx.spool.folder import Folder, Unusable
from raccoon_tx.spool.opening import Opened, open_spool

MEGABYTE = 1024 * 1024


def put(number: int, size: int = 100, created: float = 1.0) -> Put:
    body = bytes([number % 256]) * size
    return Put(number, created, 1, checksum(number, body), body)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "spool")

    def folder(self, max_bytes: int = 8 * MEGABYTE, min_free: int = 0) -> Folder:
        return Folder(self.path, max_bytes, min_free)

    def open(self, folder: Folder | None = None) -> Opened:
        folder = folder or self.folder()
        opened = open_spool(folder, lambda: 1234.5)
        self.addCleanup(folder.leave)
        self.addCleanup(opened.database.close)
        return opened

    def filled(self, count: int, size: int = 100) -> None:
        """A spool that was closed with this many rows."""
        folder = self.folder()
        opened = open_spool(folder, lambda: 1.0)
        for start in range(1, count + 1, 100):
            opened.database.apply(Changes(put=[put(n, size) for n in range(start, min(start + 100, count + 1))]))
        opened.database.close()
        folder.leave()

    def numbers(self, database: Database) -> list[int]:
        return [row.id for row in database.read(0, (), 100_000, 1 << 40)]


class DatabaseTests(Case):
    def test_changes(self) -> None:
        """A transaction puts, replaces, buries and deletes; what is read comes in order, as it was written."""
        database = self.open().database
        rows = [put(number) for number in range(1, 151)]
        database.apply(Changes(put=rows))
        self.assertEqual(database.read(0, (), 1000, 1 << 30), rows)
        body = b"less"
        database.apply(
            Changes(replaced=[(1, checksum(3, body), body, 3)], buried=[(9.0, "why", 2)], deleted=[*range(10, 151)])
        )
        self.assertEqual(self.numbers(database), [1, 3, 4, 5, 6, 7, 8, 9])
        self.assertEqual(database.read(2, (), 1, 1)[0], Put(3, 1.0, 1, checksum(3, body), body))
        (dead,) = database.dead()
        self.assertEqual((dead.id, dead.body, dead.died, dead.reason), (2, rows[1].body, 9.0, "why"))

    def test_read(self) -> None:
        """Reading begins after a row, leaves out some, and ends after so many rows or bytes; one row comes always."""
        database = self.open().database
        database.apply(Changes(put=[put(number, 1000) for number in range(1, 11)]))
        self.assertEqual([row.id for row in database.read(2, {4, 5}, 3, 1 << 30)], [3, 6, 7])
        self.assertEqual([row.id for row in database.read(0, (), 10, 1500)], [1, 2])
        self.assertEqual([row.id for row in database.read(0, (), 10, 1)], [1])
        self.assertEqual(database.read(10, (), 10, 1), [])

    def test_all_or_nothing(self) -> None:
        """A transaction that fails has done nothing, and the next one works."""
        database = self.open().database
        database.apply(Changes(put=[put(1)]))
        self.assertRaises(Broken, database.apply, Changes(put=[put(2), put(1)], deleted=[1]))
        self.assertEqual(self.numbers(database), [1])
        database.apply(Changes(put=[put(2)]))
        self.assertEqual(self.numbers(database), [1, 2])

    def test_full(self) -> None:
        """At its limit it is `Full`, loses nothing, and has room again when something was deleted."""
        database = self.open(self.folder(MEGABYTE)).database
        number = 0
        with self.assertRaises(Full):
            while True:
                database.apply(Changes(put=[put(number + 1, 10_000)]))
                number += 1
        self.assertGreater(number, 50)
        self.assertFalse(database.has_room())
        self.assertEqual(self.numbers(database), [*range(1, number + 1)])
        database.apply(Changes(deleted=[*range(1, 31)]))
        self.assertTrue(database.has_room())
        database.apply(Changes(put=[put(number + 1, 10_000)]))
        self.assertEqual(self.numbers(database), [*range(31, number + 2)])

    def test_figures(self) -> None:
        """What there is is counted at the start."""
        self.assertEqual(self.open().database.figures(), (0, 0, 0, 0.0, 0, 0))
        self.doCleanups()
        self.setUp()
        database = self.open().database
        database.apply(Changes(put=[put(5, 10, created=7.0), put(6, 20, created=3.0)]))
        database.apply(Changes(put=[put(9)]))
        database.apply(Changes(buried=[(1.0, "x", 9)]))
        self.assertEqual(database.figures(), (2, 2, 30, 7.0, 1, 9))

    def test_space_is_reused(self) -> None:
        """A file that was filled and emptied does not grow when it is filled again, and is small at the next start."""
        folder = self.folder(64 * MEGABYTE)
        opened = open_spool(folder, lambda: 1.0)
        database = opened.database

        def fill(first: int) -> int:
            for number in range(first, first + 40):
                database.apply(Changes(put=[put(number * 10 + n, 20_000) for n in range(10)]))
            database.checkpoint()
            size = database.size()
            for number in range(first, first + 40):
                database.apply(Changes(deleted=[number * 10 + n for n in range(10)]))
            database.checkpoint()
            return size

        size = fill(1)
        self.assertGreater(size, 8_000_000)
        self.assertLess(fill(100), size * 1.1)
        database.close()
        folder.leave()
        self.assertLess(self.open(folder).database.size(), MEGABYTE)

    def test_looked_at(self) -> None:
        """Somebody else may read while a row is written, and sees what is durable."""
        database = self.open().database
        database.apply(Changes(put=[put(1)]))
        looking = Database.look_at(self.path / FILE)
        self.addCleanup(looking.close)
        self.assertEqual(self.numbers(looking), [1])
        database.apply(Changes(put=[put(2)]))
        self.assertEqual(self.numbers(looking), [1, 2])

    def test_revive(self) -> None:
        """What is dead can be made to live again."""
        database = self.open().database
        database.apply(Changes(put=[put(1), put(2)]))
        database.apply(Changes(buried=[(1.0, "x", 1)]))
        self.assertEqual(database.revive(), 1)
        self.assertEqual((self.numbers(database), database.dead()), ([1, 2], []))


class OpeningTests(Case):
    def unusable(self) -> str:
        return str(self.assertRaises(Unusable, self.open))

    def test_kept(self) -> None:
        """What was there is there again."""
        self.filled(250)
        opened = self.open()
        self.assertEqual((opened.aside, opened.figures.batches, opened.figures.last), (None, 250, 250))

    def test_folder_is_made(self) -> None:
        """The folder is made, for us alone; that which it is in has to be there."""
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o700)
        self.path = self.path / "not" / "there"
        self.assertIn("No such file or directory", self.unusable())

    def test_locked(self) -> None:
        """A second server does not start, and says who has it."""
        self.open()
        self.assertIn(f"is in use by process {os.getpid()}", self.unusable())

    def test_no_folder(self) -> None:
        """What is no folder cannot be used."""
        self.path.write_text("")
        self.assertIn(f"the spool {self.path} cannot be used: ", self.unusable())

    def test_unwritable(self) -> None:
        """A folder or a file that may not be written cannot be used."""
        if os.geteuid() == 0:
            raise SkipTest("root may write everywhere")
        self.filled(1)
        (self.path / FILE).chmod(0o400)
        self.assertIn("cannot be used", self.unusable())
        self.path.chmod(0o500)
        self.assertIn("cannot be used", self.unusable())

    def test_foreign(self) -> None:
        """The database of another program, and one of a later version, are left alone."""
        self.path.mkdir()
        connection = sqlite3.connect(self.path / FILE)
        connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        self.assertIn("another program", self.unusable())
        (self.path / FILE).unlink()
        self.filled(1)
        connection = sqlite3.connect(self.path / FILE)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        self.assertIn("later version", self.unusable())
        self.assertEqual(sorted(path.name for path in self.path.iterdir()), ["lock", FILE])

    def assert_moved_aside(self, opened: Opened) -> None:
        self.assertEqual(opened.aside, self.path / f"{FILE}.corrupt-1234")
        assert opened.aside is not None
        self.assertTrue(opened.aside.exists())
        opened.database.apply(Changes(put=[put(100_000)]))
        self.assertEqual(self.numbers(opened.database)[-1], 100_000)
        self.flushLoggedErrors()

    def test_garbage(self) -> None:
        """A file that is no database is moved aside, and the spool begins anew."""
        self.path.mkdir()
        (self.path / FILE).write_bytes(b"this is no database" * 1000)
        self.assert_moved_aside(self.open())

    def test_two_corrupt_files(self) -> None:
        """The second corrupt file does not go over the first."""
        for _ in range(2):
            self.path.mkdir(exist_ok=True)
            (self.path / FILE).write_bytes(b"this is no database" * 1000)
            self.open()
            self.doCleanups_but_folder()
        self.assertEqual(len(list(self.path.glob("*.corrupt-*"))), 2)

    def doCleanups_but_folder(self) -> None:
        keep, self._cleanups = self._cleanups[:1], self._cleanups[1:]
        self.doCleanups()
        self._cleanups = keep
        for path in files(self.path / FILE):
            path.unlink(missing_ok=True)

    def test_torn(self) -> None:
        """Of a file that was cut off, or has a page of noise, what can be read is saved."""
        for kind in ("cut", "noise"):
            self.filled(400, 2000)
            content = (self.path / FILE).read_bytes()
            if kind == "cut":
                content = content[: len(content) * 3 // 4]
            else:
                middle = len(content) // 2 // 4096 * 4096
                content = content[:middle] + random.Random(1).randbytes(4096 * 4) + content[middle + 4096 * 4 :]
            (self.path / FILE).write_bytes(content)
            opened = self.open()
            self.assertGreater(opened.saved, 100)
            self.assertLess(opened.saved, 400)
            self.assertEqual(opened.figures.batches, opened.saved)
            self.assert_moved_aside(opened)
            self.doCleanups()
            self.setUp()

    def test_flipped_bits(self) -> None:
        """Wherever a bit of the file is flipped, it opens, and each row that is read is right or known to be wrong."""
        self.filled(60, 700)
        content = (self.path / FILE).read_bytes()
        chance = random.Random(7)
        for _ in range(40):
            position = chance.randrange(len(content))
            flipped = bytearray(content)
            flipped[position] ^= 1 << chance.randrange(8)
            for path in files(self.path / FILE):
                path.unlink(missing_ok=True)
            (self.path / FILE).write_bytes(flipped)
            folder = self.folder()
            try:
                opened = open_spool(folder, lambda: 1234.5)
            except Unusable as problem:
                # It is not ours any more, or of a later version, and so it is left as it is.
                self.assertRegex(str(problem), "another program|later version")
                continue
            good = [row for row in opened.database.read(0, (), 100, 1 << 30) if checksum(row.id, row.body) == row.crc]
            self.assertLessEqual({row.body for row in good}, {put(n, 700).body for n in range(1, 61)})
            self.assertGreaterEqual(len(good), 0 if opened.aside else 59)
            opened.database.close()
            folder.leave()
        self.flushLoggedErrors()


class FolderTests(Case):
    def test_ballast(self) -> None:
        """The reserve is laid down once, takes up room, and is given up."""
        folder = self.folder()
        folder.take()
        self.addCleanup(folder.leave)
        self.assertTrue(folder.put_ballast())
        self.assertTrue(folder.put_ballast())
        self.assertGreaterEqual(folder.ballast.stat().st_blocks * 512, folder.reserve)
        self.assertEqual((folder.drop_ballast(), folder.drop_ballast()), (True, False))

    def test_no_room_for_ballast(self) -> None:
        """It does not take the last room."""
        folder = self.folder(min_free=1 << 60)
        folder.take()
        self.addCleanup(folder.leave)
        self.assertEqual((folder.has_room(), folder.put_ballast()), (False, False))

    def test_left(self) -> None:
        """Who has left it can take it again, and so can another."""
        one, other = self.folder(), self.folder()
        one.take()
        one.leave()
        other.take()
        self.assertRaises(Unusable, one.take)
        other.leave()
