"""A clock that is set while a server runs: libfaketime around it. Only the wall clock moves, as when NTP steps it."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

#: Where distributions put the library.
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")

#: What it reads the time from, again and again.
FILE = Path(tempfile.gettempdir(), f"raccoon-faults-clock-{os.getpid()}")


def stepped() -> tuple[str, ...]:
    """A command that runs another under a clock that `step` sets; empty if there is no libfaketime here."""
    found = [path for place in _PLACES for path in glob.glob(place)]
    if not found:
        return ("faketime",)  # whose absence is told when it is played
    return (
        "env",
        f"LD_PRELOAD={found[0]}",
        f"FAKETIME_TIMESTAMP_FILE={FILE}",
        "FAKETIME_CACHE_DURATION=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "DONT_FAKE_MONOTONIC=1",
    )


def step(seconds: int) -> None:
    """Set the clock so many seconds off the machine's."""
    FILE.write_text(f"{seconds:+d}")
