"""What can be fuzzed: something that takes bytes, and where good bytes begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen


@frozen
class Target:
    """:ivar run: takes any bytes, and raises whatever is wrong. :ivar seeds: bytes that mean something to it."""

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def the_same(one: object, other: object, what: str) -> None:
    """:raises AssertionError: they are not."""
    if one != other:
        raise AssertionError(f"{what}: {one!r} and {other!r}"[:2000])
