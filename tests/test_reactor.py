"""Tests of `raccoon_tx.reactor`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.reactor import make


class Reader:
    """One end of a pipe, in a reactor."""

    def __init__(self, descriptor: int, then: Any) -> None:
        self._descriptor = descriptor
        self._then = then
        self.read = b""
        self.lost: list[Any] = []

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "test"

    def doRead(self) -> Any:
        self.read += os.read(self._descriptor, 100)
        return self._then()

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason.type)


class ReactorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = make()

    def reader(self, then: Any = lambda: None) -> tuple[Reader, int]:
        near, far = os.pipe()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, far)
        made = Reader(near, then)
        self.reactor.addReader(made)
        return made, far

    def test_monotonic(self) -> None:
        """Its seconds are those of a clock that nobody can set."""
        before = time.monotonic()
        self.assertTrue(before <= self.reactor.seconds() <= time.monotonic())

    def test_reads(self) -> None:
        """What can be read is read, and nobody else is asked."""
        (one, far), (other, _) = self.reader(), self.reader()
        os.write(far, b"x")
        self.reactor.doPoll(1)
        self.assertEqual((one.read, other.read, one.lost), (b"x", b"", []))

    def test_end(self) -> None:
        """Who says that it is over is taken out and told."""
        reader, far = self.reader(lambda: ConnectionDone())
        os.write(far, b"x")
        self.reactor.doPoll(1)
        self.assertEqual(reader.lost, [ConnectionDone])
        self.assertNotIn(reader, self.reactor.getReaders())

    def test_bug(self) -> None:
        """An exception is logged and costs only the connection that it comes from."""
        reader, far = self.reader(lambda: 1 // 0)
        other, farther = self.reader()
        os.write(far, b"x")
        os.write(farther, b"y")
        self.reactor.doPoll(1)
        self.assertEqual((reader.lost, other.read), ([ZeroDivisionError], b"y"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gone(self) -> None:
        """Who was taken out by what came before it in the same turn is not called."""
        readers: list[tuple[Reader, int]] = []

        def take_out_others() -> None:
            for reader, _ in readers:
                self.reactor.removeReader(reader)

        readers += [self.reader(take_out_others), self.reader(take_out_others)]
        for _, far in readers:
            os.write(far, b"x")
        self.reactor.doPoll(1)
        self.assertEqual(sorted(reader.read for reader, _ in readers), [b"", b"x"])

    def test_default(self) -> None:
        """A server has it, under the command and under ``twistd``; whoever has installed another one keeps that."""
        code = "{}import raccoon_tx.tap\nfrom twisted.internet import reactor\nprint(type(reactor).__module__)"
        for before, expected in (
            ("", "raccoon_tx.reactor"),
            ("from twisted.internet import selectreactor as s\ns.install()\n", "twisted.internet.selectreactor"),
        ):
            command = [sys.executable, "-c", code.format(before)]
            self.assertEqual(subprocess.run(command, capture_output=True, text=True).stdout.strip(), expected)
