"""A server of our own to measure: ``raccoon server`` with a broker inside, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from attrs import frozen

from raccoon_tx.bench.address import Address

#: Seconds that it may take to start, and to stop.
PATIENCE = 20.0

_COMMAND = "from raccoon_tx.cli import main; main()"
_READY = re.compile(r"is ready: HTTP port (\d+) .*, gRPC port (\d+),")
_HOST = "127.0.0.1"


class DoesNotStart(Exception):
    """The text says what it said."""


@frozen
class OwnServer:
    """One that runs."""

    _process: subprocess.Popen[bytes]
    _http: int
    _grpc: int

    def address(self, transport: str) -> Address:
        """Where it takes events."""
        return Address(transport, _HOST, self._grpc if transport == "grpc" else self._http)

    def cpu(self) -> float | None:
        """Seconds of processor time of all its threads; nothing where the system does not tell."""
        try:
            return time.clock_gettime((~self._process.pid << 3) | 2)  # Linux: the clock of a process
        except OSError:
            return None


@contextmanager
def own_server(id_header: str, ack: int) -> Iterator[OwnServer]:
    """A server that takes events, until the end. :raises DoesNotStart: it does not."""
    flags = {
        "server.host": _HOST,
        "server.websocket.port": 0,
        "server.grpc.host": _HOST,
        "server.grpc.port": 0,
        "server.websocket.conn.id.header": id_header,
        "server.drain.window.ms": 0,
        "publisher.type": "embedded",
        "event.ack": ack,
    }
    # It is measured as it is by default, whatever is set for servers that are started here.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="raccoon-bench-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, "server", *(f"--{name}={value}" for name, value in flags.items())],
                cwd=folder,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: the results come first
            )
        try:
            yield _wait_until_ready(process, log)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> OwnServer:
    limit = time.monotonic() + PATIENCE
    opener = build_opener(ProxyHandler({}))
    while True:
        said = log.read_text("utf-8", "replace")
        if process.poll() is not None or time.monotonic() > limit:
            raise DoesNotStart(f"the server does not start: {said.strip() or 'it says nothing'}")
        if ready := _READY.search(said):
            try:
                opener.open(f"http://{_HOST}:{ready[1]}/readyz", timeout=PATIENCE).close()
            except (URLError, OSError):
                pass
            else:
                return OwnServer(process, int(ready[1]), int(ready[2]))
        time.sleep(0.02)
