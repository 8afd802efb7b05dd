"""Section 3: who the client is. The server writes it into the headers of the records."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import grpc
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from raccoon_tx._proto.raystack.raccoon.v1beta1 import raccoon_pb2_grpc
from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from tests.conformance.frames import TEXT, exchange, raw
from tests.conformance.server import Farm, Server
from tests.conformance.topics import Kafka, topic, word
from tests.integration.batches import Batch, Event, said, success
from tests.integration.clients import (
    EVENTS,
    GROUP_HEADER,
    ID_HEADER,
    MEDIA_TYPES,
    TIMEOUT,
    ask,
    channel,
    next_said,
    post,
    websocket,
)

HEADERS = {"EVENT_RECORD_HEADERS": "id,group"}

TRANSPORTS = pytest.mark.parametrize("transport", ["rest", "websocket", "grpc"])


class Somebody:
    """Sends one event, by any transport, with the headers that a test wants."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.kind = f"who-{word()}"
        self.batch = Batch("g", Event(self.kind, b"x"))

    def send(self, transport: str, **headers: str) -> None:
        """:param headers: with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if transport == "rest":
            assert post(self.server, self.batch.written("json"), **named).said == success("g")
        elif transport == "websocket":
            with websocket(self.server, **named) as connection:
                assert ask(connection, self.batch.written("proto")) == success("g")
        else:
            with channel(self.server) as opened:
                assert self.call(opened, named) == success("g")

    def call(self, opened: grpc.Channel, headers: dict[str, str]) -> object:
        request = SendEventRequest.FromString(self.batch.written("proto"))
        metadata = [(name.lower(), value) for name, value in headers.items()]
        return said(raccoon_pb2_grpc.EventServiceStub(opened).SendEvent(request, timeout=TIMEOUT, metadata=metadata))

    def assert_known(self, kafka: Kafka, client: str, group: str) -> None:
        """The server took the client for this one."""
        (record,) = kafka.records([topic(self.kind)], 1)[topic(self.kind)]
        found = {name: record.headers.get(name, b"").decode() for name in ("raccoon-id", "raccoon-group")}
        assert found == {"raccoon-id": client, "raccoon-group": group}


@TRANSPORTS
def test_s03_id_and_group(farm: Farm, kafka: Kafka, transport: str) -> None:
    """Id and group are what the headers say."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send(transport, X_User_ID="1234", X_User_Group="app")
    somebody.assert_known(kafka, "1234", "app")


@TRANSPORTS
def test_s03_case_of_names(farm: Farm, kafka: Kafka, transport: str) -> None:
    """The case of the headers' names does not matter."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send(transport, x_uSER_iD="1234", X_USER_group="app")
    somebody.assert_known(kafka, "1234", "app")


@TRANSPORTS
def test_s03_default_group_without_header(farm: Farm, kafka: Kafka, transport: str) -> None:
    """Who names no group is in the default group."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send(transport, X_User_ID="1234")
    somebody.assert_known(kafka, "1234", "--default--")


