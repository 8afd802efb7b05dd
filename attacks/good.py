"""Good clients, one for each transport, in a process of their own: the attacker must not take their time.

``python -m attacks.good HTTP GRPC [CA]`` sends until its input ends. For each line of it, it prints what was seen since
the last.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread

import grpc
from attrs import asdict, define, field
from websockets.sync.client import connect

from attacks.attack import CLIENTS, Good
from tests.integration.batches import Batch, Event, Said, said
from tests.integration.clients import EVENTS, HOST, ID_HEADER, TIMEOUT, ask, call

#: The type of their events.
KIND = "good"

#: Seconds between an answer and the next batch, and before a connection that follows a broken one.
PACE, AGAIN = 0.008, 0.1

#: Seconds that a client may take to end what it is at.
PATIENCE = 2 * TIMEOUT

Send = Callable[[Batch], Said]


@contextmanager
def _websocket(http: int, _grpc: int, ca: Path | None) -> Iterator[Send]:
    trust = ssl.create_default_context(cafile=ca) if ca else None
    address = f"{'wss' if ca else 'ws'}://{HOST}:{http}{EVENTS}"
    headers = {ID_HEADER: "good websocket"}
    with connect(address, ssl=trust, additional_headers=headers, proxy=None, open_timeout=TIMEOUT) as opened:
        yield lambda batch: ask(opened, batch.written("proto"))


@contextmanager
def _rest(http: int, _grpc: int, ca: Path | None) -> Iterator[Send]:
    headers = {"Content-Type": "application/json", ID_HEADER: "good rest"}
    if ca:
        made: HTTPConnection = HTTPSConnection(
            HOST, http, timeout=TIMEOUT, context=ssl.create_default_context(cafile=ca)
        )
    else:
        made = HTTPConnection(HOST, http, timeout=TIMEOUT)
    with closing(made) as kept_alive:

        def send(batch: Batch) -> Said:
            kept_alive.request("POST", EVENTS, batch.written("json"), headers)
            return said(kept_alive.getresponse().read())

        yield send


@contextmanager
def _grpc(_http: int, port: int, ca: Path | None) -> Iterator[Send]:
    options = [("grpc.enable_http_proxy", 0)]
    address = f"{HOST}:{port}"
    if ca:
        made = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes()), options)
    else:
        made = grpc.insecure_channel(address, options)
    with made as opened:
        yield lambda batch: call(opened, batch, client="good grpc")


_OPEN = {"websocket": _websocket, "rest": _rest, "grpc": _grpc}


@define(eq=False)
class _Client:
    """One of them, in a thread."""

    name: str
    http: int
    grpc: int
    ca: Path | None
    enough: Flag
    _lock: Lock = field(factory=Lock)
    _times: list[float] = field(factory=list)
    _failures: list[str] = field(factory=list)
    _done: int = 0

    def run(self) -> None:
        while not self.enough.is_set():
            began = time.monotonic()
            try:
                with _OPEN[self.name](self.http, self.grpc, self.ca) as send:
                    while not self.enough.is_set():
                        batch = Batch(f"{self.name} {self._done}", *[Event(KIND, b"x" * 100)] * 5)
                        began = time.monotonic()
                        answer = send(batch)
                        self._note(began, "" if answer["status"] == 1 else str(answer))
                        self.enough.wait(PACE)
            except Exception as problem:  # whatever it is, it is the batch that was under way that failed
                self._note(began, " ".join(repr(problem).split())[:200])
                self.enough.wait(AGAIN)

    def _note(self, began: float, failure: str) -> None:
        with self._lock:
            self._done += 1
            self._times.append(time.monotonic() - began)
            if failure:
                self._failures.append(failure)

    def seen(self) -> Good:
        """What came since the last call, and of the batch that is under way."""
        deadline, before = time.monotonic() + PATIENCE, self._done
        while self._done == before and time.monotonic() < deadline:
            time.sleep(0.002)
        with self._lock:
            times, self._times = sorted(self._times), []
            failures, self._failures = self._failures, []
        if not times:
            times, failures = [PATIENCE], ["nothing came back at all"]

        def rank(part: float) -> float:
            return round(times[min(len(times) - 1, int(len(times) * part))] * 1000, 3)

        first = failures[0] if failures else ""
        return Good(sent=len(times), failed=len(failures), reason=first, p50=rank(0.5), p99=rank(0.99), worst=rank(1))


def main() -> None:
    http, port, *ca = sys.argv[1:]
    enough = Flag()
    clients = [_Client(name, int(http), int(port), Path(ca[0]) if ca else None, enough) for name in CLIENTS]
    threads = [Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for _ in sys.stdin:
        print(json.dumps({client.name: asdict(client.seen()) for client in clients}), flush=True)
    enough.set()
    for thread in threads:
        thread.join(1.0)


class GoodClients:
    """The process, from outside."""

    def __init__(self, http: int, grpc: int, ca: Path | None = None) -> None:
        command = [sys.executable, "-m", "attacks.good", str(http), str(grpc), *([str(ca)] if ca else [])]
        root = Path(__file__).resolve().parent.parent
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True)
        self.seen()
        time.sleep(0.5)  # the first have to find the topic
        self.seen()

    def seen(self) -> dict[str, Good]:
        """What each of them saw since the last call. Blocks until each has had one answer more, or none for long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {name: Good(**values) for name, values in json.loads(self._process.stdout.readline()).items()}

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=PATIENCE)


if __name__ == "__main__":
    main()
