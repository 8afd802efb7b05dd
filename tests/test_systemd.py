"""What systemd is told, over sockets like its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.systemd import ALIVE, READY, STOPPING, Watchdog, tell, watchdog_interval


class TellTests(SynchronousTestCase):
    def listen(self, address: str) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(opened.close)
        opened.bind(address)
        opened.setblocking(False)
        return opened

    def folder(self) -> Path:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def test_path(self) -> None:
        """A word arrives at a socket in the file system; words that go together are lines of one datagram."""
        path = str(self.folder() / "notify")
        opened = self.listen(path)
        self.assertTrue(tell(READY, "STATUS=it listens", environ={"NOTIFY_SOCKET": path}))
        self.assertTrue(tell(STOPPING, environ={"NOTIFY_SOCKET": path}))
        self.assertEqual([opened.recv(100), opened.recv(100)], [b"READY=1\nSTATUS=it listens", b"STOPPING=1"])

    def test_abstract(self) -> None:
        """And at one whose name is in no file system."""
        name = f"raccoon-{uuid4().hex}"
        opened = self.listen("\0" + name)
        self.assertTrue(tell(READY, environ={"NOTIFY_SOCKET": "@" + name}))
        self.assertEqual(opened.recv(100), b"READY=1")

    def test_nobody(self) -> None:
        """Where nobody listens, or what stands there is no address, nothing happens."""
        for name in ("", str(self.folder() / "absent"), "@" + uuid4().hex, "vsock:2:1234", "relative"):
            self.assertFalse(tell(READY, environ={"NOTIFY_SOCKET": name}), name)
        self.assertFalse(tell(READY, environ={}))

    def test_full(self) -> None:
        """A socket whose reader does not keep up holds up nobody."""
        path = str(self.folder() / "notify")
        opened = self.listen(path)
        sent = 0
        while tell(ALIVE, environ={"NOTIFY_SOCKET": path}):
            sent += 1
            self.assertLess(sent, 100_000)
        self.assertEqual(opened.recv(100), ALIVE.encode())


class WatchdogTests(SynchronousTestCase):
    def test_interval(self) -> None:
        """Half of what is allowed, if this process is meant."""
        for environ, expected in (
            ({}, None),
            ({"WATCHDOG_USEC": "30000000"}, 15.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "-5"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
        ):
            self.assertEqual(watchdog_interval(environ, 7), expected, environ)
        self.assertEqual(watchdog_interval({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}), 1.0)

    def test_signs(self) -> None:
        """One at the start and one after each interval, none after the end."""
        clock, sent = Clock(), []
        watchdog = Watchdog(clock, 5.0, sent.append)
        watchdog.startService()
        clock.pump([5.0, 4.9, 0.1])
        self.assertEqual(sent, [ALIVE] * 3)
        watchdog.stopService()
        clock.advance(60.0)
        self.assertEqual(sent, [ALIVE] * 3)
