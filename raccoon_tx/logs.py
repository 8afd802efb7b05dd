"""Log lines, as text or JSON, in which nobody's words can forge a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TextIO, cast

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
    globalLogBeginner,
)
from twisted.logger import Logger as TwistedLogger

#: The levels an operator can name, and Twisted's for them.
LEVELS = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "fatal": LogLevel.critical,
    "panic": LogLevel.critical,
}


def one_line(text: str) -> str:
    """``text`` with everything that is not printable written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _stamp(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    level = event.get("log_level", LogLevel.info)
    if level is LogLevel.critical:
        # Twisted calls every unexpected exception critical; to an operator it is an error.
        return "error" if "log_failure" in event else "fatal"
    return str(level.name)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if failure is not None else ""


def text_line(event: LogEvent) -> str:
    """``time level message``, with the worker before the message where there are several; a traceback follows,
    indented, one line for each of its lines."""
    worker = f"worker {event['log_worker']}: " if "log_worker" in event else ""
    line = f"{_stamp(event)} {_level(event):<5} {worker}{one_line(formatEvent(event))}"
    return "\n    ".join([line, *map(one_line, _traceback(event).splitlines())])


def json_line(event: LogEvent) -> str:
    """One JSON object: ``time``, ``level``, ``msg``, ``logger``; ``worker`` and ``traceback`` where there is one."""
    values: dict[str, Any] = {"time": _stamp(event), "level": _level(event), "msg": formatEvent(event)}
    values["logger"] = str(event.get("log_namespace", ""))
    if "log_worker" in event:
        values["worker"] = event["log_worker"]
    if event.get("log_failure") is not None:
        values["traceback"] = _traceback(event)
    return json.dumps(values)


class Threshold:
    """What is important enough to be logged; can be changed while the server runs."""

    def __init__(self, level: str) -> None:
        self.set(level)

    def set(self, level: str) -> None:
        """:param level: a name of `LEVELS`."""
        shown = LEVELS[level]
        # The libraries have a line for each port they open and each thread they end; that is for debugging.
        others = LogLevel.warn if shown is LogLevel.info else shown
        self._predicate: Any = LogLevelFilterPredicate(others)
        self._predicate.setLogLevelForNamespace("raccoon_tx", shown)

    def __call__(self, event: LogEvent) -> Any:
        return self._predicate(event)


#: Of this process.
threshold = Threshold("info")


class Logger(TwistedLogger):
    """Twisted's logger, which leaves out what is not important enough: ``twistd``'s own log has no levels."""

    def emit(self, level: Any, format: str | None = None, **values: Any) -> None:
        event = {"log_level": level, "log_namespace": self.namespace}
        if threshold(event) is not PredicateResult.no:
            super().emit(level, format, **values)


def observer(stream: TextIO, form: str, important: Callable[[LogEvent], Any]) -> ILogObserver:
    """Writes what is important to ``stream``; a stream that cannot take it is no reason to
    stop serving.

    :param form: ``text`` or ``json``. :param important: a log filter, such as a `Threshold`.
    """
    line: Callable[[LogEvent], str] = json_line if form == "json" else text_line

    def write(event: LogEvent) -> None:
        try:
            encoding = stream.encoding or "utf-8"
            stream.write(line(event).encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass

    filtered: Any = FilteringLogObserver(cast("Any", write), [cast("Any", important)])
    return cast("ILogObserver", filtered)


def json_log() -> ILogObserver:
    """For ``twistd --logger=raccoon_tx.logs.json_log``, which has a log of its own: JSON lines to standard output."""
    return observer(sys.stdout, "json", threshold)


def begin(form: str, level: str, stream: Any = None, worker: int | None = None) -> None:
    """Send all log lines of the process to ``stream``, which is standard output if not given.

    :param worker: its number, if the process is one of several.
    """
    threshold.set(level)
    write: Any = observer(stream or sys.stdout, form, threshold)

    def numbered(event: LogEvent) -> None:
        write({**event, "log_worker": worker})

    chosen = write if worker is None else cast("Any", numbered)
    globalLogBeginner.beginLoggingTo([chosen], redirectStandardIO=False)
