"""The page of the documentation: words that stay, and the figures of one long run."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from os import cpu_count
from typing import Any

from attacks.attack import Outcome as Attacked
from attacks.table import markdown as table_of_attacks
from faults.autobahn import Group
from faults.autobahn import table as table_of_cases
from faults.matrix import ROWS, Row
from fuzz.__main__ import table as table_of_targets
from tests.integration.kafka_node import VERSION

#: Outcomes as they are kept, by row and mode.
Kept = Mapping[str, Mapping[str, Any]]

_BEGIN = """\
# Reliability

What is promised, how it is tried, and what came of it. This page was written by `python -m faults --long --seed {seed}`
and what is beside it in `tox -e reliability`, on {date}{parts}: Apache Kafka {kafka}, Python {python}, {packages},
{cores} cores, {system}.

## The promise

| | an outage of Kafka | an orderly stop without Kafka | a crash of the server |
| --- | --- | --- | --- |
| {{setting}}`EVENT_ACK` 2 (needs a spool) | loses nothing | loses nothing | loses nothing |
| `event.ack` 1, with or without a spool | loses nothing | loses nothing | loses nothing |
| `event.ack` 0 with a spool | loses nothing | loses nothing | loses what was in memory |
| `event.ack` 0 | loses nothing while memory lasts | loses what is given up, and says so | loses what was in memory |

*Loses* means: a batch was answered with success, and an event of it is not in Kafka when everything is well again. An
answer other than success means that the batch was not accepted, never that it is certainly absent. Without an answer
nothing is known, and the client has to send again. The same event stands in Kafka twice only if a server died or was
stopped while it was on its way; the record headers `guid` and `index` tell.

## How it is tried

`tox -e faults -- --long --seed 1` plays scenarios on this machine against a real Apache Kafka behind a TCP proxy that
cuts, resets in the middle of a request, swallows, loses answers and delays. Seven clients on all three transports, one
of which sends ahead of the answers, number every event and write down whether the answer was success, a refusal, or
never came. At the end everything is healed, the spool has to become empty, the server is stopped, and the topic is
read from its beginning. A tick in the server's reactor measures how long it was ever not free. A run fails if anything
acknowledged is lost where it may not be, if a record stands there again where nobody died, if anything stands there
that nobody sent, if an answer is not one of the contract's, or if any log has a traceback.

`--short` plays the main ones in about a minute; `tox -e kafka` does so for every change.

## What came of it

{totals}

Counts are events. *lost*: acknowledged, and not in Kafka. *again*: records that stand there more than once. *failed,
there*: refused, and in Kafka all the same. *closed*: sent when the server had closed the WebSocket with 1001, behind
which nothing can be answered; all that was taken is answered before, so these were not, and none of them may be in
Kafka. *unanswered*: sent, and the connection broke before an answer; at an orderly stop that is a gRPC call which
meets the end of its server, and has the status CANCELLED. *late*: records that come after a later one of their
connection; with a spool live batches overtake those on the disk. *gap*:
seconds in which no client was answered with success. *delay*: the worst of the reactor's; *of it*: without the time in
which its thread was ready to run and the machine gave it no core, because Kafka, the proxy and the clients have two
cores with it.

{head}
"""

#: The columns of the table of scenarios. All but the first two and the last are numbers.
_COLUMNS = (
    "",
    "mode",
    "acknowledged",
    "lost",
    "again",
    "failed",
    "failed, there",
    "closed",
    "unanswered",
    "late",
    "gap",
)
_COLUMNS += ("delay", "of it", "memory", "")

_ATTACKS = """
## Under attack

`python -m attacks` attacks a server in all ways that are known to us, one after the other, while good clients on all
three transports send ten thousand and more events a minute. It has to close what has to be closed, in time, to say what
has to be said, not to grow, to log no traceback, and to serve every one of the good clients' batches.

"""

_AUTOBAHN = """
## RFC 6455, by the Autobahn testsuite

