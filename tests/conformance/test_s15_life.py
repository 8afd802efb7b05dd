"""Section 15: startup, signals, shutdown, health, logs, TLS."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conformance.frames import CLOSE, PING, raw
from tests.conformance.scrape import StatsD
from tests.conformance.server import Farm, Server, eventually, free_ports
from tests.conformance.test_s03_identity import entry
from tests.conformance.test_s04_rest import refuses
from tests.conformance.topics import topic, word
from tests.conformance.vectors import Two
from tests.integration.batches import Batch, Event, said, success
from tests.integration.clients import (
    EVENTS,
    HOST,
    ID_HEADER,
    TIMEOUT,
    Response,
    ask,
    call,
    channel,
    post,
    request,
    websocket,
)


def ready(server: Server) -> Response:
    return request(server, "GET", "/readyz")


# Startup and health


def test_s15_1_healthz(farm: Farm) -> None:
    """A server that lives says so."""
    assert request(farm.get(), "GET", "/healthz").status == 200


def test_s15_1_readyz(farm: Farm) -> None:
    """One that takes events says so, part by part."""
    server = farm.get()
    response = eventually(lambda: found if (found := ready(server)).status == 200 else None)
    assert response.headers["Content-Type"].startswith("application/json")
    assert isinstance(json.loads(response.body), dict)
    assert len(json.loads(response.body)) >= 1


def test_s15_1_without_kafka(faulty: Farm) -> None:
    """Without Kafka the server starts, is not ready, and becomes so when Kafka comes."""
    assert faulty.cluster is not None
    faulty.cluster.broker_down(1)
    with faulty.own(EVENT_ACK=1, PUBLISHER_PUBLISH_TIMEOUT_MS=300) as server:
        response = ready(server)
        assert response.status == 503
        assert "kafka" in response.body.decode().lower() or "publisher" in response.body.decode().lower()
        assert request(server, "GET", "/healthz").status == 200
        faulty.cluster.broker_up(1)
        assert eventually(lambda: ready(server).status == 200)
        assert post(server, Two().body("json")).status == 200


def test_s15_1_not_ready_when_kafka_goes(faulty: Farm) -> None:
    """When Kafka goes the server is not ready any more."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1, PUBLISHER_KAFKA_FLUSH_INTERVAL_MS=1) as server:
        assert eventually(lambda: ready(server).status == 200)
        faulty.cluster.broker_down(1)
        assert eventually(lambda: ready(server).status == 503)


def test_s15_1_embedded(farm: Farm) -> None:
    """A broker inside the process prints its address."""
    with farm.own(PUBLISHER_TYPE="embedded", PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS=None, EVENT_ACK=1) as server:
        assert post(server, Two().body("json")).said == success("1234")
        assert re.search(r"127\.0\.0\.1:\d+", server.log)


def test_s15_1_workers(farm: Farm) -> None:
    """Several processes share the ports, and the table of connections."""
    with farm.own(SERVER_WORKERS=2) as server, websocket(server, "1") as first:
        assert ask(first, b"") == success("")
        for _ in range(6):
            with raw(server, "1") as second:
                refusal = second.read()
                assert refusal is not None
                assert said(refusal.payload)["code"] == 5
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(children) >= 1


def test_s15_4_status_page(farm: Farm) -> None:
    """There is a status page, if it was asked for."""
    (port,) = free_ports(1)
    with farm.own(SERVER_STATUS_PORT=port):
        connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT], ids=lambda each: each.name)
def test_s15_2_stop(farm: Farm, number: signal.Signals) -> None:
    """These signals stop it: WebSockets are closed with 1001, and the status is 0."""
    with farm.own() as server, raw(server, "1") as opened:
        server.signal(number)
        close = opened.read_but(PING)
        assert close is not None
        assert (close.opcode, close.code, close.text) == (CLOSE, 1001, "server shutting down")
        opened.send(CLOSE, close.payload[:2])
        assert opened.until_closed() == []
        assert server.wait() == 0


def test_s15_2_hangup_stops_nothing(farm: Farm) -> None:
    """SIGHUP does not."""
    with farm.own() as server, websocket(server, "1") as connection:
        server.signal(signal.SIGHUP)
        time.sleep(0.2)
        assert ask(connection, b"") == success("")
        assert server.alive


