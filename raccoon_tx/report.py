"""How failed events are told to a client: contract sections 7.4 and 7.5. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from raccoon_tx.model import Event

#: Bytes that a reason may have.
LONGEST_REASON = 1024


@frozen
class Failure:
    """Why one event was not delivered.

    :ivar retryable: sending it again may help. :ivar unknown_topic: it is that its topic does not exist.
    """

    text: str
    retryable: bool = True
    unknown_topic: bool = False


def printable(text: str, longest: int = 64) -> str:
    """``text`` in printable characters and cut to ``longest``, for a reason or a log line that a client's words
    cannot break."""
    shown = text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return shown if shown.isprintable() else shown.encode("unicode_escape", "replace").decode("ascii")[: longest * 6]


def failed_entries(prefix: str, failures: Mapping[int, Failure], events: Sequence[Event]) -> tuple[str, dict[str, str]]:
    """The reason and the further data for a batch of which some events failed.

    :param failures: by the index of the event.
    """
    indexes = sorted(failures)
    reason = prefix
    for position, index in enumerate(indexes):
        entry = f"event {index} ({printable(events[index].type)}): {failures[index].text}"
        separator = ", " if position else ""
        rest = f"{separator}and {len(indexes) - position} more"
        if len((reason + separator + entry).encode()) > LONGEST_REASON - 32:
            reason += rest
            break
        reason += separator + entry
    extra = {
        "failed": ",".join(map(str, indexes)),
        "failed_count": str(len(indexes)),
        "event_count": str(len(events)),
        "retryable": "true" if any(failure.retryable for failure in failures.values()) else "false",
    }
    return reason, extra
