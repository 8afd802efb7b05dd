"""Flags, environment and file, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config import ConfigurationError, Loaded, load, load_command_line
from raccoon_tx.config.file import as_yaml
from raccoon_tx.model import Ack
from raccoon_tx.settings import IdentitySettings, Settings

#: As little as a server can run with.
MINIMAL = {"SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID", "PUBLISHER_TYPE": "log"}
KAFKA = {**MINIMAL, "PUBLISHER_TYPE": "kafka", "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "kafka:9092"}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cwd = Path(folder.name)

    def load(
        self,
        flags: Mapping[str, str | Sequence[str]] | None = None,
        environ: Mapping[str, str] = MINIMAL,
        content: str = "",
        defaults: Mapping[str, str] | None = None,
    ) -> Loaded:
        (self.cwd / "config.yaml").write_text(content)
        return load(flags or {}, environ, None, self.cwd, defaults)

    def mistakes(
        self,
        flags: Mapping[str, str | Sequence[str]] | None = None,
        environ: Mapping[str, str] = MINIMAL,
        content: str = "",
    ) -> list[str]:
        try:
            self.load(flags, environ, content)
        except ConfigurationError as error:
            return error.mistakes
        return []


class SourceTests(Case):
    def test_defaults(self) -> None:
        """With the least that is needed, everything is as the settings have it by default."""
        loaded = self.load()
        self.assertEqual(loaded.settings, Settings(identity=IdentitySettings(id_header="X-User-ID"), publisher="log"))
        self.assertEqual(loaded.warnings, [])
        self.assertEqual(loaded.values["server.websocket.port"], (8080, "default"))
        self.assertEqual(loaded.values["publisher.type"], ("log", "environment"))

    def test_precedence(self) -> None:
        """Flags go over the environment, the environment over the file, the file over the defaults."""
        flag, variable, line = {"server.grpc.port": "1"}, {"SERVER_GRPC_PORT": "2"}, "server: {grpc: {port: 3}}"
        for flags, environ, content, value in (
            (flag, variable, line, (1, "flag")),
            ({}, variable, line, (2, "environment")),
            ({}, {"SERVER_GRPC_PORT": ""}, line, (3, "file")),
            ({}, {}, line, (3, "file")),
            ({}, {}, "", (4, "default")),
        ):
            loaded = self.load(flags, {**MINIMAL, **environ}, content, {"server.grpc.port": "4"})
            self.assertEqual(loaded.values["server.grpc.port"], value)
            self.assertEqual(loaded.settings.grpc.port, value[0])

    def test_empty_flag(self) -> None:
        """A flag can take back what the environment says."""
        environ = {**MINIMAL, "SERVER_WEBSOCKET_CONN_GROUP_HEADER": "X-Group"}
        loaded = self.load({"server.websocket.conn.group.header": ""}, environ)
        self.assertEqual(loaded.settings.identity.group_header, "")

    def test_named_file(self) -> None:
        """A file that is named is read instead of the usual one, and must be there."""
        (self.cwd / "config.yaml").write_text("log: {level: error}")
        (self.cwd / "mine.yaml").write_text("log: {level: debug}")
        self.assertEqual(load({}, MINIMAL, "mine.yaml", self.cwd).settings.log.level, "debug")
        error = self.assertRaises(ConfigurationError, load, {}, MINIMAL, "no.yaml", self.cwd)
        self.assertIn("does not exist", str(error))

    def test_no_file(self) -> None:
        """Without a file all goes well."""
        self.assertEqual(load({}, MINIMAL, None, self.cwd).settings.log.level, "info")

    def test_units(self) -> None:
        """Milliseconds arrive as seconds, everything else as it is, each where it belongs."""
        environ = {
            **KAFKA,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_WEBSOCKET_PORT": "0",
            "SERVER_HEAD_TIMEOUT_MS": "1",
            "SERVER_BODY_TIMEOUT_MS": "2",
            "SERVER_ACCEPT_TEXT_PLAIN": "on",
            "SERVER_REQUIRE_ID": "1",
            "SERVER_WEBSOCKET_CONN_GROUP_HEADER": "X-Group",
            "SERVER_WEBSOCKET_CONN_GROUP_DEFAULT": "all",
            "SERVER_MAX_BODY_BYTES": "3",
            "SERVER_MAX_EVENTS": "4",
            "SERVER_WEBSOCKET_MAX_CONN": "5",
            "SERVER_WEBSOCKET_PING_INTERVAL_MS": "6",
            "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS": "7",
            "SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS": "8",
            "SERVER_WEBSOCKET_MAX_IN_FLIGHT": "9",
            "SERVER_WEBSOCKET_WRITE_BUFFER_LIMIT": "10",
            "SERVER_WEBSOCKET_CHECK_ORIGIN": "false",
            "SERVER_GRPC_HOST": "::1",
            "SERVER_GRPC_PORT": "11",
            "SERVER_GRPC_THREADS": "12",
            "SERVER_GRPC_MAX_IN_FLIGHT": "13",
            "WORKER_BUFFER_CHANNEL_SIZE": "13",
            "SERVER_ENQUEUE_TIMEOUT_MS": "14",
            "PUBLISHER_FLUSH_INTERVAL_MS": "15",
            "PUBLISHER_PUBLISH_TIMEOUT_MS": "16",
            "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": "17",
            "EVENT_ACK": "1",
            "EVENT_DISTRIBUTION_PUBLISHER_PATTERN": "%s",
            "EVENT_MAX_TOPICS": "18",
            "SERVER_DRAIN_DELAY_MS": "19",
            "SERVER_DRAIN_WINDOW_MS": "20",
            "WORKER_BUFFER_FLUSH_TIMEOUT_MS": "21",
            "LOG_LEVEL": "trace",
            "LOG_FORMAT": "json",
        }
        loaded = self.load(environ=environ)
        s = loaded.settings
        self.assertEqual(loaded.warnings, [])
        i = s.identity
        self.assertEqual((i.group_header, i.default_group, i.require_id), ("X-Group", "all", True))
        self.assertEqual(
            (s.http.host, s.http.port, s.http.head_timeout, s.http.body_timeout), ("127.0.0.1", 0, 0.001, 0.002)
        )
        self.assertTrue(s.http.accept_text_plain)
        self.assertEqual((s.limits.body, s.limits.events), (3, 4))
        w = s.websocket
        self.assertEqual((w.max_connections, w.ping_interval, w.pong_wait, w.write_wait), (5, 0.006, 0.007, 0.008))
        self.assertEqual((w.max_in_flight, w.write_buffer_limit, w.check_origin), (9, 10, False))
        self.assertEqual((s.grpc.host, s.grpc.port, s.grpc.threads, s.grpc.max_in_flight), ("::1", 11, 12, 13))
        self.assertEqual((s.buffer.batches, s.buffer.patience), (13, 0.014))
        k = s.kafka
        self.assertEqual((k.flush_interval, k.publish_timeout, k.close_timeout), (0.015, 0.016, 0.017))
        self.assertEqual((s.publisher, s.ack), ("kafka", Ack.DELIVERED))
        self.assertEqual((s.routing.pattern, s.routing.max_topics), ("%s", 18))
        self.assertEqual((s.stop.drain_delay, s.stop.drain_window, s.stop.flush_timeout), (0.019, 0.02, 0.021))
        self.assertEqual((s.log.level, s.log.format), ("debug", "json"))

    def test_lists(self) -> None:
        """Lists are separated by commas, or are lists where there is such a thing."""
        for flags, environ, content in (
            ({"event.allowed.types": ["a, b", "c"]}, {}, ""),
            ({}, {"EVENT_ALLOWED_TYPES": "a,b , c"}, ""),
            ({}, {}, "event: {allowed_types: [a, b, c]}"),
            ({}, {}, "event.allowed_types: a, b, c"),
        ):
            loaded = self.load(flags, {**MINIMAL, **environ}, content)
            self.assertEqual(loaded.values["event.allowed_types"].value, ("a", "b", "c"))

    def test_printed_form(self) -> None:
        """What is printed of a configuration is a file that means the same."""
        before = self.load({"event.distribution.publisher.pattern": "%s", "publisher.kafka.client.acks": "1"}, KAFKA)
        after = self.load(environ={}, content=as_yaml(before.values))
        self.assertEqual(after.settings, before.settings)


class MistakeTests(Case):
    def test_required(self) -> None:
        """What must be set is named by variable and flag."""
        self.assertEqual(
            self.mistakes(environ={}),
            [
                "SERVER_WEBSOCKET_CONN_ID_HEADER (--server.websocket.conn.id.header) is required",
                "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS (--publisher.kafka.client.bootstrap.servers) is required",
            ],
        )
        self.assertEqual(self.mistakes(environ=KAFKA), [])
        other = {**KAFKA, "PUBLISHER_KAFKA_CLIENT_METADATA_BROKER_LIST": "kafka:9092"}
        del other["PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS"]
        self.assertEqual(self.mistakes(environ=other), [])

    def test_all_at_once(self) -> None:
        """Mistakes of all sources are reported together, each with its source and what is allowed."""
        self.assertEqual(
            self.mistakes(
                {"server.websocket.port": "99999", "server.cors.enabled": "maybe"},
                {"EVENT_ACK": "3", "PUBLISHER_KAFKA_CLIENT_LIGER_MS": "5"},
                "log: {level: loud}\nserver: {max_events: [1, 2]}\n",
            ),
            [
                "SERVER_WEBSOCKET_PORT (--server.websocket.port): '99999' is not a whole number from 0 to 65535 "
                "(from a flag)",
                "SERVER_MAX_EVENTS (--server.max.events): is a list, but must be one value (from the file)",
                "EVENT_ACK (--event.ack): '3' is not a mode of acknowledgement: use 0 (taken), 1 (delivered) or "
                "2 (durable) (from the environment)",
                "LOG_LEVEL (--log.level): 'loud' is not one of debug, info, warn, error, fatal, panic (from the file)",
                "SERVER_CORS_ENABLED (--server.cors.enabled): 'maybe' is neither true nor false (from a flag)",
                "SERVER_WEBSOCKET_CONN_ID_HEADER (--server.websocket.conn.id.header) is required",
                "PUBLISHER_KAFKA_CLIENT_LIGER_MS (--publisher.kafka.client.liger.ms): "
                'No such configuration property: "liger.ms"',
                "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS (--publisher.kafka.client.bootstrap.servers) is required",
            ],
        )

    def test_publishers(self) -> None:
        """Publishers that this server does not have are told apart from those that nobody has."""
        for name, words in (
            ("pubsub", "publisher pubsub is not available in this release"),
            ("kinesis", "publisher kinesis is not available in this release"),
            ("rabbitmq", "unknown publisher: rabbitmq"),
        ):
            (mistake,) = self.mistakes(environ={**MINIMAL, "PUBLISHER_TYPE": name})
            self.assertTrue(mistake.startswith(f"PUBLISHER_TYPE (--publisher.type): {words}"), mistake)

    def test_broken_file(self) -> None:
        """A file that cannot be read is a mistake; what it may have set is not said to be missing."""
        (mistake,) = self.mistakes(environ={}, content="a: b: c")
        self.assertIn("config.yaml, line 1: ", mistake)
        self.assertEqual(len(self.mistakes(environ={"EVENT_ACK": "7"}, content="a: b: c")), 2)

    def test_command_line(self) -> None:
        """Mistakes among the flags are reported with all others."""
        error = self.assertRaises(ConfigurationError, load_command_line, ["--log.leve=info"], {}, self.cwd)
        self.assertEqual(error.mistakes[0], "unknown flag: --log.leve (did you mean --log.level?)")
        self.assertEqual(len(error.mistakes), 3)
        error = self.assertRaises(ConfigurationError, load_command_line, ["--log.leve=info"], MINIMAL, self.cwd)
        self.assertEqual(len(error.mistakes), 1)
        self.assertEqual(load_command_line(["--log.level=warn"], MINIMAL, self.cwd).settings.log.level, "warn")

    def test_secrets(self) -> None:
        """No mistake and no warning shows a secret."""
        environ = {
            **KAFKA,
            "PUBLISHER_KAFKA_CLIENT_SASL_PASSWORD": "hunter2",
            "PUBLISHER_KAFKA_CLIENT_SSL_KEY_PEM": "hunter2",
            "PUBLISHER_PUBSUB_CREDENTIALS": "hunter2",
            "PUBLISHER_KAFKA_CLIENT_SECURITY_PROTOCOL": "ssl",
        }
        mistakes = self.mistakes(environ=environ)
        self.assertEqual(len(mistakes), 1)
        self.assertNotIn("hunter2", mistakes[0])


class WarningTests(Case):
    def test_sample_file(self) -> None:
        """The mistakes of the reference's own sample file are named with what was meant."""
        content = """
            server:
              websocket: {pong_wait_interval: 1, write_wait_interval: 2}
              cors: {allowed_origins: [a]}
        """
        warnings = self.load(content=content).warnings
        for name, meant in (
            ("server.websocket.pong_wait_interval", "server.websocket.pong_wait_interval_ms"),
            ("server.websocket.write_wait_interval", "server.websocket.write_wait_interval_ms"),
            ("server.cors.allowed_origins", "server.cors.allowed_origin"),
        ):
            text = f"{name} in the file is not a setting and has no effect; did you mean {meant}?"
            self.assertIn(text, warnings)
        self.assertEqual(len(warnings), 3)

    def test_unknown_in_file(self) -> None:
        """What resembles nothing is named too; an empty section is nothing."""
        self.assertEqual(
            self.load(content="server:\nqqq: 1\n").warnings, ["qqq in the file is not a setting and has no effect"]
        )

    def test_environment(self) -> None:
        """Variables of other programs are left alone, unless they nearly are one of ours."""
        environ = {"SERVER_SOFTWARE": "x", "EVENT_BUS": "y", "LOG_DIR": "z", "HOME": "/", "SERVER_NAME": "n"}
        self.assertEqual(self.load(environ={**MINIMAL, **environ}).warnings, [])
        (warning,) = self.load(environ={**MINIMAL, "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL": "1"}).warnings
        self.assertIn("did you mean SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS?", warning)

    def test_ignored(self) -> None:
        """What is accepted for the sake of older configurations is accepted in silence."""
        environ = {
            "SERVER_WEBSOCKET_PINGER_SIZE": "4",
            "WORKER_POOL_SIZE": "9",
            "WORKER_KAFKA_DELIVERY_CHANNEL_SIZE": "7",
            "PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE": "7",
            "SERVER_WEBSOCKET_READ_BUFFER_SIZE": "1",
        }
        self.assertEqual(self.load(environ={**MINIMAL, **environ}).warnings, [])

    def test_older_name(self) -> None:
        """The older name of the id header still works, with a warning, and today's name goes over it."""
        older = {"SERVER_WEBSOCKET_CONN_UNIQ_ID_HEADER": "X-Old"}
        loaded = self.load(environ={"PUBLISHER_TYPE": "log", **older})
        self.assertEqual(loaded.settings.identity.id_header, "X-Old")
        self.assertEqual(
            loaded.warnings,
            [
                "SERVER_WEBSOCKET_CONN_UNIQ_ID_HEADER from the environment is an older name: "
                "use SERVER_WEBSOCKET_CONN_ID_HEADER (--server.websocket.conn.id.header)"
            ],
        )
        for environ in ({**older, **MINIMAL}, {**MINIMAL, **older}):
            self.assertEqual(self.load(environ=environ).settings.identity.id_header, "X-User-ID")

    def test_pong_wait(self) -> None:
        """Waiting for a pong no longer than until the next ping is probably a mistake."""
        environ = {"SERVER_WEBSOCKET_PING_INTERVAL_MS": "10000", "SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS": "10000"}
        (warning,) = self.load(environ={**MINIMAL, **environ}).warnings
        self.assertIn("SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS", warning)
        environ["SERVER_WEBSOCKET_PING_INTERVAL_MS"] = "9999"
        self.assertEqual(self.load(environ={**MINIMAL, **environ}).warnings, [])


