"""Bytes <-> model, in the two encodings of the wire. Pure functions; they know no sockets."""

from raccoon_tx.codec.base import Codec
from raccoon_tx.codec.json import JSON
from raccoon_tx.codec.protobuf import PROTOBUF

__all__ = ["JSON", "PROTOBUF", "Codec"]
