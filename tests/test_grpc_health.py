"""Tests for `raccoon_tx.transports.grpc_health`: contract section 6."""

from __future__ import annotations

import gzip
import os

import grpc
from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.transports.grpc_health import INTERVAL, WATCHERS, GrpcHealth, health_pb2

NOT_SERVING, SERVING, UNKNOWN = 2, 1, 3
OURS = "raystack.raccoon.v1beta1.EventService"


class Aborted(Exception):
    """What the gRPC library raises when a call is ended with an error status."""


@define
class Call:
    """A ``ServicerContext``. :ivar active: somebody waits for the call. :ivar ended: its error status."""

    active: bool = True
    ended: tuple[grpc.StatusCode, str] | None = None

    def is_active(self) -> bool:
        return self.active

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = (code, details)
        raise Aborted


def asks(service: str = "") -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=service).SerializeToString())


class GrpcHealthTests(SynchronousTestCase):
    """Whether events can be taken."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ready = True
        self.health = GrpcHealth((OURS,), lambda: self.ready, self.clock)

    def check(self, service: str = "") -> int:
        return int(self.health.check(asks(service), Call()).status)

    def test_before_the_start(self) -> None:
        """Before the start nothing is served."""
        self.assertEqual(self.check(), NOT_SERVING)

    def test_check(self) -> None:
        """All of it, and each service, are served while events can be taken; changes are seen soon."""
        self.health.startService()
        for ready in (True, False, True):
            self.ready = ready
            self.clock.advance(INTERVAL)
            for service in "", OURS:
                self.assertEqual(self.check(service), SERVING if ready else NOT_SERVING)
        self.assertLess(INTERVAL, 2)

    def test_unknown(self) -> None:
        """Another service is not found."""
        call = Call()
        self.assertRaises(Aborted, self.health.check, asks("other"), call)
        self.assertEqual(call.ended, (grpc.StatusCode.NOT_FOUND, "unknown service"))

    def test_not_a_request(self) -> None:
        """What is no request is told so, and what is compressed is one."""
        for ask in self.health.check, lambda message, call: next(self.health.watch(message, call)):
            for message in b"\x0a\x05x", b"\x1f\x8bx", gzip.compress(asks("x" * 2000)):
                call = Call()
                self.assertRaises(Aborted, ask, message, call)
                self.assertEqual(call.ended, (grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest"))
            self.assertEqual(ask(gzip.compress(asks(OURS)), Call()).status, NOT_SERVING)

    def test_stop(self) -> None:
        """From the beginning of the stop nothing is served, whatever the publisher says; no timer is left."""
        self.health.startService()
        self.successResultOf(self.health.stopService())
        self.assertEqual(self.check(OURS), NOT_SERVING)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.health.stopService())

    def test_watch(self) -> None:
        """Who watches is told how it is, of each change, and of the end, which ends the watching."""
        self.health.startService()
        watch = self.health.watch(asks(OURS), Call())
        self.assertEqual(next(watch).status, SERVING)
        self.ready = False
        self.clock.advance(INTERVAL)
        self.assertEqual(next(watch).status, NOT_SERVING)
        self.ready = True
        self.clock.advance(INTERVAL)
        self.assertEqual(next(watch).status, SERVING)
        self.health.stopService()
        self.assertEqual([each.status for each in watch], [NOT_SERVING])

    def test_watch_unknown(self) -> None:
        """Who watches another service is told that it is unknown, until the end."""
        self.health.startService()
        watch = self.health.watch(asks("other"), Call())
        self.assertEqual(next(watch).status, UNKNOWN)
        self.health.stopService()
        self.assertEqual(list(watch), [])

    def test_gone(self) -> None:
        """Watching ends when nobody waits any more."""
        call = Call()
        watch = self.health.watch(asks(), call)
        next(watch)
        call.active = False
        self.assertEqual(list(watch), [])

    def test_many(self) -> None:
        """So many may watch, and more when some have gone."""
        watches = [self.health.watch(asks(), Call()) for _ in range(WATCHERS)]
        for watch in watches:
            next(watch)
        call = Call()
        self.assertRaises(Aborted, next, self.health.watch(asks(), call))
        self.assertEqual(call.ended, (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many clients watch"))
        watches.pop().close()
        self.assertEqual(next(self.health.watch(asks(), Call())).status, NOT_SERVING)


class QuietTests(SynchronousTestCase):
    """The gRPC library."""

    def test_quiet(self) -> None:
        """It writes nothing to stderr, unless the environment says so."""
        self.assertIn("GRPC_VERBOSITY", os.environ)
