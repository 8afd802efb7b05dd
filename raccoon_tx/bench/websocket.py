"""Batches as WebSocket messages."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred

from raccoon_tx.bench.address import Address
from raccoon_tx.bench.dial import CannotConnect, endpoint
from raccoon_tx.bench.load import Answers


class EventSocket(WebSocketClientProtocol):
    """One connection; its factory knows the rest."""

    factory: _Sockets

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch; its answer names it."""
        self.sendMessage(body, isBinary=self.factory.is_binary)

    def close(self) -> None:
        """End it in order."""
        self.sendClose(1000)

    def onOpen(self) -> None:
        self.factory.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.load.answered("", payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        text = reason or f"closed with code {code}"
        if self.factory.opened.called:
            self.factory.load.lost(self, f"the WebSocket was closed: {text}")
        else:
            self.factory.opened.errback(CannotConnect(text))


class _Sockets(WebSocketClientFactory):
    """Makes one connection. :ivar opened: fires with it. :ivar load: gets the answers."""

    protocol: Any = EventSocket

    def __init__(self, address: Address, headers: dict[str, str], load: Answers, is_binary: bool, reactor: Any) -> None:
        super().__init__(address.url, headers=headers, useragent="raccoon-bench", reactor=reactor)
        self.noisy = False
        self.opened: Deferred[EventSocket] = Deferred()
        self.load = load
        self.is_binary = is_binary


async def open_socket(
    reactor: Any, address: Address, ca: str | None, headers: dict[str, str], load: Answers, is_binary: bool
) -> EventSocket:
    """Connect. :raises Exception: it cannot be done."""
    factory = _Sockets(address, headers, load, is_binary, reactor)
    await endpoint(reactor, address, ca).connect(factory)
    return await factory.opened
