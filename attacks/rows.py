"""All attacks."""

from __future__ import annotations

from attacks import connections, framing, http, websocket
from attacks.attack import Attack

ROWS: tuple[Attack, ...] = (*framing.ROWS, *http.ROWS, *websocket.ROWS, *connections.ROWS)
