"""What the kernel says about processes, and on which cores they run."""

from __future__ import annotations

import os
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

#: The server (and what it is compared with) on the first core that we may use, all else on the second.
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = {_CORES[0]}
OTHER_CORE = {_CORES[-1]}


def on(cores: set[int]) -> dict[str, Any]:
    """What `subprocess.Popen` is given for a process that shall run on these cores."""
    return {"preexec_fn": partial(_prepare, cores)}


def _prepare(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def pin(pid: int, cores: set[int]) -> None:
    """Move a running process with all its threads, and those of its children."""
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def cpu(pid: int) -> float:
    """Seconds of processor time of a process, all its threads (ended ones as well) and all that descend from it.

    It is read from the kernel's clock of the process, which is the sum of the ``schedstat`` of all threads.
    """
    return sum(time.clock_gettime((~one << 3) | 2) for one in family(pid))


def core_busy(core: int) -> float:
    """Seconds of processor time that all processes together have had on a core."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return sum(map(int, ticks[:3])) / os.sysconf("SC_CLK_TCK")  # user, nice, system
    return 0.0


class Watch:
    """What a process takes of the server's core from now on, and what others take of it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._core = min(SERVER_CORE)
        self._start = (time.monotonic(), cpu(pid), core_busy(self._core))

    def read(self) -> tuple[float, float, float]:
        """Seconds that have passed, that the process has had, and the part of the core that others have had."""
        lasted, used, busy = (
            now - then
            for now, then in zip((time.monotonic(), cpu(self._pid), core_busy(self._core)), self._start, strict=True)
        )
        return lasted, used, max(busy - used, 0.0) / lasted


def resident(pid: int) -> int:
    """Bytes of memory that are in use now; what several processes share is counted once."""
    total = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def description() -> str:
    """The machine, in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    release = os.uname()
    return f"{os.cpu_count()} cores ({model}), {release.sysname} {release.release.split('-')[0]}"
