"""Tests for `raccoon_tx.transports.grpc_compression`: contract section 6."""

from __future__ import annotations

import contextlib
import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx.model import Malformed
from raccoon_tx.transports.grpc_compression import unpacked
from raccoon_tx.transports.media import TooLarge
from tests.wire import PROTO_BATCH


class UnpackedTests(SynchronousTestCase):
    """Messages as they come."""

    def test_forms(self) -> None:
        """gzip and deflate are undone; what is not compressed stays as it is."""
        for message in (PROTO_BATCH, gzip.compress(PROTO_BATCH), zlib.compress(PROTO_BATCH), zlib.compress(b"", 0)):
            self.assertIn(unpacked(message, 1000), (PROTO_BATCH, b""))
        self.assertEqual(unpacked(b"", 1000), b"")

    def test_limit(self) -> None:
        """The limit is for what comes out, to the byte."""
        for compress in gzip.compress, zlib.compress:
            self.assertEqual(unpacked(compress(bytes(1000)), 1000), bytes(1000))
            self.assertRaises(TooLarge, unpacked, compress(bytes(1001)), 1000)
            self.assertRaises(TooLarge, unpacked, compress(bytes(5_000_000)), 1000)

    def test_damaged(self) -> None:
        """What looks like gzip and is not is no message; it cannot be one."""
        for message in (b"\x1f\x8b", b"\x1f\x8bx", gzip.compress(PROTO_BATCH)[:-1]):
            self.assertRaises(Malformed, unpacked, message, 1000)

    def test_unknown_field(self) -> None:
        """A message may begin with what deflate begins with, in a field that we do not know."""
        message = b"\x78\x9c\x01" + PROTO_BATCH
        self.assertEqual(unpacked(message, 1000), message)
        self.assertEqual(SendEventRequest.FromString(message).req_guid, "1234")
        self.assertEqual(unpacked(b"\x78", 1000), b"\x78")

    @given(st.binary(max_size=50), st.sampled_from([b"", b"\x1f\x8b", b"\x78\x9c", b"\x78\x01"]))
    def test_anything(self, data: bytes, start: bytes) -> None:
        """Whatever comes, there is a message or a refusal."""
        with contextlib.suppress(TooLarge, Malformed):
            self.assertIsInstance(unpacked(start + data, 1000), bytes)
