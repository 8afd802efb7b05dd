"""All attacks."""

from __future__ import annotations

from attacks import connections, framing, grpc, http, payloads, websocket
from attacks.attack import Attack

ROWS: tuple[Attack, ...] = (
    *framing.ROWS,
    *http.ROWS,
    *websocket.ROWS,
    *connections.ROWS,
    *grpc.ROWS,
    *payloads.ROWS,
)
