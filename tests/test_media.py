"""Tests for `raccoon_tx.transports.media`: contract sections 4.1 and 4.2."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.codec import JSON, PROTOBUF
from raccoon_tx.model import Malformed, Outcome, Refused
from raccoon_tx.transports.media import TooLarge, UnknownCoding, codec_accepted, codec_for, decompress

LIMIT = 1000


class ContentTypeTests(SynchronousTestCase):
    """What a ``Content-Type`` asks for."""

    def test_json(self) -> None:
        """JSON has many names."""
        for kind in (
            "application/json",
            "Application/JSON",
            " application/json ",
            "text/json",
            "application/vnd.raccoon.v1+json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            'application/json; charset="utf-8"',
            "application/json ; charset = us-ascii",
            "application/json; charset=utf8; x=y",
            "application/json;",
            "application/json; indent",
        ):
            self.assertIs(codec_for(kind), JSON, kind)

    def test_protobuf(self) -> None:
        """So has protobuf."""
        for kind in (
            "application/proto",
            "APPLICATION/PROTO",
            "application/proto; messageType=raystack.raccoon.v1beta1.SendEventRequest",
            "application/x-protobuf",
            "application/protobuf",
            "application/vnd.google.protobuf",
            "application/x-google-protobuf; charset=utf-8",
        ):
            self.assertIs(codec_for(kind), PROTOBUF, kind)

    def test_refused(self) -> None:
        """Everything else is refused, another charset included."""
        for kind in (
            "",
            ";",
            "*/*",
            "json",
            "application",
            "application/",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain; charset=utf-8",
            "image/svg+json",
            "application/json, application/json",
            "application/json; charset=latin-1",
            "application/json; charset=",
            "application/proto; charset=utf-16",
        ):
            self.assertIsNone(codec_for(kind), kind)

    def test_text_plain(self) -> None:
        """``text/plain`` is JSON if that is switched on, and nothing else changes."""
        self.assertIs(codec_for("text/plain;charset=UTF-8", text_plain=True), JSON)
        self.assertIsNone(codec_for("text/plain;charset=latin-1", text_plain=True))
        self.assertIsNone(codec_for("text/html", text_plain=True))
        self.assertIsNone(codec_for("", text_plain=True))


class AcceptTests(SynchronousTestCase):
    """What an ``Accept`` asks for."""

    def test_one(self) -> None:
        """Exactly one of the two families decides."""
        self.assertIs(codec_accepted("application/json"), JSON)
        self.assertIs(codec_accepted("text/html, application/json;q=0.5, text/json"), JSON)
        self.assertIs(codec_accepted("application/x-protobuf"), PROTOBUF)
        self.assertIs(codec_accepted("application/json;q=0, application/proto"), PROTOBUF)
        self.assertIs(codec_accepted("application/json; q=0.000, application/proto; q=1"), PROTOBUF)

    def test_both_or_none(self) -> None:
        """Both, or neither, decide nothing."""
        for accept in ("", ",", "text/html", "application/json, application/proto", "application/json;q=0"):
            self.assertIsNone(codec_accepted(accept), accept)

    def test_anything(self) -> None:
        """A client that takes anything wants no other encoding than its own: the official JavaScript client sends its
        HTTP library's default, whatever the encoding."""
        for accept in (
            "*/*",
            "application/json, text/plain, */*",
            "application/json, */*;q=0.1",
            "application/proto, application/*",
        ):
            self.assertIsNone(codec_accepted(accept), accept)
        self.assertIs(codec_accepted("application/json, */*;q=0"), JSON)


