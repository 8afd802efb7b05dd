"""The table, as lines on a screen and as a part of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict

from attacks.attack import CLIENTS, MEGABYTE, Good, Outcome

HEAD = (
    f"{'':6} {'way':5} {'attack':52} {'good p99 ms: ' + '/'.join(CLIENTS) + ' alone > attacked':52} "
    f"{'success':>8} {'MB before/most/after':>20} {'delay':>8}"
)


def kept(outcome: Outcome) -> dict[str, Any]:
    """As it is written to a file."""
    return asdict(outcome)


def read(values: Mapping[str, Any]) -> Outcome:
    """What `kept` made."""
    seen = {when: {name: Good(**each) for name, each in values[when].items()} for when in ("alone", "attacked")}
    return Outcome(**{**values, **seen})


def key(outcome: Outcome) -> str:
    """Under which it is kept."""
    return f"{outcome.subject}: {outcome.name} ({outcome.way})"


def _p99(seen: Mapping[str, Good]) -> str:
    return "/".join(f"{seen[name].p99:.1f}" for name in CLIENTS if name in seen)


def line(outcome: Outcome) -> str:
    """One line, and one more for each fault."""
    memory = "/".join(f"{each / MEGABYTE:.0f}" for each in (outcome.before, outcome.most, outcome.after))
    notes = "".join(f"  {name} {value:,.6g}" for name, value in outcome.notes.items())
    first = (
        f"{'held' if outcome.held else 'BROKEN':6} {outcome.way:5} {(outcome.subject + ': ' + outcome.name)[:52]:52} "
        f"{_p99(outcome.alone) + ' > ' + _p99(outcome.attacked):52} {outcome.success:7.2f}% {memory:>20} "
        f"{outcome.delay * 1000:5.1f} ms{notes}"
    )
    return "\n".join([first, *(f"       {fault}" for fault in outcome.faults)])


def markdown(outcomes: Iterable[Outcome]) -> str:
    """A section for the page of the documentation."""
    every = [*outcomes]
    held = sum(outcome.held for outcome in every)
    parts = [
        f"{held} of {len(every)} held. *p99* is that of good clients on WebSocket, REST and gRPC, in milliseconds, "
        "just before the attack and during it; *success* is how many of their batches were answered with success; "
        "*memory* the server's before, at its worst, and after; *delay* the worst of its reactor. *stock*: with the "
        "fast lane of plain requests off.",
    ]
    for subject in dict.fromkeys(outcome.subject for outcome in every):
        rows = [outcome for outcome in every if outcome.subject == subject]
        lines = [
            f"### {subject}",
            "",
            "| attack | has to be | | p99 alone | p99 attacked | success | memory | delay | |",
            "| --- | --- | --- | --: | --: | --: | --: | --: | --- |",
            *map(_row, rows),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _row(outcome: Outcome) -> str:
    memory = " / ".join(f"{each / MEGABYTE:.0f}" for each in (outcome.before, outcome.most, outcome.after))
    notes = [f"{name} {value:,.4g}" for name, value in outcome.notes.items()]
    columns = [
        _escaped(outcome.does) + (" *(stock)*" if outcome.way == "stock" else ""),
        _escaped(outcome.limit),
        "held" if outcome.held else f"**broken**: {_escaped('; '.join(outcome.faults))}",
        _p99(outcome.alone).replace("/", " / "),
        _p99(outcome.attacked).replace("/", " / "),
        f"{outcome.success:.4g} %",
        f"{memory} MB",
        f"{outcome.delay * 1000:.0f} ms",
        _escaped(", ".join(notes)),
    ]
    return "| " + " | ".join(columns) + " |"


def _escaped(text: str) -> str:
    for character in "\\|<>*_[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")
