"""What is attacked, and what an attacker can do to it."""

from __future__ import annotations

import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from attrs import define, field

from attacks.attack import CLIENTS, MEGABYTE, Attack, Good, Outcome
from attacks.good import GoodClients
from attacks.raw import Raw
from faults import ticking
from tests.certificates import Authority
from tests.integration.clients import HOST
from tests.integration.server import Process, Topics, process

ROOT = str(Path(__file__).resolve().parent.parent)

_UNHANDLED = re.compile(r"Traceback|Unhandled|Fatal Python error|Segmentation")


@define(eq=False)
class Target:
    """A server under attack.

    :ivar way: its plain requests go. :ivar topics: it writes to. :ivar notes: figures of the attack, by name with unit.
    :ivar deadline: when an attack that takes the time it is given has to end.
    """

    way: str
    topics: Topics
    server: Process
    good: GoodClients
    ticks: Path
    ca: Path | None = None
    notes: dict[str, float] = field(factory=dict)
    deadline: float = 0.0
    _read: int = 0

    @property
    def http(self) -> int:
        return self.server.http

    @property
    def grpc(self) -> int:
        return self.server.grpc

    # For attackers

    @property
    def time_left(self) -> bool:
        """For an attack that goes on by itself: whether it should."""
        return time.monotonic() < self.deadline

    def connect(self, source: str = HOST, buffer: int | None = None, port: int | None = None) -> Raw:
        """A connection to the HTTP port. :param source: address. :param buffer: bytes of the receive buffer.
        :param port: another one."""
        made = socket.socket()
        if buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source != HOST:
            made.bind((source, 0))
        made.settimeout(10.0)
        made.connect((HOST, port or self.http))
        return Raw(made)

    def memory(self) -> int:
        """Bytes that the server has."""
        return self._status("VmRSS")

    def descriptors(self) -> int:
        """Files and sockets that the server has open."""
        return sum(1 for _ in Path(f"/proc/{self.server.pid}/fd").iterdir())

    def processor(self) -> float:
        """Seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def worst_delay(self) -> float:
        """Seconds that its reactor was not free, at most, since the attack began, waits for a core apart."""
        return ticking.own(self.ticks)

    def log_since(self) -> str:
        """What the server has logged since this was asked last."""
        log = self.server.log
        new, self._read = log[self._read :], len(log)
        return new

    # For `play`

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def _forget_peak(self) -> None:
        Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")

    def suffer(self, attack: Attack, part: float = 1.0, alone: float = 1.0) -> Outcome:
        """Let an attack happen. :param part: of its time. :param alone: seconds that good clients have before."""
        faults: list[str] = []
        self.notes, self._read = {}, len(self.server.log)
        self.good.seen()
        time.sleep(alone)
        by_themselves = self.good.seen()
        before = self.memory()
        self._forget_peak()
        ticking.reset(self.ticks)
        began, times = time.monotonic(), 0
        self.deadline = began + attack.seconds * part
        while not times or (self.time_left and not faults):
            times += 1
            try:
                attack.run(self)
            except Exception as problem:
                faults.append(str(problem) or repr(problem))
        took = time.monotonic() - began
        meanwhile, most, after = {name: _nobody() for name in CLIENTS}, before, before
        try:
            meanwhile, most, after = self.good.seen(), self._status("VmHWM"), self.memory()
        except (OSError, AssertionError):
            faults.append("the server is gone")
        for name, seen in meanwhile.items():
            if seen.failed:
                faults.append(f"{seen.failed} of {seen.sent} batches of {name} failed: {seen.reason}")
        if most - before > attack.memory * MEGABYTE:
            faults.append(f"grew by {(most - before) / MEGABYTE:.0f} MB")
        faults += [f"logged: {line}" for line in self.log_since().splitlines() if _UNHANDLED.search(line)][:3]
        return Outcome(
            name=attack.name,
            subject=attack.subject,
            does=attack.does,
            limit=attack.limit,
            number=attack.number,
            way=self.way,
            faults=faults,
            alone=by_themselves,
            attacked=meanwhile,
            before=before,
            most=most,
            after=after,
            delay=ticking.own(self.ticks),
            seconds=took,
            times=times,
            notes=dict(self.notes),
        )


def _nobody() -> Good:
    return Good(sent=1, failed=1, reason="the server is gone", p50=0.0, p99=0.0, worst=0.0)


@contextmanager
def target(broker: str, way: str, settings: Mapping[str, object], tls: bool = False) -> Iterator[Target]:
    """A server that is there to be attacked, and good clients that it has served once."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name, ExitStack() as stack:
        folder = Path(name)
        ticks = folder / "ticks"
        ticking.prepare(ticks)
        ca = None
        more: dict[str, object] = {"pythonpath": ROOT, "log.level": "info", **settings}
        if tls:
            authority = Authority(folder)
            ca = Path(authority.path)
            pair = authority.issue("server")
            more |= {"server.tls.certificate": pair.certificate, "server.tls.private_key": pair.key}
        command = (sys.executable, "-m", "attacks.served", str(ticks), way, "server")
        topics = Topics(broker)
        running = stack.enter_context(_silently(process(topics, 1, more, command=command, loud=True)))
        good = GoodClients(running.http, running.grpc, ca)
        stack.callback(good.close)
        yield Target(way, topics, running, good, ticks, ca)


@contextmanager
def _silently(process: AbstractContextManager[Process]) -> Iterator[Process]:
    """Without its log on the screen."""
    with ExitStack() as stack:
        running = stack.enter_context(process)
        try:
            yield running
        finally:
            with redirect_stdout(StringIO()):
                stack.close()
