"""``raccoon demo``: a server with a broker inside, a few events over each transport, and what became of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from attrs import evolve
from confluent_kafka import KafkaException
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThreadPool

from raccoon_tx import demo_clients, runner
from raccoon_tx.config import Loaded
from raccoon_tx.process import CANNOT_START
from raccoon_tx.settings import Settings
from raccoon_tx.tap import Server

#: Seconds that all of the demo's events get to arrive.
PATIENCE = 15.0

GOOD, NOT_ARRIVED = 0, 1


def run(loaded: Loaded, once: bool) -> int:
    """Serve, show a round trip, and go on serving.

    :param once: end after the round trip. :return: the exit status; 1 if anything did not arrive.
    """
    settings, notes = _free_ports(loaded)
    # The server's log lines would stand between the lines of the demo.
    with NamedTemporaryFile("w", prefix="raccoon-demo-", suffix=".log", delete=False, encoding="utf-8") as log:
        demo = Demo(settings, once, Path(log.name))
        for note in [*loaded.warnings, *notes]:
            demo.say(f"note: {note}")
        quiet = evolve(loaded, settings=settings, warnings=[])
        status = runner.run(quiet, started=demo.start, log_stream=log)
    if status == CANNOT_START:
        demo.say(f"the server could not start:\n{demo.log.read_text('utf-8')}")
    if demo.status == GOOD:
        demo.log.unlink(missing_ok=True)
    return status or demo.status


def _free_ports(loaded: Loaded) -> tuple[Settings, list[str]]:
    """The settings with ports that can be had, where the operator named none."""
    # What is shown happens in one process.
    settings, notes = evolve(loaded.settings, workers=1), []
    for name, part in (("server.websocket.port", "http"), ("server.grpc.port", "grpc")):
        room = getattr(settings, part)
        if loaded.values[name].source == "default" and _taken(room.port):
            notes.append(f"port {room.port} is taken, so {name} is a free one")
            settings = evolve(settings, **{part: evolve(room, port=0)})
    metrics, name = settings.metrics, "metric.prometheus.port"
    if metrics.prometheus and loaded.values[name].source == "default" and _taken(metrics.port):
        notes.append(f"port {metrics.port} is taken, so {name} is a free one")
        settings = evolve(settings, metrics=evolve(metrics, port=_free_port()))
    return settings, notes


def _free_port() -> int:
    """One that nobody has now: unlike the fronts, the metrics do not tell which port they got."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _taken(port: int) -> bool:
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return True
    return False


class Demo:
    """One run of it. :ivar status: how it went. :ivar log: where the server's own lines are."""

    def __init__(self, settings: Settings, once: bool, log: Path) -> None:
        self._settings = settings
        self._once = once
        self.log = log
        self.status = NOT_ARRIVED

    def say(self, line: str) -> None:
        """Show a line to whoever tries this out."""
        print(line, flush=True)

    def start(self, server: Server, reactor: Any) -> None:
        """The server listens: show what it does."""
        ensureDeferred(self._show(server, reactor)).addErrback(self._broke).addCallback(self._end, reactor)

    def _broke(self, failure: Any) -> None:
        problem = failure.value
        if isinstance(problem, KafkaException):
            reason = f"Kafka does not answer: {problem.args[0].str()}"
        else:
            reason = failure.getErrorMessage()
        self.say(f"The demo failed: {reason}\nThe server's log is {self.log}")

    def _end(self, _result: Any, reactor: Any) -> None:
        if self._once or self.status != GOOD:
            reactor.stop()

    async def _show(self, server: Server, reactor: Any) -> None:
        parts, settings = server.parts, self._settings
        if settings.publisher == "log":
            raise ValueError("with the publisher 'log' there is no topic to look into")
        http, grpc = f"127.0.0.1:{parts.http.port}", f"127.0.0.1:{parts.grpc.port}"
        client = dict(settings.kafka.properties)
        if parts.broker:
            client["bootstrap.servers"] = parts.broker.address
        broker = client.get("bootstrap.servers") or client["metadata.broker.list"]
        self.say("raccoon_tx is running")
        self.say(f"  REST       http://{http}/api/v1/events")
        self.say(f"  WebSocket  ws://{http}/api/v1/events")
        self.say(f"  gRPC       grpc://{grpc}")
        if settings.metrics.prometheus and settings.metrics.port:
            self.say(f"  Metrics    http://127.0.0.1:{settings.metrics.port}{settings.metrics.path}")
        where = "  (inside this process, in memory: gone when it ends)" if parts.broker else ""
        self.say(f"  Kafka      {broker}{where}\n")

        def in_thread(call: Callable[..., Any], *arguments: Any) -> Any:
            return deferToThreadPool(reactor, reactor.getThreadPool(), call, *arguments)

        header = settings.identity.id_header
        sent = demo_clients.events(settings.routing.pattern)
        start = await in_thread(demo_clients.ends, client, [topic for _, topic, _ in sent])
        answers = [
            ("REST", await in_thread(demo_clients.by_rest, http, header, sent[0])),
            ("WebSocket", await demo_clients.by_websocket(reactor, http, header, sent[1])),
            ("gRPC", await in_thread(demo_clients.by_grpc, grpc, header, sent[2])),
        ]
        self.say("One event over each transport, and the answers:")
        for name, answer in answers:
            self.say(f"  {name:<10} {answer}")
        arrived = await in_thread(demo_clients.read, client, start, len(sent), PATIENCE)
        self.say("\nWhat stands in the topics now:")
        for topic, value in arrived:
            self.say(f"  {topic:<28} {value.decode('utf-8', 'replace')}")
        missing = {(topic, value) for _, topic, value in sent} - set(arrived)
        if missing or not all('"status":1' in answer for _, answer in answers):
            for topic, value in sorted(missing):
                self.say(f"  {topic:<28} DID NOT ARRIVE: {value.decode()}")
            return
        self.status = GOOD
        self.say("\nEverything arrived.")
        if not self._once:
            self._go_on(http, grpc, broker, header)

    def _go_on(self, http: str, grpc: str, broker: str, header: str) -> None:
        body = json.dumps({"req_guid": "my-first", "events": [{"type": "click", "event_bytes": "aGVsbG8="}]})
        topic = self._settings.routing.pattern.replace("%s", "click", 1)
        self.say("\nSend one yourself:\n")
        self.say(f"  curl -H 'Content-Type: application/json' -H '{header}: me' \\\n    -d '{body}' \\")
        self.say(f"    http://{http}/api/v1/events\n")
        self.say(f"  raccoon send --type click --to ws://{http} '{{\"page\": 1}}'")
        self.say(f"  raccoon send --type click --to grpc://{grpc} '{{\"page\": 2}}'\n")
        self.say("and see what arrives, and how the server is:\n")
        self.say(f"  raccoon tail --brokers {broker}")
        if self._settings.metrics.prometheus and self._settings.metrics.port:
            at = f"127.0.0.1:{self._settings.metrics.port}{self._settings.metrics.path}"
            self.say(f"  raccoon top --from http://{at}\n")
        self.say(f"Any Kafka client can read it as well: topic {topic} at {broker}.")
        self.say(f"The server's log is {self.log}. Ctrl-C ends the demo.")
