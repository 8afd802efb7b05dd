"""Tells StatsD what was counted: contract section 12.3."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from raccoon_tx.clock import Clock, looping, pause
from raccoon_tx.metrics.names import Family, Observed
from raccoon_tx.metrics.statsd_lines import Changes

#: Packets that are sent at once, and seconds until the next ones: the receiver's buffer is small.
BURST, BREATH = 32, 0.01


class Reactor(Clock, Protocol):
    """What tells the time and opens UDP ports."""

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any: ...


class Snapshots(Protocol):
    """What there is to send: a `raccoon_tx.metrics.families.Families`, or what asks other processes."""

    def snapshot(self) -> list[Family] | Deferred[list[Family]]: ...
    def observations(self) -> list[Observed]: ...


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``[host]:port`` or ``:port``, which is on this machine.

    :raises ValueError: it is none of these.
    """
    host, colon, port = address.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"not host:port: {address!r}")
    return host or "127.0.0.1", int(port)


class _Sender(DatagramProtocol):
    """:ivar refused: is called when nobody listens at the other end."""

    noisy = False

    def __init__(self, refused: Callable[[], None]) -> None:
        self._refused = refused

    def connectionRefused(self) -> None:
        self._refused()


@define(eq=False)
class StatsdExporter(Service):
    """Sends what has changed, at regular times and once more at the stop.

    Nobody is waited for: what StatsD does not take is lost. While its name is not known to any name server, nothing
    is sent, and the counters are told later.

    :ivar reactor: the reactor. :ivar address: of StatsD; see `parse_address`. :ivar period: seconds.
    :ivar in_thread: like ``deferToThread``.
    """

    _reactor: Reactor
    _address: tuple[str, int] = field(converter=parse_address)
    _period: float
    _families: Snapshots
    _in_thread: Callable[..., Deferred[Any]]
    _changes: Changes = field(factory=Changes, init=False, repr=False)
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _telling: LoopingCall = field(init=False, repr=False)
    _port: Any = field(default=None, init=False, repr=False)
    _complaints: set[str] = field(factory=set, init=False)
    _hurried: bool = field(default=False, init=False)

    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._turn.run(self._open)
        self._telling = looping(self._reactor, self._tell)
        self._telling.start(self._period, now=False)

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        self._hurried = True

    def stopService(self) -> Deferred[None]:
        """Fires when the rest has been sent."""
        super().stopService()
        self._telling.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._port is not None:
            await self._turn.run(self._report)
            await maybeDeferred(self._port.stopListening)
            self._port = None

    def _tell(self) -> None:
        # What is not told now, because the last report is still being sent, is told the next time.
        if not self._turn.locked:
            self._turn.run(self._report)

    async def _report(self) -> None:
        try:
            if self._port is None:
                await self._open()
            if self._port is not None:
                families = await maybeDeferred(self._families.snapshot)
                observed = self._families.observations()
                await self._send(await self._in_thread(self._changes.packets, families, observed))
        except Exception:
            self._log.failure("the metrics could not be sent to StatsD")

    async def _open(self) -> None:
        host, port = self._address
        try:
            if not isIPAddress(host) and not isIPv6Address(host):
                host = await self._in_thread(_look_up, host, port)
            if self.running:
                self._connect(host, port)
        except (OSError, CannotListenError, UnicodeError) as problem:
            self._complain(str(problem))

    def _connect(self, host: str, port: int) -> None:
        sender = _Sender(lambda: self._complain("nobody listens there"))
        opened = self._reactor.listenUDP(0, sender, interface="::" if ":" in host else "")
        # A refusal is an error of the socket. Whoever watches a socket for reading is told of that as its end.
        opened.stopReading()
        try:
            # Connected, it hears when nobody listens, with the next packet.
            opened.connect(host, port)
        except OSError:
            opened.stopListening()
            raise
        self._port = opened

    async def _send(self, packets: list[bytes]) -> None:
        for position, packet in enumerate(packets):
            if position and position % BURST == 0 and not self._hurried:
                await pause(self._reactor, BREATH)
            try:
                self._port.write(packet)
            except OSError as problem:
                self._complain(str(problem))

    def _complain(self, problem: str) -> None:
        """Say it once: it will be the same at the next time."""
        if problem not in self._complaints:
            self._complaints.add(problem)
            host, port = self._address
            self._log.warn(
                "StatsD at {host}:{port} cannot be reached: {problem}; going on trying",
                host=host,
                port=port,
                problem=problem,
            )


def _look_up(host: str, port: int) -> str:
    """Blocks. :return: the first address of ``host``."""
    return str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0])
