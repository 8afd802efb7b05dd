"""Open files: how many connections there is room for. The limit is the process's, so all that is open counts."""

from __future__ import annotations

import resource

from attrs import evolve

from raccoon_tx.settings import Settings, WebSocketSettings

#: Kept for everything but WebSockets: Kafka, the spool, the log, scrapes, requests over REST, calls over gRPC.
RESERVE = 512

#: Of a limit that is too small for that, the part that is kept.
_PART = 4

#: More than any process has open, where there is no limit.
_NO_LIMIT = 1 << 30


def raise_limit() -> int:
    """Raise this process's limit as far as it may without asking. :return: how many files it may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some systems have a lower limit that they do not tell
    return _NO_LIMIT if soft == resource.RLIM_INFINITY else soft


def room(limit: int) -> int:
    """Of ``limit`` open files of a process, those that may be WebSockets; at least one."""
    return max(1, limit - min(RESERVE, limit // _PART))


def fitted(settings: Settings, limit: int) -> tuple[Settings, str]:
    """:param limit: of the open files of each process.

    :return: settings with no more WebSockets than there is room for, and what to say of that, if they are fewer.
    """
    wanted, most = settings.websocket.max_connections, room(limit) * settings.workers
    if wanted <= most:
        return settings, ""
    text = (
        f"server.websocket.max_conn is {wanted}, but the limit of open files is {limit}"
        f"{' for each worker' if settings.workers > 1 else ''}: {most} WebSocket connections are taken, "
        "more are refused as if that were configured; raise the limit (ulimit -n, LimitNOFILE) or lower the setting"
    )
    return evolve(settings, websocket=evolve(settings.websocket, max_connections=most)), text


def is_default(settings: Settings) -> bool:
    """Whether nobody asked for so many connections."""
    return settings.websocket.max_connections == WebSocketSettings().max_connections
