"""Compressed WebSocket messages: permessage-deflate, RFC 7692.

Clients may compress what they send, each message for itself: what a compressor remembers from one message to the next
is 40 KB for each connection, and there may be 30,000 of them. Our answers are too short to become any shorter.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from autobahn.websocket.compress_deflate import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

_NAME = PerMessageDeflateOffer.EXTENSION_NAME

#: What a sender leaves out at the end of each message (RFC 7692, section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"


def accept(offers: list[tuple[str, dict[str, Any]]]) -> PerMessageDeflateOfferAccept | None:
    """The first offer that we understand, accepted; an offer that is wrong is none.

    :param offers: extensions with their parameters, as Autobahn reads them.
    """
    for name, parameters in offers:
        if name == _NAME:
            try:
                offer = PerMessageDeflateOffer.parse(parameters)
            except Exception:  # it has no other
                continue
            return PerMessageDeflateOfferAccept(offer, request_no_context_takeover=True)
    return None


class Inflater(PerMessageDeflate):
    """Decompresses messages up to a limit, and keeps nothing between them.

    :ivar limit: bytes of a message. :ivar too_large: called for a message above that. :ivar corrupt: called with what
        is wrong with one. After either, the rest of the message is nothing.
    """

    limit: int
    too_large: Callable[[], Any]
    corrupt: Callable[[str], Any]
    _inflating: Any = None
    _room = 0

    def start_decompress_message(self) -> None:
        self._inflating = zlib.decompressobj(-self.client_max_window_bits)
        self._room = self.limit

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        if self._inflating is None or not data:
            return b""
        try:
            inflated: bytes = self._inflating.decompress(data, self._room + 1)
        except zlib.error as problem:
            self._fail(problem)
            return b""
        self._room -= len(inflated)
        if self._room < 0:
            self._inflating = None
            self.too_large()
            return b""
        return inflated

    def end_decompress_message(self) -> None:
        try:
            if self._inflating is not None:
                self._inflating.decompress(_TAIL)
        except zlib.error as problem:
            self._fail(problem)
        self._inflating = None

    def _fail(self, problem: zlib.error) -> None:
        self._inflating = None
        self.corrupt(f"a compressed message cannot be decompressed: {problem}")
