"""HTTP/1.1 requests that are too slow, too large, or want what is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from attacks.attack import BOTH, Attack, require
from attacks.framing import answered
from attacks.raw import EVENTS, post
from attacks.target import Target

SUBJECT = "HTTP requests"

#: Times of the server in rows about them, in seconds, so that they do not take as long as the real ones would.
HEAD, BODY = 2.0, 3.0
_SHORT = {"server.head.timeout.ms": int(HEAD * 1000), "server.body.timeout.ms": int(BODY * 1000)}

#: Seconds that who is late gets to read the answer, and that a busy machine may add.
LINGER, SLACK = 5.0, 4.0

#: Connections of a slow attacker.
SLOW = 50

#: Bytes that a server may take of a body that it has refused.
DRAINED = 32 * 2**20


# Slow


def _drip(start: bytes, drops: Callable[[], Iterator[bytes]], due: float, pace: float, target: Target) -> None:
    """Open connections, and send a little on each, again and again: all are answered 408 and closed in time."""
    raws = [target.connect() for _ in range(SLOW)]
    try:
        began = time.monotonic()
        for raw in raws:
            raw.send(start)
        left, sources = set(raws), {raw: drops() for raw in raws}
        while left and time.monotonic() < began + due + LINGER + SLACK:
            for raw in list(left):
                raw.send(next(sources[raw]))
                if raw.read(0.001):
                    left.discard(raw)
            time.sleep(pace)
        target.notes["closed after s"] = round(time.monotonic() - began, 1)
        require(not left, f"{len(left)} of {SLOW} still open after {time.monotonic() - began:.0f} s")
        wrong = [raw.statuses or raw.received[:50] for raw in raws if raw.statuses not in ([408], [])]
        require(not wrong, f"answered {wrong[:3]}")
        target.notes["answered 408"] = sum(raw.statuses == [408] for raw in raws)
    finally:
        for raw in raws:
            raw.socket.close()


def _bytes_of(data: bytes) -> Iterator[bytes]:
    for byte in data:
        yield bytes([byte])


def _lines() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"X-%d: y\r\n" % number


def _slow(name: str, does: str, start: bytes, drops: Callable[[], Iterator[bytes]], due: float, pace: float) -> Attack:
    which = "server.head_timeout_ms" if due == HEAD else "server.body_timeout_ms"
    return Attack(
        name=name,
        subject=SUBJECT,
        does=f"{SLOW} connections: {does}",
        limit=f"408 after `{which}` ({due:.0f} s here), closed 5 s later at most",
        run=partial(_drip, start, drops, due, pace),
        seconds=0,
        ways=BOTH,
        settings=_SHORT,
        number="D9",
    )


_HEAD_START = post(length=False, body=b"")[:-2]

_SLOW_ROWS = (
    _slow(
        "request line drip",
        "a byte of the request line every 0.1 s",
        b"",
        lambda: _bytes_of(b"POST /api/v1/events?" + b"x" * 10_000),
        HEAD,
        0.1,
    ),
    _slow("header drip", "a header every 0.2 s", _HEAD_START, _lines, HEAD, 0.2),
    _slow(
        "body drip",
        "a byte of the body every 0.1 s",
        post(b"Content-Length: 10000", length=False, body=b""),
        lambda: _bytes_of(b"x" * 10_000),
        BODY,
        0.1,
    ),
    _slow(
        "chunk drip",
        "a chunk of one byte every 0.1 s",
        post(b"Transfer-Encoding: chunked", length=False, body=b""),
        lambda: iter(lambda: b"1\r\nx\r\n", b""),
        BODY,
        0.1,
    ),
)


# Large


def _endless(start: bytes, more: bytes, statuses: tuple[int, ...], most: int, target: Target) -> None:
    """Send ``more`` until it is not taken any more: it is refused, and not much of it is read."""
    with target.connect() as raw:
        raw.send(start)
        sent, deadline = 0, time.monotonic() + 20.0
        raw.socket.settimeout(8.0)
        while sent < 300 * 2**20 and time.monotonic() < deadline and raw.send(more):
            sent += len(more)
        raw.require_closed(8.0)
        target.notes["MB taken"] = round(sent / 2**20, 1)
        require(sent <= most, f"took {sent / 2**20:.0f} MB")
        # The answer may be lost when the connection is reset behind it.
        require(
            not raw.statuses or (len(raw.statuses) == 1 and raw.statuses[0] in statuses), f"answered {raw.statuses}"
        )


def _first_answer(start: bytes, body: bytes, statuses: tuple[int, ...], target: Target) -> None:
    """Send a head, and then its body only as far as there is no answer."""
    with target.connect() as raw:
        raw.send(start)
        raw.socket.setblocking(False)
        view = memoryview(body)
        deadline = time.monotonic() + 10.0
        while view and time.monotonic() < deadline:
            try:
                view = view[raw.socket.send(view[:65536]) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                break
        raw.require_answer(*statuses, seconds=10.0)


def _large(name: str, does: str, limit: str, run: Callable[[Target], None], number: str = "E1") -> Attack:
    return Attack(
        name=name, subject=SUBJECT, does=does, limit=limit, run=run, seconds=0, memory=24, ways=BOTH, number=number
    )


def _form(kind: bytes, body: bytes) -> Callable[[Target], None]:
    start = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (EVENTS, kind, len(body))
    return partial(_first_answer, start, body, (400, 413))


_MEGA = b"x" * 2**20
_PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
_FORM = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data; boundary=x"
_CLOSED_UNREAD = "413 (400 for an odd type), closed, not read"

_LARGE_ROWS = (
    _large(
        "300 MB body by Content-Length",
        "a body of 300 MB, with a Content-Length",
        "413, closed, at most 32 MB taken",
        partial(_endless, post(b"Content-Length: %d" % (300 * 2**20), length=False, body=b""), _MEGA, (413,), DRAINED),
    ),
    _large(
        "300 MB body in chunks",
        "a body of 300 MB, in chunks",
        "413, closed, at most 32 MB taken",
        partial(
            _endless,
            post(b"Transfer-Encoding: chunked", length=False, body=b""),
            b"100000\r\n" + _MEGA + b"\r\n",
            (413,),
            DRAINED,
        ),
    ),
    _large(
        "endless chunk extensions",
        "chunks of one byte without end, each with an extension of 1 kB",
        "413, closed, at most 32 MB taken",
        partial(
            _endless,
            post(b"Transfer-Encoding: chunked", length=False, body=b""),
            (b"1;" + b"e" * 1000 + b"\r\nx\r\n") * 500,
            (413,),
            DRAINED,
        ),
    ),
    _large(
        "endless head",
        "header lines without end",
        "400, closed, at most 4 MB taken",
        partial(_endless, _HEAD_START, b"X-A: y\r\n" * 1000, (400,), 4 * 2**20),
        "D8",
    ),
    _large(
        "endless request line",
        "a request line without end",
        "400, closed, at most 4 MB taken",
        partial(_endless, b"GET /", b"x" * 65536, (400,), 4 * 2**20),
        "D8",
    ),
    _large(
        "endless header",
        "one header without end",
        "400, closed, at most 4 MB taken",
        partial(_endless, b"GET /ping HTTP/1.1\r\nHost: ", b"x" * 65536, (400,), 4 * 2**20),
        "D8",
    ),
    *(
        _large(f"{name} of {size}", f"a form of {size}: {name}", _CLOSED_UNREAD, _form(kind, body * times), "E8")
        for size, part in (("10 MB", 10.0), ("4 MB", 3.9))
        for name, kind, body, times in (
            ("a&a&...", _FORM, b"a&" * 1000, int(part * 524)),
            ("a=b&...", _FORM, b"a=b&" * 1000, int(part * 262)),
            ("multipart", _MULTIPART, _PART * 100, int(part * 2**20 / 100 / len(_PART))),
        )
    ),
)


# One request each


def _one(name: str, sent: bytes, *statuses: int, number: str = "E12", does: str = "", quick: bool = False) -> Attack:
    return Attack(
        name=name,
        subject=SUBJECT,
        does=does or name,
        limit=" or ".join(map(str, statuses)),
        run=partial(answered, sent, statuses),
        seconds=0.5,
        ways=BOTH,
        number=number,
        quick=quick,
    )


def _asks(method: bytes, path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"Host: x", *lines, b"", b""])


def _without_echo(sent: bytes, forbidden: tuple[bytes, ...], target: Target) -> None:
    """Whatever is answered, nothing of what was sent stands in it."""
    with target.connect() as raw:
        raw.send(sent)
        raw.read(5.0, b"\r\n\r\n")
        raw.read(0.02)
        require(raw.statuses, "no answer")
        for word in forbidden:
            require(word not in raw.received.lower(), f"answered with {word!r} in it")


def _echo(name: str, does: str, sent: bytes, *forbidden: bytes, quick: bool = False) -> Attack:
    return Attack(
        name=name,
        subject=SUBJECT,
        does=does,
        limit="an answer with nothing of it",
        run=partial(_without_echo, sent, forbidden),
        seconds=0.5,
        ways=BOTH,
        number="E10",
        quick=quick,
    )


def _banner(target: Target) -> None:
    """No answer names what the server is made of."""
    for sent in (
        _asks(b"GET", b"/ping"),
        _asks(b"GET", b"/"),
        _asks(b"GET", EVENTS),
        _asks(b"PUT", EVENTS),
        b"nonsense\r\n\r\n",
        post(),
        post(b"Content-Length: 9"),
        _asks(b"GET", EVENTS, b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    ):
        with target.connect() as raw:
            raw.send(sent)
            raw.read(5.0, b"\r\n\r\n")
            raw.read(0.02)
            lowered = raw.received.lower()
            require(raw.statuses, f"no answer to {sent[:40]!r}")
            for word in (b"server:", b"twisted", b"autobahn", b"klein", b"werkzeug", b"python", b"raccoon_tx"):
                require(word not in lowered, f"{word!r} is in an answer: {raw.received[:200]!r}")


def _pipelined(request: bytes, target: Target) -> None:
    """Send requests for as long as they are taken, and read no answer."""
    with target.connect(buffer=4096) as raw:
        raw.socket.setblocking(False)
        burst, sent = request * 500, 0
        while target.time_left:
            try:
                sent += raw.socket.send(burst)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        target.notes["MB taken"] = round(sent / 2**20, 2)


def _expects(target: Target) -> None:
    """Announce a body that is too large, and wait to be asked for it."""
    with target.connect() as raw:
        raw.send(post(b"Content-Length: 999999999", b"Expect: 100-continue", length=False, body=b""))
        raw.require_answer(413)


_ONE_ROWS = (
    _one("a header of 17 kB", _asks(b"GET", b"/ping", b"X-A: " + b"x" * 17_000), 400, number="D8", quick=True),
    _one("a head of 60 kB", _asks(b"GET", b"/ping", *[b"X-A: " + b"x" * 1000] * 60), 400, number="D8"),
    _one("501 headers", _asks(b"GET", b"/ping", *[b"X-A: x"] * 501), 400, number="D8"),
    _one("a path of 17 kB", _asks(b"GET", b"/" + b"x" * 17_000), 400, 414, number="D8"),
    _one("TRACE", _asks(b"TRACE", EVENTS), 405, quick=True),
    _one("TRACE elsewhere", _asks(b"TRACE", b"/"), 404, 405),
    _one("CONNECT", _asks(b"CONNECT", b"example.com:443"), 400, 404, 405),
    _one("an unknown method", _asks(b"BREW", EVENTS), 405),
    _one("a method of 10 kB", _asks(b"B" * 10_000, EVENTS), 400, 405),
    _one("a method in small letters", _asks(b"get", b"/ping"), 405),
    _one("DELETE", _asks(b"DELETE", EVENTS), 405),
    _one("a path outside", _asks(b"GET", b"/../../etc/passwd"), 404),
    _one("an escaped path outside", _asks(b"GET", b"/%2e%2e/%2e%2e/etc/passwd"), 404),
    _one("a path that is not UTF-8", _asks(b"GET", b"/\xff%ff"), 400, 404),
    _one("an identity that is not UTF-8", post(b"X-User-ID: \xff\xfe"), 400, number="E9", quick=True),
    _one("a group that is not UTF-8", post(b"X-User-Group: \xff\xfe"), 400, number="E9"),
    _one("an identity of 257 bytes", post(b"X-User-ID: " + b"x" * 257), 400, number="E9"),
    _one("any header that is not UTF-8", post(b"X-Other: \xff\xfe"), 200, number="E9"),
    _one("a content type that is not UTF-8", _asks(b"POST", EVENTS, b"Content-Type: \xff"), 400, number="E8"),
    _one("an Accept of 10,000 types", post(b"Accept: " + b"a/b," * 3000), 200, 400, number="E8"),
    Attack(
        name="Expect: 100-continue of 1 GB",
        subject=SUBJECT,
        does="announces a body of 1 GB and waits to be asked for it",
        limit="413, not asked",
        run=_expects,
        seconds=0.5,
        ways=BOTH,
        number="E1",
    ),
    _echo(
        "response splitting in the path",
        "a path with escaped line ends",
        _asks(b"GET", b"/%0d%0aX-Evil:%201"),
        b"evil",
        quick=True,
    ),
    _echo("response splitting in the query", "a query", _asks(b"GET", EVENTS + b"?%0d%0aX-Evil:%201"), b"evil"),
    _echo("response splitting in an identity", "an identity", post(b"X-User-ID: %0d%0aX-Evil: 1"), b"evil", quick=True),
    _echo(
        "a reflected content type",
        "a content type with markup",
        post(b"Accept: text/html;<script>").replace(b"application/json", b"text/html;<script>alert(1)</script>"),
        b"script",
        b"text/html",
        quick=True,
    ),
    _echo("a reflected path", "a path with markup", _asks(b"GET", b"/<script>alert(1)</script>"), b"script"),
    _echo("a reflected method", "a method with markup", _asks(b"<SCRIPT>", b"/ping"), b"script"),
    _echo("a reflected Origin", "an Origin", post(b"Origin: http://evil.example"), b"evil"),
    Attack(
        name="banners",
        subject=SUBJECT,
        does="looks for names and versions of software in all kinds of answers",
        limit="none",
        run=_banner,
        seconds=0.5,
        ways=BOTH,
        number="F5",
        quick=True,
    ),
    Attack(
        name="pipelined GETs, never read",
        subject=SUBJECT,
        does="requests without end on one connection, whose answers are never read",
        limit="no longer taken, memory flat",
        run=partial(_pipelined, _asks(b"GET", b"/ping")),
        seconds=8.0,
        ways=BOTH,
        number="D5",
    ),
    Attack(
        name="pipelined batches, never read",
        subject=SUBJECT,
        does="batches without end on one connection, whose answers are never read",
        limit="no longer taken, memory flat",
        run=partial(_pipelined, post()),
        seconds=8.0,
        ways=BOTH,
        number="D5",
    ),
)

ROWS = (*_SLOW_ROWS, *_LARGE_ROWS, *_ONE_ROWS)
