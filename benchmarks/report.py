"""Tables of medians, as text and as a page of the documentation."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from statistics import median

import cases
import machine
from cases import Case
from measure import Figures

#: By target and case: what each round found.
Results = dict[str, dict[str, list[Figures]]]

#: Where the results of the baselines stand among those of the targets.
BASELINES = "baselines"

OURS = "raccoon_tx"

#: Part of the server's core that others may have in a run that can be trusted.
QUIET = 0.05

#: A table: heading, what its columns are called, and its rows.
Table = tuple[str, list[str], list[list[str]]]


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """A median with the least and the most."""
    if not values:
        return "-"
    shown = form.format(median(values))
    if len(values) == 1:
        return shown
    return f"{shown} ({form.format(min(values))}..{form.format(max(values))})"


def _all(rounds: list[Figures], name: str) -> list[float]:
    return [figures[name] for figures in rounds if name in figures]


def ratios(results: Results, target: str, case: Case) -> list[float]:
    """The server's CPU over that of its baseline, round by round."""
    name = "us_per_call" if case.transport == "grpc" else "us_per_event"
    base = results.get(BASELINES, {}).get(case.baseline, [])
    own = results.get(target, {}).get(case.name, [])
    if len(base) == len(own):
        return [one[name] / other[name] for one, other in zip(own, base, strict=True)]
    return [one[name] / median(_all(base, name)) for one in own] if base else []


def _rows(
    results: Results, chosen: list[Case], row: Callable[[str, Case, list[Figures]], list[str]]
) -> list[list[str]]:
    targets = [name for name in results if name != BASELINES]
    rows = []
    for case in chosen:
        for target in targets:
            if rounds := results[target].get(case.name):
                name = case.name if len(targets) == 1 else f"{case.name}, {target}"
                rows.append([name, *row(target, case, rounds)])
    return rows


def _load_row(results: Results) -> Callable[[str, Case, list[Figures]], list[str]]:
    def row(target: str, case: Case, rounds: list[Figures]) -> list[str]:
        found = ratios(results, target, case)
        unit = "us_per_call" if case.transport == "grpc" else "us_per_event"
        base = _all(results.get(BASELINES, {}).get(case.baseline, []), unit)
        limit = "-" if case.limit is None or not found else f"{case.limit:g}"
        if case.limit is not None and found and median(found) > case.limit:
            limit += " (over)"
        return [
            spread(_all(rounds, unit)),
            spread(base),
            spread(found),
            limit,
            f"{median(_all(rounds, 'events_per_second')):,.0f}",
            f"{median(_all(rounds, 'p50')):.2f} / {median(_all(rounds, 'p99')):.2f}",
            f"{median(_all(rounds, 'resident')) / 1e6:.0f}",
            f"{sum(_all(rounds, 'bad')):.0f}",
            f"{sum(_all(rounds, 'found')):,.0f} / {sum(_all(rounds, 'acknowledged')):,.0f}",
            f"{median(_all(rounds, 'generator')):.2f}",
        ]

    return row


def _paced_row(target: str, case: Case, rounds: list[Figures]) -> list[str]:
    reached, refused = median(_all(rounds, "events_per_second")), sum(_all(rounds, "refused"))
    return [
        f"{case.rate:,.0f}",
        f"{case.connections:,} x {case.batch}",
        "held" if reached > 0.98 * case.rate and not refused else f"{reached:,.0f}, {refused:,.0f} refused",
        spread(_all(rounds, "p50")),
        spread(_all(rounds, "p95")),
        spread(_all(rounds, "p99")),
        spread(_all(rounds, "core")),
        f"{median(_all(rounds, 'resident')) / 1e6:.0f}",
        f"{sum(_all(rounds, 'bad')):.0f}",
        f"{median(_all(rounds, 'generator')):.2f}",
        f"{median(_all(rounds, 'late_p99')):.2f}",
    ]


