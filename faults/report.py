"""A line for each scenario."""

from __future__ import annotations

from faults.stage import Outcome


def line(outcome: Outcome) -> str:
    """What came of it."""
    verdict = outcome.verdict
    notes = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in outcome.notes.items())
    return (
        f"{outcome.row:4} {outcome.mode:12} acknowledged {verdict.acknowledged}, failed {verdict.failed}, "
        f"closed {verdict.closed}, unknown {verdict.unknown}: "
        f"lost {verdict.lost}{' (may)' if outcome.may_lose else ''}, "
        f"again {verdict.duplicates}, failed but present {verdict.failed_but_present}, "
        f"out of order {verdict.out_of_order}; gap {outcome.gap:.2f} s, slowest {outcome.slowest:.2f} s, "
        f"reactor delay {outcome.delay * 1000:.0f} ms (own {outcome.own * 1000:.0f} ms), "
        f"memory {outcome.memory >> 20} MB; {outcome.seconds:.0f} s{'; ' if notes else ''}{notes}"
    )
