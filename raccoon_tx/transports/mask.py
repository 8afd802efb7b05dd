"""Taking the mask off a WebSocket payload (RFC 6455, section 5.3), at the least cost that Python has for its size."""

from __future__ import annotations

import os
from typing import Any

#: Bytes above which a call into C costs less than the arithmetic of long integers.
SMALL = 200

#: How Autobahn is told to do without its compiled functions.
_OFF = ("0", "false", "no")

try:
    # What Autobahn's own masker objects are made of; one of these for each frame costs three times the work.
    from _nvx_xormasker import ffi, lib
except ImportError:
    ffi = lib = None


def unmask_by_integer(mask: bytes, payload: bytes) -> bytes:
    """With the integers of Python alone."""
    size = len(payload)
    whole = (mask * ((size + 3) // 4))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(whole, "little")).to_bytes(size, "little")


def unmask_by_nvx(mask: bytes, payload: bytes) -> bytes:
    """With Autobahn's C functions."""
    masker = lib.nvx_xormask_new(mask)
    unmasked = bytearray(payload)
    lib.nvx_xormask_process(masker, ffi.from_buffer(unmasked), len(unmasked))
    lib.nvx_xormask_free(masker)
    return bytes(unmasked)


def _works(unmask: Any) -> bool:
    sample = bytes(range(256)) * 3
    try:
        return bool(unmask(b"\x01\x80\xff\x10", sample) == unmask_by_integer(b"\x01\x80\xff\x10", sample))
    except Exception:  # another release of the library, of which we know nothing
        return False


#: Whether the C functions are there, do what they should, and nobody has told Autobahn to do without them.
NVX = lib is not None and os.environ.get("AUTOBAHN_USE_NVX", "1").lower() not in _OFF and _works(unmask_by_nvx)


def unmask(mask: bytes, payload: bytes) -> bytes:
    """:param mask: four bytes."""
    if len(payload) > SMALL and NVX:
        return unmask_by_nvx(mask, payload)
    return unmask_by_integer(mask, payload)
