"""A server that measures how long its reactor was not free: ``python -m faults.ticking FILE server``.

The longest delay of a tick, in seconds, is written to the file as it grows, so that a kill leaves it there. Beside it
stands the longest without the time in which the thread was ready to run and had no core: on a machine that is busy with
Kafka and clients only that is the server's own.
"""

from __future__ import annotations

import struct
import sys
import time
from mmap import mmap
from pathlib import Path

#: Seconds between two ticks.
BEAT = 0.02

_FORMAT = struct.Struct("dd")

#: Nanoseconds that the thread ran, and that it was ready to run without a core; and how often it had one.
_SCHEDULED = "/proc/thread-self/schedstat"


def prepare(path: Path) -> None:
    """Make the file."""
    path.write_bytes(_FORMAT.pack(0.0, 0.0))


def reset(path: Path) -> None:
    """Begin anew, under a server that runs."""
    with path.open("r+b") as file:
        file.write(_FORMAT.pack(0.0, 0.0))


def worst(path: Path) -> float:
    """The longest delay that it holds."""
    return _read(path)[0]


def own(path: Path) -> float:
    """The longest delay that it holds, without the waits for a core."""
    return _read(path)[1]


def _read(path: Path) -> tuple[float, float]:
    delay, without = _FORMAT.unpack(path.read_bytes())
    return delay, without


def tick(path: Path) -> None:
    """Begin to measure in the reactor of this process, as soon as it runs."""
    from twisted.internet import reactor

    with path.open("r+b") as file:
        memory = mmap(file.fileno(), _FORMAT.size)

    def beat(due: float, waited: float) -> None:
        now, waits = time.monotonic(), _waits()
        delay = now - due
        worst, without = _FORMAT.unpack(memory[:])
        mine = delay - (waits - waited)
        if delay > worst or mine > without:
            memory[:] = _FORMAT.pack(max(worst, delay), max(without, mine))
        reactor.callLater(BEAT, beat, now + BEAT, waits)  # type: ignore[attr-defined]

    reactor.callWhenRunning(lambda: beat(time.monotonic(), _waits()))  # type: ignore[attr-defined]


def _waits() -> float:
    """Seconds that this thread was ready to run and had no core; 0 where the system does not say."""
    try:
        with open(_SCHEDULED, "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def main() -> None:
    path = Path(sys.argv.pop(1))
    from raccoon_tx import reactor
    from raccoon_tx.cli import main as command

    reactor.install()
    tick(path)
    command()


if __name__ == "__main__":
    main()
