"""Tests of `raccoon_tx.config.together`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config import together
from raccoon_tx.config.keys import KEYS
from raccoon_tx.config.kinds import Value
from raccoon_tx.config.together import Together


class TogetherTests(SynchronousTestCase):
    def check(self, values: dict[str, Value]) -> Together:
        together = Together({**{key.name: key.default for key in KEYS}, **values})
        together.check()
        return together

    def mistake(self, values: dict[str, Value]) -> str:
        (mistake,) = self.check(values).mistakes
        return mistake

    def warning(self, values: dict[str, Value]) -> str:
        found = self.check(values)
        (warning,) = found.warnings
        self.assertEqual(found.mistakes, [])
        return warning

    def test_defaults(self) -> None:
        """The defaults go together."""
        found = self.check({})
        self.assertEqual((found.mistakes, found.warnings), ([], []))

    def test_pings(self) -> None:
        """A connection should not be dropped before it was pinged."""
        warning = self.warning({"server.websocket.ping_interval_ms": 10, "server.websocket.pong_wait_interval_ms": 10})
        self.assertIn("SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS", warning)

    def test_ports(self) -> None:
        """Two listeners cannot share a port; free ones, and one that is not used, are no matter."""
        self.assertIn("SERVER_GRPC_PORT", self.mistake({"server.grpc.port": 8080}))
        self.assertEqual(self.check({"server.grpc.port": 0, "server.websocket.port": 0}).mistakes, [])
        self.assertEqual(self.check({"metric.prometheus.port": 8080}).mistakes, [])
        taken = {"metric.prometheus.port": 8080, "metric.prometheus.enabled": True}
        self.assertIn("METRIC_PROMETHEUS_PORT", self.mistake(taken))

    def test_cors(self) -> None:
        """Nobody, everybody with cookies, and too long an age are remarked upon, but only where CORS is on."""
        on: dict[str, Value] = {"server.cors.enabled": True}
        self.assertIn("allows nobody", self.warning(on))
        everybody: dict[str, Value] = {"server.cors.allowed_origin": ("*",), "server.cors.allow_credentials": True}
        self.assertEqual(self.check(everybody).mistakes, [])
        self.assertIn("SERVER_CORS_ALLOW_CREDENTIALS", self.mistake({**on, **everybody}))
        aged: dict[str, Value] = {"server.cors.allowed_origin": ("x",), "server.cors.preflight_max_age_seconds": 601}
        self.assertIn("601 is more than 600", self.warning({**on, **aged}))

    def test_tls(self) -> None:
        """A certificate needs its key, both need to be readable, and so does who signs for the clients."""
        self.assertIn(
            "SERVER_TLS_PRIVATE_KEY (--server.tls.private.key) is required",
            self.mistake({"server.tls.certificate": __file__}),
        )
        self.assertIn("SERVER_TLS_CERTIFICATE", self.mistake({"server.tls.private_key": __file__}))
        self.assertIn("SERVER_TLS_CERTIFICATE", self.mistake({"server.tls.client_ca": __file__}))
        missing = {"server.tls.certificate": __file__, "server.tls.private_key": "/nowhere/at/all"}
        self.assertIn("'/nowhere/at/all' does not exist", self.mistake(missing))

    def test_allowed_types(self) -> None:
        """A type that can never have a topic cannot be allowed, unless all have the same one."""
        self.assertIn("'b d'", self.mistake({"event.allowed_types": ("a", "b d")}))
        constant = {"event.allowed_types": ("a", "b d"), "event.distribution_publisher_pattern": "all"}
        self.assertEqual(self.check(constant).mistakes, [])

    def test_reflection(self) -> None:
        """Reflection needs a package that not everybody has; without it, the mistake names the package."""
        wanted: dict[str, Value] = {"server.grpc.reflection": True}
        self.patch(together, "find_spec", lambda name: None)
        self.assertIn("grpcio-reflection", self.mistake(wanted))
        self.patch(together, "find_spec", lambda name: object())
        self.assertEqual(self.check(wanted).mistakes, [])

    def test_exporters(self) -> None:
        """Both exporters run; whoever comes from the other server should know."""
        both: dict[str, Value] = {"metric.prometheus.enabled": True, "metric.statsd.enabled": True}
        self.assertIn("both exporters run", self.warning(both))

    def test_spool(self) -> None:
        """What is to be durable needs a place on the disk, and bounds have no effect on nothing."""
        durable: dict[str, Value] = {"event.ack": 2}
        self.assertEqual(
            self.mistake(durable),
            "EVENT_ACK (--event.ack): 2, durable, needs a folder for the disk spool in SPOOL_PATH (--spool.path)",
        )
        self.assertEqual(self.check({**durable, "spool.path": "/somewhere"}).mistakes, [])
        self.assertIn("SPOOL_MAX_BYTES", self.warning({"spool.max_bytes": 5}))
        self.assertEqual(self.check({"spool.max_bytes": 5, "spool.path": "/somewhere"}).warnings, [])

    def test_switches(self) -> None:
        """What has no effect without another setting says so."""
        self.assertIn("DEDUP_IN_CONNECTION_ENABLED", self.warning({"server.batch.dedup_scope": "identity"}))
        self.assertIn("EVENTS_PER_SECOND", self.warning({"server.rate_limit.burst": 5}))