def _idle_row(target: str, case: Case, rounds: list[Figures]) -> list[str]:
    return [
        f"{case.connections:,}",
        spread(_all(rounds, "bytes_per_connection"), "{:,.0f}"),
        spread(_all(rounds, "us_per_connection"), "{:.0f}"),
        spread(_all(rounds, "us_per_ping"), "{:.1f}"),
        f"{median(_all(rounds, 'pings')):,.0f}",
    ]


def _more_rows(results: Results) -> list[list[str]]:
    rows = []
    for target, found in results.items():
        starts = [figures["start"] for rounds in found.values() for figures in rounds if figures.get("start")]
        if target != BASELINES and starts:
            rows.append([f"start to first /ping, {target}, s", spread(starts)])
        pairs = {"JSON over protobuf, WebSocket, 10 events": ("websocket-10-json", "websocket-10")}
        pairs["JSON over protobuf, REST, 10 events"] = ("rest-10-json", "rest-10")
        pairs["two workers over one, WebSocket, 10 events"] = ("workers-2", "websocket-10")
        for title, (one, other) in pairs.items():
            if target != BASELINES and one in found and other in found:
                values = [a["us_per_event"] / b["us_per_event"] for a, b in zip(found[one], found[other], strict=False)]
                processes = median(_all(found[one], "processes"))
                note = "" if "workers" not in one else f" ({processes:.0f} processes)"
                rows.append([f"{title}, {target}", spread(values) + note])
    return rows


def tables(results: Results) -> list[Table]:
    """All there is to show."""
    loads = [case for case in cases.ALL if case.kind == "load"]
    columns = [
        "raw us/event",
        "ratio",
        "limit",
        "events/s",
        "p50 / p99 ms",
        "MB",
        "bad",
        "found / acknowledged",
        "gen.",
    ]
    empty = ["empty us/call", *columns[1:]]
    row = _load_row(results)
    other = [case for case in loads if case.transport != "grpc"]
    paced = [case for case in cases.ALL if case.kind == "paced"]
    paced_columns = [
        "events/s offered",
        "connections x batch",
        "taken",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "core",
        "MB",
        "bad",
    ]
    idle = [case for case in cases.ALL if case.kind == "idle"]
    idle_columns = ["connections", "bytes each", "CPU us to connect", "CPU us per ping and pong", "pings"]
    found = [
        ("WebSocket and REST, closed loop", ["case", "CPU us/event", *columns], _rows(results, other, row)),
        (
            "gRPC, closed loop",
            ["case", "CPU us/call", *empty],
            _rows(results, [case for case in loads if case.transport == "grpc"], row),
        ),
        (
            "Open loop: a fixed rate, latency from the scheduled time",
            ["case", *paced_columns, "gen.", "late ms"],
            _rows(results, paced, _paced_row),
        ),
        ("Idle WebSockets", ["case", *idle_columns], _rows(results, idle, _idle_row)),
        ("More", ["what", "median (least..most)"], _more_rows(results)),
    ]
    return [table for table in found if table[2]]


def text(results: Results) -> str:
    """For a terminal."""
    lines = []
    for title, columns, rows in tables(results):
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        lines += ["", title, ""]
        for row in [columns, *rows]:
            lines.append("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*lines, "", quiet(results)])


def quiet(results: Results) -> str:
    """How quiet the machine was, in one sentence."""
    parts = [
        figures["others"]
        for found in results.values()
        for rounds in found.values()
        for figures in rounds
        if "others" in figures
    ]
    if not parts:
        return ""
    usual, most = median(parts), max(parts)
    advice = "" if usual < QUIET else ": it was not quiet, and only the ratios say something"
    return f"Other processes had {usual:.0%} of the server's core (in the worst measurement {most:.0%}){advice}."


def surroundings() -> str:
    """Where and when: for the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("twisted", "autobahn", "grpcio", "confluent-kafka"))
    today = datetime.now(timezone.utc).date().isoformat()
    return f"{today}, {machine.description()}, Python {platform.python_version()}, {versions}"
