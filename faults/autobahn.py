"""The Autobahn testsuite, which knows RFC 6455 better than we do, against our port: ``python -m faults.autobahn``.

It needs Python 2.7, which the suite is written in, and the network once, for the suite and what it depends on. The
status is 1 if any case fails or is not strict.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from faults.stage import ROOT
from tests.integration.clients import HOST
from tests.integration.server import Topics, process

SUITE = "autobahntestsuite == 25.10.1"

#: What the suite calls "protocol" and "large messages"; 12 and 13 are compressed messages.
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.*")
COMPRESSED = ("12.*", "13.*")

#: Both ways in which a frame may be read: see `raccoon_tx.transports.frames`.
WAYS = ("lane", "stock")

#: A client that has no id, and messages of 16 MiB, which are not what the limits are made for.
SETTINGS = {
    "publisher.type": "log",
    "server.websocket.conn.id.header": "Sec-WebSocket-Key",
    "server.websocket.ping.interval.ms": 600_000,
    "server.websocket.pong.wait.interval.ms": 900_000,
    "server.max_body_bytes": 64 << 20,
    "server.websocket.write_buffer_limit": 64 << 20,
}

#: What the suite may say of a case, best first.
WELL, SO_SO, BAD = ("OK", "INFORMATIONAL"), ("NON-STRICT",), ("FAILED", "UNCLEAN", "WRONG CODE", "UNIMPLEMENTED")


@frozen
class Group:
    """Cases of one number. :ivar verdicts: how many of each."""

    number: str
    verdicts: Mapping[str, int]


def python2() -> str:
    """:raises RuntimeError: there is none."""
    installed = sorted(Path.home().glob(".pyenv/versions/2.7.*/bin/python2.7"))
    # Those first: a shim in the PATH may lead nowhere.
    found = str(installed[-1]) if installed else shutil.which("python2.7")
    if found is None:
        raise RuntimeError("the Autobahn testsuite needs Python 2.7, and there is no python2.7")
    return found


def suite(folder: Path) -> Path:
    """The command of the suite, installed into ``folder`` if it is not there yet."""
    command = folder / "suite" / "bin" / "wstest"
    if not command.exists():
        maker = folder / "maker"
        subprocess.run([sys.executable, "-m", "venv", maker], check=True)
        pip = [str(maker / "bin" / "python"), "-m", "pip", "install", "--quiet", "virtualenv < 20.22"]
        subprocess.run(pip, check=True)
        subprocess.run([maker / "bin" / "virtualenv", "-q", "-p", python2(), folder / "suite"], check=True)
        # The suite is sources only.
        plain = {name: value for name, value in os.environ.items() if name != "PIP_ONLY_BINARY"}
        subprocess.run([folder / "suite" / "bin" / "pip", "install", "--quiet", SUITE], check=True, env=plain)
    return command


def run(command: Path, way: str, cases: Iterable[str], compressed: bool = False) -> list[Group]:
    """All cases against a server of their own. :param compressed: it takes compressed messages."""
    also = {"server.websocket.compression": True} if compressed else {}
    with tempfile.TemporaryDirectory(prefix="autobahn-") as name:
        folder = Path(name)
        serving = (sys.executable, "-m", "faults.echo", way, "server")
        with process(Topics("127.0.0.1:1"), 0, {"pythonpath": ROOT, **SETTINGS, **also}, command=serving) as server:
            spec = {
                "outdir": str(folder),
                "servers": [{"agent": way, "url": f"ws://{HOST}:{server.http}/api/v1/events"}],
                "cases": list(cases),
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
            (folder / "spec.json").write_text(json.dumps(spec))
            with (folder / "log").open("wb") as log:
                asked = [str(command), "-m", "fuzzingclient", "-s", str(folder / "spec.json")]
                subprocess.run(asked, check=True, cwd=folder, stdout=log, stderr=log)
        found = json.loads((folder / "index.json").read_text())[way]
    groups: dict[str, Counter[str]] = {}
    for case, said in found.items():
        worst = max((said["behavior"], said["behaviorClose"]), key=(*WELL, *SO_SO, *BAD).index)
        groups.setdefault(case.partition(".")[0], Counter())[worst] += 1
        if worst not in WELL:
            print(f"{way}: case {case}: {worst}", flush=True)
    return [Group(number, groups[number]) for number in sorted(groups, key=int)]


def table(found: Mapping[str, Iterable[Group]]) -> list[str]:
    """:param found: groups by way. :return: lines of Markdown."""
    lines = [
        "| | way | cases | OK | informational | non-strict | failed |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    for way, groups in found.items():
        total: Counter[str] = Counter()
        for group in groups:
            total.update(group.verdicts)
            lines.append(_row(f"{group.number}.*", way, group.verdicts))
        lines.append(_row("**all**", way, total))
    return lines


def _row(name: str, way: str, verdicts: Mapping[str, int]) -> str:
    told = [
        *(verdicts.get(verdict, 0) for verdict in (*WELL, *SO_SO)),
        sum(verdicts.get(verdict, 0) for verdict in BAD),
    ]
    return "| " + " | ".join(map(str, [name, way, sum(verdicts.values()), *told])) + " |"


def main() -> int:
    """:return: the exit status."""
    parser = argparse.ArgumentParser("python -m faults.autobahn", description=__doc__)
    parser.add_argument("--case", action="append", help=f"such as 6.*; may be repeated (default: {' '.join(CASES)})")
    parser.add_argument("--compressed", action="store_true", help=f"{' and '.join(COMPRESSED)} instead: slow")
    parser.add_argument("--way", action="append", choices=WAYS, help="of reading frames (default: both)")
    parser.add_argument("--environment", type=Path, default=Path(ROOT, ".tox", "autobahn"), help="the suite's folder")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    command = suite(options.environment)
    cases = options.case or (COMPRESSED if options.compressed else CASES)
    found = {way: run(command, way, cases, options.compressed) for way in options.way or WAYS}
    print("\n".join(table(found)))
    if options.json:
        kept = {way: {group.number: dict(group.verdicts) for group in groups} for way, groups in found.items()}
        options.json.write_text(json.dumps(kept, indent=1))
    return int(any(set(group.verdicts) - set(WELL) for groups in found.values() for group in groups))


if __name__ == "__main__":
    sys.exit(main())
