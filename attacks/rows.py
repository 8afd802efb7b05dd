"""All attacks."""

from __future__ import annotations

from attacks import framing, http, websocket
from attacks.attack import Attack

ROWS: tuple[Attack, ...] = (*framing.ROWS, *http.ROWS, *websocket.ROWS)
