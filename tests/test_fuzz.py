"""Tests for `fuzz`, and a short round of it: ``python -m fuzz`` is the long one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from twisted.trial.unittest import SynchronousTestCase

from fuzz import codecs, connections
from fuzz.__main__ import table
from fuzz.drive import Tally
from fuzz.inputs import damaged
from fuzz.target import Target
from fuzz.targets import TARGETS
from raccoon_tx.codec.json import strict as strict_way
from raccoon_tx.ingest import Ingest
from raccoon_tx.model import Batch
from raccoon_tx.transports.frames import FramedSocket
from raccoon_tx.transports.plain import Heads
from tests.wire import JSON_BATCH, PROTO_BATCH, TEXT, frame, post

#: Examples of targets with connections, which are slow, and of others.
FEW, MORE = 40, 150


class ShortRoundTests(SynchronousTestCase):
    def fuzz(self, name: str, examples: int) -> None:
        target = TARGETS[name]
        for body in target.seeds[:examples]:
            target.run(body)
        short = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
        )
        short(given(damaged(target.seeds))(target.run))()

    def test_http(self) -> None:
        """Damaged requests are answered alike by both ways."""
        self.fuzz("http", FEW)

    def test_frames(self) -> None:
        """Damaged frames are answered alike by both ways, and however they are cut."""
        self.fuzz("frames", FEW)

    def test_json(self) -> None:
        """Damaged JSON is refused in due form, or read alike by all ways."""
        self.fuzz("json", MORE)

    def test_protobuf(self) -> None:
        """So is damaged protobuf."""
        self.fuzz("protobuf", MORE)

    def test_compression(self) -> None:
        """Damaged compressed bodies are refused, and no more comes out than may."""
        self.fuzz("compression", FEW)

    def test_configuration(self) -> None:
        """Every mistake of a configuration file is told."""
        self.fuzz("configuration", MORE)


class TargetsTests(SynchronousTestCase):
    """A target that finds nothing whatever happens is worth nothing."""

    def test_json(self) -> None:
        """Ways of reading that differ are found."""

        def wrong(body: bytes) -> Batch:
            found = strict_way(body)
            return Batch(found.guid + "x", found.events, found.sent_time)

        self.patch(codecs, "strict", wrong)
        self.assertRaises(AssertionError, codecs.json, JSON_BATCH)

    def test_protobuf(self) -> None:
        """A guid elsewhere is found."""
        self.patch(codecs, "find_guid", lambda _: "")
        self.assertRaises(AssertionError, codecs.protobuf, PROTO_BATCH)

    def test_compression(self) -> None:
        """A limit that does not hold is found."""
        self.patch(codecs, "decompress", lambda *_: bytes(codecs.LIMIT + 1))
        self.assertRaises(AssertionError, codecs.packed, b"")

    def test_http(self) -> None:
        """Answers that differ are found."""
        read = Heads.plain

        def shorter(heads: Heads, head: bytes) -> Any:
            found = read(heads, head)
            return found and evolve(found, length=found.length - 1)

        self.with_any_key(connections.http, post() + post())
        self.patch(Heads, "plain", shorter)
        self.assertRaises(AssertionError, self.with_any_key, connections.http, post() + post())

    def test_frames(self) -> None:
        """Frames that the fast lane loses are found."""
        self.with_any_key(connections.frames, frame(TEXT, JSON_BATCH))
        self.patch(FramedSocket, "_read_frames", lambda *_: b"")
        self.assertRaises(AssertionError, self.with_any_key, connections.frames, frame(TEXT, JSON_BATCH))

    def test_log(self) -> None:
        """So are errors in the log."""

        def wrong(*_: object) -> None:
            raise ValueError("a mistake of ours")

        self.patch(Ingest, "submit", wrong)
        self.assertRaises(AssertionError, self.with_any_key, connections.frames, frame(TEXT, JSON_BATCH))
        self.flushLoggedErrors(ValueError)

    def with_any_key(self, run: Callable[[bytes], None], stream: bytes) -> None:
        for number in range(10):
            run(b"%04d" % number + stream)


class TallyTests(SynchronousTestCase):
    def test_faults(self) -> None:
        """A fault is counted each time, and its first input is kept; the run goes on."""

        def run(body: bytes) -> None:
            if body.startswith(b"bad"):
                raise ZeroDivisionError

        with TemporaryDirectory() as name:
            tally = Tally("some", run, Path(name), 1000.0)
            for body in (b"good", b"bad", b"bad again", b"good again"):
                tally(body)
            (kept,) = [path for path in Path(name).iterdir() if path.suffix != ".txt"]
            self.assertEqual(kept.read_bytes(), b"bad")
        self.assertEqual((tally.runs, list(tally.faults.values())), (4, [2]))
        self.assertFalse(tally.over)

    def test_table(self) -> None:
        """Runs a second, and all faults together."""
        report = {
            "target": "json",
            "driver": "atheris",
            "runs": 5000,
            "seconds": 2.0,
            "inputs": 9,
            "faults": {"a": 2, "b": 1},
        }
        self.assertEqual(table([report])[2:], ["| json | atheris | 5,000 | 2,500 | 9 | 3 |"])

    def test_seeds(self) -> None:
        """Every target has something to begin with."""
        for target in TARGETS.values():
            self.assertIsInstance(target, Target)
            self.assertTrue(target.seeds)
