"""Tests of `raccoon_tx.client.engine`, and of what it sends: with answers as the server's own codec writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.client import Closed, Event, Limits, wire
from raccoon_tx.client.address import parse
from raccoon_tx.client.core import Answer, Core
from raccoon_tx.client.engine import Engine, Session
from raccoon_tx.codec import PROTOBUF
from raccoon_tx.model import Batch, Draining, Invalid, Outcome, Reply, Saturated
from raccoon_tx.report import Failure, failed_entries


@define(eq=False)
class ByClock:
    clock: Clock

    def now(self) -> float:
        return self.clock.seconds()

    def call_later(self, delay: float, call: Callable[[], object]) -> Any:
        return self.clock.callLater(delay, call)


@define(eq=False)
class Link:
    """A connection whose other end is the test. :ivar broken: it ends as soon as something is sent."""

    session: Session
    broken: bool = False
    sent: list[Batch] = field(factory=list)
    closed: bool = False

    def send(self, guid: str, body: bytes) -> None:
        batch = PROTOBUF.decode(body)
        assert batch.guid == guid
        self.sent.append(batch)
        if self.broken:
            self.session.lost("broken")

    def close(self) -> None:
        self.closed = True

    def answer(self, *outcomes: Outcome) -> None:
        """To batches in the order in which they were sent."""
        for outcome, batch in zip(outcomes, list(self.sent), strict=False):
            self.session.answered(PROTOBUF.encode(Reply(outcome, batch.guid), 0))


class EngineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.dialed: list[Session] = []
        self.changes = 0
        self.told: list[tuple[Event, str]] = []
        core = Core(Limits(batch_age=1.0, backoff=4.0, answer_timeout=15.0), jitter=lambda low, high: high)
        self.engine = Engine(core, self.dialed.append, ByClock(self.clock), self.changed, self.tell)

    def changed(self) -> None:
        self.changes += 1

    def tell(self, event: Event, reason: str) -> None:
        self.told.append((event, reason))

    def connect(self, broken: bool = False) -> Link:
        """The last dialed session becomes a connection."""
        link = Link(self.dialed[-1], broken)
        self.dialed[-1].connected(link)
        return link

    def add(self, *values: bytes) -> None:
        for value in values:
            self.engine.add(Event("t", value))

    def test_connects_when_needed(self) -> None:
        """Nobody connects before there is an event; then it travels when its batch is old enough."""
        self.engine.hurry()
        self.assertEqual(self.dialed, [])
        self.add(b"a", b"b")
        self.assertEqual(len(self.dialed), 1)
        link = self.connect()
        self.assertEqual(link.sent, [])
        self.clock.advance(1.0)
        self.assertEqual([event.event_bytes for event in link.sent[0].events], [b"a", b"b"])
        self.assertIsNotNone(link.sent[0].sent_time)
        link.answer(Outcome.OK)
        self.assertTrue(self.engine.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurry(self) -> None:
        """Whoever wants to be done need not wait for a batch to be old enough."""
        self.add(b"a")
        link = self.connect()
        self.engine.hurry()
        self.assertEqual(len(link.sent), 1)

    def test_reconnects(self) -> None:
        """After a loss the next attempt comes when the back-off is over, and carries the same batch."""
        self.add(b"a")
        first = self.connect()
        self.engine.hurry()
        first.session.lost("cable")
        self.assertTrue(first.closed)
        self.clock.advance(3.9)
        self.assertEqual(len(self.dialed), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.dialed), 2)
        self.dialed[-1].lost("refused")
        self.clock.advance(8.0)
        second = self.connect()
        self.assertEqual([batch.guid for batch in second.sent], [first.sent[0].guid])

    def test_warned(self) -> None:
        """That the server is not to be had is said aloud once, until it answers again; the rest is for who debugs."""
        with self.assertLogs("raccoon_tx.client", "DEBUG") as logs:
            self.add(b"a")
            self.dialed[-1].lost("no way")
            self.clock.advance(4.0)
            self.dialed[-1].lost("no way")
            self.clock.advance(8.0)
            link = self.connect()
            link.session.unknown(link.sent[0].guid, "late")
            self.clock.advance(16.0)
            link.session.answered(PROTOBUF.encode(Reply(Outcome.OK, link.sent[1].guid), 0))
            link.session.lost("restart")
        self.assertEqual(
            [(each.levelname, each.getMessage()) for each in logs.records],
            [
                ("WARNING", "not connected, trying again: no way"),
                ("DEBUG", "not connected, trying again: no way"),
                ("DEBUG", "a batch got no answer, trying again: late"),
                ("WARNING", "not connected, trying again: restart"),
            ],
        )

    def test_broken_while_sending(self) -> None:
        """A connection that ends while it is told something is one loss, and nothing is forgotten."""
        self.add(b"a")
        self.engine.hurry()
        self.connect(broken=True)
        self.assertEqual(len(self.dialed), 1)
        self.clock.advance(4.0)
        link = self.connect()
        link.answer(Outcome.OK)
        self.assertTrue(self.engine.finished)

    def test_silence(self) -> None:
        """A connection that does not answer in time is taken for dead, and heard no more."""
        self.add(b"a")
        self.engine.hurry()
        dead = self.connect()
        self.clock.advance(15.0)
        self.assertTrue(dead.closed)
        dead.session.lost("now it says so")
        dead.session.answered(b"\xff")
        self.clock.advance(4.0)
        self.assertEqual(len(self.dialed), 2)

    def test_nonsense(self) -> None:
        """An answer that cannot be read ends the connection."""
        self.add(b"a")
        link = self.connect()
        link.session.answered(b"\xff")
        self.assertTrue(link.closed)

    def test_refused_connection(self) -> None:
        """An answer about the connection is no answer to a batch, which goes again."""
        self.add(b"a")
        self.engine.hurry()
        link = self.connect()
        link.session.answered(PROTOBUF.encode(Reply(Outcome.DUPLICATE_CONNECTION, None, "duplicated connection"), 0))
        link.session.lost("1008")
        self.assertEqual(self.engine.core.events, 1)
        self.clock.advance(4.0)
        self.assertEqual(len(self.connect().sent), 1)

    def test_told(self) -> None:
        """Refused events are told, and it does no harm if that fails, or if it sends more."""
        self.add(b"a")
        self.engine.hurry()
        link = self.connect()

        def fail(event: Event, reason: str) -> None:
            self.told.append((event, reason))
            self.engine.add(Event("refused", event.value))
            raise ValueError("of the application")

        self.engine.rejected = fail
        link.answer(Outcome.INVALID)
        self.assertEqual(self.told, [(Event("t", b"a"), "")])
        self.engine.hurry()
        self.assertEqual([event.type for event in link.sent[-1].events], ["refused"])

    def test_close_and_stop(self) -> None:
        """A closed client takes nothing more and sends what it has; a stopped one leaves nothing behind."""
        self.add(b"a")
        link = self.connect()
        self.engine.close()
        self.assertRaises(Closed, self.add, b"b")
        self.assertEqual(len(link.sent), 1)
        self.engine.stop()
        self.assertTrue(link.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        late = Link(Session(self.engine))
        late.session.connected(late)
        self.assertTrue(late.closed)

    def test_stopped_while_dialing(self) -> None:
        """A connection that comes when nobody wants it any more is closed."""
        self.add(b"a")
        self.engine.stop()
        self.assertTrue(self.connect().closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WireTests(SynchronousTestCase):
    """How answers of this server are understood."""

    def read(self, reply: Reply) -> Answer:
        guid, answer = wire.read(PROTOBUF.encode(reply, 1))
        self.assertEqual(guid, reply.guid or "")
        return answer

    def test_answers(self) -> None:
        """Each means what the contract says."""
        self.assertEqual(self.read(Reply(Outcome.OK, "g")), Answer(True))
        self.assertEqual(
            self.read(Saturated("overloaded", "g", retry_after=1.5).reply()),
            Answer(False, True, "overloaded", retry_after=1.5),
        )
        self.assertEqual(self.read(Draining("soon", "g").reply()), Answer(False, True, "soon"))
        large = Reply(Outcome.TOO_LARGE, "g", "too large: a body may have at most 5 bytes", {"retryable": "false"})
        self.assertEqual(self.read(large), Answer(False, reason=large.reason, too_large=True))
        self.assertEqual(self.read(Reply(Outcome.EXPIRED, "g")), Answer(False, True))

    def test_failed_events(self) -> None:
        """Of a batch that could not be published the others are published; of an invalid one nothing is."""
        events = [Event("a", b""), Event("b", b"")]
        for retryable in (True, False):
            reason, extra = failed_entries("", {1: Failure("no", retryable)}, _as_events(events))
            answer = self.read(Reply(Outcome.FAILED, "g", reason, extra))
            self.assertEqual(answer, Answer(False, retryable, reason, (1,), others_taken=True))
        invalid = Invalid("bad", "g", {"failed": "0,1"}).reply()
        self.assertEqual(self.read(invalid), Answer(False, False, "bad", (0, 1)))

    def test_other_servers(self) -> None:
        """A server that says no more than its code is understood too."""
        for outcome, retryable in ((Outcome.FAILED, True), (Outcome.MALFORMED, False), (Outcome.MAX_CONNECTIONS, True)):
            self.assertEqual(self.read(Reply(outcome, "g")).retryable, retryable)

    def test_nonsense(self) -> None:
        """What is no answer is told apart."""
        self.assertRaises(ValueError, wire.read, b"\xff")


def _as_events(events: list[Event]) -> Any:
    return PROTOBUF.decode(wire.write("g", events, 1.0)).events


class AddressTests(SynchronousTestCase):
    def test_schemes(self) -> None:
        """The scheme is the transport; port and path may be left out."""
        for url, expected in (
            ("ws://a", ("websocket", "a:8080", "/api/v1/events", False)),
            ("wss://a", ("websocket", "a:443", "/api/v1/events", True)),
            ("http://a:1/x?y=z", ("rest", "a:1", "/x?y=z", False)),
            ("https://a/", ("rest", "a:443", "/api/v1/events", True)),
            ("grpc://[::1]", ("grpc", "[::1]:8081", "/api/v1/events", False)),
            ("grpcs://a", ("grpc", "a:443", "/api/v1/events", True)),
        ):
            address = parse(url)
            self.assertEqual((address.transport, address.authority, address.path, address.tls), expected)

    def test_identity(self) -> None:
        """Who sends is in the headers that the server is configured for."""
        address = parse("ws://a", "me", "us", {"X-More": "1"}, id_header="Id", group_header="Group")
        self.assertEqual(address.headers, {"X-More": "1", "Id": "me", "Group": "us"})

    def test_mistakes(self) -> None:
        """What is no address is told before anything is sent."""
        for url in ("a:8080", "ftp://a", "ws://", "ws://user:word@a", "ws://a/#x"):
            self.assertRaises(ValueError, parse, url)
        self.assertRaises(ValueError, parse, "ws://a", "two\r\nlines")

    def test_authorities(self) -> None:
        """A file of certificates that is not there, or has none, is told before anything is sent."""
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        folder = Path(made.name)
        Path(folder, "none").write_text("nothing")
        for name, words in (("away", "No such file or directory"), ("none", "no certificates in it")):
            path = str(folder / name)
            for scheme in ("wss", "https", "grpcs"):
                with self.assertRaises(ValueError) as caught:
                    parse(f"{scheme}://a", ca=path)
                self.assertEqual(str(caught.exception), f"ca {path!r}: {words}")