class CompressionTests(SynchronousTestCase):
    """Bodies in a content coding."""

    def assert_malformed(self, body: bytes, coding: str, reason: str) -> None:
        error = self.assertRaises(Malformed, decompress, body, coding, LIMIT)
        self.assertEqual(error.reason, reason)

    def assert_too_large(self, body: bytes, coding: str, limit: int = LIMIT) -> None:
        error = self.assertRaises(TooLarge, decompress, body, coding, limit)
        self.assertEqual(
            (error.outcome, error.reason), (Outcome.TOO_LARGE, f"too large: a body may have at most {limit} bytes")
        )

    def test_each(self) -> None:
        """gzip and deflate, in any letter case, and the bare deflate that some clients send."""
        bare = zlib.compressobj(wbits=-15)
        self.assertEqual(decompress(gzip.compress(b"body"), "gzip", LIMIT), b"body")
        self.assertEqual(decompress(gzip.compress(b"body"), " X-GZIP ", LIMIT), b"body")
        self.assertEqual(decompress(zlib.compress(b"body"), "Deflate", LIMIT), b"body")
        self.assertEqual(decompress(bare.compress(b"body") + bare.flush(), "deflate", LIMIT), b"body")
        self.assertEqual(decompress(b"body", "identity", LIMIT), b"body")
        self.assertEqual(decompress(b"body", "", LIMIT), b"body")

    def test_levels(self) -> None:
        """Whatever a zlib stream begins with, it is told from a bare one."""
        for level in range(10):
            for window in range(9, 16):
                squeezer = zlib.compressobj(level, wbits=window)
                self.assertEqual(decompress(squeezer.compress(b"body") + squeezer.flush(), "deflate", LIMIT), b"body")

    def test_two(self) -> None:
        """Codings are undone from the last to the first."""
        body = gzip.compress(zlib.compress(b"body"))
        self.assertEqual(decompress(body, "deflate, gzip", LIMIT), b"body")
        self.assert_malformed(body, "gzip, deflate", "the body is not in its content encoding")

    def test_many(self) -> None:
        """There is an end to codings in codings: each costs as much as a whole body."""
        body = b"body"
        for _ in range(3):
            body = gzip.compress(body)
        self.assertEqual(decompress(body, "gzip, gzip, gzip", LIMIT), b"body")
        error = self.assertRaises(UnknownCoding, decompress, gzip.compress(body), ", ".join(["gzip"] * 4), LIMIT)
        self.assertIs(error.outcome, Outcome.UNKNOWN_ENCODING)

    def test_empty(self) -> None:
        """No bytes are no bytes in every coding."""
        for coding in ("gzip", "deflate", "identity"):
            self.assertEqual(decompress(b"", coding, LIMIT), b"")
        self.assertEqual(decompress(gzip.compress(b""), "gzip", LIMIT), b"")

    def test_unknown(self) -> None:
        """Other codings are refused, and the answer names those that are not."""
        for coding in ("br", "zstd", "compress", "gzip, br", "utf-8"):
            error = self.assertRaises(UnknownCoding, decompress, gzip.compress(b"x"), coding, LIMIT)
            self.assertEqual(error.reason, "unknown content encoding; accepted are gzip, deflate")

    def test_members(self) -> None:
        """Several gzip members in a row are one body."""
        self.assertEqual(decompress(gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(b"b"), "gzip", 2), b"ab")
        self.assert_too_large(gzip.compress(b"a") * 3, "gzip", 2)

    def test_many_members(self) -> None:
        """Up to a thousand parts are one body; more would cost more than they are worth."""
        part = gzip.compress(b"x")
        self.assertEqual(decompress(part * 1000, "gzip", LIMIT), b"x" * 1000)
        self.assertRaises(Malformed, decompress, part * 1001, "gzip", 2 * LIMIT)
        self.assertRaises(Malformed, decompress, gzip.compress(b"") * 100_000, "gzip", LIMIT)

    def test_long(self) -> None:
        """A body may be longer than what is decompressed at a time, in both forms."""
        text = bytes(range(256)) * 400
        noise = zlib.compress(text, 0)
        for body in (text, noise):
            self.assertEqual(decompress(gzip.compress(body), "gzip", len(body)), body)
            self.assertEqual(decompress(zlib.compress(body, 0), "deflate", len(body)), body)
            self.assert_too_large(gzip.compress(body), "gzip", len(body) - 1)

    def test_limit(self) -> None:
        """The limit is for what comes out, to the byte."""
        for squeeze, coding in (gzip.compress, "gzip"), (zlib.compress, "deflate"):
            self.assertEqual(decompress(squeeze(b"x" * LIMIT), coding, LIMIT), b"x" * LIMIT)
            self.assert_too_large(squeeze(b"x" * (LIMIT + 1)), coding)

    def test_bomb(self) -> None:
        """A bomb is not unpacked: the time does not depend on what would have come out."""
        bomb = gzip.compress(bytes(100_000_000))
        twice = gzip.compress(bomb)
        start = process_time()
        self.assert_too_large(bomb, "gzip")
        self.assert_too_large(twice, "gzip, gzip")
        self.assertLess(process_time() - start, 0.1)

    def test_truncated(self) -> None:
        """A body that breaks off is refused, wherever it does."""
        for squeeze, coding in (gzip.compress, "gzip"), (zlib.compress, "deflate"):
            whole = squeeze(b"body" * 100)
            for size in range(1, len(whole)):
                self.assertRaises(Malformed, decompress, whole[:size], coding, LIMIT)
            self.assert_malformed(whole[:-1], coding, "the compressed body ends early")

    def test_trailing(self) -> None:
        """So is one with something behind it."""
        self.assert_malformed(gzip.compress(b"x") + b"y", "gzip", "the compressed body ends early")
        self.assert_malformed(gzip.compress(b"x") + b"yy", "gzip", "the body is not in its content encoding")
        self.assert_malformed(zlib.compress(b"x") + b"y", "deflate", "there is something behind the compressed body")
        self.assert_malformed(
            zlib.compress(b"x") + zlib.compress(b"y"), "deflate", "there is something behind the compressed body"
        )

    def test_damaged(self) -> None:
        """So is one with a wrong checksum, and one that was never compressed."""
        body = gzip.compress(b"body")
        self.assert_malformed(body[:-8] + bytes(8), "gzip", "the body is not in its content encoding")
        self.assert_malformed(b'{"events":[]}', "gzip", "the body is not in its content encoding")
        self.assert_malformed(b'{"events":[]}', "deflate", "the body is not in its content encoding")

    @given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "gzip, deflate", "identity", "br", ","]))
    def test_anything(self, body: bytes, coding: str) -> None:
        """Whatever comes in, what comes out is within the limit, or a refusal."""
        with contextlib.suppress(Refused):
            self.assertLessEqual(len(decompress(body, coding, LIMIT)), LIMIT)

    @given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 600))
    def test_there_and_back(self, parts: list[bytes], limit: int) -> None:
        """What was compressed comes back, if it is within the limit."""
        whole = b"".join(parts)
        for body, coding in (
            (b"".join(map(gzip.compress, parts)), "gzip"),
            (zlib.compress(whole), "deflate"),
            (zlib.compress(gzip.compress(whole)), "gzip, deflate"),
        ):
            try:
                self.assertEqual(decompress(body, coding, limit), whole)
            except TooLarge:
                self.assertGreater(max(len(whole), len(gzip.compress(whole)) if ", " in coding else 0), limit)
