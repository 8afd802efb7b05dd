"""Tests of `raccoon_tx.reload`, and of what a running server takes over."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx import logs
from raccoon_tx.config import ConfigurationError, load_command_line
from raccoon_tx.model import Identity, Invalid
from raccoon_tx.reload import reload
from raccoon_tx.settings import Settings
from raccoon_tx.tap import build
from tests.samples import batch

MINIMAL = ["--publisher.type=log", "--server.websocket.conn.id.header=X-User-ID"]


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.taken: list[Settings] = []
        self.write("log: {level: info}")
        self.loaded = load_command_line(MINIMAL, {}, self.folder)

    def write(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(text)

    def reload(self, take: Any = None) -> list[tuple[LogLevel, str]]:
        with capturedLogs() as events:
            reload(self.loaded, take or self.taken.append)
        return [(event["log_level"], event["log_format"].format(**event)) for event in events]

    def test_file(self) -> None:
        """What the file says now is handed on, together with what the flags have said all along."""
        self.write("log: {level: debug}\nevent: {allowed_types: [a, b]}")
        ((level, text),) = self.reload()
        (now,) = self.taken
        self.assertEqual((now.log.level, now.routing.allowed_types, now.publisher), ("debug", ("a", "b"), "log"))
        self.assertEqual(level, LogLevel.info)
        self.assertIn("other settings need a restart", text)

    def test_mistake(self) -> None:
        """A mistake is logged, names the setting, and changes nothing; once it is mended, the next signal works."""
        self.write("log: {level: loud}")
        lines = self.reload()
        self.assertEqual(self.taken, [])
        self.assertIn("LOG_LEVEL", lines[0][1])
        self.assertIn("nothing was changed", lines[-1][1])
        self.write("log: {level: warn}")
        self.reload()
        self.assertEqual(self.taken[0].log.level, "warn")

    def test_bad_certificates(self) -> None:
        """Certificates that cannot be used are logged, and the old ones stay."""

        def take(settings: Settings) -> None:
            raise OSError("no such file")

        ((level, text),) = self.reload(take)
        self.assertEqual(level, LogLevel.error)
        self.assertIn("the old ones stay", text)

    def test_warnings(self) -> None:
        """Warnings are heard again."""
        self.write("server: {rate_limit: {burst: 2}}")
        self.assertIn("SERVER_RATE_LIMIT_BURST", self.reload()[0][1])

    def test_first_mistake(self) -> None:
        """At the first reading the same mistake keeps the server from starting."""
        self.write("log: {level: loud}")
        self.assertRaises(ConfigurationError, load_command_line, MINIMAL, {}, self.folder)


class ChangeTests(SynchronousTestCase):
    def test_change(self) -> None:
        """Log level, allowed types and rate limit hold at once."""
        settings = load_command_line(MINIMAL, {}, Path("/nowhere")).settings
        server = build(settings, MemoryReactorClock())
        self.addCleanup(logs.threshold.set, "info")
        server.change(
            evolve(
                settings,
                log=evolve(settings.log, level="error"),
                routing=evolve(settings.routing, allowed_types=("a",)),
                rate_limit=evolve(settings.rate_limit, events_per_second=1),
            )
        )
        self.assertEqual(
            str(logs.threshold({"log_level": LogLevel.warn, "log_namespace": "raccoon_tx"})), "<PredicateResult=no>"
        )
        parts = server.parts
        group = parts.counts.group("g")
        self.assertRaises(Invalid, parts.routes.route, batch(("b", b"1")), group)
        self.assertEqual(len(parts.routes.route(batch(("a", b"1")), group)), 1)
        who = Identity("g", "1")
        self.assertEqual(parts.rate_limit.wait(who, 1), 0)
        self.assertGreater(parts.rate_limit.wait(who, 1), 0)
