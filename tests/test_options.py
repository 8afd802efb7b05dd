"""Options of ``twistd raccoon``."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stdout
from subprocess import run
from tempfile import TemporaryDirectory

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config.keys import KEYS
from raccoon_tx.options import Options

MINIMAL = ["--server.websocket.conn.id.header=X-User-ID", "--publisher.type=log"]


class OptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        self.options = Options()

    def test_loaded(self) -> None:
        """After parsing, the options have the whole configuration."""
        self.options.parseOptions([*MINIMAL, "--server.websocket.port", "9999", "--publisher.kafka.client.linger.ms=1"])
        settings = self.options.loaded.settings
        self.assertEqual((settings.http.port, settings.kafka.properties), (9999, {"linger.ms": "1"}))

    def test_other_sources(self) -> None:
        """Environment and file count as well."""
        with open("my.yaml", "w") as file:
            file.write("server: {grpc: {port: 7}}")
        self.patch(os, "environ", {**os.environ, "SERVER_MAX_EVENTS": "8"})
        self.options.parseOptions([*MINIMAL, "-c", "my.yaml"])
        self.assertEqual(self.options.loaded.settings.grpc.port, 7)
        self.assertEqual(self.options.loaded.settings.limits.events, 8)

    def test_arguments_of_the_process(self) -> None:
        """Without arguments, those of the process are read."""
        self.patch(sys, "argv", ["twistd", *MINIMAL])
        self.options.parseOptions()
        self.assertEqual(self.options.loaded.settings.publisher, "log")

    def test_mistakes(self) -> None:
        """All mistakes are reported, one on each line, and the list of flags does not bury them."""
        error = self.assertRaises(
            usage.UsageError,
            self.options.parseOptions,
            ["--publisher.type=log", "--server.websocket.p=1", "--event.ack=5"],
        )
        self.assertEqual(
            str(error).splitlines(),
            [
                "unknown flag: --server.websocket.p (did you mean --server.websocket.port?)",
                "EVENT_ACK (--event.ack): '5' is not a mode of acknowledgement: use 0 (taken), 1 (delivered) "
                "or 2 (durable) (from a flag)",
                "SERVER_WEBSOCKET_CONN_ID_HEADER (--server.websocket.conn.id.header) is required",
            ],
        )
        self.assertNotIn("--log.level", str(self.options))

    def test_help(self) -> None:
        """The help shows all flags in their sections, and ends the program."""
        shown = io.StringIO()
        with redirect_stdout(shown):
            self.assertEqual(self.assertRaises(SystemExit, self.options.parseOptions, ["--help"]).code, 0)
        text = shown.getvalue()
        for key in KEYS:
            self.assertIn(f"--{key.flag}", text)
        for words in ("gRPC:", "--publisher.kafka.client.PROPERTY", "-c, --config FILE"):
            self.assertIn(words, text)

    def test_cheap(self) -> None:
        """Importing the options starts no reactor and loads no Kafka client."""
        program = (
            "import sys, raccoon_tx.options;"
            "sys.exit(any(name in sys.modules for name in ('twisted.internet.reactor', 'confluent_kafka', 'grpc')))"
        )
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.assertEqual(run([sys.executable, "-c", program], cwd=root, timeout=60).returncode, 0)
