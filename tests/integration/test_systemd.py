"""A server under systemd: what it says to a socket like systemd's, by the commands an operator's unit runs."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Thread
from uuid import uuid4

import pytest
from attrs import define, field

from raccoon_tx.systemd import ALIVE, STOPPING
from tests.integration.clients import request
from tests.integration.server import PATIENCE, RACCOON, TWISTD, Topics, process

#: In microseconds, so that signs of life come soon.
WATCHDOG = 400_000

_END = b"END"


@define
class Manager:
    """Takes all that it is told at once, as systemd does. :ivar address: for ``NOTIFY_SOCKET``."""

    address: str = field(factory=lambda: f"@raccoon-{uuid4().hex}")
    _socket: socket.socket = field(factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    _said: Queue[str] = field(factory=Queue)

    def run(self) -> Iterator[Manager]:
        with self._socket:
            self._socket.bind("\0" + self.address[1:])
            reader = Thread(target=self._read)
            reader.start()
            try:
                yield self
            finally:
                self._tell_end()
                reader.join()

    def _read(self) -> None:
        while (word := self._socket.recv(1000)) != _END:
            self._said.put(word.decode())

    def _tell_end(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(_END, "\0" + self.address[1:])

    def next(self) -> str:
        """What it was told next. Blocks."""
        return self._said.get(timeout=PATIENCE)

    def next_but_signs(self) -> str:
        """What it was told next that is no sign of life. Blocks; signs come for as long as nothing else does."""
        for _ in range(int(PATIENCE / (WATCHDOG / 2_000_000))):
            if (word := self.next()) != ALIVE:
                return word
        raise AssertionError("nothing but signs of life")

    def rest(self) -> set[str]:
        """What else there was."""
        found = set()
        while not self._said.empty():
            found.add(self._said.get())
        return found


@pytest.fixture
def manager() -> Iterator[Manager]:
    yield from Manager().run()


@pytest.mark.parametrize(("command", "workers"), [(RACCOON, 1), (RACCOON, 2), (TWISTD, 1)])
def test_notified(broker: str, manager: Manager, command: Iterable[str], workers: int) -> None:
    """It is ready once, when its ports are open; gives signs of life; and says once that it stops."""
    settings = {"notify.socket": manager.address, "watchdog.usec": WATCHDOG, "server.workers": workers}
    with process(Topics(broker), settings=settings, command=command) as server:
        assert request(server, "GET", "/ping").status == 200
        ready = manager.next_but_signs()
        assert ready == f"READY=1\nSTATUS=HTTP port {server.http}, gRPC port {server.grpc}"
        assert manager.next() == ALIVE
        assert server.stop() == 0
        assert manager.next_but_signs() == STOPPING
        assert manager.rest() <= {ALIVE}