class KafkaTests(Case):
    def test_three_names(self) -> None:
        """Any property is set by flag, variable or file, in that order; only what was set is passed on."""
        flag = {"publisher.kafka.client.linger.ms": "1"}
        variable = {"PUBLISHER_KAFKA_CLIENT_LINGER_MS": "2"}
        for flags, environ, content, value in (
            (flag, variable, "publisher: {kafka: {client: {linger_ms: 3}}}", ("1", "flag")),
            ({}, variable, "publisher: {kafka: {client: {linger_ms: 3}}}", ("2", "environment")),
            ({}, {}, "publisher: {kafka: {client: {linger_ms: 3}}}", ("3", "file")),
            ({}, {}, "publisher: {kafka: {client: {linger.ms: 3}}}", ("3", "file")),
            ({}, {}, "publisher.kafka.client.linger_ms: 3", ("3", "file")),
            ({}, {}, "publisher: {kafka: {client: {linger: {ms: 3}}}}", ("3", "file")),
        ):
            loaded = self.load(flags, {**KAFKA, **environ}, content)
            self.assertEqual(
                loaded.settings.kafka.properties, {"bootstrap.servers": "kafka:9092", "linger.ms": value[0]}
            )
            self.assertEqual(loaded.values["publisher.kafka.client.linger_ms"], value)
            self.assertEqual(loaded.warnings, [])

    def test_forms(self) -> None:
        """A list of brokers may be a list, a switch is passed on as written, an empty value is not passed on."""
        content = (
            "publisher: {kafka: {client: {bootstrap_servers: [a:1, b:2], log_connection_close: false, debug: ''}}}"
        )
        loaded = self.load(environ={**MINIMAL, "PUBLISHER_TYPE": "kafka"}, content=content)
        self.assertEqual(
            loaded.settings.kafka.properties, {"bootstrap.servers": "a:1,b:2", "log.connection.close": "false"}
        )
        taken_back = self.load(
            {"publisher.kafka.client.client.id": ""}, {**KAFKA, "PUBLISHER_KAFKA_CLIENT_CLIENT_ID": "x"}
        )
        self.assertNotIn("client.id", taken_back.settings.kafka.properties)

    def test_aliases(self) -> None:
        """Two names of one property, set to different values in different places, are a mistake."""
        (mistake,) = self.mistakes(
            {"publisher.kafka.client.linger.ms": "1"},
            KAFKA,
            "publisher: {kafka: {client: {queue_buffering_max_ms: 2}}}",
        )
        self.assertIn("--publisher.kafka.client.linger.ms", mistake)
        self.assertIn("--publisher.kafka.client.queue.buffering.max.ms", mistake)

    def test_embedded(self) -> None:
        """The embedded broker needs no address, ignores one with a warning, and has its properties checked."""
        environ = {**MINIMAL, "PUBLISHER_TYPE": "embedded"}
        self.assertEqual(self.load(environ=environ).warnings, [])
        loaded = self.load(environ={**KAFKA, **environ, "PUBLISHER_KAFKA_CLIENT_LINGER_MS": "1"})
        self.assertEqual(loaded.settings.kafka.properties, {"linger.ms": "1"})
        self.assertEqual(
            loaded.warnings,
            [
                "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS (--publisher.kafka.client.bootstrap.servers) "
                "has no effect on the embedded publisher"
            ],
        )
        self.assertEqual(len(self.mistakes(environ={**environ, "PUBLISHER_KAFKA_CLIENT_LIGER_MS": "1"})), 1)

    def test_log(self) -> None:
        """The log publisher asks nothing of the Kafka client."""
        self.assertEqual(self.mistakes(environ={**MINIMAL, "PUBLISHER_KAFKA_CLIENT_LIGER_MS": "1"}), [])
