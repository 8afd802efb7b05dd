"""Compressed gRPC messages, up to a limit. Plain data.

The gRPC library would decompress them before anybody is asked, whatever comes out: a thousand times what came in.
`OPTION` tells it to leave them as they are, and does not let us know which are; they tell that themselves.
"""

from __future__ import annotations

from raccoon_tx.model import Malformed
from raccoon_tx.transports.media import decompress

#: Of the server.
OPTION = ("grpc.per_message_decompression", 0)

#: No protobuf message begins so: there is no wire type 7.
_GZIP = b"\x1f\x8b"
#: Any message of ours may begin so, but only with a field that we do not know.
_DEFLATE = b"\x78"


def unpacked(message: bytes, limit: int) -> bytes:
    """A message without its compression, if it has one.

    :param limit: bytes that may come out. :raises TooLarge: :raises Malformed: it looks like gzip, and is not.
    """
    if message.startswith(_GZIP):
        return decompress(message, "gzip", limit)
    if message.startswith(_DEFLATE) and len(message) > 1 and int.from_bytes(message[:2], "big") % 31 == 0:
        try:
            return decompress(message, "deflate", limit)
        except Malformed:
            return message
    return message
