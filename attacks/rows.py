"""All attacks."""

from __future__ import annotations

from attacks import http
from attacks.attack import Attack

ROWS: tuple[Attack, ...] = (*http.ROWS,)
