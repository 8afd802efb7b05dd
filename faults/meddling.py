"""Calls of the system that fail, or take their time: strace around a server."""

from __future__ import annotations

#: The server is the child that was asked for, strace a grandchild of its own; only these calls are stopped.
_STRACE = ("strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e")


def meddled(how: str) -> tuple[str, ...]:
    """A command that runs another. :param how: as strace's ``inject`` has it, without the names of the calls."""
    return (*_STRACE, f"inject=fdatasync,fsync:{how}")


def slow(milliseconds: int) -> tuple[str, ...]:
    """The same, with a time for each call."""
    return meddled(f"delay_exit={milliseconds * 1000}")
