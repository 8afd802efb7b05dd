"""Clients that we did not write, with time-outs: `http.client` and curl, `websockets`, and grpc's stubs.

All of them block. In a test under the reactor, call them by `tests.integration.server.in_thread`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from email.message import Message
from http.client import HTTPConnection, parse_headers
from io import BytesIO
from typing import Any, Protocol

import grpc
from attrs import frozen
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from raccoon_tx._proto.odpf.raccoon.v1beta1 import raccoon_pb2 as odpf_pb2
from raccoon_tx._proto.odpf.raccoon.v1beta1 import raccoon_pb2_grpc as odpf_grpc
from raccoon_tx._proto.raystack.raccoon.v1beta1 import raccoon_pb2 as raystack_pb2
from raccoon_tx._proto.raystack.raccoon.v1beta1 import raccoon_pb2_grpc as raystack_grpc
from tests.integration.batches import Batch, Encoding, Said, said

HOST = "127.0.0.1"
EVENTS = "/api/v1/events"
ID_HEADER, GROUP_HEADER = "X-User-ID", "X-User-Group"
MEDIA_TYPES: Mapping[Encoding, str] = {"json": "application/json", "proto": "application/proto"}

#: Seconds that anything may take.
TIMEOUT = 15.0


class Ports(Protocol):
    """Where a server listens."""

    @property
    def http(self) -> int: ...

    @property
    def grpc(self) -> int: ...


@frozen
class Response:
    """An HTTP response."""

    status: int
    headers: Message
    body: bytes

    @property
    def said(self) -> Said:
        """What it says, which has to be in the encoding that its ``Content-Type`` names."""
        media_type = self.headers["Content-Type"]
        assert media_type == MEDIA_TYPES["json" if self.body.startswith(b"{") else "proto"]
        return said(self.body)


def request(
    server: Ports, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """One request on a connection of its own."""
    connection = HTTPConnection(HOST, server.http, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()


def post(server: Ports, body: bytes, content_type: str | None = MEDIA_TYPES["json"], **headers: str) -> Response:
    """POST a batch. :param headers: further ones, with ``_`` for ``-``."""
    all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        all_headers["Content-Type"] = content_type
    return request(server, "POST", EVENTS, body, all_headers)


def has_curl() -> bool:
    """Whether this machine has curl."""
    return shutil.which("curl") is not None


def curl(server: Ports, path: str, *arguments: str, stdin: bytes = b"") -> Response:
    """One request by curl. Interim responses are read over."""
    options = ["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", str(TIMEOUT)]
    command = ["curl", *options, *arguments, f"http://{HOST}:{server.http}{path}"]
    run = subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=TIMEOUT + 5)
    printed = BytesIO(run.stdout)
    while (status := int(printed.readline().split()[1])) < 200:
        parse_headers(printed)
    return Response(status, parse_headers(printed), printed.read())


@contextmanager
def websocket(
    server: Ports, client: str | None = None, group: str | None = None, **headers: str
) -> Iterator[ClientConnection]:
    """An open WebSocket. :param headers: further ones of the handshake."""
    all_headers = dict(headers)
    if client is not None:
        all_headers[ID_HEADER] = client
    if group is not None:
        all_headers[GROUP_HEADER] = group
    with connect(
        _websocket_address(server),
        sock=socket.create_connection((HOST, server.http), TIMEOUT),  # of our own, lest a proxy is asked
        additional_headers=all_headers,
        open_timeout=TIMEOUT,
        close_timeout=TIMEOUT,
        max_size=None,  # an answer has the guid of its batch, however long
    ) as connection:
        yield connection


def _websocket_address(server: Ports) -> str:
    return f"ws://{HOST}:{server.http}{EVENTS}"


def ask(connection: ClientConnection, message: bytes | str) -> Said:
    """Send a frame. :return: what the next one says, which has to be of the same type."""
    connection.send(message)
    return next_said(connection, type(message))


def next_said(connection: ClientConnection, kind: type[bytes] | type[str]) -> Said:
    """What the next frame says, which has to be text for `str` and binary for `bytes`."""
    answer = connection.recv(TIMEOUT)
    assert type(answer) is kind
    return said(answer)


def closed(connection: ClientConnection) -> tuple[int | None, str]:
    """Wait for the server's close frame. :return: code and text of it."""
    try:
        extra = connection.recv(TIMEOUT)
    except ConnectionClosed as end:
        if end.rcvd is None:
            return None, ""
        return end.rcvd.code, end.rcvd.reason
    raise AssertionError(f"there was one frame more: {extra!r}")


