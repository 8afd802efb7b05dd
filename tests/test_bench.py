"""`raccoon bench`: what it sends, what it makes of the answers, and what it says in the end."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest, SendEventResponse
from raccoon_tx.bench import CannotMeasure, Order, run
from raccoon_tx.bench.address import Address, NoAddress, read_address
from raccoon_tx.bench.batches import Batches, Said
from raccoon_tx.bench.dial import CannotConnect, allow, check_ca, open_all
from raccoon_tx.bench.load import PATIENCE, Load
from raccoon_tx.bench.report import Run, as_json, as_text
from raccoon_tx.bench.rest import Poster
from raccoon_tx.bench.tally import OTHER, Tally
from raccoon_tx.codec.json import JSON
from raccoon_tx.codec.protobuf import PROTOBUF
from raccoon_tx.model import Outcome, Reply


class AddressTests(SynchronousTestCase):
    def test_schemes(self) -> None:
        """The scheme is the transport and whether there is TLS; what is left out is as servers have it."""
        for url, address in {
            "ws://localhost": Address("websocket", "localhost", 8080),
            "wss://events.example:443/": Address("websocket", "events.example", 443, True),
            "http://127.0.0.1:18080": Address("rest", "127.0.0.1", 18080),
            "https://h:1/other/path": Address("rest", "h", 1, True, "/other/path"),
            "grpc://h": Address("grpc", "h", 8081),
            "grpcs://[::1]:2": Address("grpc", "::1", 2, True),
        }.items():
            self.assertEqual(read_address(url), address)

    def test_url(self) -> None:
        """An address is shown as the URL that it comes from, with all that was left out."""
        self.assertEqual(read_address("ws://h").url, "ws://h:8080/api/v1/events")
        self.assertEqual(read_address("grpcs://[::1]:2").url, "grpcs://[::1]:2")

    def test_mistakes(self) -> None:
        """What is not an address says what one looks like."""
        for url, word in {
            "localhost:8080": "ws://localhost:8080",
            "ftp://h": "grpcs://",
            "ws://": "no host",
            "ws://h:99999": "not a URL",
            "ws://h:port": "not a URL",
        }.items():
            self.assertIn(word, str(self.assertRaises(NoAddress, read_address, url)))


class BatchTests(SynchronousTestCase):
    def test_server_reads_them(self) -> None:
        """A server finds in a batch what was asked for, and a new guid in each."""
        for name, codec in (("json", JSON), ("protobuf", PROTOBUF)):
            batches = Batches(name, "click", 3, 50)
            guids = set()
            for _ in range(5):
                guid, body = batches.next()
                read = codec.decode(body)
                self.assertEqual(read.guid, guid)
                self.assertEqual([(event.type, len(event.event_bytes)) for event in read.events], [("click", 50)] * 3)
                guids.add(guid)
            self.assertEqual(len(guids), 5)

    def test_official_form(self) -> None:
        """The protobuf is that of the generated classes, with the time of sending."""
        guid, body = Batches("protobuf", "a", 1, 1).next()
        request = SendEventRequest.FromString(body)
        self.assertEqual((request.req_guid, len(guid)), (guid, 36))
        self.assertTrue(request.HasField("sent_time"))

    def test_answers(self) -> None:
        """What a server's own codecs write is understood."""
        for name, codec in (("json", JSON), ("protobuf", PROTOBUF)):
            batches = Batches(name, "a", 1, 1)
            self.assertEqual(batches.read(codec.encode(Reply(Outcome.OK, "1"), 1)), Said("1", ""))
            refused = codec.encode(Reply(Outcome.SATURATED, "1", "no room"), 1)
            self.assertEqual(batches.read(refused), Said("1", "no room", 3))

    def test_refusal_without_reason(self) -> None:
        """A refusal that says nothing is still a refusal."""
        answer = SendEventResponse(status=2, code=3).SerializeToString()  # type: ignore[arg-type]
        self.assertIn("code 3", Batches("protobuf", "a", 1, 1).read(answer).reason)

    @given(st.binary(max_size=40))
    def test_no_answer(self, answer: bytes) -> None:
        """Whatever is not an answer is a `ValueError`, or at least no success."""
        for name in ("json", "protobuf"):
            try:
                said = Batches(name, "a", 1, 1).read(answer)
            except ValueError:
                continue
            self.assertTrue(said.reason or name == "protobuf")


