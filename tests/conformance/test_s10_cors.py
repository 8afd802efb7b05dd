"""Section 10: browsers on pages of other sites."""

from __future__ import annotations

import pytest

from tests.conformance.frames import exchange, raw
from tests.conformance.server import Command, Farm
from tests.conformance.test_s04_rest import LIMIT
from tests.conformance.topics import Kafka
from tests.conformance.vectors import Two, assert_nothing_produced
from tests.integration.batches import success
from tests.integration.clients import EVENTS, HOST, Response, post, request

PAGE, OTHER, EVIL = "http://localhost:3000", "https://app.example", "http://localhost:5050"

ON = {"SERVER_CORS_ENABLED": "true", "SERVER_CORS_ALLOWED_ORIGIN": PAGE}
TWO_PAGES = {**ON, "SERVER_CORS_ALLOWED_ORIGIN": f"{PAGE}, {OTHER}"}
ALL = {**ON, "SERVER_CORS_ALLOWED_ORIGIN": "*"}
NONE = {"SERVER_CORS_ENABLED": "true"}


def options(farm: Farm, settings: dict[str, str], path: str = EVENTS, **headers: str) -> Response:
    """A preflight, with ``_`` for ``-`` in the names."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(farm.get(**settings), "OPTIONS", path, None, named)


def cors(response: Response) -> dict[str, str]:
    """The headers that browsers look at, and ``Vary``."""
    return {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower().startswith("access-control-") or name.lower() == "vary"
    }


def preflight(origin: str = PAGE, method: str | None = "POST", headers: str | None = None) -> dict[str, str]:
    asked = {"Origin": origin}
    if method is not None:
        asked["Access_Control_Request_Method"] = method
    if headers is not None:
        asked["Access_Control_Request_Headers"] = headers
    return asked


@pytest.mark.parametrize("path", [EVENTS, "/ping"])
def test_s10_1_off_options(farm: Farm, path: str) -> None:
    """Without CORS there is no OPTIONS."""
    response = options(farm, {}, path, **preflight())
    assert (response.status, cors(response)) == (405, {})


def test_s10_1_off_post(farm: Farm) -> None:
    """And an origin is nothing."""
    response = post(farm.get(), b"{}", Origin=PAGE)
    assert (response.status, cors(response)) == (200, {})


def test_s10_1_no_origin(farm: Farm) -> None:
    """Who names no origin is passed on."""
    response = post(farm.get(**ON), b"{}")
    assert response.said == success("")
    assert "access-control-allow-origin" not in cors(response)


@pytest.mark.parametrize("path", [EVENTS, "/ping"])
def test_s10_1_no_origin_options(farm: Farm, path: str) -> None:
    """OPTIONS without an origin is answered with nothing."""
    response = options(farm, ON, path)
    assert (response.status, response.body) == (200, b"")
    assert "access-control-allow-origin" not in cors(response)


def test_s10_1_not_allowed(farm: Farm, kafka: Kafka) -> None:
    """Another origin's events are taken; the browser hides the answer."""
    two = Two()
    response = post(farm.get(**ON), two.body("json"), Origin=EVIL)
    assert (response.status, response.said) == (200, success("1234"))
    assert "access-control-allow-origin" not in cors(response)
    two.assert_produced(kafka)


def test_s10_1_not_allowed_options(farm: Farm) -> None:
    """Its preflight is answered with nothing."""
    response = options(farm, ON, **preflight(EVIL))
    assert (response.status, response.body) == (200, b"")
    assert set(cors(response)) <= {"vary"}


ORIGINS_NOT_ALLOWED = ["http://LOCALHOST:3000", "http://localhost:3000/", "http://localhost", "https://localhost:3000"]


@pytest.mark.parametrize("origin", [*ORIGINS_NOT_ALLOWED, "null", "http://localhost:30000"])
def test_s10_1_origins_are_compared_exactly(farm: Farm, origin: str) -> None:
    """An origin is a text."""
    assert "access-control-allow-origin" not in cors(post(farm.get(**ON), b"{}", Origin=origin))


@pytest.mark.parametrize("path", [EVENTS, "/ping", "/nowhere"])
def test_s10_1_no_request_method(farm: Farm, path: str) -> None:
    """A preflight that asks for no method is a bad request."""
    assert options(farm, ON, path, **preflight(method=None)).status == 400


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "post", "Get"])
def test_s10_1_method_not_allowed(farm: Farm, method: str) -> None:
    """A method that is not allowed."""
    assert options(farm, ON, **preflight(method=method)).status == 405


@pytest.mark.parametrize("headers", ["fake-header", "content-type,x-user-id,fake-header", "authorization"])
def test_s10_1_header_not_allowed(farm: Farm, headers: str) -> None:
    """A header that is not allowed."""
    response = options(farm, ON, **preflight(headers=headers))
    assert response.status == 403
    assert "access-control-allow-origin" not in cors(response)


