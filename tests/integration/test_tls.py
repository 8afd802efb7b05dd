"""TLS on both ports, with clients that we did not write and certificates made for each test."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_twisted
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from raccoon_tx import tap
from tests.certificates import Authority, Pair
from tests.integration.batches import Batch, Event, success
from tests.integration.clients import (
    EVENTS,
    HOST,
    ID_HEADER,
    MEDIA_TYPES,
    TIMEOUT,
    Ports,
    ask,
    frame,
    has_curl,
    raystack_grpc,
    raystack_pb2,
)
from tests.integration.server import RACCOON, Running, Settings, Topics, in_thread, process, run_command, serving

#: How clients say that they were not let in: by an error of TLS, or the end of the connection.
ENDS = (OSError, EOFError, WebSocketException)

BATCH = Batch("1234", Event("safe", b"1"))
BODY = BATCH.written("json")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(pair: Pair, client_ca: str = "", **more: object) -> Settings:
    files = {"server.tls.certificate": pair.certificate, "server.tls.private.key": pair.key}
    if client_ca:
        files["server.tls.client.ca"] = client_ca
    return {**files, **more}


def trusting(authority: Authority, client: Pair | None = None) -> ssl.SSLContext:
    """What a client trusts, and the certificate that it shows."""
    context = ssl.create_default_context(cafile=authority.path)
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def post(server: Ports, context: ssl.SSLContext, body: bytes = BODY) -> tuple[int, Any]:
    """Status of a POST by `urllib`, and what its body says."""
    headers = {"Content-Type": MEDIA_TYPES["json"], ID_HEADER: "1234"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"https://{HOST}:{server.http}{EVENTS}", body, headers)
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


class TlsSocket:
    """A WebSocket of `websockets`, read and written by one thread: its own client has two, which Python's TLS does not
    bear before 3.13."""

    def __init__(self, server: Ports, context: ssl.SSLContext, client: str) -> None:
        plain = socket.create_connection((HOST, server.http), TIMEOUT)
        self._connection = context.wrap_socket(plain, server_hostname=HOST)
        self._protocol = ClientProtocol(parse_uri(f"wss://{HOST}:{server.http}{EVENTS}"))
        handshake = self._protocol.connect()
        handshake.headers[ID_HEADER] = client
        self._protocol.send_request(handshake)
        self._next()

    def _next(self) -> Any:
        """Send what is to be sent. :return: what comes next."""
        while True:
            for data in self._protocol.data_to_send():
                if data:
                    self._connection.sendall(data)
            for event in self._protocol.events_received():
                if not isinstance(event, Frame) or event.opcode is not Opcode.PING:
                    return event
            if self._protocol.handshake_exc is not None:
                raise self._protocol.handshake_exc
            data = self._connection.recv(65536)
            if not data:
                raise EOFError
            self._protocol.receive_data(data)

    def send(self, message: bytes | str) -> None:
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)

    def recv(self, _timeout: float) -> bytes | str:
        answer = self._next()
        return answer.data.decode() if answer.opcode is Opcode.TEXT else bytes(answer.data)

    def close(self) -> int | None:
        """Close it, and wait for the end. :return: the code that the server closed it with."""
        self._protocol.send_close(1000)
        self._next()
        assert self._connection.recv(65536) == b""
        self._connection.close()
        end = self._protocol.close_rcvd
        return end.code if end is not None else None


@contextmanager
def websocket(server: Ports, context: ssl.SSLContext, client: str) -> Iterator[Any]:
    connection = TlsSocket(server, context, client)
    try:
        yield connection
    finally:
        connection._connection.close()


def call(server: Ports, authority: Authority, client: Pair | None = None) -> int:
    """Code of the answer to a gRPC call on a connection of its own."""
    key, chain = (Path(path).read_bytes() for path in (client.key, client.certificate)) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(Path(authority.path).read_bytes(), key, chain)
    options = [("grpc.enable_http_proxy", 0), ("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"{HOST}:{server.grpc}", credentials, options) as channel:
        request = raystack_pb2.SendEventRequest.FromString(BATCH.written("proto"))
        stub = raystack_grpc.EventServiceStub(channel)
        return int(stub.SendEvent(request, metadata=[(ID_HEADER.lower(), "1234")], timeout=TIMEOUT).code)


def serial_number(server: Ports, context: ssl.SSLContext) -> int:
    """Of the certificate that a new connection sees."""
    with (
        socket.create_connection((HOST, server.http), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as encrypted,
    ):
        certificate: Any = encrypted.getpeercert()
        return int(certificate["serialNumber"], 16)


@pytest_twisted.ensureDeferred
async def test_every_way(broker: str, authority: Authority) -> None:
    """REST, WebSocket and gRPC work as they do without, and what came stands in the topics."""

    def scenario(server: Running) -> None:
        context = trusting(authority)
        assert post(server, context)[1]["code"] == 1
        assert post(server, context, b"x")[0] == 400
        with websocket(server, context, "5") as connection:
            for encoding in ("json", "proto"):
                assert ask(connection, frame(BATCH, encoding)) == success("1234")  # type: ignore[arg-type]
            started = time.monotonic()
            assert connection.close() == 1000
        assert time.monotonic() - started < 1
        assert call(server, authority) == 1

    async with serving(broker, 1, settings(authority.issue("server"))) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, "safe") == {"safe": [b"1"] * 4}


@pytest.mark.skipif(not has_curl(), reason="this machine has no curl")
@pytest_twisted.ensureDeferred
async def test_curl(broker: str, authority: Authority) -> None:
    """So does curl, as the guide has it; it does not trust an authority that it does not know."""

    def curl(server: Running, ca: str) -> tuple[int, bytes]:
        address = f"https://localhost:{server.http}/ping"
        command = ["curl", "--silent", "--noproxy", "*", "--max-time", str(TIMEOUT), "--cacert", ca]
        run = subprocess.run([*command, address], capture_output=True, check=False, timeout=TIMEOUT + 5)
        return run.returncode, run.stdout

    async with serving(broker, settings=settings(authority.issue("server"))) as server:
        assert await in_thread(curl, server, authority.path) == (0, b"pong")
        stranger = Authority(authority.folder, "stranger")
        assert await in_thread(curl, server, stranger.path) == (60, b"")


@pytest_twisted.ensureDeferred
async def test_client_certificates(broker: str, authority: Authority) -> None:
    """With an authority for clients, nobody gets in without a certificate of it, whatever the port and the path."""
    stranger = Authority(authority.folder, "stranger").issue("strange-client")

    def scenario(server: Running) -> None:
        client = authority.issue("client")
        assert post(server, trusting(authority, client))[0] == 200
        with websocket(server, trusting(authority, client), "5") as connection:
            assert ask(connection, frame(BATCH, "json")) == success("1234")
        assert call(server, authority, client) == 1
        for other in (None, stranger):
            with pytest.raises(ENDS):
                post(server, trusting(authority, other))
            with pytest.raises(ENDS), websocket(server, trusting(authority, other), "6"):
                pass
            with pytest.raises(grpc.RpcError):
                call(server, authority, other)

    async with serving(broker, 1, settings(authority.issue("server"), authority.path)) as server:
        await in_thread(scenario, server)
    assert await in_thread(server.topics.read, "safe") == {"safe": [b"1"] * 3}


@pytest_twisted.ensureDeferred
async def test_silence(broker: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens a connection and says nothing, or begins and does not go on, is cut off."""
    monkeypatch.setattr(tap, "IDLE_TIMEOUT", 0.3)

    def scenario(server: Running) -> None:
        for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
                connection.sendall(data)
                with suppress(ConnectionResetError):
                    assert connection.recv(1000) == b""
        # Who speaks something else is cut off at once, and disturbs nobody.
        with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
            connection.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert not connection.recv(1000).startswith(b"HTTP")
        assert post(server, trusting(authority))[0] == 200

    async with serving(broker, settings=settings(authority.issue("server"))) as server:
        await in_thread(scenario, server)


