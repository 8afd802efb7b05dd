"""Where the embedded brokers of this machine are: each leaves its address in a file, for tools of the same user."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"raccoon-brokers-{os.getuid()}")


def _is_ours(folder: Path) -> bool:
    """Nobody else may have written what is in it."""
    about = folder.lstat()
    return folder.is_dir() and not folder.is_symlink() and about.st_uid == os.getuid() and not about.st_mode & 0o022


def note(address: str) -> None:
    """Leave the address of this process's broker. Where that cannot be, nobody finds it by itself."""
    folder = _folder()
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if _is_ours(folder):
            Path(folder, str(os.getpid())).write_text(address)


def forget() -> None:
    """The broker of this process is gone."""
    with suppress(OSError):
        Path(_folder(), str(os.getpid())).unlink(missing_ok=True)


def newest() -> str | None:
    """The address of the broker that was started last, of those whose processes live."""
    folder = _folder()
    try:
        if not _is_ours(folder):
            return None
        by_age = sorted(folder.iterdir(), key=lambda path: path.lstat().st_mtime, reverse=True)
        for path in by_age:
            if path.name.isdigit() and _lives(int(path.name)):
                return path.read_text()
            path.unlink()
    except OSError:
        pass
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
