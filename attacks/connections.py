"""Connections: silent ones, many, and many that come and go."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from functools import partial
from itertools import count

from attacks.attack import BOTH, MEGABYTE, require, row
from attacks.crowd import Crowd
from attacks.http import HEAD, SLACK
from attacks.raw import BATCH, Raw, frame, post
from attacks.target import Target
from tests.integration.batches import TWO_EVENTS, success
from tests.integration.clients import WAYS, sender

SUBJECT = "Connections"

_SHORT = {"server.head.timeout.ms": int(HEAD * 1000)}
_PINGS = {"server.websocket.ping.interval.ms": 10_000}

#: Connections of who says nothing.
SILENT = 30

_names = count()


def _hello() -> bytes:
    """The first bytes of a TLS client."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    made = context.wrap_bio(coming, going)
    with suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return going.read()


def _silent(said: bytes, drip: bool, target: Target) -> None:
    """Connect, and say nothing, or not enough: closed when the time for a head is over."""
    raws = [target.connect() for _ in range(SILENT)]
    try:
        for raw in raws:
            raw.send(said)
        began, left, position = time.monotonic(), set(raws), 0
        while left and time.monotonic() < began + HEAD + SLACK:
            for raw in list(left):
                if drip:
                    raw.send(_hello()[position : position + 1])
                if raw.read(0.001):
                    left.discard(raw)
            position += 1
            time.sleep(0.1)
        target.notes["closed after s"] = round(time.monotonic() - began, 1)
        require(not left, f"{len(left)} of {SILENT} still open after {time.monotonic() - began:.0f} s")
    finally:
        for raw in raws:
            raw.socket.close()


def _churn(target: Target) -> None:
    """Connect, send a batch, and go, in good order or without a word, two hundred times a second."""
    done, settled, began = 0, 0, time.monotonic()
    whole = target.deadline - began
    while target.time_left:
        if not settled and time.monotonic() > began + whole / 3:
            settled, before = target.memory(), done
        with target.connect() as raw:
            if done % 2:
                raw.send(post(b"Connection: close"))
                raw.require_answer(200)
            else:
                raw.open_websocket(client=b"passer-by %d" % next(_names))
                raw.send(frame(1, BATCH))
                raw.read(5.0, b'"status":1')
                require(b'"status":1' in raw.received, "not answered")
                if done % 4:
                    raw.send(frame(8))
                else:
                    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        done += 1
        time.sleep(max(0.0, began + done / 200 - time.monotonic()))
    grown = target.memory() - settled
    target.notes["connections a s"] = round(done / (time.monotonic() - began))
    target.notes["kB for 1000"] = round(grown / 1024 / max(1, done - before) * 1000, 1)
    require(grown < 8 * MEGABYTE, f"grew by {grown / MEGABYTE:.0f} MB in {done - before} connections")


def _idle(many: int, processes: int, target: Target) -> None:
    """Have many WebSockets open that do no more than answer pings."""
    before = target.memory()
    crowd = Crowd(target.http, many, processes)
    try:
        target.notes["let in a s"] = round(crowd.up / crowd.seconds)
        require(crowd.up == many, f"{crowd.up} of {many} were let in")
        target.notes["kB each"] = round((target.memory() - before) / 1024 / many, 1)
        began, used = time.monotonic(), target.processor()
        time.sleep(max(5.0, target.deadline - began))
        target.notes["CPU %"] = round(100 * (target.processor() - used) / (time.monotonic() - began))
        _served(target)
    finally:
        crowd.close()
    _gone(target)


def _come_back(many: int, processes: int, target: Target) -> None:
    """All of them go without a word, and come back at once."""
    crowd = Crowd(target.http, many, processes)
    try:
        require(crowd.up == many, f"{crowd.up} of {many} were let in")
        crowd.again()
        target.notes["back after s"] = crowd.seconds
        target.notes["let in a s"] = round(crowd.up / crowd.seconds)
        target.notes["tries that failed"] = crowd.lost
        require(crowd.up == many, f"{crowd.up} of {many} came back")
        _served(target)
    finally:
        crowd.close()
    _gone(target)


def _gone(target: Target) -> None:
    """Wait until they are forgotten."""
    limit = time.monotonic() + 30.0
    while target.descriptors() > 500 and time.monotonic() < limit:
        time.sleep(0.1)
    require(target.descriptors() <= 500, f"{target.descriptors()} still open after 30 s")


def _raw(many: int, target: Target) -> None:
    """Open many connections and say nothing; then come in by all ways."""
    raws: list[Raw] = []
    try:
        for number in range(many):
            raws.append(target.connect(f"127.0.{number % 4 + 1}.1"))
        target.notes["open at once"] = target.descriptors()
        for _ in range(3):
            _served(target)
    finally:
        for raw in raws:
            raw.socket.close()
    _gone(target)


def _served(target: Target) -> None:
    """New clients come in by all ways."""
    for way in WAYS:
        with sender(target, way, f"new {next(_names)}") as send:
            require(send(TWO_EVENTS) == success(TWO_EVENTS.guid), f"a new client by {way} is not served")


_row = partial(row, SUBJECT, seconds=0)


_CLOSED = f"closed after `server.head_timeout_ms` ({HEAD:.0f} s here)"

ROWS = (
    _row("silence", f"{SILENT} connections without a byte", _CLOSED, partial(_silent, b"", False), "D8",
        ways=BOTH, quick=True, **_SHORT),
    _row("an empty line, then silence", f"{SILENT} connections with one line end", _CLOSED,
        partial(_silent, b"\r\n", False), "D8", ways=BOTH, **_SHORT),
    _row("silence, TLS", f"{SILENT} connections to a port with TLS, without a byte", _CLOSED,
        partial(_silent, b"", False), "F9", tls=True, **_SHORT),
    _row("half a handshake, TLS", f"{SILENT} handshakes that stop in the middle", _CLOSED,
        partial(_silent, _hello()[:100], False), "F9", tls=True, **_SHORT),
    _row("a handshake without an end, TLS", f"{SILENT} handshakes of which the last part never comes", _CLOSED,
        partial(_silent, _hello(), False), "F9", tls=True, **_SHORT),
    _row("handshake drip, TLS", f"{SILENT} handshakes, a byte every 0.1 s", _CLOSED,
        partial(_silent, b"", True), "F9", tls=True, ways=BOTH, **_SHORT),
    _row("3,000 raw connections", "3,000 connections that say nothing, then good ones by all ways", "served",
        partial(_raw, 3000), "D10", memory=64),
    _row("coming and going", "200 connections a second, each with a batch, a quarter of them reset", "no leak",
        _churn, "D14", seconds=60.0, memory=24),
    _row("10,000 idle", "10,000 WebSockets that only answer pings, every 10 s", "served, forgotten when they go",
        partial(_idle, 10_000, 1), "D11", seconds=20.0, memory=250, **_PINGS),
    _row("19,000 idle", "19,000 WebSockets that only answer pings, every 10 s", "served, forgotten when they go",
        partial(_idle, 19_000, 2), "D11", seconds=30.0, memory=450, **_PINGS),
    _row("19,000 come back at once", "19,000 WebSockets go without a word, and come back at once", "all are let in",
        partial(_come_back, 19_000, 2), "A13", memory=450, **_PINGS),
)  # fmt: skip
