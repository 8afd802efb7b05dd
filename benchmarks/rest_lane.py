"""What a POST, and a new WebSocket, costs up to the batch and from its answer on: CPU of this process, system calls
included, by real sockets.

    python benchmarks/rest_lane.py [requests in each round]

Batches are answered at once and not decoded, so what is measured is reading, understanding and answering. A process of
its own asks, on fifty connections at a time. The variants take turns; medians of five rounds are printed.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Outcome, Reply
from raccoon_tx.settings import IdentitySettings, LimitSettings, WebSocketSettings
from raccoon_tx.transports import plain_channel
from raccoon_tx.transports.channel import EventSite
from raccoon_tx.transports.connections import Connections
from raccoon_tx.transports.direct import write_now
from raccoon_tx.transports.front import FrontFactory
from raccoon_tx.transports.health import Health
from raccoon_tx.transports.http import upgrade
from raccoon_tx.transports.identity import Identify
from raccoon_tx.transports.keepalive import KeepAlive
from raccoon_tx.transports.plain import Heads
from raccoon_tx.transports.rest import RestApi
from raccoon_tx.transports.websocket import EventSocketFactory

REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
UPGRADES = REQUESTS // 20
CONNECTIONS = 50
ROUNDS = 5

POST = (
    b"POST /api/v1/events HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 157\r\n"
    b"Content-Type: application/proto\r\nX-User-ID: 1234\r\nAccept-Encoding: gzip\r\n\r\n" + bytes(157)
)
GET = (
    b"GET /api/v1/events HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OK = Reply(Outcome.OK, "0123456789abcdef")


def submit(body: bytes, codec: Any, client: Any, answer: Callable[[Reply], None]) -> None:
    answer(OK)


class Floor(Protocol):
    """Answers without looking: what sockets and the reactor cost."""

    def dataReceived(self, data: bytes) -> None:
        write_now(self.transport, b"x" * 220)


class Forgetful(dict[Any, Any]):
    """Remembers nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def house() -> tuple[EventSite, FrontFactory]:
    """The stock way, and the one for plain requests before it."""
    counts, limits, websocket = Counts(), LimitSettings(), WebSocketSettings()
    identify = Identify(IdentitySettings(id_header="X-User-ID"))
    connections, keepalive = Connections(100_000), KeepAlive(reactor, 60.0, 60.0)
    sockets = EventSocketFactory(submit, connections, keepalive, websocket, limits, reactor, counts)
    api = RestApi(submit, identify, lambda *details: upgrade(sockets, *details), limits.body, counts, Health({}))
    site = EventSite(api.app.resource(), limits.body, reactor, 60.0, counts, group_of=api.group)
    heads = Heads(identify, limits.body, False, None, None)
    return site, FrontFactory(site, sockets, heads, submit, reactor)


def ask(port: int, count: int) -> None:
    """The client of POSTs."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for _ in range(count // CONNECTIONS):
        for client in clients:
            client.sendall(POST)
        for client in clients:
            client.recv(65536)


def open_sockets(port: int, count: int) -> None:
    """The client that opens WebSockets, without an id, and closes them at once."""
    for _ in range(count // CONNECTIONS):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        for client in clients:
            client.sendall(GET)
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 101")
            client.close()


def measure(factory: Factory, client: Callable[[int, int], None], count: int) -> float:
    """CPU microseconds for each request."""
    loop: Any = reactor
    listening = loop.listenTCP(0, factory, backlog=4096, interface="127.0.0.1")
    child = os.fork()
    if not child:
        client(listening.getHost().port, count)
        os._exit(0)
    before = time.process_time()
    while not os.waitpid(child, os.WNOHANG)[0]:
        loop.iterate(0.02)
    spent = time.process_time() - before
    for _ in range(10):
        loop.iterate(0)
    listening.stopListening()
    loop.iterate(0)
    return spent / count * 1e6


def variants() -> dict[str, tuple[Factory, Callable[[int, int], None], int, Any]]:
    """By name: what serves, who asks, how often, and how to write."""
    site, plain = house()
    forgetful, templateless = house()[1], house()[1]
    forgetful.heads._known = Forgetful()
    answers: Any = templateless.answers
    answers.success = lambda plain, reply: answers.any(plain, reply, False)[0]
    stock_write: Any = lambda transport, data: transport.write(data)  # noqa: E731
    return {
        "POST, sockets and reactor alone": (Factory.forProtocol(Floor), ask, REQUESTS, write_now),
        "POST, Klein": (site, ask, REQUESTS // 4, write_now),
        "POST, plain": (plain, ask, REQUESTS, write_now),
        "POST, plain, heads not remembered": (forgetful, ask, REQUESTS, write_now),
        "POST, plain, transport.write": (plain, ask, REQUESTS, stock_write),
        "POST, plain, no template": (templateless, ask, REQUESTS, write_now),
        "WebSocket, Klein": (site, open_sockets, UPGRADES, write_now),
        "WebSocket, plain": (plain, open_sockets, UPGRADES, write_now),
    }


def main() -> None:
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, (factory, client, count, write) in variants().items():
            plain_channel.write_now = write
            found.setdefault(name, []).append(measure(factory, client, count))
    for name, costs in found.items():
        print(f"{name:36} {statistics.median(costs):7.1f} us  [{min(costs):.1f}..{max(costs):.1f}]")


if __name__ == "__main__":
    main()
