"""``raccoon bench``: sends a load to a server, and says what it took and how fast."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred

from raccoon_tx.bench.address import Address
from raccoon_tx.bench.batches import MEDIA_TYPES, Batches
from raccoon_tx.bench.dial import CannotConnect, allow, check_ca, open_all
from raccoon_tx.bench.load import Load, Way
from raccoon_tx.bench.own_server import DoesNotStart, OwnServer, own_server
from raccoon_tx.bench.report import Run, as_json, as_text
from raccoon_tx.bench.rest import open_poster
from raccoon_tx.bench.rpc import open_caller
from raccoon_tx.bench.websocket import open_socket

GOOD, NOT_ALL_ACCEPTED = 0, 1


class CannotMeasure(Exception):
    """The text says why, and what to do."""


@frozen(kw_only=True)
class Order:
    """What is to be done.

    :ivar address: of a server; without it one is started. :ivar ack: for that one.
    :ivar rate: events per second; 0: as fast as answers come. :ivar depth: most unanswered batches of a connection.
    :ivar ca: PEM file with certificates to trust.
    """

    address: Address | None
    transport: str
    ack: int
    connections: int
    depth: int
    events: int
    size: int
    kind: str
    format: str
    seconds: float
    rate: float
    id_header: str
    ca: str | None
    as_json: bool


def run(order: Order) -> int:
    """Do it, and print what came of it. :return: the exit status. :raises CannotMeasure: it cannot be done."""
    if order.transport == "grpc" and order.format == "json":
        raise CannotMeasure("gRPC carries protobuf only: leave out --format json")
    with ExitStack() as stack:
        try:
            allow(order.connections)
            if order.ca is not None:
                check_ca(order.ca)
            server = None
            if order.address is None:
                server = stack.enter_context(own_server(order.id_header, order.ack))
            found = _measured(order, server)
        except (CannotConnect, DoesNotStart) as problem:
            raise CannotMeasure(str(problem)) from None
    print(json.dumps(as_json(found), indent=2) if order.as_json else as_text(found))
    return GOOD if found.good else NOT_ALL_ACCEPTED


def _measured(order: Order, server: OwnServer | None) -> Run:
    """Run the reactor until it is over."""
    from twisted.internet import reactor

    running: Any = reactor
    ended: list[Any] = []

    def end(result: Any) -> None:
        ended.append(result)
        running.stop()

    begun = Bench(order, server, running)
    running.callWhenRunning(lambda: Deferred.fromCoroutine(begun.measure()).addBoth(end))
    running.run()
    if not ended:
        raise CannotMeasure("interrupted")
    if not isinstance(ended[0], Run):
        ended[0].raiseException()
    found: Run = ended[0]
    return found


@frozen
class Bench:
    """One run of it."""

    _order: Order
    _server: OwnServer | None
    _reactor: Any

    async def measure(self) -> Run:
        """Connect, send, wait. :raises CannotConnect: the server is not to be had."""
        order = self._order
        address = order.address
        if self._server is not None:
            address = self._server.address(order.transport)
        assert address is not None
        batches = Batches(order.format, order.kind, order.events, order.size)
        # HTTP/1.1 has one request at a time.
        depth = 1 if address.transport == "rest" else order.depth
        load = Load(self._reactor, batches, order.seconds, order.rate / order.events, depth)
        try:
            ways = await self._open(address, load)
        except CannotConnect as problem:
            text = (
                f"cannot connect to {address.url}: {problem}; is a server running there? Without --to one is started."
            )
            raise CannotConnect(text) from None
        cpu, server_cpu = time.process_time(), self._server_cpu()
        tally = await load.run(ways)
        used = time.process_time() - cpu
        server_used = self._server_cpu()
        both = server_cpu is not None and server_used is not None
        return Run(
            url=address.url,
            transport=address.transport,
            format=order.format,
            connections=order.connections,
            depth=depth,
            events=order.events,
            size=order.size,
            rate=order.rate,
            tally=tally,
            elapsed=load.elapsed,
            cpu=used,
            server_cpu=server_used - server_cpu if both else None,  # type: ignore[operator]
        )

    def _server_cpu(self) -> float | None:
        return None if self._server is None else self._server.cpu()

    async def _open(self, address: Address, load: Load) -> list[Way]:
        order, run_name = self._order, uuid4().hex[:8]

        async def open_one(number: int) -> Way:
            headers = {order.id_header: f"bench-{run_name}-{number}"}
            if address.transport == "grpc":
                return await open_caller(self._reactor, address, order.ca, headers, load)
            if address.transport == "rest":
                media_type = MEDIA_TYPES[order.format]
                return await open_poster(self._reactor, address, order.ca, headers, load, media_type)
            return await open_socket(self._reactor, address, order.ca, headers, load, order.format == "protobuf")

        return await open_all(order.connections, open_one)
