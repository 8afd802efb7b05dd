"""What clients were told, against what stands in Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from faults.journal import CLOSED, FAIL, OK, UNKNOWN, Journal, Number


@frozen(kw_only=True)
class Verdict:
    """Counts of events.

    :ivar acknowledged: :ivar failed: :ivar closed: :ivar unknown: by what their clients know.
    :ivar found: values in the topic, each once. :ivar lost: acknowledged, and not in the topic.
    :ivar duplicates: records that stand there again. :ivar failed_but_present: not accepted, and there all the same.
    :ivar closed_but_present: told that it was not taken, and there.
    :ivar unknown_but_present: nobody was told. :ivar out_of_order: first records of a connection that come after later
        ones of it. :ivar foreign: values that nobody sent. :ivar examples: of what is lost.
    """

    acknowledged: int
    failed: int
    unknown: int
    found: int
    lost: int
    duplicates: int
    failed_but_present: int
    unknown_but_present: int
    out_of_order: int
    foreign: int
    examples: list[str] = field(factory=list)
    closed: int = 0
    closed_but_present: int = 0


def check(journals: Iterable[Journal], values: Sequence[bytes]) -> Verdict:
    """:param values: of all records of the topic, which has one partition, in their order."""
    known = {number: outcome for journal in journals for number, outcome in journal.answered.items()}
    counted = Counter(value.decode() for value in values)
    by_outcome = Counter(known.values())
    present = Counter(known[number] for number in counted if number in known)
    lost = sorted(number for number, outcome in known.items() if outcome == OK and number not in counted)
    return Verdict(
        acknowledged=by_outcome[OK],
        failed=by_outcome[FAIL],
        unknown=by_outcome[UNKNOWN],
        found=len(counted),
        lost=len(lost),
        duplicates=len(values) - len(counted),
        failed_but_present=present[FAIL],
        unknown_but_present=present[UNKNOWN],
        out_of_order=_out_of_order(values),
        foreign=sum(number not in known for number in counted),
        examples=lost[:5],
        closed=by_outcome[CLOSED],
        closed_but_present=present[CLOSED],
    )


def _out_of_order(values: Sequence[bytes]) -> int:
    """First records that come after a later one of the same connection."""
    latest: dict[tuple[str, int], int] = {}
    seen: set[bytes] = set()
    late = 0
    for value in values:
        if value in seen:
            continue
        seen.add(value)
        try:
            number = Number.read(value)
        except ValueError:
            continue  # it is counted as foreign
        place = number.client, number.connection
        if number.serial < latest.get(place, -1):
            late += 1
        else:
            latest[place] = number.serial
    return late
