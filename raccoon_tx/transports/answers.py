"""Answers to plain POSTs, each in one piece. They are those of `raccoon_tx.transports.rest`, line by line."""

from __future__ import annotations

from time import time

from twisted.web.http import RESPONSES, datetimeToString

from raccoon_tx.codec import JSON, PROTOBUF, Codec
from raccoon_tx.model import Reply
from raccoon_tx.transports.plain import Plain
from raccoon_tx.transports.rest import response


class Answers:
    """Puts answers together. What they have in common in one second is made once."""

    def __init__(self) -> None:
        self._second = 0
        self._middle: dict[Codec, bytes] = {}

    def success(self, plain: Plain, reply: Reply) -> bytes:
        """The answer to a batch that was taken."""
        second = int(time())
        if second != self._second:
            self._second = second
            for codec in JSON, PROTOBUF:
                lines = b"Date: %b\r\nContent-Type: %b\r\nContent-Length: "
                self._middle[codec] = lines % (datetimeToString(second), codec.media_type.encode())
        body = plain.back.encode(reply, second)
        middle = self._middle[plain.back]
        return b"HTTP/1.1 200 OK\r\n%b%b%d\r\nX-Content-Type-Options: nosniff\r\n\r\n%b" % (
            plain.extra,
            middle,
            len(body),
            body,
        )

    def any(self, plain: Plain, reply: Reply, last: bool) -> tuple[bytes, bool]:
        """Any answer, and whether it is the last on its connection. :param last: it is in any case."""
        now = time()
        status, headers, body = response(reply, plain.back, now)
        named = {b"Date": datetimeToString(now)}
        if last:
            named[b"Connection"] = b"close"
        named.update(headers)
        lines = b"".join(b"%b: %b\r\n" % line for line in named.items())
        head = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, RESPONSES.get(status, b"Unknown Status"), plain.extra, lines)
        return head + body, b"Connection" in named