@TRANSPORTS
def test_s03_default_group_when_empty(farm: Farm, kafka: Kafka, transport: str) -> None:
    """An empty group is the default group, on every transport."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send(transport, X_User_ID="1234", X_User_Group="")
    somebody.assert_known(kafka, "1234", "--default--")


@TRANSPORTS
def test_s03_default_group_when_not_configured(farm: Farm, kafka: Kafka, transport: str) -> None:
    """Without a group header configured, everyone is in the default group, whose name can be chosen."""
    settings = {"SERVER_WEBSOCKET_CONN_GROUP_HEADER": None, "SERVER_WEBSOCKET_CONN_GROUP_DEFAULT": "all"}
    somebody = Somebody(farm.get(**HEADERS, **settings))
    somebody.send(transport, X_User_ID="1234", X_User_Group="app")
    somebody.assert_known(kafka, "1234", "all")


def test_s03_first_of_several_rest(farm: Farm, kafka: Kafka) -> None:
    """Of several values of a header the first one counts."""
    somebody = Somebody(farm.get(**HEADERS))
    body = somebody.batch.written("json")
    lines = [
        f"POST {EVENTS} HTTP/1.1",
        "Host: x",
        f"{ID_HEADER}: first",
        f"{ID_HEADER}: second",
        f"{GROUP_HEADER}: one",
        f"{GROUP_HEADER}: two",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    response = exchange(somebody.server.http, "\r\n".join(lines).encode() + body)
    assert response is not None
    assert response.said == success("g")
    somebody.assert_known(kafka, "first", "one")


def test_s03_first_of_several_websocket(farm: Farm, kafka: Kafka) -> None:
    """So it is on WebSocket."""
    somebody = Somebody(farm.get(**HEADERS))
    with raw(somebody.server, "first", (ID_HEADER, "second"), (GROUP_HEADER, "one"), (GROUP_HEADER, "two")) as opened:
        opened.send(TEXT, somebody.batch.written("json"))
        assert opened.read() is not None
    somebody.assert_known(kafka, "first", "one")


def test_s03_first_of_several_grpc(farm: Farm, kafka: Kafka) -> None:
    """And with gRPC."""
    somebody = Somebody(farm.get(**HEADERS))
    request = SendEventRequest.FromString(somebody.batch.written("proto"))
    metadata = [("x-user-id", "first"), ("x-user-id", "second"), ("x-user-group", "one"), ("x-user-group", "two")]
    with channel(somebody.server) as opened:
        stub = raccoon_pb2_grpc.EventServiceStub(opened)
        assert said(stub.SendEvent(request, timeout=TIMEOUT, metadata=metadata)) == success("g")
    somebody.assert_known(kafka, "first", "one")


@pytest.mark.parametrize("headers", [{}, {"X_User_ID": ""}], ids=["absent", "empty"])
def test_s03_rest_without_id(farm: Farm, kafka: Kafka, headers: dict[str, str]) -> None:
    """On REST nobody needs an id."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send("rest", **headers)
    somebody.assert_known(kafka, "", "--default--")


@pytest.mark.parametrize("headers", [{}, {ID_HEADER: ""}], ids=["absent", "empty"])
def test_s03_websocket_without_id(farm: Farm, headers: dict[str, str]) -> None:
    """On WebSocket nobody needs an id, and those without are no duplicates of each other."""
    server = farm.get()
    with websocket(server, **headers) as first, websocket(server, **headers) as second:
        for connection in first, second:
            assert ask(connection, b"") == success("")


def test_s03_grpc_without_id(farm: Farm) -> None:
    """A call without an id fails."""
    somebody = Somebody(farm.get())
    with channel(somebody.server) as opened, pytest.raises(grpc.RpcError) as failed:
        somebody.call(opened, {})
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.details() == "connection id header missing"


def test_s03_grpc_empty_id(farm: Farm, kafka: Kafka) -> None:
    """An empty id is one."""
    somebody = Somebody(farm.get(**HEADERS))
    somebody.send("grpc", X_User_ID="")
    somebody.assert_known(kafka, "", "--default--")


REQUIRED = {"SERVER_REQUIRE_ID": "true"}
NO_ID = pytest.mark.parametrize("headers", [{}, {ID_HEADER: ""}], ids=["absent", "empty"])


@NO_ID
@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_s03_require_id_rest(farm: Farm, encoding: str, headers: dict[str, str]) -> None:
    """If an id is required, REST without one is refused, in the encoding of the request."""
    kind = MEDIA_TYPES["json" if encoding == "json" else "proto"]
    response = post(farm.get(**REQUIRED), b"{}" if encoding == "json" else b"", kind, **headers)
    assert response.status == 400
    assert response.headers["Content-Type"] == kind
    assert (response.said["status"], response.said["code"]) == (2, 2)