def rewritten(server: Server, text: str) -> None:
    """Change the file of a server, and tell it."""
    server.file.write_text(text)
    server.signal(signal.SIGHUP)


def test_s15_2_hangup_log_level(farm: Farm) -> None:
    """SIGHUP reads the log level again."""
    with farm.own(file="log: {level: error}\n") as server:
        before = len(server.log)
        rewritten(server, "log: {level: debug}\n")
        time.sleep(0.2)

        def talks() -> bool:
            with websocket(server, "1") as connection:
                ask(connection, b"\x01")
            return len(server.log) > before

        assert eventually(talks)


def test_s15_2_hangup_allow_list(farm: Farm) -> None:
    """The list of types."""
    with farm.own(file="event: {allowed_types: [one]}\n") as server:
        two = Batch("1", Event("two", b""))
        assert post(server, two.written("json")).status == 400
        rewritten(server, "event: {allowed_types: [one, two]}\n")
        assert eventually(lambda: post(server, two.written("json")).status == 200, 5)
        rewritten(server, "event: {allowed_types: [one]}\n")
        assert eventually(lambda: post(server, two.written("json")).status == 400, 5)


def test_s15_2_hangup_rate_limit(farm: Farm) -> None:
    """And the rate limit."""
    with farm.own(file="server: {rate_limit: {events_per_second: 0}}\n") as server:
        body = Two().body("json")
        assert [post(server, body, X_User_ID="1").status for _ in range(5)] == [200] * 5
        rewritten(server, "server: {rate_limit: {events_per_second: 1}}\n")
        assert eventually(lambda: post(server, body, X_User_ID="1").status == 429, 5)


def test_s15_2_hangup_bad_file(farm: Farm) -> None:
    """A file with mistakes changes nothing, and is complained of."""
    with farm.own(file="event: {allowed_types: [one]}\n") as server:
        rewritten(server, "event: {ack: 77}\n")
        assert eventually(lambda: "event.ack" in server.log.lower().replace("_", "."), 5)
        assert post(server, Batch("1", Event("one", b"")).written("json")).status == 200
        assert post(server, Batch("1", Event("two", b"")).written("json")).status == 400


def test_s15_2_second_signal(faulty: Farm) -> None:
    """A second signal ends the waiting."""
    assert faulty.cluster is not None
    with faulty.own(PUBLISHER_KAFKA_FLUSH_INTERVAL_MS=60_000, WORKER_BUFFER_FLUSH_TIMEOUT_MS=60_000) as server:
        faulty.cluster.set_rtt(60_000)
        assert post(server, Two().body("json")).status == 200
        server.signal()
        with pytest.raises(AssertionError):
            server.wait(1.0)
        before = time.monotonic()
        server.signal()
        assert server.wait() == 3
        assert time.monotonic() - before < 2


# Shutdown


def test_s15_3_drain_delay(farm: Farm) -> None:
    """At first the server says that it is not ready, and serves on."""
    with farm.own(SERVER_DRAIN_DELAY_MS=1500) as server:
        assert eventually(lambda: ready(server).status == 200)
        with channel(server) as opened:
            health = opened.unary_unary("/grpc.health.v1.Health/Check")
            assert eventually(lambda: health(b"", timeout=TIMEOUT) == b"\x08\x01", 5)
            before = time.monotonic()
            server.signal()
            assert eventually(lambda: ready(server).status == 503, 2)
            assert post(server, Two().body("json")).status == 200
            assert call(opened, Two().batch) == success("1234")
            assert eventually(lambda: health(b"", timeout=TIMEOUT) == b"\x08\x02", 0.5)
            with websocket(server, "1") as connection:
                assert ask(connection, b"") == success("")
        assert server.wait() == 0
        assert time.monotonic() - before > 1.4


def test_s15_3_drain_window(farm: Farm) -> None:
    """WebSockets are closed one after the other."""
    with farm.own(SERVER_DRAIN_WINDOW_MS=1000) as server, ExitStack() as stack:
        sockets = [stack.enter_context(raw(server, f"{number}")) for number in range(5)]
        server.signal()
        before = time.monotonic()
        times = []
        waiting = list(sockets)
        while waiting and time.monotonic() - before < 5:
            for opened in list(waiting):
                try:
                    frame = opened.read(0.01)
                except TimeoutError:
                    continue
                assert frame is not None
                assert (frame.opcode, frame.code) == (CLOSE, 1001)
                opened.send(CLOSE, frame.payload[:2])
                times.append(time.monotonic() - before)
                waiting.remove(opened)
        assert 0.5 < times[-1] < 2
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) < 0.6
        assert server.wait() == 0


