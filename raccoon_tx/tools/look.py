"""How the tools look: colours and progress on a terminal only, and one sentence for what goes wrong."""

from __future__ import annotations

import os
from typing import TextIO

import click

#: Seconds after which something that is still going on shows how far it is.
SOON = 2.0


class Trouble(Exception):
    """A tool cannot do what it is for; the text says why, and what to do."""


def paint(text: str, colour: str = "", *, bold: bool = False) -> str:
    """Text in colour. `click.echo` takes the colour out where it does not go to a terminal."""
    if os.environ.get("NO_COLOR") or not (colour or bold):
        return text
    return click.style(text, fg=colour or None, bold=bold or None)


def printable(text: str) -> str:
    """Text that cannot steer a terminal, whoever wrote it."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def shortened(text: str, most: int = 200) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= most else f"{text[:most].rstrip()}..."


class Progress:
    """One line, written over and over, on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = False
        self._live = stream.isatty()

    def show(self, text: str, done: float | None = None) -> None:
        """:param done: how much of all that there is to do, from 0 to 1, if it is known."""
        if not self._live:
            return
        if done is not None:
            full = round(min(max(done, 0.0), 1.0) * 24)
            text = f"[{'#' * full}{'-' * (24 - full)}] {done:4.0%}  {text}"
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()
        self._shown = True

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