`python -m faults.autobahn` has the testsuite talk to the real port, with an echo in place of the ingest; *lane* is the
way that frames are read in production, *stock* the one of the library, which takes over what the lane leaves.

"""

_FUZZ = """
## Random bytes

`python -m fuzz` lets inputs grow by what they reach in the code, from what the tests send. For `http` and `frames` both
ways of reading have to give the same answers, however the bytes are cut.

"""

_MATRIX = """
## The matrix

Figures of rows that are played are those of their worst mode. Of the others the tests are named that show them; *not
tried* is just that.

| | case | has to be | figure, or tests |
| --- | --- | --- | --- |
"""

_END = """
## What remains

Events that were acknowledged can still be lost:

* The disk of the spool is lost before what is on it was delivered, or it says that it has written what it has not.
* Kafka loses what it has confirmed: one replica, or `acks` other than `all`.
* With `event.ack` 0, a crash loses what was in memory: a kill, a failure of the machine, memory that ran out. Without
  a spool so does a stop that gives up, whose status is 3 and whose log has counts.
* What has been put to the *dead* of the spool is kept but not delivered until an operator revives or exports it.

They can be doubled when a server dies or is stopped with events on their way, and a consumer does not compare the
headers. And a client that takes an answer that never came for a refusal, or for success, is wrong either way.

