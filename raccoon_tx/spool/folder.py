"""The folder of the spool: who has it, how much room its disk has, and a reserve for when there is none."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from raccoon_tx.spool.database import FILE

LOCK, BALLAST = "lock", "ballast"
#: Bytes of the ballast: a part of what the spool or its disk may hold, within bounds. It has to be more than the
#: write-ahead log may need to bring its pages home.
_PART, _LEAST, _MOST = 16, 1024 * 1024, 8 * 1024 * 1024

#: How often the lock is tried for, and seconds between two attempts.
_ATTEMPTS, _PAUSE = 5, 0.02


class Unusable(OSError):
    """The spool cannot be used; the text says which, and why."""


@define(eq=False)
class Folder:
    """A folder that belongs to one process at a time.

    A disk that is really full lets SQLite do nothing at all, not even delete: so a file lies there that only takes up
    room, and goes when the room is needed to drain.

    :ivar path: of the folder. :ivar max_bytes: of the database. :ivar min_free: bytes of the disk to leave to others.
    """

    path: Path
    max_bytes: int
    min_free: int
    _lock: int | None = field(default=None, init=False)

    @property
    def database(self) -> Path:
        """The file."""
        return self.path / FILE

    @property
    def ballast(self) -> Path:
        """What takes up room."""
        return self.path / BALLAST

    @property
    def reserve(self) -> int:
        """Bytes of the ballast."""
        disk = os.statvfs(self.path)
        return min(_MOST, max(_LEAST, min(self.max_bytes, disk.f_blocks * disk.f_frsize) // _PART))

    def take(self, make: bool = True) -> None:
        """Make it ours, and make it if it is not there; the folder it is in has to be there, because a disk that was
        not mounted should not go unnoticed.

        :raises Unusable: it cannot be made or written, or another process has it.
        """
        try:
            if make and not self.path.is_dir():
                self.path.mkdir(mode=0o700)
                _sync(self.path.parent)
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise Unusable(f"the spool {self.path} cannot be used: {problem.strerror}") from None
        if not _locked(lock):
            owner = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise Unusable(f"the spool {self.path} is in use by process {owner or 'unknown'}") from None
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock

    def owner(self) -> int | None:
        """The process that has it; nobody if it is free. It is looked at without being taken."""
        try:
            lock = os.open(self.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(os.read(lock, 20) or 0)
        finally:
            os.close(lock)
        return None

    def leave(self) -> None:
        """Somebody else may have it. The file of the lock stays: without it two could hold one each."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def free(self) -> int:
        """Bytes that this process may still write to the disk."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def has_room(self) -> bool:
        """Whether more may be written."""
        return self.free() >= self.min_free

    def put_ballast(self) -> bool:
        """Lay the reserve down, unless it lies there or would take the last room. :return: whether it lies there."""
        size = self.reserve
        try:
            if self.ballast.stat().st_size >= size:
                return True
        except FileNotFoundError:
            pass
        if self.free() < self.min_free + size + size // 2:
            return False
        part = self.ballast.with_name(BALLAST + ".part")
        try:
            with part.open("wb") as file:
                # Not a hole: only blocks that are taken can be given back.
                for _ in range(0, size, 65536):
                    file.write(b"\xa5" * 65536)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.ballast)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True

    def drop_ballast(self) -> bool:
        """Give the reserve up. :return: whether there was one."""
        with suppress(FileNotFoundError):
            self.ballast.unlink()
            return True
        return False


def _locked(lock: int) -> bool:
    """Somebody who only asks who has it may be there for a moment."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
