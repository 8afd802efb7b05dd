"""A server whose WebSockets echo, for the Autobahn testsuite: ``python -m faults.echo lane|stock server``.

All but the application is what runs in production: the port, the upgrade, the factory with its limits, both lanes.
"""

from __future__ import annotations

import sys
from functools import partial

from raccoon_tx import runner
from raccoon_tx.cli import main as command
from raccoon_tx.transports.websocket import EventSocket


def _again(self: EventSocket, payload: bytes, isBinary: bool) -> None:
    if self.state == self.STATE_OPEN:
        self.send_message(payload, isBinary)


def main() -> None:
    lane = sys.argv.pop(1) == "lane"
    EventSocket.onMessage = _again  # type: ignore[method-assign]
    runner.build_all = partial(runner.build_all, lane=lane)
    command()


if __name__ == "__main__":
    main()
