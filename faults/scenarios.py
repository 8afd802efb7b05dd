"""The rows of the matrix that are played: a function each, named after its row. Most are told how often or how long."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from statistics import median

from faults import clock
from faults.clients import Clients
from faults.journal import KIND, quantile
from faults.prefilled import prefill
from faults.small_disk import filled
from faults.stage import DRAINED, Stage
from tests.integration import batches
from tests.integration.load import eventually

#: Seconds between two batches of a client that is to leave the machine some rest, and batches in a spool that has been
#: drained, where all pass through it.
STEADY, FEW = 0.02, 50


def a1_sigterm_under_load(stage: Stage, times: int) -> None:
    """SIGTERM at random moments under load: the server ends with 0, and the next one goes on."""
    took = []
    for _ in range(times):
        clients = stage.begin(0) if not stage.clients else stage.clients[0]
        if stage.server is None:
            stage.start()
        clients.wait_for_more(2)
        stage.pause(0.0, 0.7)
        before = time.monotonic()
        status = stage.end()
        took.append(time.monotonic() - before)
        stage.require(status == 0, f"SIGTERM under load ended with status {status}")
    stage.notes.update(stops=times, stop_median=median(took), stop_longest=max(took))


def a2_sigterm_without_kafka(stage: Stage, times: int) -> None:
    """SIGTERM while Kafka is away: with a spool everything is in it, the status is 0, and the next start drains it."""
    took, spooled = [], 0
    for _ in range(times):
        clients = stage.begin(0) if not stage.clients else stage.clients[0]
        if stage.server is None:
            stage.start()
        clients.wait_for_more(2)
        stage.kafka.proxy.refuse()
        stage.pause(0.2, 1.5)
        spooled = max(spooled, stage.spooled())
        before = time.monotonic()
        status = stage.end()
        took.append(time.monotonic() - before)
        allowed = (0,) if stage.mode.spool else (0, 3)
        stage.require(status in allowed, f"SIGTERM without Kafka ended with status {status}")
        stage.kafka.heal()
    stage.notes.update(stops=times, stop_median=median(took), stop_longest=max(took), most_spooled=spooled)


def a3_second_signal(stage: Stage, times: int) -> None:
    """A second SIGTERM while the first one waits: a quick end, and what was acknowledged is kept."""
    took = []
    for number in range(times):
        clients = stage.begin(0) if not stage.clients else stage.clients[0]
        if stage.server is None:
            stage.start()
        clients.wait_for_more(2)
        if number % 2:
            stage.kafka.proxy.refuse()
            stage.pause(0.1, 0.5)
        server = stage.server
        assert server is not None
        server.signal()
        stage.pause(0.05, 0.3)
        before = time.monotonic()
        stage.end()
        took.append(time.monotonic() - before)
        stage.kafka.heal()
    stage.notes.update(stops=times, stop_median=median(took), stop_longest=max(took))


def a4_sigkill_under_load(stage: Stage, times: int) -> None:
    """SIGKILL at random moments under load, and a start."""
    for _ in range(times):
        clients = stage.begin(0) if not stage.clients else stage.clients[0]
        if stage.server is None:
            stage.start()
        clients.wait_for_more(2)
        stage.pause(0.0, 0.5)
        stage.end(signal.SIGKILL)
    stage.notes.update(kills=times)


def a5_sigkill_while_draining(stage: Stage, times: int) -> None:
    """Batches of an outage are in the spool; Kafka is back; SIGKILL at random moments before the spool is empty."""
    kills = 0
    while kills < times:
        clients = stage.begin(0) if not stage.clients else stage.clients[0]
        if stage.server is None:
            stage.start()
        stage.kafka.proxy.refuse()
        eventually(lambda: stage.spooled() > 300, 60.0)
        stage.kafka.proxy.heal()
        stage.kafka.proxy.latency(0.02)  # or there is no moment in which to kill
        while kills < times:
            stage.pause(0.0, 0.8)
            if stage.spooled() <= 0:
                break
            stage.end(signal.SIGKILL)
            kills += 1
            stage.start()
        clients.wait_for_more(1)
    stage.notes.update(kills=kills)


def a6_stopped_and_continued(stage: Stage, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after seconds: clients go on."""
    clients = stage.begin()
    server = stage.server
    assert server is not None
    server.signal(signal.SIGSTOP)
    time.sleep(seconds)
    server.signal(signal.SIGCONT)
    clients.wait_for_more()
    server.signal(signal.SIGHUP)
    clients.wait_for_more()


def a7_kafka_down_at_start(stage: Stage, seconds: float) -> None:
    """A start without Kafka: with a spool batches are taken at once; when Kafka comes everything is delivered."""
    stage.kafka.proxy.refuse()
    clients = stage.begin(5 if stage.mode.spool else 0)
    time.sleep(seconds)
    stage.kafka.heal()
    before = time.monotonic()
    clients.wait_for_more()
    stage.drained()
    stage.notes.update(well_after=time.monotonic() - before)


