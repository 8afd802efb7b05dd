"""How the parts of several workers are, in one word for each part. Plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

State = tuple[bool, str]


def together(told: Collection[Mapping[str, State]], workers: int) -> dict[str, dict[str, Any]]:
    """The worst state of each part, and how many workers answer.

    :param told: by those that answer, by the names of their parts. :param workers: that there should be.
    """
    found: dict[str, list[State]] = {}
    for states in told:
        for name, state in states.items():
            found.setdefault(name, []).append(state)
    parts = {name: _worst(states) for name, states in found.items()}
    parts["workers"] = {"ok": bool(told), "state": "ok" if len(told) >= workers else f"{len(told)} of {workers} answer"}
    return parts


def _worst(states: list[State]) -> dict[str, Any]:
    worst = min(states, key=lambda state: (state[0], state[1] == "ok"))
    ok, text = worst
    alike = states.count(worst)
    return {"ok": ok, "state": text if alike == len(states) else f"{text} ({alike} of {len(states)} workers)"}
