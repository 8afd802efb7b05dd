"""Makes one measurement: a server, a load, and what both came to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import machine
from cases import Case
from generator import Generator
from servers import PATIENCE, Running, Target, environment, free_port, running
from topics import Topic

#: Figures of one measurement, by name.
Figures = dict[str, float]

HERE = Path(__file__).parent
WARM_UP = 0.4


class Untrue(Exception):
    """An answer was bad, or events are missing: figures of such a run are worth nothing."""


def measure(case: Case, target: Target, broker: str) -> Figures:
    """Make a measurement. :raises Untrue: what the server said was not so."""
    kinds: dict[str, Callable[[Case, Target, str], Figures]] = {
        "load": _load,
        "paced": _load,
        "idle": _idle,
        "raw": _raw,
        "empty": _empty,
    }
    return kinds[case.kind](case, target, broker)


def _generator(case: Case, server: Running, topic: str, **more: object) -> Generator:
    return Generator(
        server.grpc if case.transport == "grpc" else server.http,
        transport=case.transport,
        format=case.format,
        type=topic,
        batch=case.batch,
        size=case.size,
        depth=case.depth,
        **more,
    )


def _run(case: Case, generator: Generator, seconds: float) -> dict[str, Any]:
    if case.rate:
        return generator.open(seconds, case.rate / case.batch)
    return generator.closed(seconds)


def _check(case: Case, answers: dict[str, Any], arrived: int) -> None:
    bad = answers["wrong"] + answers["unanswered"]
    # At a fixed rate a server may say that it is too much; that is shown, not a fault.
    if bad or (answers["refused"] and not case.rate):
        bad += answers["refused"]
        raise Untrue(f"{bad:.0f} events without a good answer, the first: {answers['complaint']!r} ({answers})")
    if arrived != answers["acknowledged"]:
        raise Untrue(f"{answers['acknowledged']} events were acknowledged, {arrived} are in the topic")


def _load(case: Case, target: Target, broker: str) -> Figures:
    topic = Topic(broker, f"bench-{uuid4().hex[:12]}")
    try:
        with running(target, broker, case.ack, case.settings) as server:
            generator = _generator(case, server, topic.name)
            try:
                generator.connect(case.connections)
                warmed = _run(case, generator, WARM_UP)
                before = topic.wait_for(warmed["acknowledged"])
                _check(case, warmed, before)
                watch = machine.Watch(server.pid)
                answers = _run(case, generator, case.seconds)
                arrived = topic.wait_for(before + answers["acknowledged"]) - before
                lasted, used, others = watch.read()
                _check(case, answers, arrived)
                return {
                    "us_per_event": used / answers["acknowledged"] * 1e6,
                    "us_per_call": used / answers["batches"] * 1e6,
                    "core": used / lasted,
                    "others": others,
                    "resident": machine.resident(server.pid),
                    "processes": len(machine.family(server.pid)),
                    "start": server.start,
                    "bad": answers["wrong"] + answers["unanswered"],
                    "refused": answers["refused"],
                    "found": arrived,
                    "generator": answers["core"],
                    **{
                        name: answers[name]
                        for name in ("acknowledged", "events_per_second", "p50", "p95", "p99", "max", "late_p99")
                    },
                }
            finally:
                generator.close()
    finally:
        topic.close()


def _idle(case: Case, target: Target, broker: str) -> Figures:
    with running(target, broker, case.ack, case.settings) as server:
        time.sleep(0.5)
        memory, start = machine.resident(server.pid), machine.cpu(server.pid)
        generator = _generator(case, server, "none")
        try:
            generator.connect(case.connections)
            time.sleep(0.2)
            connecting = machine.cpu(server.pid) - start
            growth = machine.resident(server.pid) - memory
            start = machine.cpu(server.pid)
            idle = generator.idle(case.seconds)
            used = machine.cpu(server.pid) - start
            if idle["lost_connections"]:
                raise Untrue(f"{idle['lost_connections']} idle connections were closed")
            return {
                "bytes_per_connection": growth / case.connections,
                "us_per_connection": connecting / case.connections * 1e6,
                "us_per_ping": used / idle["pings"] * 1e6 if idle["pings"] else 0.0,
                "pings": idle["pings"],
                "core": used / case.seconds,
            }
        finally:
            generator.close()


def _raw(case: Case, target: Target, broker: str) -> Figures:
    topic = Topic(broker, f"raw-{uuid4().hex[:12]}")
    topic.close()
    words = [broker, topic.name, case.batch, case.size, case.seconds, "linger.ms=1", "enable.idempotence=true"]
    ended = subprocess.run(
        [sys.executable, str(HERE / "raw.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        timeout=PATIENCE + case.seconds,
        check=True,
        **machine.on(machine.SERVER_CORE),
    )
    told = json.loads(ended.stdout)
    return {"us_per_event": told["cpu"] / told["events"] * 1e6, "events_per_second": told["events"] / case.seconds}


def _empty(case: Case, target: Target, broker: str) -> Figures:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "empty_grpc.py"), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(broker, 0, 0, 0, {}),
        **machine.on(machine.SERVER_CORE),
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        server = Running(target, process.pid, port, port, 0.0)
        generator = _generator(case, server, "none", constant=1)
        try:
            generator.connect(case.connections)
            generator.closed(WARM_UP)
            start = machine.cpu(process.pid)
            answers = generator.closed(case.seconds)
            used = machine.cpu(process.pid) - start
            return {"us_per_call": used / answers["batches"] * 1e6, "generator": answers["core"], "p50": answers["p50"]}
        finally:
            generator.close()
    finally:
        process.kill()
        process.wait()