def b1_cut(stage: Stage, seconds: float) -> None:
    """Kafka's connections are cut and refused for seconds."""
    clients = stage.begin(20)
    stage.kafka.proxy.refuse()
    time.sleep(seconds)
    stage.kafka.heal()
    clients.wait_for_more(20)


def b1_a_minute(stage: Stage, seconds: float) -> None:
    """Kafka is gone for long, under a steady thousand batches a second and more."""
    clients = stage.begin(20, pipelines=6)
    stage.kafka.proxy.refuse()
    before, began = clients.acknowledged, time.monotonic()
    time.sleep(seconds)
    answered, took = clients.acknowledged - before, time.monotonic() - began
    most = stage.spooled()
    stage.kafka.heal()
    clients.wait_for_more(20)
    began = time.monotonic()
    stage.drained()  # while clients go on
    stage.notes.update(
        batches_a_second=round(answered / took), most_spooled=most, drained_after=time.monotonic() - began
    )


def b2_reset(stage: Stage, times: int) -> None:
    """Connections are reset, every second time in the middle of a request."""
    clients = stage.begin(20)
    for number in range(times):
        stage.pause(0.1, 0.6)
        (stage.kafka.proxy.reset_in_request if number % 2 else stage.kafka.proxy.reset)()
    clients.wait_for_more(20)
    stage.notes.update(resets=times)


def b3_black_hole(stage: Stage, seconds: float) -> None:
    """Connections stand, and nothing comes."""
    clients = stage.begin(20)
    stage.kafka.proxy.black_hole()
    time.sleep(seconds)
    stage.kafka.heal()
    clients.wait_for_more(20)


def b4_lost_acks(stage: Stage, seconds: float) -> None:
    """Kafka has the records, and its word does not arrive."""
    clients = stage.begin(20)
    stage.kafka.proxy.drop_answers()
    time.sleep(seconds)
    stage.kafka.heal()
    clients.wait_for_more(20)


def b5_latency(stage: Stage, seconds: float) -> None:
    """300 ms more in each direction."""
    clients = stage.begin(20)
    stage.kafka.proxy.latency(0.3)
    time.sleep(seconds)
    stage.kafka.heal()
    clients.wait_for_more(20)


def b13_kafka_killed(stage: Stage, seconds: float) -> None:
    """Kafka itself is ended by SIGKILL, and started again on what it has."""
    clients = stage.begin(20)
    stage.kafka.node.kill()
    time.sleep(seconds)
    before = time.monotonic()
    stage.kafka.heal()
    clients.wait_for_more(20)
    stage.notes.update(well_after=time.monotonic() - before)


def b15_outage_longer_than_the_spool(stage: Stage, seconds: float) -> None:
    """The spool fills up: what it has no room for is refused, what it took is kept, and it recovers by itself."""
    clients = stage.begin(5)
    stage.kafka.proxy.refuse()
    refused = lambda: sum(sum(journal.refusals.values()) for journal in clients.journals)  # noqa: E731
    eventually(lambda: refused() > 20, 90.0)
    time.sleep(seconds)
    stage.kafka.heal()
    before = time.monotonic()
    clients.wait_for_more(5)
    stage.notes.update(refused_batches=refused(), well_after=time.monotonic() - before)


def c1_disk_full(stage: Stage, seconds: float) -> None:
    """Kafka is away, and others take the disk of the spool to the last byte: batches are refused, what is there
    drains when Kafka is back, although the disk is still full, and then there is room again."""
    clients = stage.begin(5)
    stage.kafka.proxy.refuse()
    eventually(lambda: stage.spooled() > 50)
    disk = Path(str(stage.settings["spool.path"])).parent
    with filled(disk):
        refused = lambda: sum(sum(journal.refusals.values()) for journal in clients.journals)  # noqa: E731
        eventually(lambda: refused() > 20, 60.0)
        time.sleep(seconds)
        stage.notes.update(rows_at_full=stage.spooled())
        stage.kafka.heal()
        before = time.monotonic()
        if stage.mode.ack == 2:  # every batch needs the disk
            eventually(lambda: stage.spooled() == 0, 60.0)
        else:
            clients.wait_for_more(5)
        stage.notes.update(refused_batches=refused(), well_after=time.monotonic() - before)
    clients.wait_for_more(5)


def c3_fsync_fails(stage: Stage, seconds: float) -> None:
    """Every tenth fsync fails, while Kafka is there, and while it is away: what was on it is not acknowledged."""
    clients = stage.begin(5)
    time.sleep(seconds / 2)
    stage.kafka.proxy.refuse()
    time.sleep(seconds / 2)
    refused = sum(sum(journal.refusals.values()) for journal in clients.journals)
    stage.notes.update(refused_batches=refused)
    stage.kafka.heal()
    clients.wait_for_more(5)


