"""The exporters with real sockets."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest_twisted
from attrs import frozen

from raccoon_tx.clock import pause
from raccoon_tx.metrics.counts import SampledHistogram
from raccoon_tx.metrics.families import Families
from raccoon_tx.metrics.prometheus import PrometheusExporter
from raccoon_tx.metrics.statsd import StatsdExporter
from raccoon_tx.transports.listen import listen_tcp
from tests.integration.clients import HOST, request
from tests.integration.server import in_thread
from tests.test_exposition import EXPECTED, ours
from tests.test_statsd_lines import EXPECTED as LINES
from tests.traffic import known_traffic

PERIOD = 0.05


@frozen
class Where:
    """A server that only has metrics."""

    http: int
    grpc: int = 0


def reactor() -> Any:
    """That of `pytest_twisted`; whoever imports it earlier gets another one installed."""
    from twisted.internet import reactor

    return reactor


def families() -> Families:
    return Families(known_traffic(SampledHistogram), reactor().seconds, 10.0)


def receiver(port: int = 0) -> socket.socket:
    """Somebody who takes packets."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(10.0)
    opened.bind((HOST, port))
    return opened


def receive(opened: socket.socket, last: str) -> list[str]:
    """The lines up to this one. Blocks."""
    lines: list[str] = []
    while last not in lines:
        lines += opened.recv(65536).decode().split("\n")
    return lines


@pytest_twisted.ensureDeferred
async def test_prometheus() -> None:
    """A scrape has everything, on a port of its own, until the stop."""
    listen = partial(listen_tcp, reactor(), HOST, 0, backlog=16, what="Prometheus")
    exporter = PrometheusExporter(listen, reactor(), "/metrics", families().snapshot, in_thread)
    exporter.privilegedStartService()
    exporter.startService()
    try:
        response = await in_thread(request, Where(exporter.port), "GET", "/metrics")
    finally:
        await exporter.stopService()
    assert response.status == 200
    lines = [line for line in ours(response.body.decode()) if "promhttp" not in line]
    assert lines == EXPECTED


@pytest_twisted.ensureDeferred
async def test_statsd() -> None:
    """All lines arrive."""
    with receiver() as opened:
        exporter = StatsdExporter(reactor(), f"localhost:{opened.getsockname()[1]}", PERIOD, families(), in_thread)
        exporter.startService()
        try:
            assert await in_thread(receive, opened, LINES[-1]) == LINES
        finally:
            await exporter.stopService()


@pytest_twisted.ensureDeferred
async def test_statsd_refused() -> None:
    """While nobody listens the exporter goes on, and whoever listens later gets what is sent then."""
    with receiver() as opened:
        port = opened.getsockname()[1]
    exporter = StatsdExporter(reactor(), f"{HOST}:{port}", PERIOD, families(), in_thread)
    exporter.startService()
    try:
        await pause(reactor(), 10 * PERIOD)
        with receiver(port) as opened:
            gauge = "connections_count_current,conn_group=app:2|g"
            assert gauge in await in_thread(receive, opened, gauge)
    finally:
        await exporter.stopService()
