"""What a scenario plays on: Kafka behind a proxy, a server that comes and goes, clients, and what they leave behind."""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

from attrs import define, field, frozen

from faults import ticking
from faults.checker import Verdict, check
from faults.clients import Clients
from faults.journal import KIND, Journal, longest_gap
from faults.proxy import HOST, Proxy
from tests.integration.clients import request
from tests.integration.kafka_node import KafkaNode, free_ports
from tests.integration.load import eventually
from tests.integration.server import Process, Topics, process

ROOT = str(Path(__file__).resolve().parent.parent)

#: Seconds that a spool may take to be empty again.
DRAINED = 120.0

#: What nobody wants to read in a log.
_UNHANDLED = re.compile(r"Traceback|Unhandled|Fatal Python error|Segmentation")


@frozen(kw_only=True)
class Mode:
    """How a server is set up. :ivar ack: its ``event.ack``. :ivar spool: whether it has one."""

    ack: int
    spool: bool

    def __str__(self) -> str:
        return f"ack {self.ack}{', spool' if self.spool else ''}"

    @property
    def survives_kill(self) -> bool:
        """Whether success means that the event is somewhere a crash cannot reach."""
        return self.ack > 0

    @property
    def survives_outage(self) -> bool:
        """Whether a stop without Kafka keeps what was acknowledged."""
        return self.ack > 0 or self.spool


#: ack 2 is nothing without a spool.
MODES = (
    Mode(ack=0, spool=False),
    Mode(ack=0, spool=True),
    Mode(ack=1, spool=False),
    Mode(ack=1, spool=True),
    Mode(ack=2, spool=True),
)


@frozen(kw_only=True)
class Outcome:
    """What came of a scenario.

    :ivar gap: seconds in which nobody was answered with success. :ivar slowest: answer. :ivar delay: worst of the
        reactor's. :ivar own: the same without what its thread waited for a core.
    :ivar memory: most that a server took, in bytes. :ivar unhandled: lines of logs.
    :ivar strange: answers that no server may give, and what else was not as it has to be.
    :ivar notes: figures of the scenario itself. :ivar may_lose: the promise does not cover this.
    """

    row: str
    mode: str
    seconds: float
    verdict: Verdict
    gap: float
    slowest: float
    delay: float
    own: float
    memory: int
    unhandled: int
    strange: list[str]
    notes: dict[str, float] = field(factory=dict)
    may_lose: bool = False
    may_duplicate: bool = True

    @property
    def faults(self) -> list[str]:
        """Why it fails; empty if it does not."""
        told = [*self.strange]
        if self.verdict.lost and not self.may_lose:
            told.append(f"{self.verdict.lost} events were lost, such as {', '.join(self.verdict.examples)}")
        if self.verdict.duplicates and not self.may_duplicate:
            told.append(f"{self.verdict.duplicates} records stand there again")
        if self.verdict.closed_but_present:
            told.append(f"{self.verdict.closed_but_present} events are there that a closed WebSocket did not take")
        if self.verdict.foreign:
            told.append(f"{self.verdict.foreign} values that nobody sent")
        if self.unhandled:
            told.append(f"{self.unhandled} lines of tracebacks")
        if not self.verdict.acknowledged:
            told.append("nothing was acknowledged at all")
        return told


@define(eq=False)
class Kafka:
    """A real node behind a proxy. :ivar around: the address that goes around it."""

    proxy: Proxy
    node: KafkaNode

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.proxy.port}"

    def heal(self) -> None:
        self.node.start()
        self.proxy.heal()


@contextmanager
def kafka() -> Iterator[Kafka]:
    """One of its own."""
    proxy = Proxy(free_ports(1)[0])
    try:
        with KafkaNode(proxy.port) as node:
            proxy.target = node.behind
            yield Kafka(proxy, node)
    finally:
        proxy.close()