def c4_slow_disk(stage: Stage, seconds: float) -> None:
    """Every fsync takes its time, while Kafka is there, and while it is away."""
    clients = stage.begin(5)
    time.sleep(seconds / 2)
    stage.kafka.proxy.refuse()
    time.sleep(seconds / 2)
    stage.notes.update(p99_ms=round(quantile(clients.journals, 0.99) * 1000))
    stage.kafka.heal()
    clients.wait_for_more(5)


def c7_a_million_events(stage: Stage, events: int, seconds: float) -> None:
    """A spool with very many events at the start: the time of the start, and the answers of some hundred live batches a
    second while they drain and, for some seconds, when they have. Kafka is reached without the proxy, which would have
    to carry all of it in the process that measures."""
    stage.settings = {**stage.settings, "publisher.kafka.client.bootstrap.servers": stage.kafka.node.bootstrap}
    before = prefill(stage.folder / "spool", stage.topics.topic(KIND), events)
    began = time.monotonic()
    stage.start()
    started = time.monotonic()
    clients = Clients(stage, pace=STEADY)
    stage.clients.append(clients)
    clients.wait_for_more(5)
    draining = _answers(clients, lambda: stage.spooled() < FEW)
    rate = events / (time.monotonic() - started)
    enough = time.monotonic() + seconds
    quiet = _answers(clients, lambda: time.monotonic() > enough)
    clients.enough()
    clients.journals.append(before)  # not earlier: nobody waits for more of it
    count = sum(map(len, draining))
    stage.require(count > 1000, f"only {count} batches were answered during the drain")
    while_draining, afterwards = _p99([*chain(*draining)]), _p99([*chain(*quiet)])
    stage.notes.update(
        started_after=started - began,
        drained_a_second=round(rate),
        answers_while_draining=count,
        p99_us_while_draining=round(while_draining * 1e6),
        p99_us_afterwards=round(afterwards * 1e6),
        p99_ratio=round(while_draining / afterwards, 2),
        middle_second_ratio=round(median(map(_p99, draining)) / median(map(_p99, quiet)), 2),
    )


def _answers(clients: Clients, over: Callable[[], bool]) -> list[list[float]]:
    """How long answers took until something is over, in seconds, by the second in which they came."""
    answers: list[list[float]] = []
    known = [len(journal.took) for journal in clients.journals]
    deadline = time.monotonic() + DRAINED
    while not over():
        assert time.monotonic() < deadline, "it does not come to an end"
        time.sleep(1.0)
        known, had = [len(journal.took) for journal in clients.journals], known
        came = [journal.took[begin:end] for journal, begin, end in zip(clients.journals, had, known, strict=True)]
        answers.append([*chain(*came)])
    return answers


def _p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100] if took else 0.0


def d13_clock_steps(stage: Stage, seconds: float) -> None:
    """The clock is set an hour back, two ahead and right again, under load, with short pings: no timer stands still,
    nobody is dropped, and what is in the spool does not get older than it is."""
    clock.step(0)
    clients = stage.begin(5)
    usual, batches.TOLERANCE = batches.TOLERANCE, 7200  # answers have a time, which clients compare with theirs
    try:
        for off in (-3600, 3600, 0):
            clock.step(off)
            time.sleep(seconds)
            clients.wait_for_more(5)
        stage.notes.update(steps=3, dropped=sum(journal.connections - 1 for journal in clients.journals))
    finally:
        clock.step(0)
        clients.enough()
        batches.TOLERANCE = usual


def f8_soak(stage: Stage, seconds: float) -> None:
    """One fault after another, chosen by the seed, for as long as it is told; and the slope of the memory."""
    clients = stage.begin(20)
    proxy, node = stage.kafka.proxy, stage.kafka.node
    began, faults = time.monotonic(), 0
    short = [proxy.refuse, proxy.black_hole, proxy.drop_answers, lambda: proxy.latency(stage.rng.uniform(0.05, 0.5))]
    while time.monotonic() < began + seconds:
        kind = stage.rng.random()
        if kind < 0.25:
            (proxy.reset if kind < 0.12 else proxy.reset_in_request)()
        elif kind < 0.9:
            stage.rng.choice(short)()
            stage.pause(0.2, 4.0)
        else:
            node.kill()
            stage.pause(0.0, 3.0)
        stage.kafka.heal()
        faults += 1
        clients.wait_for_more(3)
        stage.pause(0.0, 2.0)
    stage.notes.update(faults=faults, memory_slope=_slope(stage.memory, began + seconds / 4))


def _slope(samples: list[tuple[float, int]], since: float) -> float:
    """Bytes a second, by least squares, of the samples since a moment."""
    taken = [(when, size) for when, size in samples if when >= since]
    if len(taken) < 3:
        return 0.0
    middle = sum(when for when, _ in taken) / len(taken)
    mean = sum(size for _, size in taken) / len(taken)
    spread = sum((when - middle) ** 2 for when, _ in taken)
    return sum((when - middle) * (size - mean) for when, size in taken) / spread
