"""How the parts of the server are: contract section 13.5, ``/readyz``. Plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen


@frozen
class Part:
    """:ivar ok: it can take an event now. :ivar state: in a word or two. :ivar figures: more about it."""

    ok: bool
    state: str
    figures: Mapping[str, float] = field(factory=dict)


@frozen
class Health:
    """:ivar parts: asked for their state, by name."""

    parts: Mapping[str, Callable[[], Part]]

    def states(self) -> dict[str, dict[str, Any]]:
        """How each part is now."""
        asked = {name: ask() for name, ask in self.parts.items()}
        return {name: {"ok": part.ok, "state": part.state, **part.figures} for name, part in asked.items()}

    def report(self) -> tuple[bool, bytes]:
        """Whether an event can be taken now, and a JSON object that names each part and its state."""
        states = self.states()
        ready = all(part["ok"] for part in states.values())
        body = {"status": "ready" if ready else "not ready", "parts": states}
        return ready, json.dumps(body).encode() + b"\n"
