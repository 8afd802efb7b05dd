"""``raccoon top``: how a running server is, on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping

import click
from attrs import frozen

from raccoon_tx.tools.look import Trouble, paint, printable, shortened
from raccoon_tx.tools.metrics import Scrape, View, as_json, scrape, view

#: The other screen of a terminal, without a cursor, and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


@frozen(kw_only=True)
class Order:
    """What is to be shown. :ivar seconds: between two looks. :ivar once: end after the first view."""

    url: str
    seconds: float
    once: bool
    as_json: bool


def run(order: Order) -> int:
    """Show it until Ctrl-C, or once. :raises Trouble: the server does not answer at first."""
    last = scrape(order.url)
    if order.once or order.as_json or not sys.stdout.isatty():
        time.sleep(order.seconds)
        found = view(last, scrape(order.url))
        click.echo(json.dumps(as_json(found), indent=2) if order.as_json else "\n".join(lines(found, order.url)))
        return 0
    sys.stdout.write(_ENTER)
    try:
        _watch(order, last)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
    return 0


def _watch(order: Order, last: Scrape) -> None:
    shown = [paint("counting", "bright_black")]
    while True:
        _draw(shown)
        time.sleep(order.seconds)
        try:
            now = scrape(order.url)
        except Trouble as trouble:
            shown = [*shown[:1], "", paint(str(trouble), "red")]
        else:
            shown = lines(view(last, now), order.url)
            last = now


def _draw(shown: list[str]) -> None:
    height = shutil.get_terminal_size().lines
    text = "\n".join(f"{line}{_REST_OF_LINE}" for line in shown[: height - 1])
    sys.stdout.write(f"{_HOME}{text}{_REST}")
    sys.stdout.flush()


def lines(found: View, url: str) -> list[str]:
    """For people. What the terminal has no room for is at the end."""
    bad = "red" if found.undelivered else ""
    shown = [
        f"{paint('raccoon_tx', bold=True)}  {url}  {paint(time.strftime('%H:%M:%S'), 'bright_black')}",
        "",
        f"received     {found.received:>12,.1f} events/s   {found.batches:,.1f} batches/s",
        f"delivered    {found.delivered:>12,.1f} events/s",
        paint(f"undelivered  {found.undelivered:>12,.1f} events/s", bad),
    ]
    if found.latency is None:
        shown.append(f"delivery     {'-':>12}")
    else:
        half, most = (value * 1000 for value in found.latency)
        shown.append(f"delivery     {half:>12,.1f} ms p50     {most:,.1f} ms p99")
    shown.append(f"queue        {found.waiting:>12,.0f} batches wait for room, {found.in_flight:,.0f} are on their way")
    if found.spool is not None:
        text = (
            f"spool        {found.spool.batches:>12,.0f} batches, {found.spool.size / 1e6:,.1f} MB, "
            f"the oldest {found.spool.oldest:,.0f} s old"
        )
        if found.spool.dead:
            text += f", {found.spool.dead:,.0f} given up"
        shown.append(
            paint(text if found.spool.usable else f"{text}; it takes nothing", "" if found.spool.usable else "red")
        )
    if found.duplicates:
        shown.append(f"duplicates   {found.duplicates:>12,.1f} batches/s")
    shown.append(f"connections  {found.sockets:>12,.0f} WebSockets")
    shown += _table("", {group: value for group, value in found.connections.items() if value}, "", ",.0f")
    shown += _table("refused batches", found.refused, "red")
    shown += _table("refused connections", found.turned_away, "red")
    shown += _table("events by group and type", {f"{g}  {kind}": value for (g, kind), value in found.types.items()}, "")
    return shown


def _table(title: str, rows: Mapping[str, float], colour: str, form: str = ",.1f") -> list[str]:
    if not rows:
        return []
    unit = "/s" if title else ""
    found = ["", paint(title, bold=True)] if title else []
    for name, value in rows.items():
        text = f"{value:>25{form}}{unit}   {shortened(printable(name), 60)}"
        found.append(paint(text, colour if value else ""))
    return found
