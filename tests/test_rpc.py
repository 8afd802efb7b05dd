"""Tests for `raccoon_tx.transports.rpc`: contract section 6."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from raccoon_tx.codec import PROTOBUF, Codec
from raccoon_tx.model import Answer, Client, Identity, Malformed, Outcome, Refused, Reply
from raccoon_tx.settings import GrpcSettings, IdentitySettings
from raccoon_tx.transports import rpc
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.listen import PortTaken
from raccoon_tx.transports.rpc import LAST_WORDS, EventService, GrpcFront
from tests.wire import PROTO_BATCH, PROTO_OK, WireTestCase, read_protobuf


@define(eq=False)
class Call:
    """A call. :ivar over: nobody waits for it any more. :ivar ended: its answers and error statuses."""

    items: list[tuple[str, str | bytes]] = field(factory=lambda: [("x-user-id", "1234")])
    over: bool = False
    ended: list[Any] = field(factory=list)

    def metadata(self) -> list[tuple[str, str | bytes]]:
        return self.items

    def peer(self) -> str:
        return "ipv4:192.0.2.7:50000"

    def awaited(self) -> bool:
        return not self.over

    def answer(self, message: bytes) -> None:
        self.ended.append(message)

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        self.ended.append((code, details))


class Aborted(Exception):
    """What the gRPC library raises when a call is ended with an error status."""


@define
class Context:
    """A ``ServicerContext``. :ivar ended: its error status."""

    remaining: float | None = None
    over: bool = False
    metadata: list[tuple[str, str]] = field(factory=lambda: [("x-user-id", "1234")])
    ended: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self.metadata

    def peer(self) -> str:
        return "ipv4:192.0.2.7:50000"

    def time_remaining(self) -> float | None:
        return self.remaining

    def is_active(self) -> bool:
        return not self.over

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = (code, details)
        raise Aborted


def at_once(call: Callable[..., Any], *arguments: Any) -> None:
    call(*arguments)


OVER = grpc.StatusCode.CANCELLED, "the call was over before it was served"


class EventServiceTests(WireTestCase):
    """Calls, as they come from the gRPC server."""

    def setUp(self) -> None:
        super().setUp()
        self.taken: list[tuple[bytes, Client]] = []
        self.outcome: Reply | Refused = Reply(Outcome.OK, "1234")
        self.answers: list[Answer] = []
        self.turned_away: list[str] = []
        self.wakes: list[Callable[[], None]] = []

    def submit(self, body: bytes, codec: Codec, client: Client, answer: Answer) -> None:
        self.assertIs(codec, PROTOBUF)
        self.taken.append((body, client))
        answer(self.outcome.reply() if isinstance(self.outcome, Refused) else self.outcome)

    def later(self, body: bytes, codec: Codec, client: Client, answer: Answer) -> None:
        self.answers.append(answer)

    def service(self, call_from_thread: Any = at_once, require_id: bool = False, **changes: Any) -> EventService:
        identity = IdentitySettings(id_header="X-User-ID", group_header="X-User-Group", require_id=require_id)
        details = {"submit": self.submit, "timeout": 5.0, "most": 10, "turned_away": self.turned_away.append, **changes}
        return EventService(identify=Identify(identity), call_from_thread=call_from_thread, **details)

    def end_of(self, call: Call, service: EventService | None = None, body: bytes = PROTO_BATCH) -> Any:
        """How a call ends; that it does so once."""
        (service or self.service()).arrived(call, body)
        (end,) = call.ended
        return end

    def test_success(self) -> None:
        """A batch is handed on as it came, and the answer is a protobuf response."""
        self.assertEqual(self.end_of(Call()), PROTO_OK)
        ((body, client),) = self.taken
        self.assertEqual(body, PROTO_BATCH)
        self.assertEqual((client.identity, client.transport), (Identity("--default--", "1234"), "grpc"))
        self.assertIsNone(client.guids)

    def test_source(self) -> None:
        """A client without an id is told apart by its address."""
        self.end_of(Call([("x-user-id", "")]))
        self.assertEqual(self.taken[0][1].source, "ipv4:192.0.2.7")

    def test_identity(self) -> None:
        """Id and group are metadata; the first of several values counts, and an empty group is the default one."""
        service = self.service()
        for metadata, client in (
            (
                [("x-user-id", "1"), ("x-user-id", "2"), ("x-user-group", "g"), ("x-user-group", "h")],
                Identity("g", "1"),
            ),
            ([("x-user-group", ""), ("x-user-id", "1")], Identity("--default--", "1")),
            ([("x-user-id", "")], Identity("--default--", "")),
            ([("user-agent", "x"), ("x-user-id", b"1")], Identity("--default--", "1")),
        ):
            for _ in range(2):
                self.end_of(Call(metadata), service)
                self.assertEqual(self.taken.pop()[1].identity, client)

    def test_no_group_header(self) -> None:
        """Where no header is named for the group, all are of the default one."""
        identify = Identify(IdentitySettings(id_header="X-User-ID"))
        service = EventService(self.submit, identify, at_once, 1, self.turned_away.append, 5.0)
        self.end_of(Call([("x-user-id", "1"), ("", "g")]), service)
        self.assertEqual(self.taken[0][1].identity, Identity("--default--", "1"))

    def test_no_id(self) -> None:
        """Without the id there is an error status with the text that it always had."""
        self.assertEqual(self.end_of(Call([])), (grpc.StatusCode.INVALID_ARGUMENT, "connection id header missing"))
        self.assertEqual(self.taken, [])

    def test_bad_id(self) -> None:
        """An id that cannot be used is an error status too, each time."""
        service = self.service(require_id=True)
        for metadata, text in (
            ([("x-user-id", "x" * 257)], "the header X-User-ID is longer than 256 bytes"),
            ([("x-user-id", "1"), ("x-user-group", "a\nb")], "the header X-User-Group has control characters"),
            ([("x-user-id", "")], "the header X-User-ID with the connection id is missing or empty"),
        ):
            for _ in range(2):
                self.assertEqual(self.end_of(Call(metadata), service), (grpc.StatusCode.INVALID_ARGUMENT, text))
        self.assertEqual(self.taken, [])

    def test_undecodable(self) -> None:
        """What is no batch is a wrong request, hence an error status."""
        self.outcome = Malformed("Error parsing message", "1234")
        expected = grpc.StatusCode.INTERNAL, "cannot deserialize request: Error parsing message"
        self.assertEqual(self.end_of(Call()), expected)

    def test_compressed(self) -> None:
        """A message may be compressed; a damaged or too large one is a wrong request."""
        packed = gzip.compress(PROTO_BATCH)
        self.assertEqual(self.end_of(Call(), body=packed), PROTO_OK)
        self.assertEqual(self.taken[0][0], PROTO_BATCH)
        self.assertIs(self.end_of(Call(), body=packed[:-9])[0], grpc.StatusCode.INTERNAL)
        too_large = self.end_of(Call(), self.service(largest=5), packed)
        self.assertIs(too_large[0], grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(len(self.taken), 1)

    def test_failures_in_band(self) -> None:
        """Everything worth retrying is an ordinary response: one official client crashes on an error status."""
        for outcome, code in (
            (Outcome.SATURATED, 3),
            (Outcome.UNAVAILABLE, 3),
            (Outcome.DRAINING, 3),
            (Outcome.FAILED, 3),
            (Outcome.EXPIRED, 3),
            (Outcome.INVALID, 2),
        ):
            self.outcome = Reply(outcome, "1234", "why", {"retryable": "true"})
            response = read_protobuf(self.end_of(Call()))
            self.assert_reply(response, code, "why", {"req_guid": "1234", "retryable": "true"})

    def test_abandoned(self) -> None:
        """A call that is over by the time the reactor comes to it is not published; its place is free."""
        service = self.service(self.wakes.append, most=1)
        for _ in range(2):
            call = Call()
            service.arrived(call, PROTO_BATCH)
            call.over = True
            self.wakes.pop()()
            self.assertEqual(call.ended, [OVER])
        self.assertEqual(self.taken, [])

    def test_over_after(self) -> None:
        """A call that is over once its batch was taken is published, and ended as any other."""
        service, call = self.service(submit=self.later), Call()
        service.arrived(call, PROTO_BATCH)
        call.over = True
        self.answers[0](Reply(Outcome.OK, "1234"))
        self.assertEqual(call.ended, [PROTO_OK])

    def test_one_wake_up(self) -> None:
        """Calls that come before the reactor does wake it once, and are served in order."""
        service = self.service(self.wakes.append)
        for number in range(3):
            service.arrived(Call([("x-user-id", str(number))]), PROTO_BATCH)
        (wake,) = self.wakes
        self.assertEqual(self.taken, [])
        wake()
        self.assertEqual([client.identity.id for _, client in self.taken], ["0", "1", "2"])
        service.arrived(Call(), PROTO_BATCH)
        self.assertEqual(len(self.wakes), 2)

    def test_too_many(self) -> None:
        """More calls at once than may be are refused at once and in the answer; each end makes room for one."""
        service = self.service(submit=self.later, most=2)
        calls = [Call([("x-user-id", "1234"), ("x-user-group", "g")]) for _ in range(4)]
        for call in calls:
            service.arrived(call, PROTO_BATCH)
        self.assertEqual([len(call.ended) for call in calls], [0, 0, 1, 1])
        response = read_protobuf(calls[2].ended[0])
        after = response["data"].pop("retry_after_ms")
        self.assertTrue(1000 <= int(after) <= 3000, after)
        reason = "overloaded: too many calls at once, try again later"
        self.assert_reply(response, 3, reason, {"req_guid": "1234", "retryable": "true"})
        self.assertEqual(self.turned_away, ["g", "g"])
        self.answers[0](Reply(Outcome.OK, "1234"))
        self.assertEqual(calls[0].ended, [PROTO_OK])
        for call, ended in (Call(), 0), (Call(), 1):
            service.arrived(call, PROTO_BATCH)
            self.assertEqual(len(call.ended), ended)

    def test_too_many_bytes(self) -> None:
        """What counts too is how many bytes there are at once; a large message by itself is served."""
        size = len(PROTO_BATCH)
        service = self.service(submit=self.later, most_bytes=2 * size)
        calls = [Call() for _ in range(3)]
        for call in calls:
            service.arrived(call, PROTO_BATCH)
        self.assertEqual([len(call.ended) for call in calls], [0, 0, 1])
        self.answers[0](Reply(Outcome.OK, "1234"))
        self.answers[1](Reply(Outcome.OK, "1234"))
        large, small = Call(), Call()
        service.arrived(large, PROTO_BATCH * 3)
        service.arrived(small, PROTO_BATCH)
        self.assertEqual((large.ended, len(small.ended)), ([], 1))

    def test_too_many_for_the_reactor(self) -> None:
        """That needs no reactor: one that is busy elsewhere hears of it later."""
        service = self.service(self.wakes.append, most=1)
        calls = [Call() for _ in range(3)]
        for call in calls:
            service.arrived(call, PROTO_BATCH)
        self.assertEqual([len(call.ended) for call in calls], [0, 1, 1])
        self.assertEqual(self.turned_away, [])
        self.wakes[0]()
        self.assertEqual(len(self.turned_away), 2)

    def test_bug(self) -> None:
        """A bug of ours is logged once, and the client is told at once to come again; those after it are served."""

        def broken(body: bytes, codec: Codec, client: Client, answer: Answer) -> None:
            if not self.taken:
                self.taken.append((body, client))
                raise ZeroDivisionError
            self.submit(body, codec, client, answer)

        service = self.service(self.wakes.append, submit=broken)
        first, second = Call(), Call()
        service.arrived(first, PROTO_BATCH)
        service.arrived(second, PROTO_BATCH)
        self.wakes[0]()
        self.assert_reply(read_protobuf(first.ended[0]), 3, "internal error")
        self.assertEqual(second.ended, [PROTO_OK])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.noise, ["a batch could not be taken"])
        self.noise.clear()

    def test_bug_after_answer(self) -> None:
        """A bug after the answer changes nothing for the client, and frees no second place."""

        def broken(body: bytes, codec: Codec, client: Client, answer: Answer) -> None:
            answer(Reply(Outcome.OK, "1234"))
            raise ZeroDivisionError

        service = self.service(submit=broken, most=1)
        self.assertEqual(self.end_of(Call(), service), PROTO_OK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.noise.clear()

    def test_held(self) -> None:
        """Where a call has a thread, that waits for the answer, which may come from another one."""
        threads: list[threading.Thread] = []

        def call_from_thread(serve: Callable[[], None]) -> None:
            threads.append(threading.Thread(target=serve))
            threads[0].start()

        self.assertEqual(self.service(call_from_thread).send_event(PROTO_BATCH, Context()), PROTO_OK)
        threads[0].join()

    def test_held_failure(self) -> None:
        """An error status ends it as the library wants that."""
        context = Context(metadata=[])
        self.assertRaises(Aborted, self.service().send_event, PROTO_BATCH, context)
        self.assertEqual(context.ended, (grpc.StatusCode.INVALID_ARGUMENT, "connection id header missing"))

    def test_held_late(self) -> None:
        """A call whose deadline has passed is not published, although the library has not noticed yet."""
        for context in Context(0.0), Context(-1.0), Context(over=True):
            self.assertRaises(Aborted, self.service().send_event, PROTO_BATCH, context)
            self.assertEqual(context.ended, OVER)
        self.assertEqual(self.taken, [])
        self.service().send_event(PROTO_BATCH, Context(0.1))
        self.assertEqual(len(self.taken), 1)

    def test_stopped_reactor(self) -> None:
        """A reactor that does not come round cannot hold a thread for ever; nobody knows what became of its events."""
        response = self.service(lambda *call: None, timeout=0.001).send_event(PROTO_BATCH, Context())
        self.assert_reply(read_protobuf(response), 3, "no answer in time; the events may still be delivered")

    def test_late_answer(self) -> None:
        """An answer that comes after that is dropped."""
        service = self.service(submit=self.later, timeout=0.001)
        service.send_event(PROTO_BATCH, Context())
        self.answers[0](Reply(Outcome.OK, "1234"))


@define(eq=False)
class Server:
    """A gRPC server. :ivar taken: its port is. :ivar stops: the grace that each call of `stop` gave."""

    pool: Any
    handlers: Any
    options: list[tuple[str, Any]]
    maximum_concurrent_rpcs: int | None = None
    taken: bool = False
    address: str = ""
    started: bool = False
    stops: list[float] = field(factory=list)
    stopped: threading.Event = field(factory=threading.Event)
    policy: int = field(factory=lambda: os.sched_getscheduler(0))

    def add_insecure_port(self, address: str) -> int:
        if self.taken:
            raise RuntimeError("Failed to bind")
        self.address = address
        return 40001

    def start(self) -> None:
        self.started = True

    def stop(self, grace: float) -> threading.Event:
        self.stops.append(grace)
        return self.stopped


class GrpcFrontTests(WireTestCase):
    """The server around it."""

    def setUp(self) -> None:
        super().setUp()
        self.servers: list[Server] = []
        self.taken = False
        self.waiting: list[tuple[Callable[..., Any], Deferred[Any]]] = []
        self.clock = Clock()
        self.patch(grpc, "server", self.make)

    def make(self, pool: Any, handlers: Any, **details: Any) -> Server:
        self.servers.append(Server(pool, handlers, taken=self.taken, **details))
        return self.servers[-1]

    def in_thread(self, call: Callable[..., Any]) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((call, waiting))
        return waiting

    def front(self, drain_delay: float = 0.0, **settings: Any) -> GrpcFront:
        def send_event(body: bytes, context: Any) -> bytes:
            return body

        service: Any = SimpleNamespace(send_event=send_event, arrived=None, refuse=None)
        return GrpcFront(
            service, GrpcSettings(**settings), 4000, self.in_thread, self.clock, 3.0, drain_delay=drain_delay
        )

    def end(self, stopped: Deferred[None]) -> None:
        """The calls under way have ended."""
        self.servers[-1].stopped.set()
        wait, waiting = self.waiting.pop()
        waiting.callback(wait())
        self.successResultOf(stopped)

    def test_start(self) -> None:
        """It listens on its port, for messages up to the limit, and shares the port with nobody."""
        front = self.front(port=8081)
        self.assertEqual(self.servers, [])
        front.startService()
        (server,) = self.servers
        self.assertEqual((server.address, server.started, front.port), ("[::]:8081", True, 40001))
        options = dict(server.options)
        self.assertEqual((options["grpc.max_receive_message_length"], options["grpc.so_reuseport"]), (4000, 0))
        self.assertIsNone(server.maximum_concurrent_rpcs)

    def test_unknown_grpcio(self) -> None:
        """With a grpcio that is not known inside, calls get threads, of which there are so many; it is said once."""
        self.patch(rpc, "usable", lambda: False)
        front = self.front(threads=3, max_in_flight=7)
        front.startService()
        (server,) = self.servers
        self.assertIsInstance(server.pool, ThreadPoolExecutor)
        self.assertEqual(server.maximum_concurrent_rpcs, 7)
        self.assertEqual(self.noise, ["this version of grpcio is not known: each gRPC call takes a thread"])
        self.noise.clear()
        self.end(front.stopService())

    def test_patient_threads(self) -> None:
        """The threads of the server do not interrupt ours, whose own way to be scheduled stays as it is."""
        before = os.sched_getscheduler(0)
        self.front().startService()
        self.assertEqual((self.servers[0].policy, os.sched_getscheduler(0)), (os.SCHED_BATCH, before))

    def test_not_allowed_patient_threads(self) -> None:
        """Where that is not allowed, it starts all the same."""

        def refuse(*arguments: Any) -> None:
            raise PermissionError

        self.patch(os, "sched_setscheduler", refuse)
        self.front().startService()
        self.assertTrue(self.servers[0].started)

    def test_hosts(self) -> None:
        """An IPv6 host is put in brackets."""
        for host, address in ("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("localhost", "localhost:1"):
            self.front(host=host, port=1).startService()
            self.assertEqual(self.servers[-1].address, address)

    def test_methods(self) -> None:
        """Both names of the method are served with the bytes as they are, and no other."""
        self.front().startService()
        (handlers,) = self.servers[0].handlers

        def handler(method: str) -> Any:
            return handlers.service(type("Details", (), {"method": method}))

        for package in ("raystack", "odpf"):
            found = handler(f"/{package}.raccoon.v1beta1.EventService/SendEvent")
            self.assertEqual(found.unary_unary(b"\xff", None), b"\xff")
            self.assertEqual((found.request_deserializer, found.response_serializer), (None, None))
            self.assertFalse(found.request_streaming or found.response_streaming)
        for method in (
            "/raystack.raccoon.v1beta1.EventService/Other",
            "/other.raccoon.v1beta1.EventService/SendEvent",
            "",
        ):
            self.assertIsNone(handler(method))

    def test_taken(self) -> None:
        """A port that is taken fails the start, with its number; there is nothing to stop then."""
        self.taken = True
        front = self.front(port=8081)
        error = self.assertRaises(PortTaken, front.startService)
        self.assertEqual(str(error), "cannot listen on gRPC port *:8081: Address already in use or not available")
        self.successResultOf(maybeDeferred(front.stopService))
        front.hurry()

    def test_stop(self) -> None:
        """The stop gives the calls under way their time, and is over when they are."""
        front = self.front()
        front.startService()
        stopped = front.stopService()
        self.assertEqual(self.servers[0].stops, [3.0 + LAST_WORDS])
        self.assertNoResult(stopped)
        self.end(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        front.hurry()
        self.assertEqual(self.servers[0].stops, [3.0 + LAST_WORDS])

    def test_drain_delay(self) -> None:
        """While the drain delay lasts, calls are served; the stop begins after it."""
        front = self.front(drain_delay=2.0)
        front.startService()
        front.stopService()
        self.clock.advance(1.9)
        self.assertEqual(self.servers[0].stops, [])
        self.clock.advance(0.2)
        self.assertEqual(self.servers[0].stops, [3.5])

    def test_hurry_in_drain_delay(self) -> None:
        """When there is no time left, there is no delay."""
        front = self.front(drain_delay=2.0)
        front.startService()
        stopped = front.stopService()
        front.hurry()
        self.assertEqual(min(self.servers[0].stops), 0)
        self.end(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurry(self) -> None:
        """When there is no time left, the calls under way get none."""
        front = self.front()
        front.startService()
        front.stopService()
        front.hurry()
        self.assertEqual(self.servers[0].stops, [3.0 + LAST_WORDS, 0])