Not tried here: the loss of power, real disks that lie, networks between machines, more than one broker under the long
run, and what the matrix calls *not tried*.
"""


def page(
    kept: Kept,
    parts: int = 1,
    attacks: Sequence[Attacked] = (),
    autobahn: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
    fuzzed: Sequence[Mapping[str, Any]] = (),
) -> str:
    """:param kept: outcomes of the long tier. :param parts: that ran at once. :param attacks: what came of those.
    :param autobahn: verdicts by way and group. :param fuzzed: reports of the targets.
    :raises ValueError: there are none of the first."""
    if not kept:
        raise ValueError("there are no figures to write a page of")
    outcomes = [kept[name] for name in kept]
    packages = ", ".join(f"{name} {version(name)}" for name in ("twisted", "autobahn", "grpcio", "confluent-kafka"))
    begin = _BEGIN.format(
        parts=f", in {parts} parts that ran at once and beside others" if parts > 1 else "",
        date=max(str(outcome["date"]) for outcome in outcomes),
        seed=", ".join(sorted({str(outcome["seed"]) for outcome in outcomes})),
        kafka=VERSION,
        python=platform.python_version(),
        packages=packages,
        cores=cpu_count(),
        system=f"{platform.system()} {platform.release()}",
        totals=_totals(outcomes),
        head=_row(*_COLUMNS) + "\n" + _row("---", "---", *["--:"] * (len(_COLUMNS) - 3), "---"),
    )
    order = {row.number: place for place, row in enumerate(ROWS)}
    table = [_line(each) for each in sorted(outcomes, key=lambda each: (order[each["row"]], each["mode"]))]
    matrix = [f"| {row.number} | {row.case} | {row.expected} | {_shown(row, outcomes, attacks)} |" for row in ROWS]
    under_attack = _ATTACKS + table_of_attacks(attacks) if attacks else ""
    more = ""
    if autobahn:
        ways = {way: [Group(number, counts) for number, counts in groups.items()] for way, groups in autobahn.items()}
        more += _AUTOBAHN + "\n".join(table_of_cases(ways)) + "\n"
    if fuzzed:
        more += _FUZZ + "\n".join(table_of_targets(fuzzed)) + "\n"
    return begin + "\n".join(table) + "\n" + under_attack + more + _MATRIX + "\n".join(matrix) + "\n" + _END


def _totals(outcomes: Iterable[Mapping[str, Any]]) -> str:
    every = [*outcomes]
    kept_promise = [each for each in every if not each["may_lose"]]
    acknowledged = sum(each["verdict"]["acknowledged"] for each in kept_promise)
    lost = sum(each["verdict"]["lost"] for each in kept_promise)
    failed = [f"{each['row']} ({each['mode']}): {'; '.join(each['faults'])}" for each in every if each["faults"]]
    words = (
        f"{len(every)} runs, {sum(each['seconds'] for each in every) / 60:.0f} minutes. Where nothing may be lost: "
        f"**{lost:,} of {acknowledged:,} acknowledged events were lost**. Lines of tracebacks in all logs: "
        f"{sum(each['unhandled'] for each in every)}."
    )
    counts = {
        name: int(sum(each["notes"].get(name, 0) for each in every)) for name in ("kills", "stops", "resets", "faults")
    }
    free = [each for each in every if each["row"] != "A6"]  # whose server is stopped by SIGSTOP
    if free:
        slow = max(free, key=lambda each: float(each["own"]))
        words += (
            f"\n\nServers were killed {counts['kills']} times and stopped {counts['stops']} times under load, "
            f"connections to Kafka were reset {counts['resets']} times, and the soak drew {counts['faults']} faults. "
            f"The reactor's worst delay was {slow['own'] * 1000:.0f} ms, in {slow['row']} ({slow['mode']})."
        )
    return words + "".join(f"\n\nFailed: {each}." for each in failed)


def _line(outcome: Mapping[str, Any]) -> str:
    verdict = outcome["verdict"]
    lost = f"{verdict['lost']:,}{' (may)' if outcome['may_lose'] else ''}"
    columns = [
        outcome["row"],
        outcome["mode"],
        f"{verdict['acknowledged']:,}",
        lost,
        *(
            f"{verdict.get(name, 0):,}"
            for name in ("duplicates", "failed", "failed_but_present", "closed", "unknown", "out_of_order")
        ),
        f"{outcome['gap']:.1f} s",
        f"{outcome['delay'] * 1000:.0f} ms",
        f"{outcome['own'] * 1000:.0f} ms",
        f"{outcome['memory'] / 2**20:.0f} MB",
        _notes(outcome["notes"]),
    ]
    return _row(*columns)


def _row(*columns: str) -> str:
    if len(columns) != len(_COLUMNS):
        raise ValueError(f"{len(columns)} columns instead of {len(_COLUMNS)}")
    return "| " + " | ".join(columns) + " |"


def _notes(notes: Mapping[str, float]) -> str:
    def told(name: str, value: float) -> str:
        words = name.replace("_", " ")
        if name == "memory_slope":
            return f"{words} {value * 60 / 1024:,.0f} kB a minute"
        if name.endswith("_ratio"):
            return f"{words} {value:.2f}"
        return f"{words} {value:,}" if isinstance(value, int) else f"{words} {value:.1f} s"

    return ", ".join(told(name, value) for name, value in notes.items())


def _shown(row: Row, every: Iterable[Mapping[str, Any]], attacks: Iterable[Attacked]) -> str:
    tried = [attack for attack in attacks if attack.number == row.number]
    held = f"{sum(attack.held for attack in tried)} of {len(tried)} attacks held" if tried else ""
    played = _played(row, every)
    return "; ".join(filter(None, (held, played))) or "not tried"


def _played(row: Row, every: Iterable[Mapping[str, Any]]) -> str:
    outcomes = [each for each in every if each["row"] == row.number]
    tests = ", ".join(f"`{test}`" for test in row.tests)
    if row.number == "F11":
        return "0 allowed in any scenario and in any test with a server"
    if not outcomes:
        return tests
    promised = [each for each in outcomes if not each["may_lose"]] or outcomes
    lost = sum(each["verdict"]["lost"] for each in promised)
    again = max(each["verdict"]["duplicates"] for each in outcomes)
    gap = max(each["gap"] for each in outcomes)
    figure = f"lost {lost} in {len(promised)} modes, again {again}, gap {gap:.1f} s"
    return f"{figure}; {tests}" if tests else figure
