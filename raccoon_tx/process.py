"""A server and its process: how it ends, and what ``twistd`` has to be told of it. Statuses of contract section 14."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException
from OpenSSL import SSL
from twisted.application.service import MultiService

from raccoon_tx.logs import Logger
from raccoon_tx.transports.listen import PortTaken

#: Exit statuses.
ORDERLY, WRONG, CANNOT_START, ABANDONED = 0, 1, 2, 3

_log = Logger()


def problem_at_start(problem: Exception) -> tuple[str, int] | None:
    """What to say of an exception at the start, and the exit status; nothing if it is a bug."""
    if isinstance(problem, PortTaken):
        return str(problem), CANNOT_START
    if isinstance(problem, KafkaException):
        return f"the publisher cannot start: {problem.args[0].str()}", CANNOT_START
    if isinstance(problem, SSL.Error):
        return f"the certificates cannot be used: {problem!r}", WRONG
    if isinstance(problem, OSError):
        return f"cannot start: {problem}", CANNOT_START
    return None


def or_exit(start: Callable[[], Any]) -> Any:
    """Call ``start``. :raises SystemExit: with the status for what kept it from starting, which is logged."""
    try:
        return start()
    except Exception as problem:
        known = problem_at_start(problem)
        if known is None:
            raise
        text, status = known
        _log.critical("{text}", text=text)
        raise SystemExit(status) from None


class UnderTwistd(MultiService):
    """Ends the process with the same statuses as the ``raccoon`` command, where ``twistd`` would print a traceback."""

    def privilegedStartService(self) -> None:
        or_exit(super().privilegedStartService)

    def startService(self) -> None:
        or_exit(super().startService)


def tell_status(status: Callable[[], int]) -> None:
    """At the very end: ``twistd`` would end with 0 whatever was given up, and lets nobody say otherwise before."""
    if status() != ORDERLY:
        atexit.register(_end_with, status())


def _end_with(status: int) -> None:
    give_up_output()
    os._exit(status)


def give_up_output() -> None:
    """Write what is left for standard output and standard error. Where that is impossible, because the disk is full or
    the reader has gone, forget it: Python would end with a status of its own, whatever ours is."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
