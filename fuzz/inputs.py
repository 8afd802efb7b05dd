"""Inputs without a fuzzer that looks at coverage: seeds with damage, as Hypothesis makes them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

_SNIPPETS = (b"", b"\0", b"\xff", b"\r\n", b" ", b'"', b"\\", b"{", b"[", b":", b"0", b"-1", b"\x80\x80", b"1e9")


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds, parts of two of them, and any bytes, with a few bytes replaced."""
    seed = st.sampled_from(seeds)
    start = st.one_of(seed, st.builds(_joined, seed, seed, st.integers(0, 255)), st.binary(max_size=100))
    edit = st.tuples(
        st.integers(0, 65535), st.integers(0, 3), st.one_of(st.sampled_from(_SNIPPETS), st.binary(max_size=4))
    )
    return st.builds(_edited, start, st.lists(edit, max_size=4))


def _joined(one: bytes, other: bytes, share: int) -> bytes:
    return one[: len(one) * share // 255] + other[len(other) * share // 255 :]


def _edited(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    changed = bytearray(body)
    for place, gone, new in edits:
        place %= len(changed) + 1
        changed[place : place + gone] = new
    return bytes(changed)