@NO_ID
def test_s03_require_id_websocket(farm: Farm, headers: dict[str, str]) -> None:
    """So is an upgrade."""
    assert upgrade_status(farm.get(**REQUIRED), headers) == 400


@NO_ID
def test_s03_require_id_grpc(farm: Farm, headers: dict[str, str]) -> None:
    """So is a call."""
    somebody = Somebody(farm.get(**REQUIRED))
    with channel(somebody.server) as opened, pytest.raises(grpc.RpcError) as failed:
        somebody.call(opened, headers)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@TRANSPORTS
def test_s03_require_id_with_id(farm: Farm, transport: str) -> None:
    """With an id everything is as ever."""
    Somebody(farm.get(**REQUIRED)).send(transport, X_User_ID="1234")


def upgrade_status(server: Server, headers: dict[str, str]) -> int:
    """Of a handshake that fails."""
    with pytest.raises(InvalidStatus) as refused, websocket(server, **headers):
        pass
    return int(refused.value.response.status_code)


NAMES = pytest.mark.parametrize("name", [ID_HEADER, GROUP_HEADER])


@NAMES
@TRANSPORTS
def test_s03_256_bytes(farm: Farm, kafka: Kafka, transport: str, name: str) -> None:
    """An id or group has up to 256 bytes."""
    somebody = Somebody(farm.get(**HEADERS))
    headers = {ID_HEADER: "1234", GROUP_HEADER: "app", name: "x" * 256}
    somebody.send(transport, **headers)
    somebody.assert_known(kafka, headers[ID_HEADER], headers[GROUP_HEADER])


BAD_VALUES = {"257 bytes": "x" * 257, "tab": "a\tb", "escape": "a\x1bb", "delete": "a\x7fb", "C1": "a\xc2\x85b"}


@NAMES
@pytest.mark.parametrize("row", BAD_VALUES)
def test_s03_bad_value_rest(farm: Farm, row: str, name: str) -> None:
    """Longer ones, and control characters, are refused."""
    response = post(farm.get(), b"{}", **{ID_HEADER: "1234", name: BAD_VALUES[row]})
    assert response.status == 400
    assert (response.said["status"], response.said["code"]) == (2, 2)


@NAMES
@pytest.mark.parametrize("row", BAD_VALUES)
def test_s03_bad_value_websocket(farm: Farm, row: str, name: str) -> None:
    """Also at an upgrade."""
    with raw(farm.get(), None, (name, BAD_VALUES[row])) as opened:
        assert opened.status == 400


@NAMES
def test_s03_bad_value_grpc(farm: Farm, name: str) -> None:
    """And in a call."""
    somebody = Somebody(farm.get())
    with channel(somebody.server) as opened, pytest.raises(grpc.RpcError) as failed:
        somebody.call(opened, {ID_HEADER: "1234", name: "x" * 257})
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# Where browsers can put it

PLACES = {
    **HEADERS,
    "SERVER_WEBSOCKET_CONN_ID_QUERY": "uid",
    "SERVER_WEBSOCKET_CONN_GROUP_QUERY": "grp",
    "SERVER_WEBSOCKET_CONN_ID_COOKIE": "cid",
    "SERVER_WEBSOCKET_CONN_GROUP_COOKIE": "cgrp",
}


def entry(word: str, value: str) -> str:
    """An entry of ``Sec-WebSocket-Protocol``."""
    return f"raccoon.{word}.{urlsafe_b64encode(value.encode()).decode().rstrip('=')}"


PROTOCOLS = ("Sec-WebSocket-Protocol", f"{entry('id', 'by entry')}, {entry('group', 'entry group')}, raccoon.json.v1")
QUERY = f"{EVENTS}?uid=by%20query&grp=query+group&other=1"
COOKIE = ("Cookie", "a=b; cid=by-cookie; cgrp=cookie-group")
HEADER_LINES = ((ID_HEADER, "by header"), (GROUP_HEADER, "header group"))

