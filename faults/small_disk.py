"""A file system of a few megabytes, and somebody who takes the rest of it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(megabytes: int = 8) -> Iterator[Path]:
    """:raises RuntimeError: none may be mounted here; it takes root."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise RuntimeError(f"No small disk can be mounted here: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """All that is left of it is taken, to the last byte that the system gives."""
    taken = disk / "theirs"
    try:
        with taken.open("wb", buffering=0) as file:
            for size in (65536, 4096, 512, 1):
                while _written(file, size):
                    pass
        yield
    finally:
        taken.unlink(missing_ok=True)


def _written(file: object, size: int) -> bool:
    try:
        return bool(file.write(bytes(size)))  # type: ignore[attr-defined]
    except OSError:
        return False
