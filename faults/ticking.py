"""A server that measures how long its reactor was not free: ``python -m faults.ticking FILE server``.

The longest delay of a tick, in seconds, is written to the file as it grows, so that a kill leaves it there.
"""

from __future__ import annotations

import struct
import sys
import time
from mmap import mmap
from pathlib import Path

#: Seconds between two ticks.
BEAT = 0.02

_FORMAT = struct.Struct("d")


def prepare(path: Path) -> None:
    """Make the file."""
    path.write_bytes(_FORMAT.pack(0.0))


def reset(path: Path) -> None:
    """Begin anew, under a server that runs."""
    with path.open("r+b") as file:
        file.write(_FORMAT.pack(0.0))


def worst(path: Path) -> float:
    """The longest delay that it holds."""
    delay: float = _FORMAT.unpack(path.read_bytes())[0]
    return delay


def tick(path: Path) -> None:
    """Begin to measure in the reactor of this process, as soon as it runs."""
    from twisted.internet import reactor

    with path.open("r+b") as file:
        memory = mmap(file.fileno(), _FORMAT.size)

    def beat(due: float) -> None:
        now = time.monotonic()
        if (delay := now - due) > _FORMAT.unpack(memory[:])[0]:
            memory[:] = _FORMAT.pack(delay)
        reactor.callLater(BEAT, beat, now + BEAT)  # type: ignore[attr-defined]

    reactor.callWhenRunning(lambda: beat(time.monotonic()))  # type: ignore[attr-defined]


def main() -> None:
    path = Path(sys.argv.pop(1))
    from raccoon_tx import reactor
    from raccoon_tx.cli import main as command

    reactor.install()
    tick(path)
    command()


if __name__ == "__main__":
    main()