def test_exchange(broker: str, authority: Authority) -> None:
    """New files and a ``SIGHUP``: no connection that is open is dropped, and new ones see the new certificate. Files
    that cannot be used change nothing."""
    pair = authority.issue("server")
    old = pair.number
    context = trusting(authority)
    quiet = {"server.websocket.max.conn": 200}
    with process(Topics(broker), 1, settings(pair, **quiet)) as server, ExitStack() as stack:
        sockets = [stack.enter_context(websocket(server, context, str(number))) for number in range(100)]
        assert serial_number(server, context) == old

        def hang_up(expected: str) -> None:
            seen = server.log.count("SIGHUP")
            server.signal(signal.SIGHUP)
            deadline = time.monotonic() + TIMEOUT
            while expected not in "".join(server.log.split("SIGHUP")[seen + 1 :]):
                assert time.monotonic() < deadline, server.log
                time.sleep(0.01)

        Path(pair.key).write_text("nonsense")
        hang_up("nothing was changed")
        assert serial_number(server, context) == old

        new = authority.issue("server").number
        hang_up("are as configured now")
        assert serial_number(server, context) == new != old
        assert post(server, context)[0] == 200
        assert call(server, authority) == 1
        for connection in sockets:
            assert ask(connection, frame(BATCH, "json")) == success("1234")
        with websocket(server, context, "another") as connection:
            assert ask(connection, frame(BATCH, "json")) == success("1234")


def test_mistakes(broker: str, authority: Authority) -> None:
    """Files that cannot be used end the start with status 1 and a sentence for each, before any port is open."""
    pair = authority.issue("server")
    locked = authority.issue("locked", passphrase=b"secret")
    mixed = Pair(pair.certificate, authority.issue("other").key, 0)
    with socket.create_server((HOST, 0)) as taken:  # who got as far as the port would end with status 2
        port = taken.getsockname()[1]
        for files, words in (
            (settings(locked), "SERVER_TLS_PRIVATE_KEY .* is encrypted"),
            (settings(mixed), "SERVER_TLS_PRIVATE_KEY .* is not the key of the certificate"),
            (settings(Pair(pair.key, pair.key, 0)), "SERVER_TLS_CERTIFICATE .* has no certificate in PEM form"),
            (settings(pair, pair.key), "SERVER_TLS_CLIENT_CA .* has no certificate in PEM form"),
        ):
            of_test = {"server.host": HOST, "server.websocket.port": port, "server.websocket.conn.id.header": ID_HEADER}
            run = run_command(*RACCOON, settings={**of_test, "publisher.type": "log", **files})
            assert run.returncode == 1, run.stderr
            assert "Traceback" not in run.stderr
            assert re.search(words, run.stdout + run.stderr), run.stdout + run.stderr
