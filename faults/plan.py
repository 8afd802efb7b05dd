"""Which scenarios are played, how long, in which modes, and what they may cost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from attrs import field, frozen

from faults import scenarios
from faults.clock import stepped
from faults.meddling import meddled, slow
from faults.small_disk import small_disk
from faults.stage import MODES, Kafka, Mode, Outcome, Stage, play

#: How much of one scenario is enough: arguments of its function.
Amount = Mapping[str, float]

#: Each mode once; the two in which success is worth most, and the others.
ALL, STRICT = MODES, (Mode(ack=1, spool=True), Mode(ack=2, spool=True))
OTHERS = tuple(mode for mode in MODES if mode not in STRICT)
WITH_SPOOL = tuple(mode for mode in MODES if mode.spool)


def _never(_: Mode) -> bool:
    return False


@frozen(kw_only=True)
class Play:
    """One row of the matrix.

    :ivar short: :ivar long: how much of it in either tier; None: it is not played there.
    :ivar modes: of the long tier. :ivar short_modes: of the short one.
    :ivar may_lose: whether what is acknowledged may be lost in a mode; the page says so.
    :ivar may_duplicate: only where a process died or stopped with events on their way.
    """

    row: str
    scenario: Callable[..., None]
    long: Amount
    short: Amount | None = None
    modes: tuple[Mode, ...] = ALL
    short_modes: tuple[Mode, ...] = STRICT
    settings: Mapping[str, object] = field(factory=dict)
    may_lose: Callable[[Mode], bool] = _never
    may_duplicate: bool = False
    on_small_disk: bool = False
    wrapped: tuple[str, ...] = ()

    def run(self, kafka: Kafka, mode: Mode, seed: int, amount: Amount, keep: Path | None = None) -> Outcome:
        """:raises RuntimeError: it cannot be played on this machine."""
        if self.wrapped and shutil.which(self.wrapped[0]) is None:
            raise RuntimeError(f"there is no {self.wrapped[0]} here")
        whole: Callable[[Stage], None] = partial(self.scenario, **amount)

        def played(settings: Mapping[str, object]) -> Outcome:
            lost, again = self.may_lose(mode), self.may_duplicate
            return play(self.row, whole, kafka, mode, seed, settings, lost, again, keep, self.wrapped)

        if not self.on_small_disk:
            return played(self.settings)
        with small_disk() as disk:
            return played({**self.settings, "spool.path": disk / "spool"})


def _without_crash_safety(mode: Mode) -> bool:
    return not mode.survives_kill


def _without_a_place(mode: Mode) -> bool:
    return not mode.survives_outage


PLAN = (
    Play(
        row="A1",
        scenario=scenarios.a1_sigterm_under_load,
        long={"times": 20},
        short={"times": 1},
        may_duplicate=True,
    ),
    Play(
        row="A2",
        scenario=scenarios.a2_sigterm_without_kafka,
        long={"times": 5},
        short={"times": 1},
        may_lose=_without_a_place,
        may_duplicate=True,
    ),
    Play(
        row="A3",
        scenario=scenarios.a3_second_signal,
        long={"times": 6},
        may_lose=_without_a_place,
        may_duplicate=True,
    ),
    Play(
        row="A4",
        scenario=scenarios.a4_sigkill_under_load,
        long={"times": 20},
        short={"times": 2},
        may_lose=_without_crash_safety,
        may_duplicate=True,
    ),
    Play(
        row="A5",
        scenario=scenarios.a5_sigkill_while_draining,
        long={"times": 20},
        short={"times": 2},
        modes=WITH_SPOOL,
        may_lose=_without_crash_safety,
        may_duplicate=True,
    ),
    Play(row="A6", scenario=scenarios.a6_stopped_and_continued, long={"seconds": 10.0}),
    Play(row="A7", scenario=scenarios.a7_kafka_down_at_start, long={"seconds": 5.0}),
    Play(row="B1", scenario=scenarios.b1_cut, long={"seconds": 20.0}, short={"seconds": 2.0}),
    Play(row="B1b", scenario=scenarios.b1_a_minute, long={"seconds": 60.0}, modes=WITH_SPOOL),
    Play(row="B2", scenario=scenarios.b2_reset, long={"times": 20}, short={"times": 4}),
    Play(row="B3", scenario=scenarios.b3_black_hole, long={"seconds": 10.0}, short={"seconds": 2.0}),
    Play(row="B4", scenario=scenarios.b4_lost_acks, long={"seconds": 5.0}, short={"seconds": 2.0}),
    Play(row="B5", scenario=scenarios.b5_latency, long={"seconds": 10.0}),
    Play(row="B13", scenario=scenarios.b13_kafka_killed, long={"seconds": 5.0}),
    Play(
        row="B14",
        scenario=scenarios.b1_cut,
        long={"seconds": 5.0},
        settings={"publisher.kafka.client.queue.buffering.max.messages": 100},
    ),
    Play(
        row="B15",
        scenario=scenarios.b15_outage_longer_than_the_spool,
        long={"seconds": 5.0},
        modes=WITH_SPOOL,
        settings={"spool.max.bytes": 1 << 20},
    ),
    Play(
        row="C1",
        scenario=scenarios.c1_disk_full,
        long={"seconds": 3.0},
        modes=WITH_SPOOL,
        on_small_disk=True,
    ),
    Play(
        row="C3",
        scenario=scenarios.c3_fsync_fails,
        long={"seconds": 10.0},
        modes=WITH_SPOOL,
        wrapped=meddled("error=EIO:when=40+10"),
    ),
    Play(row="C4", scenario=scenarios.c4_slow_disk, long={"seconds": 10.0}, modes=WITH_SPOOL, wrapped=slow(5)),
    Play(row="C4b", scenario=scenarios.c4_slow_disk, long={"seconds": 10.0}, modes=WITH_SPOOL, wrapped=slow(50)),
    Play(row="C7", scenario=scenarios.c7_a_million_events, long={"events": 1_000_000, "seconds": 20.0}, modes=STRICT),
    Play(
        row="D13",
        scenario=scenarios.d13_clock_steps,
        long={"seconds": 6.0},
        modes=STRICT,
        settings={"server.websocket.ping.interval.ms": 1000, "server.websocket.pong.wait.interval.ms": 3000},
        wrapped=stepped(),
    ),
    Play(row="F8", scenario=scenarios.f8_soak, long={"seconds": 600.0}, modes=STRICT),
    Play(row="F8", scenario=scenarios.f8_soak, long={"seconds": 60.0}, modes=OTHERS),
)
