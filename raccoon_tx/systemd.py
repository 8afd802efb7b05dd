"""What systemd is told of a server that it has started with ``Type=notify``, by the protocol of sd_notify(3).

One datagram for each word, to the socket that ``NOTIFY_SOCKET`` names. Without that variable nobody listens, and
nothing is sent. A word that cannot be sent is no reason not to serve.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from raccoon_tx.clock import Clock, looping

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"

#: Seconds that systemd gets to make room for a word, which are said once or twice in the life of a server.
_ROOM = 0.5


def tell(*words: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send these words together. :return: whether somebody was there to take them."""
    address = _address(environ.get("NOTIFY_SOCKET", ""))
    if not address:
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        # A sign of life is followed by others; no other word is.
        sending.settimeout(0.0 if words == (ALIVE,) else _ROOM)
        sending.sendto("\n".join(words).encode(), address)
        return True
    return False


def _address(name: str) -> str:
    """Of the socket: a path, or a name that is in no file system."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def watchdog_interval(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds between two signs of life: half of what systemd allows. Nothing if it asks for none, or not for ours.

    :param pid: of this process.
    """
    try:
        allowed = int(environ.get("WATCHDOG_USEC", "0"))
        meant = int(environ.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    if allowed <= 0 or meant not in (0, os.getpid() if pid is None else pid):
        return None
    return allowed / 2_000_000


@define(eq=False)
class Watchdog(Service):
    """Shows that the reactor still turns, from the start until everything else has stopped.

    :ivar send: tells systemd.
    """

    _clock: Clock
    _interval: float
    send: Callable[[str], Any] = tell
    _loop: LoopingCall | None = field(default=None, init=False)

    def startService(self) -> None:
        super().startService()
        self._loop = looping(self._clock, lambda: self.send(ALIVE))
        self._loop.start(self._interval)

    def stopService(self) -> None:
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()


def watchdogs(clock: Clock) -> list[Service]:
    """The watchdog, if systemd wants one."""
    interval = watchdog_interval()
    return [] if interval is None else [Watchdog(clock, interval)]
