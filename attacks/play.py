"""Plays attacks, one server for all those in a row that want the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from attacks.attack import Attack, Outcome
from attacks.target import Target, target


def play(broker: str, attacks: Iterable[Attack], part: float = 1.0, alone: float = 1.0) -> Iterator[Outcome]:
    """:param part: of the time of each attack. :param alone: seconds that good clients are watched before each."""
    pairs = [(attack, way) for attack in attacks for way in attack.ways]
    wanted: dict[str, list[tuple[Attack, str]]] = {}
    for attack, way in pairs:
        wanted.setdefault(f"{way} {attack.tls} {sorted(attack.settings.items())}", []).append((attack, way))
    for group in wanted.values():
        yield from _on_one_server(broker, group, part, alone)


def _on_one_server(broker: str, group: Iterable[tuple[Attack, str]], part: float, alone: float) -> Iterator[Outcome]:
    with ExitStack() as stack:
        attacked: Target | None = None
        for attack, way in group:
            if attacked is None:
                attacked = stack.enter_context(target(broker, way, attack.settings, attack.tls))
            outcome = attacked.suffer(attack, part, alone)
            yield outcome
            if not outcome.held:
                # Whatever is wrong with this server is not the next row's business.
                stack.close()
                attacked = None
