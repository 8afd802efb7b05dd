"""Requests whose end could be taken for somewhere else: request smuggling, and heads that are none."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from attacks.attack import BOTH, Attack, require
from attacks.raw import BATCH, post
from attacks.target import Target

SUBJECT = "HTTP framing"

#: What is behind an odd request, and must not be taken for one.
NEXT = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"

#: Seconds between two of them.
GAP = 0.003

_CHUNKED = b"Transfer-Encoding: chunked"
_IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BATCH), BATCH)


def refused(sent: bytes, statuses: tuple[int, ...], target: Target) -> None:
    """Send it, with a good request behind. There is one answer, of one of these statuses, and the connection ends."""
    with target.connect() as raw:
        raw.send(sent + NEXT)
        raw.require_closed(7.0)
        require(
            len(raw.statuses) == 1 and raw.statuses[0] in statuses,
            f"answered {raw.statuses or raw.received[:100]!r}, not {' or '.join(map(str, statuses))}",
        )
    time.sleep(GAP)


def answered(sent: bytes, statuses: tuple[int, ...], target: Target) -> None:
    """Send it. There is one answer, of one of these statuses; the connection may go on."""
    with target.connect() as raw:
        raw.send(sent)
        raw.require_answer(*statuses)
    time.sleep(GAP)


def dropped(sent: bytes, target: Target) -> None:
    """Send it. It is not served: the connection ends, with a refusal or without a word."""
    with target.connect() as raw:
        raw.send(sent)
        raw.require_closed(7.0)
        require(all(status >= 400 for status in raw.statuses), f"answered {raw.statuses}")
    time.sleep(GAP)


def _row(name: str, sent: bytes, *statuses: int, number: str = "E11", quick: bool = False) -> Attack:
    wanted = statuses or (400,)
    return Attack(
        name=name,
        subject=SUBJECT,
        does=name,
        limit=f"{' or '.join(map(str, wanted))}, closed",
        run=partial(refused, sent, wanted),
        seconds=0.5,
        ways=BOTH,
        number=number,
        quick=quick,
    )


def _length(value: bytes) -> bytes:
    return post(b"Content-Length: " + value, length=False)


def _coded(*lines: bytes, body: bytes = _IN_CHUNKS) -> bytes:
    return post(*lines, body=body, length=False)


def _lengths() -> Iterable[Attack]:
    yield _row("both Content-Length and Transfer-Encoding", post(_CHUNKED, body=_IN_CHUNKS), quick=True)
    both = _coded(_CHUNKED, b"Content-Length: %d" % len(_IN_CHUNKS))
    yield _row("both Transfer-Encoding and Content-Length", both)
    yield _row("two Content-Length that differ", post(b"Content-Length: 4"), quick=True)
    yield _row("two Content-Length that are equal", post(b"Content-Length: %d" % len(BATCH)))
    size = b"%d" % len(BATCH)
    for value in (size + b", " + size, b"+" + size, b"-1", b"0x10", b"1_6", b"1 6", size + b";", b"1.6e1", b"\xb2"):
        yield _row(f"Content-Length: {value.decode('latin-1')}", _length(value))
    yield _row("Content-Length of 10,000 digits", _length(b"1" * 10_000), 400, 413)
    yield _row("an empty Content-Length", _length(b""))
    yield _row("Content-Length with a blank before the colon", post(b"Content-Length : 16", length=False), quick=True)


def _codings() -> Iterable[Attack]:
    for value in (
        b"xchunked",
        b"chunked, identity",
        b"identity",
        b"gzip, chunked",
        b"chunked, chunked",
        b"\x0bchunked",
        b"chunked;q=1",
        b'"chunked"',
        b"",
    ):
        shown = value.decode("latin-1").replace("\x0b", "<VT>")
        yield _row(f"Transfer-Encoding: {shown}", _coded(b"Transfer-Encoding: " + value), quick=value == b"identity")
    yield _row("two Transfer-Encoding", _coded(_CHUNKED, _CHUNKED))
    yield _row("two Transfer-Encoding, one identity", _coded(_CHUNKED, b"Transfer-Encoding: identity"))
    yield _row("Transfer-Encoding with a blank before the colon", _coded(b"Transfer-Encoding : chunked"))
    yield _row("Transfer-Encoding folded", _coded(b"Transfer-Encoding:\r\n chunked"), quick=True)
    old = _coded(_CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    yield _row("Transfer-Encoding in HTTP/1.0", old)


def _chunks() -> Iterable[Attack]:
    for size in (b"-1", b"0x10", b"+10", b"1_0", b"", b" 10", b"10 ", b"\t10", b"g", b"1" * 40):
        body = size + b"\r\n" + BATCH + b"\r\n0\r\n\r\n"
        shown = size.decode().replace("\t", "<TAB>") if len(size) < 40 else "of 40 digits"
        yield _row(f"chunk size {shown!r}", _coded(_CHUNKED, body=body), 400, 413, quick=size == b"-1")
    yield _row("a chunk that goes on behind its end", _coded(_CHUNKED, body=b"10\r\n" + BATCH + b"xx0\r\n\r\n"))
    yield _row("chunk lines that end with LF", _coded(_CHUNKED, body=b"10\n" + BATCH + b"\n0\n\n"))
    endless = b"10;" + b"x" * 100_000 + b"\r\n" + BATCH
    yield _row("a chunk extension of 100 kB", _coded(_CHUNKED, body=endless), 400, 413)
    trailers = b"0\r\n" + b"X-Trailer: 1\r\n" * 20_000 + b"\r\n"
    yield _row("20,000 trailers", _coded(_CHUNKED, body=trailers), 400, 413, 431)


def _heads() -> Iterable[Attack]:
    for name, line in (
        ("NUL in a header", b"X-A: a\0b"),
        ("CR in a header", b"X-A: a\rb"),
        ("LF alone in a header", b"X-A: a\nX-User-ID: evil"),
        ("a header without a colon", b"nonsense"),
        ("a header without a name", b": value"),
        ("a blank in the name of a header", b"X A: 1"),
        ("a name of a header that is no token", b"X(A): 1"),
        ("a name of a header that is not ASCII", b"X-\xc3\xa9: 1"),
        ("a folded header", b"X-A: a\r\n b"),
        ("two Host", b"Host: y"),
    ):
        yield _row(name, post(line), quick="Host" in name)
    yield _row("no Host", post(host=False), quick=True)
    first = b"POST /api/v1/events HTTP/1.1\r\n Host: x\r\nContent-Length: 0\r\n\r\n"
    yield _row("a first header that is folded", first)
    for name, line in (
        ("HTTP/3.7", b"GET /ping HTTP/3.7"),
        ("HTTP/2.0", b"GET /ping HTTP/2.0"),
        ("http/1.1 in small letters", b"GET /ping http/1.1"),
        ("HTTP/1.1x", b"GET /ping HTTP/1.1x"),
        ("HTTP/1.11", b"GET /ping HTTP/1.11"),
        ("no version", b"GET /ping"),
        ("two blanks in the request line", b"GET  /ping HTTP/1.1"),
        ("a tab in the request line", b"GET\t/ping HTTP/1.1"),
        ("a blank in the path", b"GET /pi ng HTTP/1.1"),
        ("NUL in the path", b"GET /pi\0ng HTTP/1.1"),
        ("a control byte in the method", b"G\x01T /ping HTTP/1.1"),
        ("a request line that is no token at all", b"\x16\x03\x01\x02"),
    ):
        yield _row(name, line + b"\r\nHost: x\r\n\r\n", 400, 405, 505, quick=name == "HTTP/3.7")
    yield _row("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", quick=True)
    yield _row("20,000 empty lines before a request", b"\r\n" * 20_000)


ROWS = (*_lengths(), *_codings(), *_chunks(), *_heads())
