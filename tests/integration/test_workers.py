"""Several workers on the same ports: what holds over all of them, and what becomes of it when one ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.conformance import scrape
from tests.integration.batches import TWO_EVENTS, Batch, Event, Said, said, success
from tests.integration.clients import (
    EVENTS,
    HOST,
    ID_HEADER,
    TIMEOUT,
    ask,
    call,
    channel,
    closed,
    post,
    request,
)
from tests.integration.load import KIND, PIPELINED, Load, eventually, summary
from tests.integration.server import RACCOON, TWISTD, Process, Settings, Topics, process, run_command

both_commands = pytest.mark.parametrize("command", [RACCOON, TWISTD], ids=["raccoon", "twistd"])

TWO: Settings = {"server.workers": 2}
REFUSED = {"status": 2, "code": 5, "reason": "duplicated connection: [--default--] 1,"}


def workers(server: Process) -> list[int]:
    """Process ids of its workers."""
    return sorted(map(int, Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()))


def owner(server: Process, client_port: int) -> int | None:
    """The worker that has the other end of a connection to the HTTP port."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            here, there = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            if (here, there) == (server.http, client_port):
                for pid in workers(server):
                    for entry in Path(f"/proc/{pid}/fd").iterdir():
                        try:
                            if os.readlink(entry) == f"socket:[{fields[9]}]":
                                return pid
                        except FileNotFoundError:
                            pass
    return None


@contextmanager
def to_worker(server: Process, worker: int) -> Iterator[socket.socket]:
    """A connection to this worker: the system chooses by the port of the client, so some tries are needed."""
    with ExitStack() as others:
        while True:
            made = socket.create_connection((HOST, server.http), TIMEOUT)
            eventually(lambda made=made: owner(server, made.getsockname()[1]) is not None)
            if owner(server, made.getsockname()[1]) == worker:
                break
            others.callback(made.close)
    with made:
        yield made


@contextmanager
def websocket(server: Process, worker: int, client: str) -> Iterator[ClientConnection]:
    """A WebSocket to this worker."""
    with (
        to_worker(server, worker) as transport,
        connect(
            f"ws://{HOST}:{server.http}{EVENTS}",
            sock=transport,
            additional_headers={ID_HEADER: client},
            open_timeout=TIMEOUT,
            close_timeout=TIMEOUT,
        ) as connection,
    ):
        yield connection


def request_of(batch: Batch, client: str) -> bytes:
    """A POST of it."""
    body = batch.written("json")
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{ID_HEADER}: {client}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def posted(transport: socket.socket, batch: Batch, client: str) -> Said:
    """What a POST on this connection is answered."""
    transport.sendall(request_of(batch, client))
    head, _, body = transport.recv(65536).partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    return said(body)


def read_metrics(port: int) -> scrape.Scrape:
    with socket.create_connection((HOST, port), TIMEOUT) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    return scrape.read(body.decode())


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@both_commands
def test_all_serve(broker: str, command: tuple[str, ...]) -> None:
    """Every worker gets connections, on both ports, and what it takes arrives; it ends as one process does."""
    with process(Topics(broker), 1, TWO, command=command) as server, ExitStack() as stack:
        assert len(workers(server)) == 2
        for place, worker in enumerate(workers(server)):
            connection = stack.enter_context(websocket(server, worker, f"{place}"))
            assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")
        for _ in range(4):
            with channel(server) as opened:
                assert call(opened, TWO_EVENTS) == success("1234")
            assert request(server, "GET", "/readyz").status == 200
        server.topics.wait_for(12, "type_a", "type_b")
        assert server.stop() == 0
        assert "2 workers" in server.log


