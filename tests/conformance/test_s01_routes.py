"""Section 1: listeners and routes."""

from __future__ import annotations

import socket

import pytest

from tests.conformance.frames import exchange, raw
from tests.conformance.server import Farm, free_ports
from tests.conformance.topics import Kafka
from tests.conformance.vectors import Two
from tests.integration.batches import success
from tests.integration.clients import EVENTS, HOST, MEDIA_TYPES, TIMEOUT, request


def test_s01_get_ping(farm: Farm) -> None:
    """``/ping`` answers ``pong``, without a newline."""
    response = request(farm.get(), "GET", "/ping")
    assert (response.status, response.body) == (200, b"pong")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_s01_head_ping(farm: Farm) -> None:
    """``HEAD /ping`` is a liveness check, too, and its answer ends with its head."""
    server = farm.get()
    assert request(server, "HEAD", "/ping").status == 200
    with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
        connection.sendall(b"HEAD /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, EVENTS) for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")),
        *((method, "/ping") for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")),
    ],
)
def test_s01_other_method(farm: Farm, method: str, path: str) -> None:
    """Another method on a known path gets an empty 405 that names what is allowed."""
    response = request(farm.get(), method, path)
    assert (response.status, response.body) == (405, b"")
    allowed = {name.strip() for name in response.headers["Allow"].split(",")}
    assert allowed >= ({"GET", "POST"} if path == EVENTS else {"GET", "HEAD"})
    assert method not in allowed


@pytest.mark.parametrize("path", ["/", "/pong", "/api", "/api/v1", "/api/v1/event", "/api/v1/events/x", "/ping/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_s01_unknown_path(farm: Farm, method: str, path: str) -> None:
    """An unknown path gets a 404 in plain text."""
    response = request(farm.get(), method, path, b"" if method == "POST" else None)
    assert (response.status, response.body) == (404, b"404 page not found\n")
    assert response.headers["Content-Type"].startswith("text/plain")


UNCLEAN = [
    "//api/v1/events",
    "/api//v1/events",
    "/api/v1//events",
    "/./api/v1/events",
    "/api/./v1/events",
    "/api/v1/other/../events",
    "/../api/v1/events",
    "/api/v1/events/.",
]


@pytest.mark.parametrize("path", ["/api/v1/events/", *UNCLEAN])
def test_s01_post_to_path(farm: Farm, kafka: Kafka, path: str) -> None:
    """Events get in by a trailing slash and by unclean paths, without a redirect."""
    two, server = Two(), farm.get()
    body = two.body("json")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    response = exchange(server.http, head.encode() + body)
    assert response is not None
    assert (response.status, response.said) == (200, success("1234"))
    two.assert_produced(kafka)


@pytest.mark.parametrize("path", ["/ping/", "//ping", "/./ping", "/x/../ping"])
def test_s01_ping_by_path(farm: Farm, path: str) -> None:
    """So does ``/ping`` answer."""
    response = exchange(farm.get().http, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert response is not None
    assert (response.status, response.body) == (200, b"pong")


@pytest.mark.parametrize("path", ["/api/v1/events/", "//api/v1/events", "/api/v1/x/../events"])
def test_s01_upgrade_by_path(farm: Farm, path: str) -> None:
    """So do WebSockets open."""
    with raw(farm.get(), None, path=path) as opened:
        assert opened.status == 101


@pytest.mark.parametrize("port", ["HTTP", "gRPC", "metrics"])
def test_s01_all_interfaces(farm: Farm, port: str) -> None:
    """Without an address, every listener is on all interfaces."""
    server = farm.get(
        SERVER_HOST=None, SERVER_GRPC_HOST=None, METRIC_PROMETHEUS_HOST=None, METRIC_PROMETHEUS_ENABLED="true"
    )
    number = {"HTTP": server.http, "gRPC": server.grpc, "metrics": server.metrics}[port]
    socket.create_connection(("127.0.0.2", number), TIMEOUT).close()
    if socket.has_ipv6:
        with socket.socket(socket.AF_INET6) as probe:
            probe.settimeout(TIMEOUT)
            probe.connect(("::1", number))


@pytest.mark.parametrize("port", ["HTTP", "gRPC", "metrics"])
def test_s01_one_interface(farm: Farm, port: str) -> None:
    """With an address, every listener is there alone."""
    server = farm.get(METRIC_PROMETHEUS_ENABLED="true")
    number = {"HTTP": server.http, "gRPC": server.grpc, "metrics": server.metrics}[port]
    socket.create_connection((HOST, number), TIMEOUT).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", number), TIMEOUT)


def test_s01_metrics_only_when_enabled(farm: Farm) -> None:
    """Unless it is enabled, nothing listens for Prometheus."""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, farm.get().metrics), TIMEOUT)


def test_s01_no_profiling_port(farm: Farm) -> None:
    """Two servers run on one machine: there is no port that cannot be chosen."""
    first, second = farm.get(), farm.get(METRIC_PROMETHEUS_ENABLED="true")
    for server in first, second:
        assert request(server, "GET", "/ping").body == b"pong"


def test_s01_no_redirect_of_unknown(farm: Farm) -> None:
    """An unclean path that leads nowhere is a 404, too."""
    response = exchange(farm.get().http, b"GET //nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response is not None
    assert response.status == 404


def nobody() -> str:
    """The address of a Kafka that is not there."""
    return f"{HOST}:{free_ports(1)[0]}"


@pytest.mark.parametrize("path", ["/ping", "/healthz"])
def test_s01_alive_without_kafka(farm: Farm, path: str) -> None:
    """Liveness does not depend on Kafka."""
    with farm.own(
        PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS=nobody(), PUBLISHER_KAFKA_FLUSH_INTERVAL_MS=1, EVENT_ACK=1
    ) as server:
        assert request(server, "GET", path).status == 200


def test_s01_one_port(farm: Farm) -> None:
    """REST, WebSocket and ``/ping`` share a port."""
    server = farm.get()
    assert request(server, "GET", "/ping").status == 200
    assert request(server, "POST", EVENTS, b"{}", {"Content-Type": MEDIA_TYPES["json"]}).status == 200
    with raw(server) as opened:
        assert opened.status == 101