@frozen
class SilentEnd:
    """How a connection ended that never answered. :ivar after: seconds that it was open. :ivar pings: it got."""

    code: int | None
    after: float
    pings: list[bytes]


def stay_silent(server: Ports, client: str) -> SilentEnd:
    """Open a WebSocket, read what comes, and answer nothing at all, until the server closes it."""
    protocol = ClientProtocol(parse_uri(_websocket_address(server)))
    handshake = protocol.connect()
    handshake.headers[ID_HEADER] = client
    protocol.send_request(handshake)
    pings: list[bytes] = []
    with socket.create_connection((HOST, server.http), TIMEOUT) as connection:
        connection.sendall(b"".join(protocol.data_to_send()))
        opened = time.monotonic()
        while protocol.close_rcvd is None and (data := connection.recv(4096)):
            protocol.receive_data(data)
            received = [event for event in protocol.events_received() if isinstance(event, Frame)]
            pings += [bytes(frame.data) for frame in received if frame.opcode is Opcode.PING]
    end = protocol.close_rcvd
    return SilentEnd(end.code if end else None, time.monotonic() - opened, pings)


_PACKAGES: Mapping[str, tuple[Any, Any]] = {
    "raystack": (raystack_pb2, raystack_grpc),
    "odpf": (odpf_pb2, odpf_grpc),
}


@contextmanager
def channel(server: Ports, compression: grpc.Compression | None = None) -> Iterator[grpc.Channel]:
    """A gRPC connection."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"{HOST}:{server.grpc}", options, compression) as opened:
        yield opened


def call(opened: grpc.Channel, batch: Batch, package: str = "raystack", client: str | None = "1234") -> Said:
    """Send a batch by the generated stub of a package. :raises grpc.RpcError: the call itself fails."""
    messages, services = _PACKAGES[package]
    written = messages.SendEventRequest.FromString(batch.written("proto"))
    metadata = [] if client is None else [(ID_HEADER.lower(), client)]
    answer = services.EventServiceStub(opened).SendEvent(written, timeout=TIMEOUT, metadata=metadata)
    assert type(answer) is messages.SendEventResponse
    return said(answer.SerializeToString())


def call_with_bytes(opened: grpc.Channel, message: bytes, client: str = "1234") -> bytes:
    """Send any bytes where a message is expected. :raises grpc.RpcError: the call itself fails."""
    method = opened.unary_unary("/raystack.raccoon.v1beta1.EventService/SendEvent")
    answer: bytes = method(message, timeout=TIMEOUT, metadata=[(ID_HEADER.lower(), client)])
    return answer


#: A way in: sends a batch, and says what was answered.
Send = Callable[[Batch], Said]

#: Every way in.
WAYS = ("rest-json", "rest-proto", "websocket-json", "websocket-proto", "grpc-raystack", "grpc-odpf")


@contextmanager
def sender(server: Ports, way: str, client: str = "1234") -> Iterator[Send]:
    """A client of one of the `WAYS`, with one connection."""
    transport, _, kind = way.partition("-")
    encoding: Encoding = "json" if kind == "json" else "proto"
    if transport == "grpc":
        with channel(server) as opened:
            yield lambda batch: call(opened, batch, kind, client)
    elif transport == "websocket":
        with websocket(server, client) as connection:
            yield lambda batch: ask(connection, frame(batch, encoding))
    else:
        with closing(HTTPConnection(HOST, server.http, timeout=TIMEOUT)) as kept_alive:
            yield lambda batch: _post_again(kept_alive, batch, encoding, client)


def _post_again(connection: HTTPConnection, batch: Batch, encoding: Encoding, client: str) -> Said:
    headers = {"Content-Type": MEDIA_TYPES[encoding], ID_HEADER: client}
    connection.request("POST", EVENTS, batch.written(encoding), headers)
    response = connection.getresponse()
    content = Response(response.status, response.headers, response.read()).said
    assert (response.status == 200) == (content["status"] == 1)
    return content


def frame(batch: Batch, encoding: Encoding) -> bytes | str:
    """The message of a WebSocket that carries this batch: text for JSON, binary for protobuf."""
    body = batch.written(encoding)
    return body.decode() if encoding == "json" else body
