"""Attacks a server in all ways that are known here, with good clients beside, and says whether it held.

It needs what the tests need. The status is 1 if anything is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from attacks import table
from attacks.attack import Attack
from attacks.play import play
from attacks.rows import ROWS
from tests.integration.mock_cluster import MockCluster


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser("python -m attacks", description=__doc__)
    parser.add_argument("--row", action="append", default=[], help="only attacks whose name has this; may be repeated")
    parser.add_argument("--subject", action="append", default=[], help="only attacks of this subject")
    parser.add_argument("--quick", action="store_true", help="those that also run as tests, and little of each")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    parser.add_argument("--json", type=Path, help="write, and add to, all outcomes in this file")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Attack]:
    """What to play."""

    def wanted(attack: Attack) -> bool:
        return (
            (attack.quick or not options.quick)
            and (not options.row or any(word.lower() in attack.name.lower() for word in options.row))
            and (not options.subject or attack.subject in options.subject)
        )

    return [attack for attack in ROWS if wanted(attack)]


def main() -> int:
    """:return: the exit status."""
    options = arguments()
    attacks = chosen(options)
    if options.list or not attacks:
        for attack in attacks:
            print(f"{attack.subject}: {attack.name} ({', '.join(attack.ways)})")
        return 0 if attacks else 2
    kept: dict[str, Any] = {}
    if options.json and options.json.exists():
        kept = json.loads(options.json.read_text())
    part, alone = (0.2, 0.2) if options.quick else (1.0, 1.0)
    held = count = 0
    print(table.HEAD, flush=True)
    with MockCluster() as cluster:
        for outcome in play(cluster.bootstrap, attacks, part, alone):
            print(table.line(outcome), flush=True)
            held, count = held + outcome.held, count + 1
            if options.json:
                kept[table.key(outcome)] = table.kept(outcome)
                options.json.write_text(json.dumps(kept, indent=1))
    print(f"{held} of {count} held")
    return 0 if held == count else 1


if __name__ == "__main__":
    sys.exit(main())
