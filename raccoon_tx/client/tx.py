"""The client for Twisted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import define
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure

from raccoon_tx.client.address import Address, parse
from raccoon_tx.client.core import Core, Counts, Event, Full, Limits, event_of
from raccoon_tx.client.engine import REQUEST_SHARE, Engine, Session

__all__ = ["Client"]

_TOO_LARGE = 1009


@define(eq=False)
class _Time:
    reactor: Any

    def now(self) -> float:
        return float(self.reactor.seconds())

    def call_later(self, delay: float, call: Callable[[], object]) -> Any:
        return self.reactor.callLater(delay, call)


class Client:
    """Sends events in batches. It is used in the reactor's thread::

    client = Client(reactor, "ws://127.0.0.1:8080", id="phone-1")
    await client.send("click", b"...")
    await client.close()
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        *,
        id: str = "",
        group: str = "",
        limits: Limits | None = None,
        rejected: Callable[[Event, str], object] = lambda event, reason: None,
        **more: Any,
    ) -> None:
        """As `raccoon_tx.client.aio.Client`."""
        self._reactor = reactor
        self._address = parse(url, id, group, **more)
        self._limits = limits or Limits()
        self._engine = Engine(Core(self._limits), self._dial, _Time(reactor), self._changed, rejected)
        self._waiters: list[Deferred[None]] = []

    @property
    def counts(self) -> Counts:
        """What has become of events so far."""
        return self._engine.core.counts

    @property
    def waiting(self) -> int:
        """Events that are not done with."""
        return self._engine.core.events

    def send_now(self, type: str, value: bytes) -> None:
        """Take an event, to be sent soon. :raises Full: there is no room. :raises Closed:"""
        self._engine.add(event_of(type, value))

    def send(self, type: str, value: bytes) -> Deferred[None]:
        """Take an event, to be sent soon, as soon as there is room for it. Fails with `Closed`."""
        return Deferred.fromCoroutine(self._send(event_of(type, value)))

    async def _send(self, event: Event) -> None:
        while True:
            try:
                self._engine.add(event)
            except Full:
                await self._change()
            else:
                return

    def flush(self) -> Deferred[None]:
        """Send what is there. Fires when everything is done with."""
        return Deferred.fromCoroutine(self._flush())

    async def _flush(self) -> None:
        self._engine.hurry()
        while not self._engine.finished:
            await self._change()

    def close(self, timeout: float = 30.0) -> Deferred[int]:
        """Take nothing more, wait for the answers, and let go of the connection.

        :param timeout: seconds to wait at most. :return: fires with how many events were not answered by then.
        """
        self._engine.close()
        flushed = cast("Deferred[Any]", self.flush())

        def done(result: object) -> int:
            left = self.waiting
            self._engine.stop()
            self._changed()
            if isinstance(result, Failure):
                result.trap(TimeoutError)
            return left

        return flushed.addTimeout(timeout, self._reactor).addBoth(done)

    def _change(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    def _dial(self, session: Session) -> None:
        address, limits, from_thread = self._address, self._limits, self._reactor.callFromThread
        patience = limits.answer_timeout * REQUEST_SHARE
        if address.transport == "rest":
            from raccoon_tx.client.rest import Poster

            session.connected(Poster(address, session, from_thread, limits.in_flight, patience))
        elif address.transport == "grpc":
            from raccoon_tx.client.rpc import Caller

            session.connected(Caller(address, session, from_thread, patience))
        else:
            factory = _Sockets(address, session, limits.answer_timeout, self._reactor)
            endpoint = _endpoint(self._reactor, address, limits.answer_timeout)
            endpoint.connect(factory).addErrback(lambda failure: session.lost(failure.getErrorMessage()))


def _endpoint(reactor: Any, address: Address, patience: float) -> Any:
    plain: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=patience)
    if not address.tls:
        return plain
    trusted: Any = None
    if address.ca is not None:
        with open(address.ca, "rb") as file:
            marked = file.read().split(b"-----BEGIN CERTIFICATE-----")[1:]
        trusted = trustRootFromCertificates(
            [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + each) for each in marked]
        )
    return wrapClientTLS(optionsForClientTLS(address.host, trusted), plain)


class _Socket(WebSocketClientProtocol):
    """One WebSocket; its factory knows the rest."""

    factory: _Sockets

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch; its answer names it."""
        self.sendMessage(body, isBinary=True)

    def close(self) -> None:
        """End it."""
        self.sendClose(1000)

    def onOpen(self) -> None:
        self.factory.session.connected(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.session.answered(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.session.lost(reason or f"closed with code {code}", code == _TOO_LARGE)


class _Sockets(WebSocketClientFactory):
    """Makes one connection."""

    protocol: Any = _Socket

    def __init__(self, address: Address, session: Session, patience: float, reactor: Any) -> None:
        headers = dict(address.headers)
        super().__init__(address.url, headers=headers, useragent="raccoon-client", reactor=reactor)
        self.setProtocolOptions(openHandshakeTimeout=patience, closeHandshakeTimeout=1)
        self.noisy = False
        self.session = session
