"""`raccoon send`: where events come from, what is sent again, and what it says in the end."""

from __future__ import annotations

import io
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventResponse
from raccoon_tx.bench.dial import CannotConnect
from raccoon_tx.bench.load import Answers
from raccoon_tx.codec.protobuf import PROTOBUF
from raccoon_tx.model import Outcome, Reply
from raccoon_tx.tools.events import FULL, Given, Lines, Packed, pack
from raccoon_tx.tools.line import Line, Result
from raccoon_tx.tools.look import Progress, Trouble, paint, printable
from raccoon_tx.tools.send import as_text, headers
from raccoon_tx.tools.sending import LONGEST_PAUSE, LONGEST_WISH, Count, Sender


class EventTests(SynchronousTestCase):
    def lines(self, content: bytes, most: int = 100) -> list[list[bytes]]:
        """What is read from a file, call by call."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "events")
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            source = Lines(descriptor, str(path))
            found = list(iter(lambda: source.next(most), []))
            self.assertEqual(source.done, 1.0 if content else None)
            return found
        finally:
            os.close(descriptor)

    def test_lines(self) -> None:
        """Each line that is not blank is an event; the last needs no end."""
        self.assertEqual(self.lines(b'{"a":1}\r\n\n  \ntwo\nthree'), [[b'{"a":1}', b"two", b"three"]])
        self.assertEqual(self.lines(b""), [])
        self.assertEqual(self.lines(b"1\n2\n3\n", 2), [[b"1", b"2"], [b"3"]])

    @given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda each: b"\n" not in each and each == each.strip())))
    def test_all_lines(self, values: list[bytes]) -> None:
        """No line is lost or changed, and they keep their order."""
        found = self.lines(b"\n".join(values), 3)
        self.assertEqual([value for each in found for value in each], values)

    def test_full(self) -> None:
        """A batch is full when it has many bytes, too."""
        large = b"x" * (FULL // 2)
        self.assertEqual([len(batch) for batch in self.lines(b"\n".join([large] * 5))], [2, 2, 1])
        given_ = Given([large] * 5)
        self.assertEqual([len(given_.next(100)) for _ in range(4)], [2, 2, 1, 0])

    def test_pipe(self) -> None:
        """What a pipe has said is not held back until it says more; a line is held until it is whole."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        source = Lines(reading, "standard input")
        os.write(writing, b"one\nhal")
        self.assertEqual(source.next(100), [b"one"])
        os.write(writing, b"f\n")
        self.assertEqual(source.next(100), [b"half"])
        os.write(writing, b"rest")
        os.close(writing)
        self.assertEqual([source.next(100), source.next(100)], [[b"rest"], []])
        self.assertIsNone(source.done)

    def test_stopped(self) -> None:
        """Reading from a pipe that says nothing ends when nobody wants it any more."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        source = Lines(reading, "standard input")
        source.stopped = True
        self.assertEqual(source.next(100), [])

    def test_folder(self) -> None:
        """A folder is no file of events, and that is said."""
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.assertIn("/ is a folder", str(self.assertRaises(Trouble, Lines, folder, "/")))

    def test_pack(self) -> None:
        """A server reads what was packed."""
        packed = pack("click", [b"1", b"2"])
        batch = PROTOBUF.decode(packed.body)
        self.assertEqual((batch.guid, packed.count), (packed.guid, 2))
        self.assertEqual([(each.type, each.event_bytes) for each in batch.events], [("click", b"1"), ("click", b"2")])
        self.assertIsNotNone(batch.sent_time)
        self.assertNotEqual(pack("click", []).guid, packed.guid)


class Wire:
    """A connection whose answers come when the test says. :ivar sent: guids."""

    status = ""
    retry_after: float | None = None

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    def send(self, guid: str, body: bytes) -> None:
        self.sent.append(guid)

    def close(self) -> None:
        self.closed = True


def answer(outcome: Outcome = Outcome.OK, guid: str | None = "g", reason: str = "") -> bytes:
    return PROTOBUF.encode(Reply(outcome, guid, reason), 1)


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []
        self.refusing = False
        self.line = Line(self.clock, self.open, 15.0)

    async def open(self, answers: Answers) -> Wire:
        if self.refusing:
            raise OSError("no way")
        self.wires.append(Wire())
        return self.wires[-1]

    def exchange(self, guid: str = "g") -> Deferred[Result]:
        return Deferred.fromCoroutine(self.line.exchange(guid, b"body"))

    def result(self, said: bytes) -> Result:
        """Of an exchange that is answered so."""
        waiting = self.exchange()
        self.line.answered("", said)
        return self.successResultOf(waiting)

    def test_accepted(self) -> None:
        """One connection serves for all batches, and leaves no timer behind."""
        for _ in range(2):
            self.assertEqual(self.result(answer()), Result())
        self.assertEqual([wire.sent for wire in self.wires], [["g", "g"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_codes(self) -> None:
        """With codes 3 and 4 another try may help, with others it does not."""
        for outcome, again in (
            (Outcome.SATURATED, True),
            (Outcome.MAX_CONNECTIONS, True),
            (Outcome.INVALID, False),
            (Outcome.DUPLICATE_CONNECTION, False),
        ):
            self.assertEqual(self.result(answer(outcome, reason="why")), Result("why", again))

    def test_retry_after(self) -> None:
        """What a server asks to wait is kept, where waiting helps."""
        self.result(answer())
        self.wires[0].retry_after = 3.0
        self.assertEqual(self.result(answer(Outcome.SATURATED, reason="why")).pause, 3.0)
        self.assertIsNone(self.result(answer(Outcome.INVALID, reason="why")).pause)

    def test_together(self) -> None:
        """Answers may come in any order, and one that names nobody is for the only one who waits."""
        first, second = self.exchange("1"), self.exchange("2")
        self.line.answered("", answer(guid="2"))
        self.successResultOf(second)
        self.assertNoResult(first)
        self.line.answered("", answer(Outcome.MALFORMED, "", "what"))
        self.assertEqual(self.successResultOf(first), Result("what"))
        self.line.answered("", answer(guid="nobody's"))

    def test_farewell(self) -> None:
        """What a server says before it closes a connection is the reason for all that waited on it."""
        first, second = self.exchange("1"), self.exchange("2")
        self.line.answered("", answer(Outcome.MAX_CONNECTIONS, None, "max connection reached"))
        self.line.lost(self.wires[0], "closed")
        for waiting in (first, second):
            self.assertEqual(self.successResultOf(waiting), Result("max connection reached", True))

    def test_lost(self) -> None:
        """After a loss the next batch opens another connection; of the batch that was on its way nothing is known."""
        waiting = self.exchange()
        self.line.lost(self.wires[0], "gone")
        self.assertEqual(self.successResultOf(waiting), Result("gone", True, None, True))
        self.assertEqual(self.result(answer()), Result())
        self.assertEqual(len(self.wires), 2)

    def test_late(self) -> None:
        """A server that does not answer loses the connection; the batch may have been accepted."""
        waiting = self.exchange()
        self.clock.advance(15)
        found = self.successResultOf(waiting)
        self.assertTrue(found.again and found.silent)
        self.assertTrue(self.wires[0].closed)
        self.line.lost(self.wires[0], "closed")
        self.assertEqual(self.result(answer()), Result())

    def test_cannot_connect(self) -> None:
        """Where nobody listens, a batch may be sent at another time."""
        self.refusing = True
        self.assertEqual(self.successResultOf(self.exchange()), Result("no way", True, None, True))
        self.failureResultOf(Deferred.fromCoroutine(self.line.connect()), CannotConnect)

    def test_errors(self) -> None:
        """Of the errors that a proxy or gRPC itself answers, those are worth another try that pass."""
        for reason, again in (
            ("HTTP status 502 Bad Gateway", True),
            ("HTTP status 429 Too Many Requests", True),
            ("HTTP status 404 Not Found", False),
            ("UNAVAILABLE: gone", True),
            ("INVALID_ARGUMENT: what", False),
            ("UNKNOWN: connection id header missing", False),
        ):
            waiting = self.exchange()
            self.line.failed("g", reason)
            found = self.successResultOf(waiting)
            self.assertEqual((found.reason, found.again), (reason, again))

    def test_not_ours(self) -> None:
        """A body that is no answer tells the status, where there is one."""
        waiting = self.exchange()
        self.wires[0].status = "503 Service Unavailable"
        self.line.answered("g", b"<html>")
        self.assertEqual(self.successResultOf(waiting), Result("HTTP status 503 Service Unavailable", True))
        waiting = self.exchange()
        self.wires[0].status = "200 OK"
        self.line.answered("g", b"<html>")
        self.assertIn("cannot be read", self.successResultOf(waiting).reason)


class SenderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []

    async def open(self, answers: Answers) -> Wire:
        self.wires.append(Wire())
        return self.wires[-1]

    def start(self, batches: int, attempts: int = 3, lanes: int = 1) -> tuple[Sender, Line, Deferred[Count]]:
        left = [Packed(f"g{number}", b"", 10) for number in range(batches)]

        def following() -> Deferred[Packed | None]:
            return succeed(left.pop(0) if left else None)

        sender = Sender(self.clock, following, attempts, lambda low, high: high)
        line = Line(self.clock, self.open)
        return sender, line, Deferred.fromCoroutine(sender.run([line] * lanes))

    def test_all(self) -> None:
        """Every batch is sent once; it ends with the last answer."""
        _, line, done = self.start(3, lanes=2)
        self.assertEqual(self.wires[0].sent, ["g0", "g1"])
        for guid in ("g1", "g0"):
            line.answered("", answer(guid=guid))
        self.assertNoResult(done)
        line.answered("", answer(guid="g2"))
        count = self.successResultOf(done)
        self.assertEqual((count.accepted, count.tally.accepted, count.again, count.good), (30, 3, 0, True))

    def test_again(self) -> None:
        """A refused batch is sent again under its guid, after longer and longer pauses, and its time counts from the
        first."""
        sender, line, done = self.start(1)
        for pause in (0.5, 1.0):
            line.answered("", answer(Outcome.SATURATED, "g0", "full"))
            self.clock.advance(pause - 0.01)
            before = len(self.wires[0].sent)
            self.clock.advance(0.02)
            self.assertEqual(len(self.wires[0].sent), before + 1)
        line.answered("", answer(guid="g0"))
        count = self.successResultOf(done)
        self.assertEqual((self.wires[0].sent, count.again, count.good), (["g0"] * 3, 2, True))
        self.assertGreater(sender.count.tally.slowest, 1.5)

    def test_enough(self) -> None:
        """After the last attempt a batch is refused, and the next one has its turn."""
        _, line, done = self.start(2, attempts=2)
        line.answered("", answer(Outcome.SATURATED, "g0", "full"))
        self.clock.advance(LONGEST_PAUSE)
        line.answered("", answer(Outcome.SATURATED, "g0", "full"))
        line.answered("", answer(guid="g1"))
        count = self.successResultOf(done)
        self.assertEqual((count.tally.refused, count.accepted, count.good), ({"full": 10}, 10, False))

    def test_for_good(self) -> None:
        """What is refused for good is not sent again."""
        _, line, done = self.start(1)
        line.answered("", answer(Outcome.INVALID, "g0", "wrong"))
        self.assertEqual(self.successResultOf(done).tally.refused, {"wrong": 10})
        self.assertEqual(self.wires[0].sent, ["g0"])

    def test_server_says_when(self) -> None:
        """A server can make us wait, but not for ever."""
        for wish, waited in ((2.0, 2.0), (1e6, LONGEST_WISH)):
            self.setUp()
            _, line, _ = self.start(1)
            self.wires[0].retry_after = wish
            line.answered("", answer(Outcome.SATURATED, "g0", "full"))
            self.clock.advance(waited - 0.01)
            self.assertEqual(len(self.wires[0].sent), 1)
            self.clock.advance(0.02)
            self.assertEqual(len(self.wires[0].sent), 2)

    def test_gone(self) -> None:
        """Once a server is gone for all attempts of a batch, no more is read."""
        _, line, done = self.start(5, attempts=2)
        for _ in range(2):
            line.lost(self.wires[-1], "gone")
            self.clock.advance(LONGEST_PAUSE)
        count = self.successResultOf(done)
        self.assertEqual((count.gave_up, count.refused, len(self.wires)), ("gone", 10, 2))


class LookTests(SynchronousTestCase):
    def test_headers(self) -> None:
        """Who sends is somebody new unless it is said; what cannot be in a header is refused."""
        self.assertEqual(headers("X-ID", "me", "X-G", "app"), {"X-ID": "me", "X-G": "app"})
        one, other = (headers("X-ID", "", "X-G", "") for _ in range(2))
        self.assertEqual(set(one), {"X-ID"})
        self.assertNotEqual(one, other)
        for value in ("a\r\nB: c", "größe"):
            self.assertRaises(Trouble, headers, "X-ID", value, "X-G", "")

    def test_printable(self) -> None:
        """A server cannot steer the terminal."""
        count = Count()
        count.tally.refuse("\x1b[2Jboo", 3)
        self.assertIn("3 events: \\x1b[2Jboo", as_text(count, 1.0))
        self.assertEqual(printable("ä\n"), "ä\\x0a")

    def test_colours(self) -> None:
        """Colours can be turned off, as is usual."""
        self.assertIn("\x1b", paint("a", "red"))
        self.patch(os, "environ", {"NO_COLOR": "1"})
        self.assertEqual(paint("a", "red"), "a")

    def test_progress(self) -> None:
        """Progress is for terminals, and leaves nothing behind."""
        for is_terminal in (True, False):
            stream = io.StringIO()
            stream.isatty = lambda is_terminal=is_terminal: is_terminal  # type: ignore[method-assign,misc]
            progress = Progress(stream)
            progress.show("half", 0.5)
            progress.end()
            self.assertEqual("50%" in stream.getvalue(), is_terminal)
            self.assertEqual(stream.getvalue().endswith("\r\x1b[K"), is_terminal)

    def test_unknown_answer(self) -> None:
        """A refusal without a reason is one."""
        said = SendEventResponse(status=2, code=2).SerializeToString()  # type: ignore[arg-type]
        clock = Clock()

        async def open_(answers: Answers) -> Wire:
            return Wire()

        line = Line(clock, open_)
        waiting = Deferred.fromCoroutine(line.exchange("g", b""))
        line.answered("g", said)
        self.assertIn("code 2", self.successResultOf(waiting).reason)