@define(eq=False)
class Stage:
    """:ivar wrapped: a command that runs the server's. :ivar http: :ivar grpc: of the server that runs, or ran last.
    :ivar statuses: with which they ended."""

    kafka: Kafka
    mode: Mode
    rng: random.Random
    folder: Path
    settings: Mapping[str, object] = field(factory=dict)
    wrapped: Sequence[str] = ()
    topics: Topics = field(init=False)
    http: int = field(default=1, init=False)
    grpc: int = field(default=1, init=False)
    server: Process | None = field(default=None, init=False)
    clients: list[Clients] = field(factory=list, init=False)
    statuses: list[int] = field(factory=list, init=False)
    notes: dict[str, float] = field(factory=dict, init=False)
    logs: list[str] = field(factory=list, init=False)
    strange: list[str] = field(factory=list, init=False)
    memory: list[tuple[float, int]] = field(factory=list, init=False)
    _running: ExitStack | None = field(default=None, init=False)
    _over: Flag = field(factory=Flag, init=False)

    def __attrs_post_init__(self) -> None:
        self.topics = Topics(self.kafka.bootstrap)
        # One partition: what comes before what is a question only within one.
        self.kafka.node.create_topic(self.topics.topic(KIND), partitions=1)
        ticking.prepare(self.ticks)
        Thread(target=self._watch_memory, daemon=True).start()

    @property
    def ticks(self) -> Path:
        return self.folder / "ticks"

    def start(self) -> None:
        """Start a server on what the last one left."""
        settings: dict[str, object] = {"pythonpath": ROOT, "publisher.kafka.flush.interval.ms": 2000, **self.settings}
        if self.mode.spool:
            settings.setdefault("spool.path", self.folder / "spool")
            settings.setdefault("spool.min_free_bytes", 0)
        command = (*self.wrapped, sys.executable, "-m", "faults.ticking", str(self.ticks), "server")
        self._running = ExitStack()
        running: AbstractContextManager[Process] = process(
            self.topics, self.mode.ack, settings, command=command, loud=True
        )
        self.server = self._running.enter_context(running)
        self.http, self.grpc = self.server.http, self.server.grpc

    def begin(self, batches: int = 5, pipelines: int = 1) -> Clients:
        """Start a server if there is none, and clients, and wait until all of them have been served."""
        if self.server is None:
            self.start()
        clients = Clients(self, pipelines=pipelines)
        self.clients.append(clients)
        if batches:
            clients.wait_for_more(batches)
        return clients

    def end(self, number: int = signal.SIGTERM, patience: float = 60.0) -> int:
        """Send a signal and wait for the end. :return: the exit status."""
        assert self.server is not None
        self.server.signal(number)
        return self.ended(patience)

    def ended(self, patience: float = 60.0) -> int:
        """Wait for the end of a server that was sent a signal."""
        assert self.server is not None
        assert self._running is not None
        try:
            status = self.server.wait(patience)
            self.statuses.append(status)
            return status
        finally:
            self.logs.append(self.server.log)
            self.server = None
            with redirect_stdout(StringIO()):
                self._running.close()

    def pause(self, least: float, most: float) -> None:
        """A random while."""
        time.sleep(self.rng.uniform(least, most))

    def parts(self) -> dict[str, Any]:
        """What the server says of its parts; nothing, if it does not."""
        with suppress(OSError, ValueError, KeyError):
            found: dict[str, Any] = json.loads(request(self, "GET", "/readyz").body)["parts"]
            return found
        return {}

    def spooled(self) -> int:
        """Batches on the disk, by the server's word; -1 if it says nothing."""
        return int(self.parts().get("spool", {}).get("batches", -1))

    def drained(self) -> None:
        """Wait until the spool is empty, if there is one."""
        if self.mode.spool:
            eventually(lambda: self.spooled() == 0, DRAINED)

    def require(self, true: object, otherwise: str) -> None:
        """What has to be so, beside nothing being lost."""
        if not true:
            self.strange.append(otherwise)

    def finish(self) -> list[bytes]:
        """Heal, drain, stop in good order, and read everything."""
        self.kafka.heal()
        if self.server is None:
            self.start()
        for clients in self.clients:
            clients.finish()
        self.drained()
        status = self.end()
        self.require(status == 0, f"the last server ended with status {status}")
        topic = self.topics.topic(KIND)
        around = Topics(self.kafka.node.bootstrap, self.topics.word)
        self._over.set()
        found: list[bytes] = around.read(KIND)[KIND]
        assert topic == around.topic(KIND)
        return found

    def close(self) -> None:
        """End what a scenario left running when it broke off."""
        self._over.set()
        self.kafka.heal()
        for clients in self.clients:
            clients.enough()
        if self.server is not None:
            with suppress(AssertionError):
                self.end(signal.SIGKILL)

    def _watch_memory(self) -> None:
        while not self._over.wait(0.25):
            server = self.server
            with suppress(OSError, AttributeError):
                status = Path(f"/proc/{server.pid}/status").read_text()  # type: ignore[union-attr]
                resident = re.search(r"VmRSS:\s+(\d+) kB", status)
                if resident:
                    self.memory.append((time.monotonic(), int(resident[1]) * 1024))


Scenario = Callable[[Stage], None]


def play(
    row: str,
    scenario: Scenario,
    kafka: Kafka,
    mode: Mode,
    seed: int,
    settings: Mapping[str, object] | None = None,
    may_lose: bool = False,
    may_duplicate: bool = True,
    keep: Path | None = None,
    wrapped: Sequence[str] = (),
) -> Outcome:
    """One scenario, from an empty topic to a verdict.

    :param keep: a folder for the logs, if it fails. :param wrapped: a command that runs the server's.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        rng = random.Random(f"{seed} {row} {mode}")
        stage = Stage(kafka, mode, rng, Path(folder), settings or {}, wrapped)
        began = time.monotonic()
        try:
            scenario(stage)
            ended = time.monotonic()
            found = stage.finish()
        finally:
            stage.close()
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                name = re.sub(r"\W+", "-", f"{row} {mode}")
                (keep / f"{name}.log").write_text("\n=== next server\n".join(stage.logs))
        journals: list[Journal] = [journal for clients in stage.clients for journal in clients.journals]
        first = min((journal.successes[0] for journal in journals if journal.successes), default=began)
        unhandled = sum(bool(_UNHANDLED.search(line)) for log in stage.logs for line in log.splitlines())
        return Outcome(
            row=row,
            mode=str(mode),
            seconds=time.monotonic() - began,
            verdict=check(journals, found),
            gap=longest_gap(journals, first, ended) if ended > first else 0.0,
            slowest=max((journal.slowest for journal in journals), default=0.0),
            delay=ticking.worst(stage.ticks),
            own=ticking.own(stage.ticks),
            memory=max((resident for _, resident in stage.memory), default=0),
            unhandled=unhandled,
            strange=[*stage.strange, *(strange for journal in journals for strange in journal.strange)],
            notes={**stage.notes},
            may_lose=may_lose,
            may_duplicate=may_duplicate,
        )
