"""Tests of `raccoon_tx.spool.parts`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.settings import SpoolSettings
from raccoon_tx.spool.database import FILE
from raccoon_tx.spool.parts import left_behind, of_worker


class WorkersTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.settings = SpoolSettings(path=f"{folder.name}/spool", max_bytes=300 * 1024 * 1024)

    def test_one(self) -> None:
        """One process has the folder, and all that it may hold."""
        self.assertEqual(of_worker(self.settings, 0, 1), self.settings)

    def test_several(self) -> None:
        """Each worker has a folder of its own, the first that of one process, and an equal part of the bytes."""
        each = [of_worker(self.settings, number, 3) for number in range(3)]
        path = self.settings.path
        self.assertEqual([one.path for one in each], [path, f"{path}/worker-1", f"{path}/worker-2"])
        self.assertEqual({one.max_bytes for one in each}, {100 * 1024 * 1024})

    def test_left_behind(self) -> None:
        """Folders of workers that there no longer are are named, if there is a spool in them."""
        for name, file in (("worker-1", FILE), ("worker-2", FILE), ("worker-3", "other"), ("worker-x", FILE)):
            folder = Path(self.settings.path, name)
            folder.mkdir(parents=True)
            (folder / file).touch()
        self.assertEqual(left_behind(self.settings, 2), [f"{self.settings.path}/worker-2"])
        self.assertEqual(left_behind(self.settings, 3), [])
