"""Measures the server: ``python benchmarks/run.py --quick``, ``--full``, or ``--case websocket-10 --case rest-10``.

The server runs on one core, the load generator and the broker on another. Every case of a round is measured before the
next round begins; what is printed are medians over the rounds, with the least and the most. It needs a C compiler and
nothing else that raccoon_tx does not need.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cases
import generator
import machine
import page
import report
from attrs import evolve
from cases import Case
from measure import Figures, Untrue, measure
from servers import DoesNotStart, Target, ours


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the main cases, three rounds: about two minutes")
    parser.add_argument("--full", action="store_true", help="all cases, five rounds: about twelve minutes")
    parser.add_argument("--case", action="append", default=[], help="one case; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--rounds", type=int, help="other than usual")
    parser.add_argument("--seconds", type=float, help="of each load, other than usual")
    parser.add_argument("--brokers", help="a Kafka that runs, instead of librdkafka's own in memory")
    parser.add_argument(
        "--beside", metavar="COMMAND", help="measure another server too: it is started with our settings"
    )
    parser.add_argument("--beside-name", default="other", help="what it is called in the tables")
    parser.add_argument("--beside-pid", type=int, help="measure another server too, one that runs (needs --brokers)")
    parser.add_argument("--beside-http", type=int, default=0, help="its port for WebSocket and REST")
    parser.add_argument("--beside-grpc", type=int, default=0, help="its port for gRPC")
    parser.add_argument("--json", type=Path, help="write all figures of all rounds to this file")
    parser.add_argument("--write", type=Path, help="write the page of the documentation to this file")
    parser.add_argument("--from-json", type=Path, help="measure nothing: read the figures of an earlier run")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> tuple[list[Case], int]:
    """The cases to measure, and how many rounds of them."""
    if options.case:
        return cases.named(options.case), options.rounds or 3
    if options.full:
        return cases.ALL, options.rounds or 5
    return [case for case in cases.ALL if case.quick], options.rounds or 3


def targets(options: argparse.Namespace) -> list[Target]:
    """Our server, and the other one if there is one."""
    found = [ours()]
    if options.beside:
        found.append(Target(options.beside_name, options.beside))
    elif options.beside_pid:
        if not options.brokers:
            raise SystemExit("--beside-pid needs --brokers: the Kafka that this server writes to.")
        found.append(Target(options.beside_name, "", options.beside_pid, options.beside_http, options.beside_grpc))
    return found


@contextmanager
def broker(address: str | None) -> Iterator[str]:
    """The address of a Kafka: the given one, or one of our own."""
    if address:
        yield address
        return
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("broker.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **machine.on(machine.OTHER_CORE),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


def measured(options: argparse.Namespace) -> tuple[report.Results, list[str]]:
    """All figures, by target and case, a list of one for each round; and what went wrong."""
    chosen_cases, rounds = chosen(options)
    found: report.Results = {}
    failures: list[str] = []
    servers = targets(options)
    begin = time.monotonic()
    for number in range(1, rounds + 1):
        now = [case for case in chosen_cases if not case.rarely or number % 2 or options.case]
        # The memory of a broker of our own is bounded by topic, so each round has a new one.
        with broker(options.brokers) as address:
            todo = [(report.BASELINES, ours(), case) for case in cases.baselines(now)]
            todo += [(target.name, target, case) for case in now for target in servers]
            for place, target, case in todo:
                figures = _once(place, case, target, address, options, failures)
                if figures:
                    found.setdefault(place, {}).setdefault(case.name, []).append(figures)
                sys.stderr.write(f"\r\033[K{time.monotonic() - begin:5.0f} s  round {number} of {rounds}  {case.name} ")
                sys.stderr.flush()
    sys.stderr.write("\r\033[K")
    return found, failures


def _once(
    place: str, case: Case, target: Target, address: str, options: argparse.Namespace, failures: list[str]
) -> Figures | None:
    if target.pid and (case.settings or not case.ack):
        return None  # it runs with the settings that it has
    if options.seconds:
        case = evolve(case, seconds=options.seconds)
    try:
        return measure(case, target, address)
    except (Untrue, DoesNotStart, RuntimeError, OSError) as problem:
        failures.append(f"{place}, {case.name}: {problem}")
        return None


def typed() -> str:
    """The command that measures this again, without the files that it writes."""
    words, skip = ["python", "benchmarks/run.py"], False
    for word in sys.argv[1:]:
        if not skip and word.partition("=")[0] not in ("--json", "--write"):
            words.append(word)
        skip = word in ("--json", "--write")
    return shlex.join(words)


def main() -> int:
    """Measure, print, write. :return: the exit status: 1 if an answer was bad or an event is missing."""
    options = arguments()
    if options.list:
        print("\n".join(case.name for case in cases.ALL))
        return 0
    generator.build()
    failures: list[str] = []
    if options.from_json:
        kept = json.loads(options.from_json.read_text("utf-8"))
    else:
        results, failures = measured(options)
        kept = {
            "command": typed(),
            "machine": report.surroundings(),
            "rounds": chosen(options)[1],
            "results": results,
        }
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(report.text(kept["results"]))
    if options.write:
        options.write.write_text(page.page(kept), "utf-8")
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