def test_reject(broker: str) -> None:
    """A client that is connected to one worker is refused by both; the limit holds over both."""
    with process(Topics(broker), 0, {**TWO, "server.websocket.max.conn": 2}) as server, ExitStack() as stack:
        one, other = workers(server)
        first = stack.enter_context(websocket(server, one, "1"))
        assert ask(first, TWO_EVENTS.written("proto")) == success("1234")
        for worker in (one, other):
            with websocket(server, worker, "1") as second:
                assert said(second.recv(TIMEOUT)) == REFUSED
                assert closed(second) == (1008, "duplicate connection: 1")
        second = stack.enter_context(websocket(server, other, "2"))
        assert ask(second, b"") == success("")
        for worker in (one, other):
            with websocket(server, worker, "3") as third:
                assert said(third.recv(TIMEOUT))["code"] == 4
                assert closed(third) == (1008, "Max connection reached")
        first.close()

        def let_in() -> bool:
            with websocket(server, other, "1") as again:
                return ask(again, b"") == success("")

        eventually(let_in)


def test_replace(broker: str) -> None:
    """A new connection replaces that of another worker, and messages sent before it was let in are taken."""
    with process(Topics(broker), 1, {**TWO, "server.websocket.duplicate.policy": "replace"}) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first:
            assert ask(first, b"") == success("")
            with websocket(server, other, "1") as second:
                assert ask(second, TWO_EVENTS.written("proto")) == success("1234")
                assert closed(first) == (1008, "replaced by a new connection of this client")
                assert ask(second, b"") == success("")
        server.topics.wait_for(2, "type_a", "type_b")


def test_probe(broker: str) -> None:
    """A connection of another worker that answers stays; one that does not gives way."""
    with process(Topics(broker), 0, {**TWO, "server.websocket.duplicate.policy": "probe"}) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first:
            assert ask(first, b"") == success("")
            with websocket(server, other, "1") as second:
                assert said(second.recv(TIMEOUT)) == REFUSED
            assert ask(first, b"") == success("")
        with to_worker(server, one) as silent:
            head = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            silent.sendall(f"{head}{key}{ID_HEADER}: 2\r\n\r\n".encode())
            assert b" 101 " in silent.recv(4096)
            with websocket(server, other, "2") as second:
                assert ask(second, b"") == success("")


def test_duplicates(broker: str) -> None:
    """A batch that one worker has taken is known to the other, on every transport."""
    settings = {**TWO, "server.batch.dedup.in.connection.enabled": "true", "server.batch.dedup.scope": "identity"}
    with process(Topics(broker), 1, settings) as server:
        copy = {"status": 1, "code": 1, "data": {"req_guid": "1234", "duplicate": "true"}}
        one, other = workers(server)
        with websocket(server, one, "1") as first:
            assert ask(first, TWO_EVENTS.written("proto")) == success("1234")
        with websocket(server, other, "3") as second:
            assert ask(second, TWO_EVENTS.written("proto")) == success("1234")
        for worker in (one, other):
            for client in ("1", "3"):
                with to_worker(server, worker) as transport:
                    assert posted(transport, TWO_EVENTS, client) == copy
        for _ in range(6):
            with channel(server) as opened:
                assert call(opened, TWO_EVENTS, client="1") == copy
        assert post(server, TWO_EVENTS.written("json"), **{ID_HEADER: "2"}).said == success("1234")
        assert server.stop() == 0
        found = server.topics.read("type_a", "type_b")
        assert {kind: len(values) for kind, values in found.items()} == {"type_a": 3, "type_b": 3}


