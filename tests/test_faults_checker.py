"""`faults/`: the checker finds what is planted, and the proxy does what it says."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

from attrs import asdict
from twisted.trial.unittest import SynchronousTestCase

from faults.checker import check
from faults.journal import FAIL, OK, Journal, longest_gap
from faults.matrix import ROWS
from faults.page import page
from faults.plan import PLAN
from faults.proxy import HOST, Proxy
from faults.stage import Outcome
from tests.integration.kafka_node import free_ports


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.journal = Journal("rest-json")
        self.ok, self.failed, self.unanswered = (self.journal.next_batch(1) for _ in range(3))
        self.journal.note(self.ok, OK)
        self.journal.note(self.failed, FAIL, "unavailable")
        self.values = [event.value for event in self.ok.events]

    def test_well(self) -> None:
        """What was acknowledged is there, in order, and nothing else."""
        verdict = check([self.journal], self.values)
        self.assertEqual((verdict.acknowledged, verdict.failed, verdict.unknown), (5, 5, 5))
        self.assertEqual((verdict.lost, verdict.duplicates, verdict.out_of_order, verdict.foreign), (0, 0, 0, 0))

    def test_lost(self) -> None:
        """One event is missing, and it is named."""
        verdict = check([self.journal], self.values[1:])
        self.assertEqual((verdict.lost, verdict.examples), (1, [self.values[0].decode()]))

    def test_again(self) -> None:
        """Two records too many are no loss, and not out of order."""
        verdict = check([self.journal], [*self.values, *self.values[:2]])
        self.assertEqual((verdict.lost, verdict.duplicates, verdict.out_of_order), (0, 2, 0))

    def test_there_all_the_same(self) -> None:
        """Events that were refused, and those nobody was told of, are counted each by themselves."""
        extra = [self.failed.events[0].value, *(event.value for event in self.unanswered.events[:2])]
        verdict = check([self.journal], [*self.values, *extra])
        self.assertEqual((verdict.failed_but_present, verdict.unknown_but_present), (1, 2))

    def test_late(self) -> None:
        """Two events changed places."""
        first, second, *others = self.values
        self.assertEqual(check([self.journal], [second, first, *others]).out_of_order, 1)

    def test_foreign(self) -> None:
        """Nobody sent that, or not as far as its client knows."""
        self.journal.withdraw(self.unanswered)
        extra = [b"who?", self.unanswered.events[0].value]
        verdict = check([self.journal], [*self.values, *extra])
        self.assertEqual((verdict.foreign, verdict.unknown), (2, 0))

    def test_gap(self) -> None:
        """The longest time without a success, also before the first and after the last."""
        self.journal.successes = [1.0, 2.0, 5.0]
        self.assertEqual(longest_gap([self.journal], 0.0, 6.0), 3.0)
        self.assertEqual(longest_gap([self.journal], 0.0, 9.0), 4.0)


class PageTests(SynchronousTestCase):
    def test_tables(self) -> None:
        """Every line of a table of the page has as many columns as its head."""
        outcome = Outcome(
            row="A1",
            mode="ack 1",
            seconds=60.0,
            verdict=check([], []),
            gap=0.5,
            slowest=0.1,
            delay=0.02,
            own=0.01,
            memory=1 << 20,
            unhandled=0,
            strange=[],
            notes={"stops": 3, "memory_slope": 2.0, "p99_ratio": 1.5},
        )
        kept = {"A1 ack 1": {**asdict(outcome), "faults": outcome.faults, "seed": 7, "date": "2026-11-25"}}
        fuzzed = [{"target": "json", "driver": "atheris", "runs": 5, "seconds": 2.0, "inputs": 3, "faults": {}}]
        text = page(kept, autobahn={"lane": {"1": {"OK": 16}, "7": {"FAILED": 1}}}, fuzzed=fuzzed)
        width, tables = 0, 0
        for line in text.splitlines():
            if not line.startswith("|"):
                width = 0
                continue
            tables += not width
            width = width or line.count("|")
            self.assertEqual(line.count("|"), width, line)
        self.assertEqual(tables, 5)
        self.assertNotIn("<<<<", text)


class PlanTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """All that is played is a row of the matrix, which has 87 and two more, each once."""
        numbers = [row.number for row in ROWS]
        self.assertEqual(len(numbers), 89)
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertEqual({each.row for each in PLAN} - set(numbers), set())

    def test_tests(self) -> None:
        """The tests that the matrix names are there."""
        here = Path(__file__).parent
        for row in ROWS:
            for test in row.tests:
                path, _, name = test.partition("::")
                self.assertIn(f"def {name}(" if name else "", (here / path).read_text("utf-8"), f"{row.number}: {test}")


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """A server that says everything again, to one connection after another."""
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    Thread(target=answer, args=[connection], daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(4096):
                    connection.sendall(data)

        Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)


class ProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        server = echo()
        target = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.proxy = Proxy(free_ports(1)[0], target)
        self.addCleanup(self.proxy.close)

    def connect(self) -> socket.socket:
        connection = socket.create_connection((HOST, self.proxy.port), 10.0)
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection: socket.socket, data: bytes = b"hello") -> bytes:
        connection.sendall(data)
        return connection.recv(4096)

    def test_passes(self) -> None:
        """Without a fault everything arrives."""
        self.assertEqual(self.ask(self.connect()), b"hello")

    def test_refuse(self) -> None:
        """Connections are reset, new ones refused, and after healing there are new ones."""
        connection = self.connect()
        self.ask(connection)
        self.proxy.refuse()
        self.assertRaises(ConnectionResetError, connection.recv, 1)
        self.assertRaises(ConnectionRefusedError, self.connect)
        self.proxy.heal()
        self.assertEqual(self.ask(self.connect()), b"hello")

    def test_reset(self) -> None:
        """Connections are reset, new ones are not."""
        connection = self.connect()
        self.ask(connection)
        self.proxy.reset()
        self.assertRaises(ConnectionResetError, connection.recv, 1)
        self.assertEqual(self.ask(self.connect()), b"hello")

    def test_reset_in_request(self) -> None:
        """The connection ends with half of what is sent next."""
        connection = self.connect()
        self.ask(connection)
        self.proxy.reset_in_request()
        with self.assertRaises(ConnectionResetError):
            while self.ask(connection):
                pass

    def test_black_hole(self) -> None:
        """Nothing comes, neither an answer nor an end; after healing it does."""
        connection = self.connect()
        self.ask(connection)
        self.proxy.black_hole()
        connection.settimeout(0.2)
        self.assertRaises(TimeoutError, self.ask, connection)
        self.proxy.heal()
        connection.settimeout(10.0)
        self.assertEqual(connection.recv(4096), b"hello")

    def test_drop_answers(self) -> None:
        """The answer is gone for good, and so is the connection that misses it."""
        connection = self.connect()
        self.ask(connection)
        self.proxy.drop_answers()
        connection.settimeout(0.2)
        self.assertRaises(TimeoutError, self.ask, connection)
        self.proxy.heal()
        connection.settimeout(10.0)
        self.assertRaises(ConnectionResetError, connection.recv, 1)
        self.assertEqual(self.ask(self.connect()), b"hello")
