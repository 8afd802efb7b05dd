"""Options of ``twistd raccoon``: the flags of ``raccoon server``, read the same way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from click import HelpFormatter
from twisted.python import usage

from raccoon_tx.config import ConfigurationError, Loaded, load_command_line
from raccoon_tx.config.flags import help_rows, parse_flags


class Options(usage.Options):
    """:ivar loaded: the configuration, once `parseOptions` has returned."""

    synopsis = "[flags]"
    loaded: Loaded

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read flags, environment and file. Twisted's own way to read flags would complete abbreviated names.

        :raises usage.UsageError: with all mistakes, one on each line.
        """
        flags = parse_flags(sys.argv[1:] if options is None else options)
        if flags.help:
            print(self)
            raise SystemExit(0)
        try:
            self.loaded = load_command_line(flags, os.environ, Path.cwd())
        except ConfigurationError as error:
            # twistd prints the usage above the mistakes, and a hundred flags would bury them.
            self.getUsage = lambda width=None: "Flag --help shows the flags."  # type: ignore[method-assign]
            raise usage.UsageError("\n".join(error.mistakes)) from None

    def getUsage(self, width: int | None = None) -> str:
        formatter = HelpFormatter(width=width or int(os.environ.get("COLUMNS", "80")))
        for title, rows in help_rows():
            with formatter.section(title):
                formatter.write_dl(rows)
        return formatter.getvalue()
