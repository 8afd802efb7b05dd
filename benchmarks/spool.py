"""How fast the spool is, beside SQLite alone in the same round, and what it does to the latency of answers.

``python benchmarks/spool.py [--seconds 3] [--rounds 3] [--folder DIR] [--fsync 5]``. The publisher behind the spool
delivers at once, so what is measured is the spool. One process, one thread for the disk, as in the server. At the end
the first parts run again where each fsync takes some milliseconds more, if there is an strace to see to that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall, deferLater

from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import Counts, Lane
from raccoon_tx.model import Ack, Batch
from raccoon_tx.settings import SpoolSettings
from raccoon_tx.spool.entry import checksum, encode
from raccoon_tx.spool.parts import Spool, build_spool
from raccoon_tx.spool.store import threaded

reactor: Any = global_reactor

EVENTS, SIZE = 100, 300
OUTSTANDING = 64
PACE = 500
BACKLOG = 10_000  # batches: a million events


class Instant:
    """A publisher that delivers at once, or nothing at all while it is away."""

    running = True
    abandoned: dict[str, int] = {}
    state = (True, "ok")
    room = 100_000

    def publish(self, delivery: Delivery) -> None:
        delivery.taken = len(delivery.records)
        delivery.settle(delivery.taken)

    def give_up(self) -> None:
        pass


LANE = Lane("clickstream-click-log", "--default--", "click")
RECORDS = [(LANE, os.urandom(SIZE)) for _ in range(EVENTS)]
BATCH = Batch("8a1f6bd0-5b0c-4c1e-9d5c-2d1c8f5f6a70", [], 1.0)


def raw(folder: Path, seconds: float, together: int) -> float:
    """Events per second of SQLite alone: the same rows, deleted a little later, ``together`` in each transaction."""
    connection = sqlite3.connect(folder / f"raw-{together}-{time.time()}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE batches (id INTEGER PRIMARY KEY, created REAL, events INT, crc INT, body BLOB)")
    body = encode(BATCH, RECORDS)
    row, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        connection.execute("BEGIN")
        for _ in range(together):
            row += 1
            connection.execute("INSERT INTO batches VALUES (?,?,?,?,?)", (row, 1.0, EVENTS, checksum(row, body), body))
        connection.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (row - 2 * together, row - together))
        connection.execute("COMMIT")
    connection.close()
    return row * EVENTS / (time.perf_counter() - began)


def spool_in(folder: Path, counts: Counts, publisher: Any) -> Spool:
    made = build_spool(
        SpoolSettings(path=str(folder), min_free=0),
        Ack.DURABLE,
        publisher,
        100_000,
        counts,
        reactor,
        time.time,
        threaded(reactor.callFromThread),
    )
    made.store.startService()
    made.publisher.startService()
    return made


async def closed(spool: Spool) -> None:
    if spool.drain.running:
        spool.drain.stopService()
    spool.publisher.stopService()
    await spool.store.stopService()


async def accepted(folder: Path, seconds: float) -> float:
    """Events per second that are acknowledged, with `OUTSTANDING` batches on their way."""
    counts = Counts()
    group = counts.group("g")
    spool = spool_in(folder, counts, Instant())
    done: Deferred[None] = Deferred()
    answered, going, end = 0, 0, time.perf_counter() + seconds

    def send() -> None:
        nonlocal going
        going += 1
        spool.publisher.publish(Delivery(BATCH, RECORDS, group, Ack.DURABLE, answer, reactor.seconds()))

    def answer(_: Any) -> None:
        nonlocal answered, going
        answered += 1
        going -= 1
        if time.perf_counter() < end:
            send()
        elif not going:
            done.callback(None)

    began = time.perf_counter()
    for _ in range(OUTSTANDING):
        send()
    await done
    took = time.perf_counter() - began
    await closed(spool)
    return answered * EVENTS / took


async def paced(spool: Spool, counts: Counts, seconds: float) -> list[float]:
    """Seconds of the answers at `PACE` batches a second, sorted."""
    group = counts.group("g")
    times: list[float] = []

    def send(count: int) -> None:
        now = time.perf_counter()
        for late in reversed(range(count)):
            began = now - late / PACE  # when it was due: what kept the reactor counts as well
            spool.publisher.publish(
                Delivery(
                    BATCH,
                    RECORDS,
                    group,
                    Ack.DURABLE,
                    lambda _, began=began: times.append(time.perf_counter() - began),
                    reactor.seconds(),
                )
            )

    sending = LoopingCall.withCount(send)
    sending.start(1 / PACE, now=False)
    await deferLater(reactor, seconds, lambda: None)
    sending.stop()
    await deferLater(reactor, 0.3, lambda: None)
    return sorted(times)


def quantile(times: list[float], part: float) -> float:
    return times[int(len(times) * part)]


def p99_of_a_second(seconds: list[list[float]]) -> float:
    """Of the middle one: what befalls a machine once in a while is not in it."""
    return median(quantile(times, 0.99) for times in seconds)


def shown(times: list[float]) -> str:
    p50, p99 = quantile(times, 0.5) * 1000, quantile(times, 0.99) * 1000
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms ({len(times)} answers)"


async def fill(spool: Spool) -> None:
    body = encode(BATCH, RECORDS)
    waiting = BACKLOG
    done: Deferred[None] = Deferred()

    def stored(_: bool) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.callback(None)

    for _ in range(0, BACKLOG, 100):
        while spool.store.waiting:
            await deferLater(reactor, 0.01, lambda: None)
        for _ in range(100):
            spool.store.put(body, EVENTS, stored)
        await deferLater(reactor, 0.01, lambda: None)
    await done


async def while_draining(folder: Path) -> tuple[list[list[float]], list[list[float]], float]:
    """Answers of seconds in which a million events drain, and of seconds between them in which the drain stands, so
    that whatever else the machine does befalls both; and events per second of the drain."""
    counts = Counts()
    spool = spool_in(folder, counts, Instant())
    await fill(spool)
    busy: list[list[float]] = []
    quiet: list[list[float]] = []
    took = 0.0
    while spool.store.counts.drained < BACKLOG and took < 120:
        began = time.perf_counter()
        spool.drain.startService()
        busy.append(await paced(spool, counts, 1.0))
        spool.drain.stopService()
        took += time.perf_counter() - began
        quiet.append(await paced(spool, counts, 1.0))
    rate = spool.store.counts.drained * EVENTS / took
    await closed(spool)
    return busy, quiet, rate


async def drained_alone(folder: Path) -> float:
    """Events per second of the drain, with nobody else there."""
    spool = spool_in(folder, Counts(), Instant())
    await fill(spool)
    spool.drain.startService()
    began = time.perf_counter()
    while spool.store.counts.drained < BACKLOG and time.perf_counter() - began < 120:
        await deferLater(reactor, 0.01, lambda: None)
    took = time.perf_counter() - began
    await closed(spool)
    return BACKLOG * EVENTS / took


async def restarted(folder: Path) -> float:
    """Seconds of a start with a million events in the spool."""
    spool = spool_in(folder, Counts(), Instant())
    await fill(spool)
    await closed(spool)
    began = time.perf_counter()
    spool = spool_in(folder, Counts(), Instant())
    took = time.perf_counter() - began
    await closed(spool)
    return took


async def live(home: Path, arguments: argparse.Namespace) -> None:
    """What is accepted beside SQLite alone, and the answers at a steady pace."""
    for number in range(arguments.rounds):
        one = raw(home, arguments.seconds, 1)
        many = raw(home, arguments.seconds, 32)
        ours = await accepted(home / f"accepted-{number}", arguments.seconds)
        print(
            f"round {number + 1}: accepted {ours:,.0f} events/s in batches of {EVENTS}; SQLite alone {one:,.0f} with a "
            f"commit for each batch (ratio {ours / one:.2f}), {many:,.0f} with one for 32 (ratio {ours / many:.2f})",
            flush=True,
        )
    counts = Counts()
    spool = spool_in(home / "paced", counts, Instant())
    quiet = await paced(spool, counts, arguments.seconds)
    await closed(spool)
    print(f"answers at {PACE} batches/s of {EVENTS}: {shown(quiet)}", flush=True)


def with_slow_fsync(arguments: argparse.Namespace) -> None:
    """The same in a process whose fsyncs take longer: only they are stopped by strace."""
    if shutil.which("strace") is None:
        print("there is no strace here, so no fsync is made slow")
        return
    delay = f"inject=fdatasync,fsync:delay_exit={arguments.fsync * 1000:.0f}"
    strace = ["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-o", os.devnull, "-e", "trace=fdatasync,fsync"]
    own = [sys.executable, __file__, "--live", f"--seconds={arguments.seconds}", "--rounds=1"]
    if arguments.folder:
        own.append(f"--folder={arguments.folder}")
    print(f"with an fsync of {arguments.fsync:g} ms more:", flush=True)
    subprocess.run([*strace, "-e", delay, *own], check=True)


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        home = Path(name)
        await live(home, arguments)
        if arguments.live:
            return
        busy, quiet, rate = await while_draining(home / "drained")
        draining, standing = (sorted(chain.from_iterable(seconds)) for seconds in (busy, quiet))
        print(f"the same in seconds in which a million events drain at {rate:,.0f} events/s: {shown(draining)}")
        print(f"the same in the seconds between them: {shown(standing)}")
        middle, between = p99_of_a_second(busy), p99_of_a_second(quiet)
        print(
            f"ratio of their p99: {quantile(draining, 0.99) / quantile(standing, 0.99):.2f} in all, "
            f"{middle / between:.2f} in the middle one of the seconds "
            f"({middle * 1000:.2f} and {between * 1000:.2f} ms)",
            flush=True,
        )
        print(f"a million events drain alone at {await drained_alone(home / 'alone'):,.0f} events/s", flush=True)
        print(f"start with a million events: {await restarted(home / 'restarted'):.2f} s", flush=True)
    with_slow_fsync(arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--fsync", type=float, default=5.0, help="milliseconds that each takes longer in the last part")
    parser.add_argument("--live", action="store_true", help="only the first parts: no drain, no start, no slow fsync")

    def begin() -> None:
        ensureDeferred(main(parser.parse_args())).addErrback(print).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