def test_metrics(broker: str) -> None:
    """The metrics are those of all workers, and do not go down when one is killed; a new one takes its place."""
    port = free_port()
    settings = {**TWO, "metric.prometheus.enabled": "true", "metric.prometheus.port": port}
    settings |= {"metric.prometheus.host": HOST, "metric.runtime.stats.record.interval.ms": 1}
    with process(Topics(broker), 1, settings) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first, websocket(server, other, "2") as second:
            for connection, count in ((first, 3), (second, 4)):
                for _ in range(count):
                    assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")
            found = read_metrics(port)
            group = {"conn_group": "--default--"}
            assert found.value("batches_read_total", status="success", reason="NA", **group) == 7
            assert found.value("events_rx_total", event_type="type_a", **group) == 7
            assert found.value("connections_count_current", **group) == 2
            assert found.value("event_rtt_ms_count") == 7
            idle = "batch_idle_in_channel_milliseconds_count"
            assert {found.value(idle, worker=f"worker-{number}") for number in range(2)} == {3, 4}
            assert {each["worker"] for each in found.labels("process_resident_memory_bytes")} == {
                "parent",
                "worker-0",
                "worker-1",
            }
            os.kill(one, signal.SIGKILL)
            eventually(lambda: "ready again" in server.log)
            assert ask(second, TWO_EVENTS.written("proto")) == success("1234")
            found = read_metrics(port)
            assert found.value("batches_read_total", status="success", reason="NA", **group) == 8
            assert found.value("connections_count_current", **group) == 1
        [new] = set(workers(server)) - {one, other}
        with websocket(server, new, "1") as again:
            assert ask(again, TWO_EVENTS.written("proto")) == success("1234")
        found = read_metrics(port)
        assert found.value("batches_read_total", status="success", reason="NA", **group) == 9
        assert server.stop() == 0


def test_killed_with_a_batch(broker: str) -> None:
    """A batch that was on its way in a worker that is killed is not a duplicate when it comes again."""
    settings = {**TWO, "server.batch.dedup.in.connection.enabled": "true", "server.batch.dedup.scope": "identity"}
    settings |= {"publisher.kafka.client.linger.ms": 60_000, "publisher.kafka.client.message.timeout.ms": 120_000}
    settings |= {"publisher.publish.timeout.ms": 60_000, "publisher.kafka.flush.interval.ms": 10_000}
    with process(Topics(broker), 1, settings) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first:
            first.send(TWO_EVENTS.written("proto"))
            first.ping().wait(TIMEOUT)
            with to_worker(server, other) as copy:
                copy.sendall(request_of(TWO_EVENTS, "1"))
                time.sleep(0.2)  # for it to arrive; a copy that comes too late is new, and waits for Kafka
                os.kill(one, signal.SIGKILL)
                answer = copy.recv(4096)
                assert b" 500 " in answer.split(b"\r\n")[0]
                assert b'"retryable":"true"' in answer


def test_sigterm_under_load(broker: str) -> None:
    """At SIGTERM under load nothing that was acknowledged is lost, and WebSockets are closed in due form."""
    with process(Topics(broker), 1, TWO) as server:
        load = Load(server)
        load.wait_for_more()
        assert server.stop() == 0
        load.finish()
    found = server.topics.read(KIND)[KIND]
    print(summary(found, load))
    assert set(load.acknowledged) - set(found) == set()
    closed_codes = {account.close_code for account in load.accounts if account.way.startswith(("websocket", PIPELINED))}
    assert closed_codes == {1001}


