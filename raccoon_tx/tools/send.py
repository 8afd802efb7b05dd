"""``raccoon send``: events from the command line, a file or a pipe to a server, over any transport."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any
from uuid import uuid4

import click
from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool

from raccoon_tx.bench.address import Address
from raccoon_tx.bench.batches import MEDIA_TYPES
from raccoon_tx.bench.dial import TIMEOUT, CannotConnect, check_ca, in_words
from raccoon_tx.bench.load import Answers
from raccoon_tx.bench.rest import open_poster
from raccoon_tx.bench.rpc import open_caller
from raccoon_tx.bench.websocket import open_socket
from raccoon_tx.tools.events import Events, Given, Lines, Packed, pack
from raccoon_tx.tools.line import Closable, Line
from raccoon_tx.tools.look import SOON, Progress, Trouble, paint, printable, shortened
from raccoon_tx.tools.sending import Count, Sender

GOOD, NOT_ALL_ACCEPTED = 0, 1

#: Seconds between two looks at the progress.
_GLANCE = 0.2

#: Seconds that a server gets to close its side.
_GOODBYE = 1.0


@frozen(kw_only=True)
class Order:
    """What is to be sent.

    :ivar values: events; without any, they are the lines of ``file``, where ``-`` is standard input.
    :ivar headers: say who sends. :ivar batch: most events in one. :ivar lanes: batches on their way at once.
    :ivar attempts: for each batch. :ivar ca: PEM file with certificates to trust.
    """

    address: Address
    kind: str
    values: Sequence[bytes]
    file: str
    headers: dict[str, str]
    batch: int
    lanes: int
    attempts: int
    ca: str | None
    as_json: bool


def headers(id_header: str, id_: str, group_header: str, group: str) -> dict[str, str]:
    """Who sends; without an id, somebody new. :raises Trouble: it is not text for a header."""
    made = {id_header: id_ or f"send-{uuid4().hex[:8]}"}
    if group:
        made[group_header] = group
    for name, value in made.items():
        if not (name + value).isascii() or not (name + value).isprintable() or not name:
            raise Trouble(f"{value!r} cannot be sent in the header {name}: use printable ASCII characters only")
    return made


def run(order: Order) -> int:
    """Send, and say what came of it. :return: the exit status. :raises Trouble: it cannot be done."""
    with ExitStack() as stack:
        try:
            if order.ca is not None:
                check_ca(order.ca)
        except CannotConnect as problem:
            raise Trouble(str(problem)) from None
        source = _source(order, stack)
        sending = Sending(order, source)
        count, elapsed = sending.run()
    address = order.address
    click.echo(json.dumps(as_json(count, elapsed, address), indent=2) if order.as_json else as_text(count, elapsed))
    return GOOD if count.good else NOT_ALL_ACCEPTED


def _source(order: Order, stack: ExitStack) -> Events:
    if order.values:
        return Given(list(order.values))
    if order.file == "-":
        if sys.stdin.isatty():
            click.echo("Type events, one on each line; Ctrl-D ends.", err=True)
        return Lines(sys.stdin.fileno(), "standard input")
    try:
        descriptor = os.open(order.file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Trouble(f"{order.file} cannot be read: {error.strerror}") from None
    stack.callback(os.close, descriptor)
    return Lines(descriptor, order.file)


class Sending:
    """One run of the reactor."""

    def __init__(self, order: Order, source: Events) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._order = order
        self._source = source
        self._reading = DeferredLock()
        self._sender = Sender(self._reactor, self._next, order.attempts)
        self._begun = 0.0
        self._ended: list[Any] = []
        self._progress = Progress(sys.stderr)
        one_each = order.address.transport == "rest"  # HTTP/1.1 has one request at a time
        self._lines = [Line(self._reactor, self._open) for _ in range(order.lanes if one_each else 1)]

    def run(self) -> tuple[Count, float]:
        """Until everything is sent. :return: what came of it, and the seconds that it took."""
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._send()).addBoth(self._end))
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run()
        self._progress.end()
        count = self._sender.count
        if not self._ended:
            count.gave_up = count.gave_up or "interrupted"
        elif self._ended[0] is not None:
            problem = self._ended[0].value
            if isinstance(problem, Trouble):
                raise problem
            self._ended[0].raiseException()
        return count, max(self._reactor.seconds() - self._begun, 1e-9)

    def _end(self, result: Any) -> None:
        self._ended.append(result)
        self._reactor.stop()

    def _stop(self) -> None:
        if isinstance(self._source, Lines):
            self._source.stopped = True

    async def _send(self) -> None:
        order = self._order
        try:
            await self._lines[0].connect()
        except CannotConnect as problem:
            raise Trouble(f"cannot connect to {order.address.url}: {problem}; is a server running there?") from None
        self._begun = self._reactor.seconds()
        showing = LoopingCall(self._show)
        showing.clock = self._reactor
        showing.start(_GLANCE, now=False)
        try:
            lanes = [self._lines[number % len(self._lines)] for number in range(order.lanes)]
            await self._sender.run(lanes)
        finally:
            showing.stop()
            for line in self._lines:
                line.close()
            await self._goodbye()

    async def _goodbye(self) -> None:
        """A WebSocket is closed by both sides."""
        ended = self._lines[0].ended
        if self._order.address.transport == "websocket" and ended is not None:
            with suppress(TimeoutError):
                await ended.addTimeout(_GOODBYE, self._reactor)

    async def _next(self) -> Packed | None:
        await self._reading.acquire()
        try:
            pool = self._reactor.getThreadPool()
            values = await deferToThreadPool(self._reactor, pool, self._source.next, self._order.batch)
        finally:
            self._reading.release()
        return pack(self._order.kind, values) if values else None

    def _show(self) -> None:
        elapsed = self._reactor.seconds() - self._begun
        if elapsed >= SOON:
            count = self._sender.count
            text = f"{count.accepted:,} accepted, {count.refused:,} refused, {count.accepted / elapsed:,.0f} events/s"
            self._progress.show(text, self._source.done)

    async def _open(self, answers: Answers) -> Closable:
        address, ca, own = self._order.address, self._order.ca, self._order.headers
        if address.transport == "rest":
            return await open_poster(self._reactor, address, ca, own, answers, MEDIA_TYPES["protobuf"])
        if address.transport == "websocket":
            return await open_socket(self._reactor, address, ca, own, answers, True)
        # What is wrong with an address, gRPC says late and in few words.
        plain = HostnameEndpoint(self._reactor, address.host, address.port, timeout=TIMEOUT)
        try:
            probe = await connectProtocol(plain, Protocol())
        except Exception as problem:
            raise CannotConnect(in_words(problem)) from problem
        probe.transport.loseConnection()
        return await open_caller(self._reactor, address, ca, own, answers)


def as_json(count: Count, elapsed: float, address: Address) -> dict[str, Any]:
    """For programs: events, and milliseconds of batches."""
    tally = count.tally
    return {
        "to": address.url,
        "transport": address.transport,
        "accepted": count.accepted,
        "accepted_batches": tally.accepted,
        "refused": dict(tally.refused),
        "retries": count.again,
        "stopped_early": count.gave_up,
        "seconds": round(elapsed, 3),
        "accepted_per_second": round(count.accepted / elapsed, 1),
        "p50_ms": round(tally.percentile(0.5) * 1e3, 3),
        "p99_ms": round(tally.percentile(0.99) * 1e3, 3),
    }


def as_text(count: Count, elapsed: float) -> str:
    """For people."""
    tally = count.tally

    def number(value: int, noun: str) -> str:
        return f"{value:,} {noun}" + ("" if value == 1 else "s" if noun == "event" else "es")

    good = paint("accepted", "green" if count.accepted else "")
    lines = [f"{good}   {number(count.accepted, 'event')} in {number(tally.accepted, 'batch')}"]
    if tally.accepted:
        if tally.accepted > 1:
            lines[0] += f", {count.accepted / elapsed:,.0f} events/s"
            lines[0] += (
                f", answered in {tally.percentile(0.5) * 1e3:.1f} ms p50, {tally.percentile(0.99) * 1e3:.1f} ms p99"
            )
        else:
            lines[0] += f", answered in {tally.slowest * 1e3:.1f} ms"
    for reason, events in sorted(tally.refused.items(), key=lambda item: -item[1]):
        lines.append(f"{paint('refused', 'red')}    {number(events, 'event')}: {shortened(printable(reason))}")
    if count.again:
        lines.append(f"sent again {number(count.again, 'batch')}")
    if count.gave_up:
        why = printable(count.gave_up)
        lines.append(f"{paint('stopped early', 'red')}: {why}; what had not been read by then was not sent")
    return "\n".join(lines)