class TallyTests(SynchronousTestCase):
    @given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
    def test_percentiles(self, seconds: list[float], share: float) -> None:
        """A percentile is off by less than two percent."""
        tally = Tally()
        for one in seconds:
            tally.accept(one)
        exact = sorted(seconds)[max(-int(-share * len(seconds) // 1) - 1, 0)]
        self.assertLess(abs(tally.percentile(share) - exact), 0.02 * exact)

    def test_nothing(self) -> None:
        """Where nothing was accepted there is no percentile."""
        self.assertEqual(Tally().percentile(0.5), 0.0)

    def test_reasons_are_bounded(self) -> None:
        """However many reasons a server thinks of, few are kept."""
        tally = Tally()
        for number in range(1000):
            tally.refuse(f"reason {number}")
        self.assertLess(len(tally.refused), 30)
        self.assertEqual(sum(tally.refused.values()), 1000)
        self.assertGreater(tally.refused[OTHER], 900)


class Wire:
    """A connection whose answers come when the test says."""

    def __init__(self) -> None:
        self.guids: list[str] = []

    def send(self, guid: str, body: bytes) -> None:
        assert guid.encode() in body
        self.guids.append(guid)


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wires = [Wire(), Wire()]

    def start(self, rate: float = 0.0, depth: int = 1, seconds: float = 10.0) -> tuple[Load, Deferred[Tally]]:
        load = Load(self.clock, Batches("json", "a", 1, 1), seconds, rate, depth)
        return load, load.run(self.wires)

    @staticmethod
    def answer(load: Load, guid: str, reason: str = "", named: str = "") -> None:
        reply = Reply(Outcome.SATURATED if reason else Outcome.OK, guid, reason)
        load.answered(named, JSON.encode(reply, 1))

    def test_closed_loop(self) -> None:
        """Every connection always has ``depth`` batches on their way, and no more."""
        load, _ = self.start(depth=3)
        self.assertEqual([len(wire.guids) for wire in self.wires], [3, 3])
        self.answer(load, self.wires[1].guids[1])
        self.assertEqual([len(wire.guids) for wire in self.wires], [3, 4])
        self.assertEqual((load.tally.batches, load.tally.accepted), (7, 1))

    def test_latency(self) -> None:
        """In a closed loop an answer's time counts from the sending."""
        load, _ = self.start()
        self.clock.advance(2)
        self.answer(load, self.wires[0].guids[0])
        self.clock.advance(1)
        self.answer(load, self.wires[0].guids[1])
        self.assertAlmostEqual(load.tally.slowest, 2)
        self.assertLess(abs(load.tally.percentile(0.5) - 1), 0.02)

    def test_end(self) -> None:
        """When the time is over nothing more is sent, and it ends with the last answer."""
        load, done = self.start()
        self.clock.advance(10)
        self.answer(load, self.wires[0].guids[0])
        self.assertNoResult(done)
        self.answer(load, self.wires[1].guids[0])
        tally = self.successResultOf(done)
        self.assertEqual((tally.batches, tally.accepted, tally.unanswered), (2, 2, 0))
        self.assertEqual(load.elapsed, 10)

    def test_no_answers(self) -> None:
        """A server that does not answer does not hold it up for ever."""
        _, done = self.start()
        self.clock.advance(10)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(done).unanswered, 2)

    def test_refusals(self) -> None:
        """Refusals are counted by what they say, and the load goes on."""
        load, _ = self.start()
        for number in range(3):
            self.answer(load, self.wires[0].guids[number], "no room")
        self.assertEqual(load.tally.refused, {"no room": 3})
        self.assertEqual(len(self.wires[0].guids), 4)

    def test_wrong_answers(self) -> None:
        """An answer to another batch, to none, or that is none, is not a success."""
        load, _ = self.start()
        first, second = self.wires[0].guids[0], self.wires[1].guids[0]
        self.answer(load, "never sent")
        self.answer(load, second, named=first)
        load.answered(second, b"no answer")
        self.assertEqual(load.tally.accepted, 0)
        self.assertEqual(len(load.tally.refused), 3)
        self.answer(load, first)
        self.assertEqual(load.tally.accepted, 0)

    def test_open_loop(self) -> None:
        """At a fixed rate it sends what is due, whatever the answers do, and what comes late counts from when it was
        due."""
        load, _ = self.start(rate=10, depth=2)
        self.clock.pump([0.001] * 150)
        self.assertEqual(load.tally.batches, 2)
        self.clock.pump([0.001] * 850)
        self.assertEqual(load.tally.batches, 4)  # no connection is free for the other six
        self.answer(load, self.wires[0].guids[0])
        self.assertEqual(load.tally.batches, 5)
        self.answer(load, self.wires[0].guids[2])
        self.assertLess(abs(load.tally.percentile(0.5) - 0.6), 0.02)

    def test_rate_that_is_not_held(self) -> None:
        """What was due and could not be sent is told."""
        load, done = self.start(rate=10, seconds=1)
        self.clock.pump([0.001] * 1100)
        for wire in self.wires:
            self.answer(load, wire.guids[0])
        self.assertEqual(self.successResultOf(done).unsent, 8)

    def test_lost_connection(self) -> None:
        """What was on its way on a connection that is lost was refused; the others go on."""
        load, _ = self.start()
        load.lost(self.wires[0], "gone")
        self.assertEqual(load.tally.refused, {"gone": 1})
        self.answer(load, self.wires[1].guids[0])
        self.assertEqual([len(wire.guids) for wire in self.wires], [1, 2])

    def test_all_lost(self) -> None:
        """Without a connection left it ends at once."""
        load, done = self.start()
        self.clock.advance(1)
        for wire in self.wires:
            load.lost(wire, "gone")
        self.assertEqual(self.successResultOf(done).refused, {"gone": 2})
        self.assertEqual(load.elapsed, 1)
        self.clock.advance(100)
        self.assertEqual(load.elapsed, 1)


class Sink:
    """Takes the place of a transport, and of a `Load`."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.heard: list[tuple[Any, ...]] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def loseConnection(self) -> None:
        self.closed = True

    def answered(self, guid: str, body: bytes) -> None:
        self.heard.append((guid, body))

    def failed(self, guid: str, reason: str) -> None:
        self.heard.append((guid, reason))

    def lost(self, way: Any, reason: str) -> None:
        self.heard.append(("lost", reason))


class PosterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sink = Sink()
        self.poster = Poster(b"POST / HTTP/1.1\r\nContent-Length: ", self.sink)  # type: ignore[arg-type]
        self.poster.makeConnection(self.sink)  # type: ignore[arg-type]

    def test_request(self) -> None:
        """A batch is the body of a POST."""
        self.poster.send("1", b"batch")
        self.assertEqual(self.sink.written, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nbatch")

    def test_pieces(self) -> None:
        """An answer may come in any pieces, and the next one after it."""
        for guid in ("1", "2"):
            self.poster.send(guid, b"batch")
            for byte in b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 6\r\n\r\nanswer":
                self.poster.dataReceived(bytes([byte]))
        self.assertEqual(self.sink.heard, [("1", b"answer"), ("2", b"answer")])

    def test_empty(self) -> None:
        """Without a body there is only the status."""
        self.poster.send("1", b"batch")
        self.poster.dataReceived(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.sink.heard, [("1", "HTTP status 502 Bad Gateway")])

    def test_something_else(self) -> None:
        """What does not speak HTTP is left."""
        for said in (b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 20_000):
            self.setUp()
            self.poster.send("1", b"batch")
            self.poster.dataReceived(said)
            self.assertTrue(self.sink.closed)
            self.assertEqual(self.sink.heard[0][0], "1")

    def test_tls(self) -> None:
        """With TLS a connection is open when both sides are content, or why they are not is told."""
        for end in (True, False):
            poster = Poster(b"", self.sink, True)  # type: ignore[arg-type]
            poster.makeConnection(self.sink)  # type: ignore[arg-type]
            self.assertNoResult(poster.opened)
            if end:
                poster.handshakeCompleted()
                self.successResultOf(poster.opened)
            else:
                poster.connectionLost(Failure(SSL.Error([("SSL routines", "", "certificate verify failed")])))
                failure = self.failureResultOf(poster.opened, CannotConnect)
                self.assertEqual(failure.getErrorMessage(), "TLS: certificate verify failed")
        self.assertEqual(self.sink.heard, [])

    def test_lost(self) -> None:
        """The load is told of a connection that is lost."""
        self.poster.connectionLost(Failure(Exception()))
        self.assertEqual(self.sink.heard, [("lost", "the connection was lost")])


class DialTests(SynchronousTestCase):
    def test_few_at_once(self) -> None:
        """Many connections are opened a few at a time, and come in their order."""
        waiting: list[Deferred[None]] = []
        most = 0

        async def open_one(number: int) -> int:
            nonlocal most
            mine: Deferred[None] = Deferred()
            waiting.append(mine)
            most = max(most, len(waiting))
            await mine
            return number

        opened = Deferred.fromCoroutine(open_all(200, open_one))
        while waiting:
            waiting.pop(0).callback(None)
        self.assertEqual(self.successResultOf(opened), list(range(200)))
        self.assertLess(most, 100)

    def test_refused(self) -> None:
        """One that cannot be opened says why."""

        async def open_one(number: int) -> int:
            if number == 3:
                raise OSError("no way")
            return number

        failure = self.failureResultOf(Deferred.fromCoroutine(open_all(5, open_one)), CannotConnect)
        self.assertEqual(failure.getErrorMessage(), "no way")

    def test_descriptors(self) -> None:
        """More connections than the system allows are refused before anything is opened."""
        allow(1)
        self.assertIn("ulimit", str(self.assertRaises(CannotConnect, allow, 2**40)))

    def test_certificates(self) -> None:
        """A file without certificates is named."""
        self.assertIn("/no/such", str(self.assertRaises(CannotConnect, check_ca, "/no/such")))
        self.assertIn(__file__, str(self.assertRaises(CannotConnect, check_ca, __file__)))


def a_run(**changes: Any) -> Run:
    """A second in which ten batches of five events were accepted."""
    tally = Tally()
    for _ in range(10):
        tally.accept(0.002)
    of_it: dict[str, Any] = {
        "url": "ws://h:1/",
        "transport": "websocket",
        "format": "json",
        "connections": 4,
        "depth": 1,
        "events": 5,
        "size": 100,
        "rate": 0.0,
        "tally": tally,
        "elapsed": 1.0,
        "cpu": 0.5,
        "server_cpu": None,
    }
    return Run(**{**of_it, **changes})


class ReportTests(SynchronousTestCase):
    def test_json(self) -> None:
        """Programs get events, milliseconds and parts of a core."""
        found = as_json(a_run(server_cpu=0.1))
        self.assertEqual((found["accepted"], found["accepted_per_second"], found["own_cpu"]), (50, 50.0, 0.5))
        self.assertEqual((found["slowest_ms"], found["server_cpu_us_per_event"]), (2.0, 2000.0))
        self.assertEqual(json.loads(json.dumps(found)), found)

    def test_text(self) -> None:
        """People see reasons by number, and whether the client was what held things up."""
        run_ = a_run(cpu=0.95)
        self.assertTrue(run_.good)
        for reason, count in (("seldom", 1), ("often", 7)):
            for _ in range(count):
                run_.tally.refuse(reason)
        text = as_text(run_)
        self.assertLess(text.index("often"), text.index("seldom"))
        self.assertIn("no time left", text)
        self.assertNotIn("no time left", as_text(a_run()))
        self.assertFalse(run_.good)

    def test_nothing_accepted(self) -> None:
        """A run in which nothing was accepted can be shown, and is not good."""
        run_ = a_run(tally=Tally(), elapsed=0.0, server_cpu=1.0)
        self.assertIn("accepted", as_text(run_))
        self.assertFalse(run_.good)


class RunTests(SynchronousTestCase):
    def test_grpc_json(self) -> None:
        """gRPC has no JSON, and that is said before anything is started."""
        order = Order(
            address=None,
            transport="grpc",
            ack=1,
            connections=1,
            depth=1,
            events=1,
            size=1,
            kind="a",
            format="json",
            seconds=1,
            rate=0,
            id_header="X",
            ca=None,
            as_json=False,
        )
        self.assertIn("protobuf", str(self.assertRaises(CannotMeasure, run, order)))