@both_commands
@pytest.mark.parametrize("taken", ["server.websocket.port", "server.grpc.port"])
def test_port_taken(command: tuple[str, ...], taken: str) -> None:
    """A port of another server, though that shares it too, is found taken at the start: status 2, in one line."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((HOST, 0))
        other.listen()
        settings = {
            "server.websocket.conn.id.header": ID_HEADER,
            "publisher.type": "log",
            "server.host": HOST,
            "server.grpc.host": HOST,
            "server.websocket.port": 0,
            "server.grpc.port": 0,
            **TWO,
            taken: other.getsockname()[1],
        }
        ended = run_command(*command, settings=settings)
    assert ended.returncode == 2
    what = "HTTP" if "websocket" in taken else "gRPC"
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if "cannot listen on" in line]
    assert len(lines) == 1
    assert f"cannot listen on {what} port {HOST}:{settings[taken]}: Address already in use" in lines[0]


def test_one_worker_at_a_time(broker: str) -> None:
    """SIGTERM to a worker drains it: its clients are sent away in due form, and it is replaced."""
    with process(Topics(broker), 1, TWO) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first, websocket(server, other, "2") as second:
            assert ask(first, TWO_EVENTS.written("proto")) == success("1234")
            os.kill(one, signal.SIGTERM)
            assert closed(first) == (1001, "server shutting down")
            eventually(lambda: "ready again" in server.log)
            assert ask(second, TWO_EVENTS.written("proto")) == success("1234")
        assert "worker 0 has ended with status 0" in server.log or "worker 1 has ended with status 0" in server.log
        assert server.stop() == 0


def test_parent_killed(broker: str) -> None:
    """Without their parent the workers finish what they have, and end."""
    with process(Topics(broker), 1, TWO) as server:
        one, other = workers(server)
        with websocket(server, one, "1") as first:
            assert ask(first, TWO_EVENTS.written("proto")) == success("1234")
            server.signal(signal.SIGKILL)
            server.wait()
            assert closed(first) == (1001, "server shutting down")
        for pid in (one, other):
            eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists() or "Z" in _state(pid))
        assert "the parent has gone" in server.log


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_terminal(broker: str) -> None:
    """A signal that reaches the parent and the workers, as a terminal and service managers send them, is one."""
    with process(Topics(broker), 1, {**TWO, "server.drain.delay.ms": 700}) as server:
        one, _ = workers(server)
        for pid in workers(server):
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGHUP)
        with websocket(server, one, "1") as first:
            for pid in (server.pid, *workers(server)):
                os.kill(pid, signal.SIGTERM)
            for _ in range(5):
                assert ask(first, TWO_EVENTS.written("proto")) == success("1234")
                time.sleep(0.05)
            assert closed(first) == (1001, "server shutting down")
        assert server.wait() == 0


def test_sighup(broker: str) -> None:
    """SIGHUP reaches all workers, and those that are started later; a mistake changes nothing."""
    with process(Topics(broker), 1, {**TWO, "log.format": "json"}, loud=True) as server:
        file = server.folder / "config.yaml"
        file.write_text("event: {allowed_types: [type_a]}")
        server.signal(signal.SIGHUP)
        eventually(lambda: "as configured now" in server.log)
        only = Batch("9", Event("type_b", b"1"))

        def all_refuse() -> bool:
            answers = []
            for place, worker in enumerate(workers(server)):
                with websocket(server, worker, f"{place}") as connection:
                    answers.append(ask(connection, only.written("proto"))["code"])
            return answers == [2, 2]

        eventually(all_refuse)
        os.kill(workers(server)[0], signal.SIGKILL)
        eventually(lambda: "ready again" in server.log)
        assert all_refuse()
        file.write_text("event: {allowed_types: ['no topic']}")
        server.signal(signal.SIGHUP)
        eventually(lambda: "nothing was changed" in server.log)
        assert all_refuse()


@both_commands
def test_log(broker: str, command: tuple[str, ...]) -> None:
    """Lines of a worker say which one it is."""
    with process(Topics(broker), 1, {**TWO, "publisher.type": "log"}, command=command) as server:
        for worker in workers(server):
            with websocket(server, worker, f"{worker}") as connection:
                assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")

        def all_are_there() -> bool:
            lines = [line for line in server.log.splitlines() if "[LogPublisher]" in line]
            return all(sum(f" worker {number}: " in line for line in lines) == 2 for number in range(2))

        eventually(all_are_there)


def test_embedded() -> None:
    """With the broker inside there is one for all workers."""
    with process(Topics("unused"), 1, {**TWO, "publisher.type": "embedded"}) as server:
        for worker in workers(server):
            with websocket(server, worker, f"{worker}") as connection:
                assert ask(connection, TWO_EVENTS.written("proto")) == success("1234")
        assert server.log.count("EMBEDDED BROKER") == 1