ALLOWED_HEADERS = {
    "content-type,x-user-id": {"Content-Type", "X-User-Id"},
    "X-USER-GROUP": {"X-User-Group"},
    "accept,accept-language,content-language,origin": set(),
    "accept, content-type": {"Content-Type"},
    "": set(),
}


@pytest.mark.parametrize("headers", [None, *ALLOWED_HEADERS])
def test_s10_1_preflight(farm: Farm, headers: str | None) -> None:
    """A preflight that is allowed."""
    response = options(farm, ON, **preflight(headers=headers))
    assert (response.status, response.body) == (200, b"")
    found = cors(response)
    listed = found.pop("access-control-allow-headers", None)
    names = {name.strip().lower() for name in listed.split(",")} if listed else set()
    expected = ALLOWED_HEADERS[headers] if headers is not None else set()
    assert names == {name.lower() for name in expected}
    assert "origin" in found.pop("vary").lower()
    found.pop("access-control-expose-headers", None)
    assert found == {"access-control-allow-origin": PAGE}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_s10_1_simple_methods_are_not_named(farm: Farm, method: str) -> None:
    """Methods that need no permission are not named."""
    response = options(farm, ON, **preflight(method=method))
    assert (response.status, "access-control-allow-methods" in cors(response)) == (200, False)


def test_s10_1_other_methods_are_named(farm: Farm) -> None:
    """Others are."""
    response = options(farm, {**ON, "SERVER_CORS_ALLOWED_METHODS": "POST, PUT"}, **preflight(method="PUT"))
    assert (response.status, cors(response)["access-control-allow-methods"]) == (200, "PUT")


def test_s10_1_configured_methods(farm: Farm) -> None:
    """The list of methods is the whole list."""
    assert options(farm, {**ON, "SERVER_CORS_ALLOWED_METHODS": "PUT"}, **preflight(method="POST")).status == 405


def test_s10_1_configured_headers(farm: Farm) -> None:
    """Headers can be added to those that are always allowed."""
    settings = {**ON, "SERVER_CORS_ALLOWED_HEADERS": "Authorization, X-Trace"}
    assert options(farm, settings, **preflight(headers="authorization,x-trace,content-type,x-user-id")).status == 200
    assert options(farm, settings, **preflight(headers="x-other")).status == 403


@pytest.mark.parametrize(("seconds", "sent"), [("0", None), ("60", "60"), ("600", "600"), ("86400", "600")])
def test_s10_1_max_age(farm: Farm, seconds: str, sent: str | None) -> None:
    """How long a browser may remember, at most ten minutes."""
    response = options(farm, {**ON, "SERVER_CORS_PREFLIGHT_MAX_AGE_SECONDS": seconds}, **preflight())
    assert cors(response).get("access-control-max-age") == sent


def test_s10_1_max_age_warning(program: Command) -> None:
    """That it is capped is said."""
    run = program.run("config", "check", environment={**NEEDED, **ON, "SERVER_CORS_PREFLIGHT_MAX_AGE_SECONDS": "700"})
    assert run.returncode == 0
    assert "600" in run.stderr


NEEDED = {
    "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
    "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "localhost:9092",
}


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
def test_s10_1_credentials(farm: Farm, method: str) -> None:
    """Credentials are allowed if that was chosen."""
    settings = {**ON, "SERVER_CORS_ALLOW_CREDENTIALS": "true"}
    if method == "OPTIONS":
        response = options(farm, settings, **preflight())
    else:
        response = post(farm.get(**settings), b"{}", Origin=PAGE)
    assert cors(response)["access-control-allow-credentials"] == "true"


def test_s10_1_all(farm: Farm) -> None:
    """``*`` allows everyone, and then nothing varies."""
    for response in (post(farm.get(**ALL), b"{}", Origin=EVIL), options(farm, ALL, **preflight(EVIL))):
        assert response.status == 200
        assert cors(response)["access-control-allow-origin"] == "*"
        assert "vary" not in cors(response)


def test_s10_1_all_with_credentials(program: Command) -> None:
    """``*`` with credentials is refused at the start."""
    run = program.run("config", "check", environment={**NEEDED, **ALL, "SERVER_CORS_ALLOW_CREDENTIALS": "true"})
    assert run.returncode == 1
    assert "SERVER_CORS_ALLOW_CREDENTIALS" in run.stderr


def test_s10_1_empty_list(farm: Farm, program: Command) -> None:
    """An empty list allows nobody, and that is said at the start."""
    assert "access-control-allow-origin" not in cors(post(farm.get(**NONE), b"{}", Origin=PAGE))
    assert set(cors(options(farm, NONE, **preflight()))) <= {"vary"}
    run = program.run("config", "check", environment={**NEEDED, **NONE})
    assert run.returncode == 0
    assert "SERVER_CORS_ALLOWED_ORIGIN" in run.stderr


