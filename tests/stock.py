"""The program, with all requests on the way of the odd ones:

python -m pytest tests/conformance --server-command 'python -m tests.stock server'
"""

from __future__ import annotations

from functools import partial

from raccoon_tx import runner
from raccoon_tx.cli import main

if __name__ == "__main__":
    runner.build_all = partial(runner.build_all, lane=False)
    main()