PLACE_ROWS = {
    "subprotocol": (EVENTS, (PROTOCOLS,), "by entry", "entry group"),
    "query": (QUERY, (), "by query", "query group"),
    "cookie": (EVENTS, (COOKIE,), "by-cookie", "cookie-group"),
    "header before all": (QUERY, (PROTOCOLS, COOKIE, *HEADER_LINES), "by header", "header group"),
    "subprotocol before query and cookie": (QUERY, (PROTOCOLS, COOKIE), "by entry", "entry group"),
    "query before cookie": (QUERY, (COOKIE,), "by query", "query group"),
    "each by itself": (EVENTS, (COOKIE, HEADER_LINES[0]), "by header", "cookie-group"),
}


def _one_event(server: Server, somebody: Somebody, path: str, headers: tuple[tuple[str, str], ...]) -> None:
    with raw(server, None, *headers, path=path) as opened:
        assert opened.status == 101
        opened.send(TEXT, somebody.batch.written("json"))
        frame = opened.read()
        assert frame is not None
        assert said(frame.payload) == success("g")


@pytest.mark.parametrize("row", PLACE_ROWS)
def test_s03_place(farm: Farm, kafka: Kafka, row: str) -> None:
    """The identity is taken from the first of these places that has it."""
    path, headers, client, group = PLACE_ROWS[row]
    somebody = Somebody(farm.get(**PLACES))
    _one_event(somebody.server, somebody, path, headers)
    somebody.assert_known(kafka, client, group)


SWITCHED_OFF = {
    "query": (QUERY, ()),
    "cookie": (EVENTS, (COOKIE,)),
    "subprotocol": (EVENTS, (PROTOCOLS,)),
}


@pytest.mark.parametrize("row", SWITCHED_OFF)
def test_s03_place_switched_off(farm: Farm, row: str) -> None:
    """A place that is not configured is not looked at: such clients are without an id."""
    path, headers = SWITCHED_OFF[row]
    server = farm.get(SERVER_WEBSOCKET_CONN_SUBPROTOCOL_IDENTITY="false")
    with raw(server, None, *headers, path=path) as first, raw(server, None, *headers, path=path) as second:
        for opened in first, second:
            opened.send(TEXT, b"{}")
            frame = opened.read()
            assert frame is not None
            assert said(frame.payload) == success("")


@pytest.mark.parametrize("row", ["subprotocol", "query", "cookie"])
def test_s03_place_bounds(farm: Farm, row: str) -> None:
    """What comes from there has the same bounds."""
    path, headers = {
        "subprotocol": (EVENTS, (("Sec-WebSocket-Protocol", entry("id", "x" * 257)),)),
        "query": (f"{EVENTS}?uid=a%0Ab", ()),
        "cookie": (EVENTS, (("Cookie", "cid=" + "x" * 257),)),
    }[row]
    with raw(farm.get(**PLACES), None, *headers, path=path) as opened:
        assert opened.status == 400


@pytest.mark.parametrize("row", ["subprotocol", "query", "cookie"])
def test_s03_place_satisfies_require_id(farm: Farm, row: str) -> None:
    """An id from there is an id."""
    path, headers, *_ = PLACE_ROWS[row]
    with raw(farm.get(**PLACES, **REQUIRED), None, *headers, path=path) as opened:
        assert opened.status == 101


def refusal(connection: ClientConnection) -> str:
    return str(next_said(connection, bytes)["reason"])


def test_s03_printed_form(farm: Farm) -> None:
    """The printed form of an identity is ``[group] id``."""
    server = farm.get()
    with websocket(server, "printed", "app") as first:
        assert ask(first, b"") == success("")
        with websocket(server, "printed", "app") as second:
            assert refusal(second) == "duplicated connection: [app] printed,"
