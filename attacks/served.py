"""A server that is attacked, and measures its delays: ``python -m attacks.served FILE lane|stock server``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from attacks.attack import STOCK
from faults.ticking import tick


def main() -> None:
    path, way = Path(sys.argv.pop(1)), sys.argv.pop(1)
    from raccoon_tx import reactor, runner
    from raccoon_tx.cli import main as command

    if way == STOCK:
        runner.build_all = partial(runner.build_all, lane=False)
    reactor.install()
    tick(path)
    command()


if __name__ == "__main__":
    main()
