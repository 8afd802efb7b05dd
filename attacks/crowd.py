"""Thousands of WebSockets that say no more than they have to, from a process of their own.

``python -m attacks.crowd PORT SOURCE COUNT`` connects from one address, a window at a time, and prints how that went.
A line of its input has all of them go without a word and come back at once; the end of it ends them.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from attacks.raw import handshake
from tests.integration.clients import HOST

#: Handshakes under way while they come at their leisure.
WINDOW = 200

#: Seconds that all of them may take.
PATIENCE = 90.0

#: Seconds after which a client tries again.
AGAIN = 1.0

_PING, _PONG = b"\x89\x08--ping--", b"\x8a\x88" + bytes(4) + b"--ping--"


class _Crowd:
    """The clients. :ivar up: those that were let in. :ivar lost: connections that ended; a client tries again."""

    def __init__(self, port: int, source: str, count: int) -> None:
        self.port, self.source, self.count = port, source, count
        self.poll = select.epoll()
        self.open: dict[int, socket.socket] = {}
        self.up: set[int] = set()
        self.lost = 0
        self.due: deque[float] = deque()

    def come(self, window: int) -> dict[str, float]:
        """Connect. :return: how many were let in, and in how many seconds."""
        began, self.lost = time.monotonic(), 0
        self.due = deque([began] * self.count)
        while len(self.up) < self.count and time.monotonic() < began + PATIENCE:
            while self.due and self.due[0] <= time.monotonic() and len(self.open) - len(self.up) < window:
                self.due.popleft()
                self._connect()
            self._turn(0.1)
        return {"up": len(self.up), "lost": self.lost, "seconds": round(time.monotonic() - began, 2)}

    def _connect(self) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.bind((self.source, 0))
        if made.connect_ex((HOST, self.port)) not in (0, errno.EINPROGRESS):
            made.close()
            self._again()
            return
        self.open[made.fileno()] = made
        self.poll.register(made, select.EPOLLOUT)

    def _turn(self, seconds: float) -> None:
        for number, event in self.poll.poll(seconds):
            made = self.open[number]
            try:
                if event & select.EPOLLOUT:
                    made.send(handshake(client=f"{self.source} {number}".encode()))
                    self.poll.modify(number, select.EPOLLIN)
                    continue
                data = made.recv(4096)
                if not data:
                    raise ConnectionResetError
                if number not in self.up:
                    if not data.startswith(b"HTTP/1.1 101 "):
                        raise ConnectionResetError
                    self.up.add(number)
                for _ in range(data.count(_PING)):
                    made.send(_PONG)
            except OSError:
                self._forget(number)

    def _again(self) -> None:
        self.lost += 1
        self.due.append(time.monotonic() + AGAIN)

    def _forget(self, number: int) -> None:
        self._again()
        self.up.discard(number)
        self.poll.unregister(number)
        self.open.pop(number).close()

    def stay(self) -> bool:
        """Answer pings until there is a line of input. :return: whether there was one, not the end of it."""
        self.poll.register(sys.stdin, select.EPOLLIN)
        self.open[sys.stdin.fileno()] = socket.socket()
        while True:
            for number, _ in self.poll.poll(1.0):
                if number == sys.stdin.fileno():
                    self.poll.unregister(sys.stdin)
                    self.open.pop(number).close()
                    return bool(sys.stdin.readline())
                break
            self._turn_of_clients()

    def _turn_of_clients(self) -> None:
        self.poll.unregister(sys.stdin)
        self._turn(0.0)
        self.poll.register(sys.stdin, select.EPOLLIN)

    def go(self) -> None:
        """Be gone, without a word."""
        for number in list(self.open):
            self._forget(number)


def main() -> None:
    port, source, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    crowd = _Crowd(port, source, count)
    print(json.dumps(crowd.come(WINDOW)), flush=True)
    while crowd.stay():
        crowd.go()
        print(json.dumps(crowd.come(count)), flush=True)
    crowd.go()


class Crowd:
    """Such processes, from outside. :ivar up: connections that were let in at last."""

    def __init__(self, port: int, count: int, processes: int) -> None:
        pipe, root = subprocess.PIPE, Path(__file__).resolve().parent.parent
        share = count // processes
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "attacks.crowd", str(port), f"127.0.{number}.1", str(share)],
                cwd=root,
                stdin=pipe,
                stdout=pipe,
                text=True,
            )
            for number in range(1, processes + 1)
        ]
        self.seconds, self.up, self.lost = 0.0, 0, 0
        self._hear()

    def _hear(self) -> None:
        told = [json.loads(process.stdout.readline()) for process in self._processes if process.stdout is not None]
        self.seconds = max(each["seconds"] for each in told)
        self.up, self.lost = sum(each["up"] for each in told), sum(each["lost"] for each in told)

    def again(self) -> None:
        """All of them go, and come back at once. Blocks until they are there."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        self._hear()

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(60.0)


if __name__ == "__main__":
    main()