def test_s15_3_port_is_closed(faulty: Farm) -> None:
    """Nobody gets in while the rest is finished; what is under way is answered."""
    assert faulty.cluster is not None
    with faulty.own(EVENT_ACK=1) as server, channel(server) as opened, websocket(server, "1") as connection:
        assert post(server, Two().body("json")).status == 200
        faulty.cluster.set_rtt(800)
        connection.send(Two().text())
        two = Two().batch
        running = opened.unary_unary("/raystack.raccoon.v1beta1.EventService/SendEvent").future(
            two.written("proto"), timeout=TIMEOUT, metadata=[("x-user-id", "1")]
        )
        assert connection.ping().wait(TIMEOUT)
        time.sleep(0.1)
        server.signal()
        eventually(lambda: refuses(server))
        assert running.result()
        assert b'"status":1' in str(connection.recv(TIMEOUT)).encode()
        faulty.cluster.set_rtt(0)
        assert server.wait() == 0


def test_s15_3_given_up(faulty: Farm) -> None:
    """What was given up is counted under its labels, and logged by topic."""
    assert faulty.cluster is not None
    kind = f"lost-{word()}"
    with StatsD() as statsd:
        settings = {
            "METRIC_STATSD_ENABLED": "true",
            "METRIC_STATSD_ADDRESS": f"{HOST}:{statsd.port}",
            "METRIC_STATSD_FLUSH_PERIOD_MS": 60_000,
            "PUBLISHER_KAFKA_FLUSH_INTERVAL_MS": 200,
        }
        with faulty.own(**settings) as server:
            faulty.cluster.set_rtt(60_000)
            batch = Batch("1", Event(kind, b"1"), Event(kind, b"2"))
            assert post(server, batch.written("json")).status == 200
            server.signal()
            assert server.wait() == 3
            (line,) = (each for each in server.log.splitlines() if topic(kind) in each)
            assert "2" in line
        name = f"kafka_messages_undelivered_total,conn_group=--default--,event_type={kind},topic={topic(kind)}"
        statsd.until(lambda: statsd.count(name) == 2)


# Logs


def test_s15_4_json_log(farm: Farm) -> None:
    """Every line of a JSON log is JSON."""
    with farm.own(LOG_FORMAT="json", LOG_LEVEL="debug") as server:
        post(server, b"x", X_User_ID="1")
        with raw(server, "1") as opened:
            opened.send(8)
            opened.until_closed()
        assert server.stop() == 0
        lines = server.log.splitlines()
        assert lines
        for line in lines:
            assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("form", ["text", "json"])
def test_s15_4_no_forged_lines(farm: Farm, form: str) -> None:
    """A client's bytes do not begin a line."""
    with farm.own(LOG_FORMAT=form, LOG_LEVEL="debug", PUBLISHER_TYPE="log") as server:
        post(server, Batch("a\nforged by guid", Event("kind", b"a\nforged by value")).written("json"))
        post(server, Batch("1", Event("a\nforged by type", b"")).written("json"))
        request(server, "GET", "/a%0Aforged%20by%20path")
        with raw(server, None, ("Sec-WebSocket-Protocol", entry("id", "a\nforged by entry"))) as opened:
            assert opened.status == 400
        assert server.stop() == 0
        assert not [line for line in server.log.splitlines() if line.lstrip().startswith("forged")]


@pytest.mark.parametrize("level", ["info", "warn"])
def test_s15_4_no_contents(farm: Farm, level: str) -> None:
    """What events hold is not logged."""
    secret = word()
    with farm.own(LOG_LEVEL=level) as server:
        two = Two()
        for body in (two.text(**{"ZXZlbnRfMQ==": secret}), f'{{"events":[{{"event_bytes":"{secret}"'):
            post(server, body.encode())
        assert server.stop() == 0
        assert secret not in server.log


