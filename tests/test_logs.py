"""Tests of `raccoon_tx.logs`."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.logs import LEVELS, Threshold, json_line, observer, text_line

EVIL = "me\n2026-01-01T00:00:00Z info  all is well\x1b[2J\u2028\ud800"


def event(**values: Any) -> dict[str, Any]:
    return {"log_time": 0.25, "log_level": LogLevel.info, "log_namespace": "raccoon_tx.x", **values}


class LineTests(SynchronousTestCase):
    def test_text(self) -> None:
        """A line has a full time stamp, the level and the message."""
        line = text_line(event(log_format="hello {who}", who="you"))
        self.assertEqual(line, "1970-01-01T00:00:00.250Z info  hello you")

    def test_json(self) -> None:
        """A JSON line says the same in fields."""
        self.assertEqual(
            json.loads(json_line(event(log_format="hello {who}", who="you"))),
            {"time": "1970-01-01T00:00:00.250Z", "level": "info", "msg": "hello you", "logger": "raccoon_tx.x"},
        )

    def test_no_forgery(self) -> None:
        """What a client calls itself can neither begin a line nor paint the terminal."""
        for line in (text_line, json_line):
            written = line(event(log_format="client {who}", who=EVIL))
            self.assertEqual(len(written.splitlines()), 1, written)
            self.assertNotIn("\x1b", written)

    def test_no_format(self) -> None:
        """Braces in a client's words are just braces."""
        self.assertIn("{who.__class__}", text_line(event(log_format="{who}", who="{who.__class__}")))

    def test_traceback(self) -> None:
        """An unexpected exception is an error with its traceback, each line of it indented."""
        failure = Failure(ValueError(EVIL))
        made = event(log_format="oh", log_level=LogLevel.critical, log_failure=failure)
        first, *rest = text_line(made).split("\n")
        self.assertIn(" error oh", first)
        self.assertTrue(rest)
        self.assertTrue(all(line.startswith("    ") for line in rest), rest)
        self.assertIn("ValueError", json.loads(json_line(made))["traceback"])


class ObserverTests(SynchronousTestCase):
    def written(self, level: str, form: str = "text", namespace: str = "raccoon_tx.a") -> list[str]:
        stream = io.StringIO()
        log = Logger(namespace, observer=observer(stream, form, Threshold(level)))
        for name in ("debug", "info", "warn", "error", "critical"):
            getattr(log, name)(name.upper())
        return [
            line.split()[-1] if form == "text" else json.loads(line)["msg"] for line in stream.getvalue().splitlines()
        ]

    def test_levels(self) -> None:
        """Each level shows itself and what is worse."""
        every = ["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"]
        for level, first in {"trace": 0, "debug": 0, "info": 1, "warn": 2, "error": 3, "fatal": 4, "panic": 4}.items():
            self.assertEqual(self.written(level), every[first:], level)
            self.assertIn(level, LEVELS)
        self.assertEqual(self.written("warn", "json"), every[2:])

    def test_change(self) -> None:
        """What is important can change while the server runs."""
        stream = io.StringIO()
        threshold = Threshold("error")
        log = Logger("raccoon_tx", observer=observer(stream, "text", threshold))
        log.info("early")
        threshold.set("info")
        log.info("late")
        self.assertTrue(stream.getvalue().endswith("late\n"))
        self.assertNotIn("early", stream.getvalue())

    def test_libraries(self) -> None:
        """At ``info`` the libraries are heard from ``warn`` on."""
        self.assertEqual(self.written("info", namespace="twisted.web"), ["WARN", "ERROR", "CRITICAL"])
        self.assertEqual(len(self.written("debug", namespace="twisted.web")), 5)

    def test_full_device(self) -> None:
        """A log that cannot be written is no reason to fail."""
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 (closing it fails, too)
        self.addCleanup(lambda: self.assertRaises(OSError, stream.close))
        Logger("raccoon_tx", observer=observer(stream, "text", Threshold("info"))).info("lost")

    def test_encoding(self) -> None:
        """What the stream's encoding has no character for is written as an escape."""
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        Logger("raccoon_tx", observer=observer(stream, "text", Threshold("info"))).info("{who}", who="\u00e4\ud800")
        self.assertTrue(raw.getvalue().endswith(b"\\xe4\\ud800\n"), raw.getvalue())
