"""Breaks what can break and says whether the promise held: ``python -m faults --short`` or ``--long``.

It needs Java 17 and Maven for a real Apache Kafka, and what the tests need. The same seed plays the same faults at the
same moments, as far as a machine repeats itself. The status is 1 if anything that was acknowledged is lost where it
may not be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict

from attacks.table import read
from faults import page
from faults.plan import PLAN, Amount, Play
from faults.report import line
from faults.stage import Mode, Outcome, kafka


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser("python -m faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the main scenarios, little of each: under two minutes")
    parser.add_argument("--long", action="store_true", help="all scenarios in all modes: under an hour")
    parser.add_argument("--row", action="append", default=[], help="only this row of the long tier; may be repeated")
    parser.add_argument("--mode", action="append", default=[], help='only this mode, such as "ack 1, spool"')
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--logs", type=Path, help="keep the logs of the servers in this folder")
    parser.add_argument("--json", type=Path, help="write, and add to, all figures in this file")
    parser.add_argument("--write", type=Path, help="write the page of the documentation to this file")
    parser.add_argument(
        "--from-json", type=Path, action="append", default=[], help="play nothing: read the figures of earlier runs"
    )
    parser.add_argument("--autobahn", type=Path, help="what `python -m faults.autobahn --json` wrote, for the page")
    parser.add_argument("--fuzz", type=Path, help="what `python -m fuzz --json` wrote, for the page")
    parser.add_argument("--attacks", type=Path, help="what `python -m attacks --json` wrote, for the page")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> Iterator[tuple[Play, Mode, Amount]]:
    """What to play."""
    for each in PLAN:
        if options.row and each.row not in options.row:
            continue
        amount = each.short if options.short else each.long
        if amount is None:
            continue
        for mode in each.short_modes if options.short else each.modes:
            if not options.mode or str(mode) in options.mode:
                yield each, mode, amount


def main() -> int:
    """:return: the exit status."""
    options = arguments()
    kept: dict[str, dict[str, object]] = {}
    for path in options.from_json or ([options.json] if options.json and options.json.exists() else []):
        kept |= json.loads(path.read_text())
    bad = 0
    if not options.from_json:
        with kafka() as node:
            for each, mode, amount in chosen(options):
                began = time.monotonic()
                try:
                    outcome: Outcome = each.run(node, mode, options.seed, amount, options.logs)
                except (AssertionError, RuntimeError) as problem:
                    bad += 1
                    kept.pop(f"{each.row} {mode}", None)
                    said = str(problem).strip().splitlines() or [repr(problem)]
                    took = time.monotonic() - began
                    print(f"{each.row:4} {mode!s:12} BROKE OFF after {took:.0f} s: {said[0]}", flush=True)
                    continue
                print(line(outcome), flush=True)
                for fault in outcome.faults:
                    bad += 1
                    print(f"     FAILED: {fault}", flush=True)
                how = {"seed": options.seed, "amount": dict(amount), "date": time.strftime("%Y-%m-%d")}
                kept[f"{each.row} {mode}"] = {**asdict(outcome), "faults": outcome.faults, **how}
                if options.json:
                    options.json.write_text(json.dumps(kept, indent=1))
    if options.write:
        attacks = [*map(read, json.loads(options.attacks.read_text()).values())] if options.attacks else []
        autobahn = json.loads(options.autobahn.read_text()) if options.autobahn else {}
        fuzzed = json.loads(options.fuzz.read_text()) if options.fuzz else []
        options.write.write_text(page.page(kept, len(options.from_json) or 1, attacks, autobahn, fuzzed))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
