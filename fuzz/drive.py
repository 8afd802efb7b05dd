"""Fuzzes one target, in a process of its own: ``python -m fuzz.drive TARGET SECONDS SEED FOLDER [--plain]``.

The last line that it prints is its report, in JSON. Atheris is used where it is installed: it looks at which lines an
input reaches. Else it is Hypothesis. Either goes on after a fault, and keeps the first input for each place of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field

#: Bytes of an input.
LONGEST = 4096


@define
class Tally:
    """Counts runs, and catches what they raise. :ivar faults: how many, by place."""

    name: str
    run: Callable[[bytes], None]
    folder: Path
    seconds: float
    began: float = field(factory=time.monotonic)
    runs: int = 0
    faults: dict[str, int] = field(factory=dict)

    @property
    def over(self) -> bool:
        return time.monotonic() - self.began > self.seconds

    def __call__(self, body: bytes) -> None:
        self.runs += 1
        try:
            self.run(body)
        except Exception as problem:
            self._keep(problem, body)

    def _keep(self, problem: Exception, body: bytes) -> None:
        last = traceback.extract_tb(problem.__traceback__)[-1]
        what = str(problem).partition(":")[0] if isinstance(problem, AssertionError) else ""
        place = f"{type(problem).__name__} {Path(last.filename).name}:{last.lineno} {what}".rstrip()
        if place not in self.faults:
            name = f"{self.name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
            (self.folder / name).write_bytes(body)
            (self.folder / f"{name}.txt").write_text("".join(traceback.format_exception(problem)))
        self.faults[place] = self.faults.get(place, 0) + 1

    def report(self, driver: str, inputs: int) -> None:
        took = time.monotonic() - self.began
        told = {"target": self.name, "driver": driver, "runs": self.runs, "seconds": round(took, 1)}
        print(json.dumps({**told, "inputs": inputs, "faults": self.faults}), flush=True)


def by_coverage(name: str, seconds: float, seed: int, folder: Path) -> None:
    """With Atheris. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["raccoon_tx", "autobahn"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = folder / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for body in target.seeds:
        (corpus / hashlib.sha256(body).hexdigest()[:16]).write_bytes(body)
    tally = Tally(name, target.run, folder, seconds)

    def one(body: bytes) -> None:
        tally(body)
        if tally.over:
            # The library ends the process by itself, and says nothing that we want to know.
            tally.report("atheris", sum(1 for _ in corpus.iterdir()))
            os._exit(0)

    options = [f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=2048", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/", *options], one)
    atheris.Fuzz()


def by_chance(name: str, seconds: float, first: int, folder: Path) -> None:
    """With Hypothesis."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from fuzz.inputs import damaged
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    tally = Tally(name, target.run, folder, seconds)

    def one(body: bytes) -> None:
        if not tally.over:
            tally(body)

    quiet: Any = settings(
        max_examples=200,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    number = first
    while not tally.over:
        seed(number)(quiet(given(damaged(target.seeds))(one)))()
        number += 1
    tally.report("hypothesis", len(target.seeds))


def main() -> None:
    name, seconds, number, folder, *more = sys.argv[1:]
    drive = by_coverage
    try:
        import atheris  # noqa: F401
    except ImportError:
        drive = by_chance
    if "--plain" in more:
        drive = by_chance
    drive(name, float(seconds), int(number), Path(folder))


if __name__ == "__main__":
    main()
