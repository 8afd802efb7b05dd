"""Tests for `raccoon_tx.transports.rpc`: contract section 6."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred

from raccoon_tx.codec import PROTOBUF, Codec
from raccoon_tx.model import Answer, Identity, Malformed, Outcome, Refused, Reply
from raccoon_tx.settings import GrpcSettings, IdentitySettings
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.listen import PortTaken
from raccoon_tx.transports.rpc import LAST_WORDS, EventService, GrpcFront
from tests.wire import PROTO_BATCH, PROTO_OK, WireTestCase, read_protobuf


class Aborted(Exception):
    """What the gRPC library raises when a call is ended with an error status."""


@define
class Call:
    """A ``ServicerContext``. :ivar over: nobody waits for the call any more. :ivar ended: its error status."""

    metadata: list[tuple[str, str | bytes]] = field(factory=lambda: [("x-user-id", "1234")])
    over: bool = False
    ended: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        return self.metadata

    def is_active(self) -> bool:
        return not self.over

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = (code, details)
        raise Aborted


def at_once(call: Callable[..., Any], *arguments: Any) -> None:
    call(*arguments)


class EventServiceTests(WireTestCase):
    """One call."""

    def setUp(self) -> None:
        super().setUp()
        self.taken: list[tuple[bytes, Identity]] = []
        self.outcome: Reply | Refused = Reply(Outcome.OK, "1234")

    def submit(self, body: bytes, codec: Codec, client: Identity, answer: Answer) -> None:
        self.assertIs(codec, PROTOBUF)
        self.taken.append((body, client))
        answer(self.outcome.reply() if isinstance(self.outcome, Refused) else self.outcome)

    def service(self, call_from_thread: Any = at_once, require_id: bool = False, **changes: Any) -> EventService:
        identity = IdentitySettings(id_header="X-User-ID", group_header="X-User-Group", require_id=require_id)
        details = {"submit": self.submit, "timeout": 5.0, **changes}
        return EventService(
            identify=Identify(identity), id_header="X-User-ID", call_from_thread=call_from_thread, **details
        )

    def assert_ends(self, call: Call, code: grpc.StatusCode, text: str, service: EventService | None = None) -> None:
        self.assertRaises(Aborted, (service or self.service()).send_event, PROTO_BATCH, call)
        self.assertEqual(call.ended, (code, text))

    def test_success(self) -> None:
        """A batch is handed on as it came, and the answer is a protobuf response."""
        self.assertEqual(self.service().send_event(PROTO_BATCH, Call()), PROTO_OK)
        self.assertEqual(self.taken, [(PROTO_BATCH, Identity("--default--", "1234"))])

    def test_identity(self) -> None:
        """Id and group are metadata; the first of several values counts, and an empty group is the default one."""
        for metadata, client in (
            ([("x-user-id", "1"), ("x-user-id", "2"), ("x-user-group", "g")], Identity("g", "1")),
            ([("x-user-group", ""), ("x-user-id", "1")], Identity("--default--", "1")),
            ([("x-user-id", "")], Identity("--default--", "")),
            ([("user-agent", "x"), ("x-user-id", b"1")], Identity("--default--", "1")),
        ):
            self.service().send_event(PROTO_BATCH, Call(metadata))
            self.assertEqual(self.taken.pop()[1], client)

    def test_no_id(self) -> None:
        """Without the id there is an error status with the text that it always had."""
        self.assert_ends(Call([]), grpc.StatusCode.INVALID_ARGUMENT, "connection id header missing")
        self.assertEqual(self.taken, [])

    def test_bad_id(self) -> None:
        """An id that cannot be used is an error status too."""
        self.assert_ends(
            Call([("x-user-id", "x" * 257)]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "the header X-User-ID is longer than 256 bytes",
        )
        self.assert_ends(
            Call([("x-user-id", "1"), ("x-user-group", "a\nb")]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "the header X-User-Group has control characters",
        )
        self.assert_ends(
            Call([("x-user-id", "")]),
            grpc.StatusCode.INVALID_ARGUMENT,
            "the header X-User-ID with the connection id is missing or empty",
            self.service(require_id=True),
        )
        self.assertEqual(self.taken, [])

    def test_undecodable(self) -> None:
        """What is no batch is a wrong request, hence an error status."""
        self.outcome = Malformed("Error parsing message", "1234")
        self.assert_ends(Call(), grpc.StatusCode.INTERNAL, "cannot deserialize request: Error parsing message")

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
            response = read_protobuf(self.service().send_event(PROTO_BATCH, Call()))
            self.assert_reply(response, code, "why", {"req_guid": "1234", "retryable": "true"})

    def test_abandoned(self) -> None:
        """A call whose deadline has passed by the time the reactor comes to it is not published."""
        call = Call()

        def late(take: Callable[..., Any], *arguments: Any) -> None:
            call.over = True
            take(*arguments)

        self.assert_ends(call, grpc.StatusCode.CANCELLED, "the call was over before it was served", self.service(late))
        self.assertEqual(self.taken, [])

    def test_over_after(self) -> None:
        """A call that is over once its batch was taken is published and answered."""
        call = Call()

        def slow(body: bytes, codec: Codec, client: Identity, answer: Answer) -> None:
            call.over = True
            answer(Reply(Outcome.OK, "1234"))

        self.assertEqual(self.service(submit=slow).send_event(PROTO_BATCH, call), PROTO_OK)

    def test_stopped_reactor(self) -> None:
        """A reactor that does not come round cannot hold a call for ever; nobody knows what became of its events."""
        response = self.service(lambda *call: None, timeout=0.001).send_event(PROTO_BATCH, Call())
        self.assert_reply(read_protobuf(response), 3, "no answer in time; the events may still be delivered")

    def test_late_answer(self) -> None:
        """An answer that comes after that is dropped."""
        answers: list[Answer] = []
        service = self.service(submit=lambda body, codec, client, answer: answers.append(answer), timeout=0.001)
        service.send_event(PROTO_BATCH, Call())
        answers[0](Reply(Outcome.OK, "1234"))

    def test_other_thread(self) -> None:
        """The answer may come from another thread, and its call waits for it."""
        threads: list[threading.Thread] = []

        def call_from_thread(take: Callable[..., Any], *arguments: Any) -> None:
            threads.append(threading.Thread(target=take, args=arguments))
            threads[0].start()

        self.assertEqual(self.service(call_from_thread).send_event(PROTO_BATCH, Call()), PROTO_OK)
        threads[0].join()

    def test_bug(self) -> None:
        """A bug of ours is logged once, and the client is told at once to come again."""

        def broken(body: bytes, codec: Codec, client: Identity, answer: Answer) -> None:
            raise ZeroDivisionError

        response = self.service(submit=broken).send_event(PROTO_BATCH, Call())
        self.assert_reply(read_protobuf(response), 3, "internal error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.noise, ["a batch could not be taken"])
        self.noise.clear()

    def test_bug_after_answer(self) -> None:
        """A bug after the answer changes nothing for the client."""

        def broken(body: bytes, codec: Codec, client: Identity, answer: Answer) -> None:
            answer(Reply(Outcome.OK, "1234"))
            raise ZeroDivisionError

        self.assertEqual(self.service(submit=broken).send_event(PROTO_BATCH, Call()), PROTO_OK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.noise.clear()


@define(eq=False)
class Server:
    """A gRPC server. :ivar taken: its port is. :ivar stops: the grace that each call of `stop` gave."""

    pool: Any
    handlers: Any
    options: list[tuple[str, Any]]
    taken: bool = False
    address: str = ""
    started: bool = False
    stops: list[float] = field(factory=list)
    stopped: threading.Event = field(factory=threading.Event)

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
        self.patch(grpc, "server", self.make)

    def make(self, pool: Any, handlers: Any, options: list[tuple[str, Any]]) -> Server:
        self.servers.append(Server(pool, handlers, options, self.taken))
        self.addCleanup(pool.shutdown)
        return self.servers[-1]

    def in_thread(self, call: Callable[..., Any]) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((call, waiting))
        return waiting

    def front(self, **settings: Any) -> GrpcFront:
        def send_event(body: bytes, context: Any) -> bytes:
            return body

        service: Any = type("Service", (), {"send_event": staticmethod(send_event)})
        return GrpcFront(service, GrpcSettings(**settings), 4000, self.in_thread, 3.0)

    def test_start(self) -> None:
        """It listens on its port, for messages up to the limit, and shares the port with nobody."""
        front = self.front(port=8081)
        self.assertEqual(self.servers, [])
        front.startService()
        (server,) = self.servers
        self.assertEqual((server.address, server.started, front.port), ("[::]:8081", True, 40001))
        options = dict(server.options)
        self.assertEqual((options["grpc.max_receive_message_length"], options["grpc.so_reuseport"]), (4000, 0))

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
        wait, waiting = self.waiting[0]
        self.servers[0].stopped.set()
        waiting.callback(wait())
        self.successResultOf(stopped)
        front.hurry()
        self.assertEqual(self.servers[0].stops, [3.0 + LAST_WORDS])

    def test_hurry(self) -> None:
        """When there is no time left, the calls under way get none."""
        front = self.front()
        front.startService()
        front.stopService()
        front.hurry()
        self.assertEqual(self.servers[0].stops, [3.0 + LAST_WORDS, 0])
