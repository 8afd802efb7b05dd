"""Tests of `raccoon_tx.workers.crew` and `raccoon_tx.workers.process`, with processes that are none."""

from __future__ import annotations

import json
import pickle
import socket
from typing import Any

from attrs import evolve
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.dedup import Guids
from raccoon_tx.logs import json_line
from raccoon_tx.metrics.families import Families
from raccoon_tx.model import Identity
from raccoon_tx.settings import (
    GrpcSettings,
    HttpSettings,
    IdentitySettings,
    LogSettings,
    RateLimitSettings,
    RoutingSettings,
    Settings,
)
from raccoon_tx.transports.admission import Admission
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.listen import PortTaken
from raccoon_tx.workers.backoff import FIRST, MOST, PROVED, Backoff
from raccoon_tx.workers.collect import Collector
from raccoon_tx.workers.crew import STUCK_IN_A_HURRY, Crew
from raccoon_tx.workers.merge import Totals
from raccoon_tx.workers.messages import (
    Change,
    Counted,
    Enter,
    Failed,
    Frames,
    Hurry,
    LetIn,
    Message,
    Ready,
    Start,
    Stop,
    frame,
    to_samples,
)
from raccoon_tx.workers.patience import Patience
from raccoon_tx.workers.ports import reserve
from raccoon_tx.workers.process import DOWN, UP, Process, relay
from tests.test_workers_merge import READ, counts

HOST = "127.0.0.1"

SETTINGS = Settings(
    identity=IdentitySettings(id_header="X-User-ID"),
    http=HttpSettings(host=HOST, port=0),
    grpc=GrpcSettings(host=HOST, port=0),
    workers=2,
)


class Spawned:
    """The transport of a process. :ivar told: what the process was told. :ivar signals: it was sent."""

    def __init__(self, process: Process, pid: int) -> None:
        self.process = process
        self.pid: int | None = pid
        self.told: list[Message] = []
        self.signals: list[str] = []
        self._frames = Frames()
        process.makeConnection(self)  # type: ignore[arg-type]

    def writeToChild(self, fd: int, data: bytes) -> None:
        assert fd == DOWN
        self.told += self._frames.add(data)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def tell(self, *messages: Message) -> None:
        """The process says something."""
        self.process.childDataReceived(UP, frame(messages))

    def end(self, status: int | None = 0, signal: int | None = None) -> None:
        """The process ends."""
        self.pid = None
        how = ProcessDone(0) if status == 0 else ProcessTerminated(status, signal)
        self.process.processEnded(Failure(how))


class CrewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.spawned: list[Spawned] = []
        self.announced: list[tuple[int, int]] = []
        self.given_up = 0
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.connections = Connections(10)
        clock: Any = self.clock
        self.crew = Crew(
            clock,
            SETTINGS,
            Admission(self.connections, "reject", clock),
            Guids(10, 10.0, clock.seconds),
            False,
            lambda http, grpc: self.announced.append((http, grpc)),
            self.give_up,
            self.spawn,
        )
        self.crew.collector = Collector(clock, Totals("kafka", 200), self.crew.ready)

    def observe(self, event: Any) -> None:
        self.lines.append(json.loads(json_line(event))["msg"])

    def give_up(self) -> None:
        self.given_up += 1

    def spawn(self, process: Process, executable: str, arguments: Any, environment: Any, childFDs: Any) -> None:
        self.files = childFDs
        self.spawned.append(Spawned(process, 100 + len(self.spawned)))

    def start(self, ready: bool = True) -> list[Spawned]:
        self.crew.privilegedStartService()
        self.crew.startService()
        self.addCleanup(self.close)
        if ready:
            for spawned in self.spawned:
                spawned.tell(Ready(1, 2))
        return self.spawned

    def close(self) -> None:
        for kept in self.crew._kept:
            kept.close()

    def test_start(self) -> None:
        """Each worker is told the settings, with the ports that all of them share."""
        one, other = self.start(ready=False)
        for spawned in (one, other):
            [start] = spawned.told
            assert isinstance(start, Start)
            settings: Settings = pickle.loads(start.settings)
            self.assertEqual(evolve(settings, http=SETTINGS.http, grpc=SETTINGS.grpc), SETTINGS)
            self.assertEqual((settings, start.log_format), (self.crew.settings, "text"))
            self.assertNotIn(0, (settings.http.port, settings.grpc.port))
        self.assertEqual({number: to for number, to in self.files.items() if number}, {1: 1, 2: 2, 3: "w", 4: "r"})

    def test_ready(self) -> None:
        """The server is ready when all workers are."""
        one, other = self.start(ready=False)
        one.tell(Ready(1, 2))
        self.assertEqual(self.announced, [])
        other.tell(Ready(1, 2))
        self.assertEqual(self.announced, [(1, 2)])
        self.assertEqual(self.crew.pids(), {"worker-0": 100, "worker-1": 101})

    def test_taken_port(self) -> None:
        """A port that somebody else listens on keeps it from starting; nothing is started."""
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            self.crew.settings = evolve(SETTINGS, grpc=GrpcSettings(host=HOST, port=port))
            problem = self.assertRaises(PortTaken, self.crew.privilegedStartService)
        self.assertEqual(
            str(problem), f"cannot listen on gRPC port {HOST}:{port}: Address already in use or not available"
        )
        self.assertEqual(self.spawned, [])

    def test_restart(self) -> None:
        """A worker that ends is started again, after a pause that grows; its connections are gone."""
        one, _ = self.start()
        one.tell(Enter(1, "g", "alice"))
        self.assertEqual(len(self.connections), 1)
        one.end(None, 9)
        self.assertEqual(len(self.connections), 0)
        self.assertIn("worker 0 has ended with signal 9; it is started again in 0.1 s", self.lines)
        self.clock.advance(FIRST)
        third = self.spawned[2]
        third.tell(Ready(1, 2), Enter(1, "g", "alice"))
        self.clock.advance(0)
        self.assertEqual((third.told[1:], third.process.number), ([LetIn(1)], 0))
        self.assertIn("worker 0 is ready again", self.lines)
        self.assertEqual((self.given_up, len(self.announced)), (0, 1))
        third.end(1)
        self.clock.advance(FIRST)
        self.assertEqual(len(self.spawned), 3)
        self.clock.advance(FIRST)
        self.assertEqual(len(self.spawned), 4)

    def test_counters_stay(self) -> None:
        """What a worker had counted is not lost with it."""
        one, other = self.start()
        samples = {
            family.name: to_samples(family.samples)
            for family in Families(counts(0, 5, 0, 1), lambda: 0.0, 10.0).snapshot()
        }
        before = self.crew.collector.snapshot()
        one.tell(Counted(1, samples))
        one.end(None, 9)
        other.tell(Counted(1, samples))
        [read] = [family for family in self.successResultOf(before) if family.name == READ]
        self.assertEqual(read.samples, {("success", "NA", "g"): 10})

    def test_cannot_start(self) -> None:
        """If the workers cannot start, that is the end, with one message and its status."""
        one, other = self.start(ready=False)
        for spawned in (one, other):
            spawned.tell(Failed("the publisher cannot start: no", 2))
        one.end(2)
        self.assertEqual((self.given_up, self.crew.status, self.crew.failed), (1, 2, True))
        self.assertEqual(self.lines.count("the publisher cannot start: no"), 1)
        stopped = self.crew.stopService()
        self.assertNoResult(stopped)
        other.end(2)
        self.successResultOf(stopped)
        self.assertEqual((self.crew.status, len(self.spawned)), (2, 2))

    def test_cannot_start_again(self) -> None:
        """Once it serves, a worker that cannot start is tried again and again."""
        one, _ = self.start()
        one.end(None, 9)
        self.clock.advance(FIRST)
        self.spawned[2].tell(Failed("the publisher cannot start: no", 2))
        self.spawned[2].end(2)
        self.clock.advance(MOST)
        self.assertEqual((len(self.spawned), self.given_up, self.crew.status), (4, 0, 0))
        self.assertIn("worker 0: the publisher cannot start: no", self.lines)

    def test_crash_at_start(self) -> None:
        """One that ends without a word before it was ready is tried again."""
        one, other = self.start(ready=False)
        one.end(None, 11)
        self.clock.advance(FIRST)
        for spawned in (self.spawned[2], other):
            spawned.tell(Ready(1, 2))
        self.assertEqual((self.announced, self.crew.status), ([(1, 2)], 0))

    def test_stop(self) -> None:
        """A stop ends the workers, and waits for them."""
        one, other = self.start()
        stopped = self.crew.stopService()
        self.clock.advance(0)
        self.assertEqual([spawned.told[1:] for spawned in (one, other)], [[Stop()]] * 2)
        one.end()
        self.assertNoResult(stopped)
        other.end()
        self.successResultOf(stopped)
        self.assertEqual((self.crew.status, self.clock.getDelayedCalls()), (0, []))

    def test_abandoned(self) -> None:
        """The status is 3 if a worker had to give up events, and if nobody knows."""
        for status, signal in ((3, None), (None, 9), (1, None)):
            self.spawned.clear()
            self.crew.status = 0
            one, other = self.start()
            stopped = self.crew.stopService()
            one.end(status, signal)
            other.end()
            self.successResultOf(stopped)
            self.assertEqual(self.crew.status, 3)

    def test_stop_while_starting_again(self) -> None:
        """What waits to be started again is not."""
        one, other = self.start()
        one.end(None, 9)
        stopped = self.crew.stopService()
        other.end()
        self.successResultOf(stopped)
        self.clock.advance(MOST)
        self.assertEqual(len(self.spawned), 2)

    def test_hurry(self) -> None:
        """A second signal reaches the workers; one that does not end by that is ended by force."""
        one, other = self.start()
        stopped = self.crew.stopService()
        self.crew.hurry()
        self.clock.advance(0)
        self.assertEqual([spawned.told[1:] for spawned in (one, other)], [[Stop(), Hurry()]] * 2)
        one.end()
        self.clock.advance(STUCK_IN_A_HURRY)
        self.assertEqual((one.signals, other.signals), ([], ["KILL"]))
        other.end(None, 9)
        self.successResultOf(stopped)
        self.assertEqual(self.crew.status, 3)

    def test_stuck(self) -> None:
        """A worker that does not end when it should have is ended by force."""
        one, _ = self.start()
        self.crew.stopService()
        self.clock.advance(120.0)
        self.assertEqual(one.signals, ["KILL"])

    def test_change(self) -> None:
        """What can change reaches all workers, and those that are started later; nothing else does."""
        one, _ = self.start()
        changed = evolve(
            SETTINGS,
            http=HttpSettings(port=9999),
            log=LogSettings(level="debug", format="json"),
            rate_limit=RateLimitSettings(events_per_second=7),
            routing=RoutingSettings(pattern="other", allowed_types=["a"]),
        )
        before = self.crew.settings
        self.crew.change(changed)
        self.clock.advance(0)
        [change] = one.told[1:]
        assert isinstance(change, Change)
        expected = evolve(
            before,
            log=LogSettings(level="debug"),
            rate_limit=RateLimitSettings(events_per_second=7),
            routing=RoutingSettings(allowed_types=["a"]),
        )
        self.assertEqual(pickle.loads(change.settings), expected)
        one.end(None, 9)
        self.clock.advance(FIRST)
        [start] = self.spawned[2].told
        assert isinstance(start, Start)
        self.assertEqual(pickle.loads(start.settings), expected)

    def test_nonsense(self) -> None:
        """A worker that says what nobody understands is ended."""
        one, _ = self.start()
        one.process.childDataReceived(UP, b"\xff" * 9)
        self.assertEqual(one.signals, ["KILL"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_relay(self) -> None:
        """A line of a worker's log becomes one of the parent's, with its number; what it prints does too."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        _, other = self.start()
        line = json_line({"log_format": "{{hello}}", "log_namespace": "raccoon_tx.x", "log_time": 0.0}).encode()
        other.process.childDataReceived(1, line[:20])
        other.process.childDataReceived(1, line[20:] + b"\n")
        other.process.childDataReceived(2, b"Fatal \x1b error\n")
        relay(1, b"[1]")
        found = [json.loads(json_line(event)) for event in events]
        self.assertEqual(
            [(each["msg"], each["level"]) for each in found],
            [
                ("worker 1: {hello}", "info"),
                ("worker 1: Fatal \\x1b error", "warn"),
                ("worker 1: [1]", "warn"),
            ],
        )
        self.assertEqual(found[0]["logger"], "raccoon_tx.x")

    def test_identity(self) -> None:
        """A connection of a worker has the identity that it was told."""
        one, _ = self.start()
        one.tell(Enter(7, "g", "alice"))
        self.assertEqual(self.connections.of(Identity("g", "alice")).identity, Identity("g", "alice"))


class ReserveTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """A reserved port can be listened on by several who share it, and is nobody else's."""
        with reserve("HTTP", HOST, 0) as kept:
            address = kept.getsockname()
            for _ in range(2):
                shared = socket.socket()
                self.addCleanup(shared.close)
                shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                shared.bind(address)
                shared.listen()
            problem = self.assertRaises(PortTaken, reserve, "HTTP", *address)
        self.assertEqual(str(problem), f"cannot listen on HTTP port {HOST}:{address[1]}: Address already in use")

    def test_everywhere(self) -> None:
        """Without a host the port is taken on all interfaces."""
        with reserve("HTTP", "", 0) as kept:
            port = kept.getsockname()[1]
            with socket.socket() as other:
                self.assertRaises(OSError, other.bind, (HOST, port))

    def test_no_such_host(self) -> None:
        """An address that is not this machine's is said to be wrong."""
        problem = self.assertRaises(PortTaken, reserve, "HTTP", "192.0.2.1", 0)
        self.assertIn("cannot listen on HTTP port 192.0.2.1:0: ", str(problem))


class BackoffTests(SynchronousTestCase):
    def test_grows(self) -> None:
        """Each time it is twice as long, up to a limit; a worker that has proved itself begins anew."""
        backoff = Backoff(lambda least, most: most)
        delays = [backoff.delay(1.0) for _ in range(2000)]
        self.assertEqual(delays[:4], [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST])
        self.assertEqual(set(delays[12:]), {MOST})
        self.assertEqual(backoff.delay(PROVED), FIRST)

    def test_jitter(self) -> None:
        """Workers that ended together do not start together."""
        self.assertEqual(Backoff(lambda least, most: least).delay(0.0), 0.75 * FIRST)


class PatienceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[int] = []
        self.patience = Patience(self.clock, 5.0, self.late.append)  # type: ignore[arg-type]

    def test_late(self) -> None:
        """Whatever was not answered in time is noticed, each in its own time."""
        self.patience.begin(1)
        self.clock.advance(2.0)
        self.patience.begin(2)
        self.patience.begin(3)
        self.patience.end(2)
        self.clock.advance(3.0)
        self.assertEqual(self.late, [1])
        self.clock.advance(2.0)
        self.assertEqual((self.late, self.clock.getDelayedCalls()), ([1, 3], []))

    def test_again(self) -> None:
        """Who is told may ask again."""
        patience = Patience(self.clock, 5.0, lambda number: patience.begin(number + 1))  # type: ignore[arg-type]
        patience.begin(1)
        self.clock.pump([5.0, 5.0])
        self.assertEqual(patience.numbers(), [3])
        patience.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
