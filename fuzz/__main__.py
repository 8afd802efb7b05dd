"""Random bytes for whatever reads bytes of others: ``python -m fuzz --seconds 60 --seed 1``.

Where Atheris is installed it drives: it looks at what an input reaches, and begins with what the tests send. Elsewhere
Hypothesis does, with the same inputs and damage. The status is 1 if anything was raised that should not be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fuzz.targets import TARGETS

#: Seconds for a process to begin and to end.
MARGIN = 120.0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser("python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated (default: all)")
    parser.add_argument("--plain", action="store_true", help="Hypothesis, even where Atheris is installed")
    parser.add_argument("--folder", type=Path, help="keeps what was found; the next run goes on from there")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--again", type=Path, help="nothing but this input, for the one target")
    return parser.parse_args()


def fuzz(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One target. :return: the report of `fuzz.drive`."""
    asked = [sys.executable, "-m", "fuzz.drive", name, str(options.seconds), str(options.seed), str(folder)]
    if options.plain:
        asked.append("--plain")
    with (folder / f"log-{name}").open("wb") as log:
        ended = subprocess.run(asked, stdout=subprocess.PIPE, stderr=log, timeout=options.seconds + MARGIN)
    lines = ended.stdout.decode(errors="replace").strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        last = (folder / f"log-{name}").read_text(errors="replace")[-2000:]
        fault = f"the process ended with {ended.returncode}: a hang, memory, or a crash"
        print(last, file=sys.stderr)
        return {"target": name, "driver": "", "runs": 0, "seconds": 0.0, "inputs": 0, "faults": {fault: 1}}


def table(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """:return: lines of Markdown."""
    lines = [
        "| target | driver | runs | runs/s | inputs kept | unhandled exceptions and differences |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for each in reports:
        pace = each["runs"] / each["seconds"] if each["seconds"] else 0.0
        numbers = each["runs"], round(pace), each["inputs"], sum(each["faults"].values())
        told = [each["target"], each["driver"], *(f"{number:,}" for number in numbers)]
        lines.append("| " + " | ".join(told) + " |")
    return lines


def main() -> int:
    """:return: the exit status."""
    options = arguments()
    names = options.target or list(TARGETS)
    if options.again:
        for name in names:
            TARGETS[name].run(options.again.read_bytes())
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        reports = []
        for name in names:
            reports.append(fuzz(name, options, folder))
            for place, count in reports[-1]["faults"].items():
                print(f"{name}: {count} times {place}", flush=True)
    print("\n".join(table(reports)))
    if options.json:
        options.json.write_text(json.dumps(reports, indent=1))
    return int(any(each["faults"] for each in reports))


if __name__ == "__main__":
    sys.exit(main())
