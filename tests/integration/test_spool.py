"""The spool with real servers, a real disk and a Kafka that goes away: what was acknowledged arrives."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.batches import Batch, Event, success
from tests.integration.clients import WAYS, post, request, sender
from tests.integration.load import eventually
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import RACCOON, Process, Topics, process, run_command

#: Puts rows as fast as it can, and prints the number of each that is durable. Deletes some of them again.
WRITER = """
import os, sys
from tests.spooled import Spooled
from twisted.internet import reactor
from pathlib import Path
from raccoon_tx.spool.store import threaded
spooled = Spooled(Path(sys.argv[1]), max_bytes=1 << 30)
store = spooled.store
store._make_box = threaded(reactor.callFromThread)
def put():
    row = []
    def done(durable):
        if durable:
            if row[0] % 3 == 0:
                os.write(1, b"deleting %d\\n" % row[0])
                store.delete(row[0], 1, 1000)
            else:
                os.write(1, b"durable %d\\n" % row[0])
        put()
    row.append(store.put(b"%1000d" % (store._next), 1, done))
def start():
    store.startService()
    for _ in range(20):
        put()
reactor.callWhenRunning(start)
reactor.run()
"""


def test_killed_writer(tmp_path: Path) -> None:
    """Killed at any moment, whatever was said to be durable is there, whole; the next start finds it, and goes on."""
    durable: set[int] = set()
    deleting: set[int] = set()
    folder = tmp_path / "spool"
    for number in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.03 * number)
        writer.kill()
        for line in writer.stdout.read().splitlines():
            what, row = line.split()
            (durable if what == b"durable" else deleting).add(int(row))
        writer.wait()
        writer.stdout.close()
    ended = run_command(RACCOON[0], "spool", "status", "--json", settings={"spool.path": folder})
    status = json.loads(ended.stdout)
    assert (ended.returncode, status["server"], status["corrupt_files"]) == (0, None, [])
    ended = run_command(RACCOON[0], "spool", "list", "--json", settings={"spool.path": folder})
    found = {json.loads(line)["id"]: json.loads(line) for line in ended.stdout.splitlines()}
    assert len(durable) > 100
    assert durable - set(found) == set()
    assert status["batches"] == len(found)
    assert all(row["bytes"] == 1000 and "checksum" not in row["damaged"] for row in found.values())


@contextmanager
def cluster_and_server(
    tmp_path: Path, ack: int, settings: dict[str, object] | None = None
) -> Iterator[tuple[MockCluster, Callable[[], Any], Topics]]:
    """A Kafka of this test alone, and what starts a server on the same spool again and again."""
    with MockCluster() as cluster:
        topics = Topics(cluster.bootstrap)
        given = {"spool.path": tmp_path / "spool", "spool.min.free.bytes": 0, **(settings or {})}
        yield cluster, lambda: process(topics, ack, given), topics


def batches(count: int, word: str) -> list[Batch]:
    return [Batch(f"{word}-{number}", Event("spooled", f"{word}-{number}".encode())) for number in range(count)]


def parts(server: Process) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(request(server, "GET", "/readyz").body)["parts"]
    return found


@pytest.mark.parametrize("ack", [0, 1, 2])
def test_outage(tmp_path: Path, ack: int) -> None:
    """While Kafka is away every batch is acknowledged on every transport, the server is ready and says where the
    batches are; when Kafka is back they arrive, once each, and the spool is empty."""
    with cluster_and_server(tmp_path, ack) as (cluster, start, topics), start() as server:
        eventually(lambda: parts(server)["publisher"]["state"] == "ok")
        cluster.broker_down(1)
        eventually(lambda: "Kafka cannot be reached" in server.log)
        for way in WAYS:
            with sender(server, way) as send:
                for batch in batches(5, way):
                    assert send(batch) == success(batch.guid)
        assert request(server, "GET", "/readyz").status == 200
        assert parts(server)["spool"]["batches"]
        cluster.broker_up(1)
        eventually(lambda: parts(server)["spool"]["batches"] == 0)
        expected = [f"{way}-{number}".encode() for way in WAYS for number in range(5)]
        assert sorted(topics.read("spooled")["spooled"]) == sorted(expected)
        assert server.stop() == 0


@pytest.mark.parametrize("ack", [0, 1, 2])
def test_stopped_without_kafka(tmp_path: Path, ack: int) -> None:
    """A stop while Kafka is away ends with 0: what was acknowledged is on the disk, and arrives after the next one."""
    settings: dict[str, object] = {"publisher.kafka.flush.interval.ms": 100}
    with cluster_and_server(tmp_path, ack, settings) as (cluster, start, topics):
        with start() as server:
            cluster.broker_down(1)
            for batch in batches(10, "first"):
                assert post(server, batch.written("json")).said == success(batch.guid)
            assert server.stop() == 0
        status = run_command(RACCOON[0], "spool", "status", "--json", settings={"spool.path": tmp_path / "spool"})
        assert json.loads(status.stdout)["events"] == 10
        cluster.broker_up(1)
        with start() as server:
            eventually(lambda: parts(server)["spool"]["batches"] == 0)
        found = topics.read("spooled")["spooled"]
        assert sorted(found) == sorted(f"first-{number}".encode() for number in range(10))


def test_killed(tmp_path: Path) -> None:
    """A server that is killed while Kafka is away has what it acknowledged on the disk. Without a server it can be
    looked at and drained by hand; while a server runs it can be looked at only."""
    with cluster_and_server(tmp_path, 2) as (cluster, start, topics):
        cluster.broker_down(1)
        spool = {"spool.path": tmp_path / "spool"}
        with start() as server:
            for batch in batches(10, "killed"):
                assert post(server, batch.written("json")).said == success(batch.guid)
            looked = json.loads(run_command(RACCOON[0], "spool", "status", "--json", settings=spool).stdout)
            assert (looked["batches"], looked["server"]) == (10, server._process.pid)
            for command in (["purge", "--yes"], ["revive"]):
                refused = run_command(RACCOON[0], "spool", *command, settings=spool)
                assert (refused.returncode, "in use by process" in refused.stderr) == (1, True)
            with pytest.raises(AssertionError, match="in use by process"), start():
                pass
            server.signal(signal.SIGKILL)
            server.wait()
        exported = run_command(RACCOON[0], "spool", "export", settings=spool).stdout.splitlines()
        assert [json.loads(line)["guid"] for line in exported] == [f"killed-{number}" for number in range(10)]
        cluster.broker_up(1)
        flags = {
            **spool,
            "server.websocket.conn.id.header": "X-User-ID",
            "publisher.kafka.client.bootstrap.servers": cluster.bootstrap,
        }
        drained = run_command(RACCOON[0], "spool", "drain", settings=flags)
        assert drained.returncode == 0, drained.stdout + drained.stderr
        assert "10 batches were delivered, 0 given up, 0 are left" in drained.stdout + drained.stderr
        found = topics.read("spooled")["spooled"]
        assert sorted(found) == sorted(f"killed-{number}".encode() for number in range(10))


@contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB, more than which the mock cluster would not keep, if one may be mounted here."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(file: Any) -> None:
    """Write until there is no room."""
    try:
        while True:
            file.write(bytes(4096))
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise


def test_full_disk(tmp_path: Path) -> None:
    """On a disk that is really full batches are refused as overload; what is there drains, and then there is room."""
    with small_disk(tmp_path) as disk:
        settings: dict[str, object] = {"spool.path": disk / "spool", "spool.max.bytes": 1 << 30}
        with cluster_and_server(tmp_path, 2, settings) as (cluster, start, topics):
            cluster.broker_down(1)
            with start() as server:
                taken = []
                # The test cluster keeps no more than 5 MB of a partition.
                kinds = [f"spooled{number}" for number in range(4)]
                number = 0
                while True:
                    word = f"{number:06d}".encode()
                    response = post(
                        server, Batch(f"{number}", Event(kinds[number % 4], word + bytes(50_000))).written("json")
                    )
                    if response.status != 200:
                        break
                    taken.append(word)
                    number += 1
                assert (response.status, response.said["code"]) == (503, 3)
                assert int(response.headers["Retry-After"]) >= 1
                assert len(taken) > 20
                # Somebody else takes what is left.
                with (disk / "theirs").open("wb", buffering=0) as file:
                    fill(file)
                    assert request(server, "GET", "/readyz").status == 503
                    cluster.broker_up(1)
                    eventually(lambda: parts(server)["spool"]["batches"] == 0)
                os.unlink(disk / "theirs")
                again = Batch("again", Event(kinds[0], b"again!"))
                eventually(lambda: post(server, again.written("json")).status == 200)
                eventually(lambda: parts(server)["spool"]["batches"] == 0)
                assert server.stop() == 0
            found = [value for values in topics.read(*kinds).values() for value in values]
            assert sorted({value[:6] for value in found}) == [*taken, b"again!"]


def test_corrupt(tmp_path: Path) -> None:
    """A corrupt file is moved aside, said and counted, and the server starts."""
    with cluster_and_server(tmp_path, 2, {"metric.prometheus.enabled": False}) as (_, start, _topics):
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "spool.db").write_bytes(b"no database at all" * 500)
        with start() as server:
            assert "is corrupt" in server.log
            assert post(server, batches(1, "x")[0].written("json")).status == 200
        assert len(list((tmp_path / "spool").glob("spool.db.corrupt-*"))) == 1