@pytest.mark.parametrize("settings", [ON, TWO_PAGES], ids=["one page", "two pages"])
def test_s10_1_vary(farm: Farm, settings: dict[str, str]) -> None:
    """An answer that depends on the origin says so, to whomever it is given."""
    for origin in (PAGE, EVIL):
        assert "origin" in cors(post(farm.get(**settings), b"{}", Origin=origin))["vary"].lower()


def test_s10_1_post(farm: Farm, kafka: Kafka) -> None:
    """A page that is allowed sees its answer, and when to come back."""
    two = Two()
    response = post(farm.get(**TWO_PAGES), two.body("json"), Origin=OTHER)
    assert (response.status, response.said) == (200, success("1234"))
    assert cors(response)["access-control-allow-origin"] == OTHER
    assert "retry-after" in cors(response)["access-control-expose-headers"].lower()
    two.assert_produced(kafka)


def test_s10_1_get(farm: Farm) -> None:
    """The filter is in front of all routes."""
    for path, status in (("/ping", 200), ("/nowhere", 404), ("/healthz", 200)):
        response = request(farm.get(**ON), "GET", path, None, {"Origin": PAGE})
        assert (response.status, cors(response)["access-control-allow-origin"]) == (status, PAGE)


ERRORS = {
    "does not decode": (b"x", {}, 400),
    "content type": (b"x", {"Content-Type": "text/plain"}, 400),
    "coding": (b"x", {"Content-Encoding": "x"}, 415),
    "too large": (bytes(LIMIT + 1), {}, 413),
    "bad id": (b"{}", {"X-User-ID": "x" * 257}, 400),
}


@pytest.mark.parametrize("row", ERRORS)
def test_s10_1_errors(farm: Farm, row: str) -> None:
    """A page sees errors, too."""
    body, headers, status = ERRORS[row]
    response = request(
        farm.get(**ON), "POST", EVENTS, body, {"Content-Type": "application/json", "Origin": PAGE, **headers}
    )
    assert (response.status, cors(response)["access-control-allow-origin"]) == (status, PAGE)


def test_s10_1_errors_bad_framing(farm: Farm) -> None:
    """Also that its HTTP is wrong."""
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nContent-Type: application/json\r\n"
    response = exchange(farm.get(**ON).http, f"{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n".encode())
    assert response is not None
    assert (response.status, cors(response)["access-control-allow-origin"]) == (400, PAGE)


REFUSING = {**ON, "SERVER_CORS_REFUSE_DISALLOWED": "true"}


def test_s10_1_refuse(farm: Farm, kafka: Kafka) -> None:
    """If that was chosen, other origins' events are not taken."""
    two, server = Two(), farm.get(**REFUSING)
    response = post(server, two.body("json"), Origin=EVIL)
    assert response.status == 403
    assert (response.said["status"], response.said["code"]) == (2, 2)
    assert post(server, b"{}", Origin=PAGE).status == 200
    assert_nothing_produced(server, kafka, two.first, two.second)


def test_s10_1_refuse_preflight(farm: Farm) -> None:
    """Preflights are as ever."""
    assert options(farm, REFUSING, **preflight(EVIL)).status == 200
    assert options(farm, REFUSING, **preflight()).status == 200


# 10.2

ORIGIN_ROWS = {
    "none": (None, {}, 101),
    "the same": ("http://HOST", {}, 101),
    "the same, other scheme": ("https://HOST", {}, 101),
    "other host": ("http://evil.example", {}, 403),
    "other port": (f"http://{HOST}:1", {}, 403),
    "no port": (f"http://{HOST}", {}, 403),
    "null": ("null", {}, 403),
    "no URL": ("::", {}, 403),
    "not looked at": ("http://evil.example", {"SERVER_WEBSOCKET_CHECK_ORIGIN": "false"}, 101),
    "on the list of CORS": (PAGE, ON, 101),
    "not on the list of CORS": (EVIL, ON, 403),
    "all by CORS": ("http://evil.example", ALL, 101),
    "on the list, CORS off": (PAGE, {"SERVER_CORS_ALLOWED_ORIGIN": PAGE}, 403),
}


@pytest.mark.parametrize("row", ORIGIN_ROWS)
def test_s10_2_origin(farm: Farm, row: str) -> None:
    """Whose page may open a WebSocket."""
    origin, settings, status = ORIGIN_ROWS[row]
    server = farm.get(**settings)
    headers = [] if origin is None else [("Origin", origin.replace("HOST", f"{HOST}:{server.http}"))]
    with raw(server, None, *headers) as opened:
        assert opened.status == status


def test_s10_2_case(farm: Farm) -> None:
    """The case of a host does not matter."""
    server = farm.get()
    head = [
        f"GET {EVENTS} HTTP/1.1",
        "Host: LocalHost:80",
        "Origin: http://localHOST:80",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    response = exchange(server.http, "\r\n".join([*head, "", ""]).encode())
    assert response is not None
    assert response.status == 101