# TLS


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=TIMEOUT)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    )
    return cert, key


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with ``one``, ``two`` and ``client``."""
    for name in ("one", "two", "client"):
        certificate(tmp_path, name)
    return tmp_path


def tls_settings(folder: Path) -> dict[str, object]:
    shutil.copy(folder / "one.pem", folder / "server.pem")
    shutil.copy(folder / "one.key", folder / "server.key")
    return {"SERVER_TLS_CERTIFICATE": folder / "server.pem", "SERVER_TLS_PRIVATE_KEY": folder / "server.key"}


def trust(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))


def secure_ping(server: Server, context: ssl.SSLContext) -> bytes:
    connection = http.client.HTTPSConnection(HOST, server.http, timeout=TIMEOUT, context=context)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read()
    finally:
        connection.close()


def secure_websocket(server: Server, context: ssl.SSLContext, client: str) -> ClientConnection:
    return connect(
        f"wss://{HOST}:{server.http}{EVENTS}",
        sock=socket.create_connection((HOST, server.http), TIMEOUT),
        ssl=context,
        server_hostname="localhost",
        additional_headers={ID_HEADER: client},
        open_timeout=TIMEOUT,
    )


def test_s15_tls(farm: Farm, certificates: Path) -> None:
    """REST, WebSocket and gRPC go over TLS, and only so."""
    with farm.own(**tls_settings(certificates)) as server:
        context = trust(certificates / "one.pem")
        assert secure_ping(server, context) == b"pong"
        with secure_websocket(server, context, "1") as connection:
            assert ask(connection, b"") == success("")
        credentials = grpc.ssl_channel_credentials((certificates / "one.pem").read_bytes())
        with grpc.secure_channel(f"localhost:{server.grpc}", credentials, [("grpc.enable_http_proxy", 0)]) as opened:
            assert call(opened, Two().batch) == success("1234")
        with pytest.raises((OSError, http.client.HTTPException)):
            request(server, "GET", "/ping")


def test_s15_tls_client(farm: Farm, certificates: Path) -> None:
    """Clients may have to show a certificate."""
    settings = {**tls_settings(certificates), "SERVER_TLS_CLIENT_CA": certificates / "client.pem"}
    with farm.own(**settings) as server:
        context = trust(certificates / "one.pem")
        with pytest.raises(OSError, match=r".*"):
            secure_ping(server, context)
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        assert secure_ping(server, context) == b"pong"
        root = (certificates / "one.pem").read_bytes()
        files = ((certificates / "client.key").read_bytes(), (certificates / "client.pem").read_bytes())
        options = [("grpc.enable_http_proxy", 0)]
        address = f"localhost:{server.grpc}"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(root, *files), options) as opened:
            assert call(opened, Two().batch) == success("1234")
        with (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(root), options) as opened,
            pytest.raises(grpc.RpcError),
        ):
            call(opened, Two().batch)


def presented(server: Server) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, server.http), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def test_s15_2_hangup_certificate(farm: Farm, certificates: Path) -> None:
    """A certificate that was replaced is read at SIGHUP, while nobody is dropped."""
    with farm.own(**tls_settings(certificates)) as server, ExitStack() as stack:
        context = trust(certificates / "one.pem")
        sockets = [stack.enter_context(secure_websocket(server, context, f"{number}")) for number in range(20)]
        before = presented(server)
        shutil.copy(certificates / "two.pem", certificates / "server.pem")
        shutil.copy(certificates / "two.key", certificates / "server.key")
        server.signal(signal.SIGHUP)
        assert eventually(lambda: presented(server) != before, 5)
        assert secure_ping(server, trust(certificates / "two.pem")) == b"pong"
        for connection in sockets:
            assert ask(connection, b"") == success("")
        credentials = grpc.ssl_channel_credentials((certificates / "two.pem").read_bytes())
        with grpc.secure_channel(f"localhost:{server.grpc}", credentials, [("grpc.enable_http_proxy", 0)]) as opened:
            assert call(opened, Two().batch) == success("1234")


@pytest.mark.parametrize("missing", ["SERVER_TLS_CERTIFICATE", "SERVER_TLS_PRIVATE_KEY"])
def test_s15_tls_half(farm: Farm, certificates: Path, missing: str) -> None:
    """A certificate without a key, or a key without one, is refused at the start."""
    settings = tls_settings(certificates)
    del settings[missing]
    server = farm.launch(**settings)
    try:
        assert server.wait() == 1
        assert missing in server.log
    finally:
        server.kill()
