"""A whole server inside the process of a test: all transports on free ports, and a broker whose records can be read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from attrs import define, field
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from raccoon_tx.config import load_command_line
from raccoon_tx.options import Options
from raccoon_tx.publishers.embedded import EmbeddedBroker
from raccoon_tx.server import Server
from raccoon_tx.tap import makeService
from raccoon_tx.testing.thread import ReactorThread

__all__ = ["Record", "TestServer"]

#: Unless a test says otherwise. An answer means that the event can be read.
DEFAULTS: Mapping[str, object] = {
    "server.host": "127.0.0.1",
    "server.grpc.host": "127.0.0.1",
    "server.websocket.port": 0,
    "server.grpc.port": 0,
    "server.websocket.conn.id.header": "X-User-ID",
    "server.websocket.conn.group.header": "X-User-Group",
    "server.drain.window.ms": 0,
    "event.ack": 1,
}

#: Seconds that a start, and a stop, may take.
PATIENCE = 30.0


class Record(NamedTuple):
    """What stands in a topic."""

    topic: str
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@define(eq=False)
class TestServer:
    """A server in a thread of this process. Use it as a context manager, or call `start` and `close`.

    Nothing of it is global: it has its own reactor, and there may be several. It logs where Twisted does.

    :ivar settings: by the names of their flags, over `DEFAULTS`.
    :ivar http_port: :ivar grpc_port: known once it has started, and kept when it starts again.
    """

    __test__ = False  # a word for pytest: this is no test

    settings: Mapping[str, object] = field(factory=dict)
    http_port: int = field(default=0, init=False)
    grpc_port: int = field(default=0, init=False)
    _broker: EmbeddedBroker | None = field(default=None, init=False)
    _loop: ReactorThread | None = field(default=None, init=False)
    _server: Server | None = field(default=None, init=False)
    _pattern: str = field(default="", init=False)

    def __enter__(self) -> TestServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        """Where it listens."""
        return "127.0.0.1"

    @property
    def http_url(self) -> str:
        """For REST."""
        return f"http://{self.host}:{self.http_port}/api/v1/events"

    @property
    def websocket_url(self) -> str:
        """For a WebSocket."""
        return f"ws://{self.host}:{self.http_port}/api/v1/events"

    @property
    def grpc_address(self) -> str:
        """For a gRPC channel."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def bootstrap(self) -> str:
        """The address of the broker, for any Kafka client. It outlives a `stop`."""
        if self._broker is None:
            raise RuntimeError("the server has not been started")
        return self._broker.address

    def start(self) -> None:
        """Start it, or start it again after `stop`; return when it takes events.

        :raises ConfigurationError: the settings are wrong.
        """
        if self._server is not None:
            raise RuntimeError("the server runs already")
        if self._broker is None:
            self._broker = EmbeddedBroker()
            self._broker.startService()
        if self._loop is None:
            self._loop = ReactorThread()
            self._loop.start()
        try:
            self._server = self._loop.call(self._make, timeout=PATIENCE)
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _make(self) -> Server:
        """In the reactor's thread."""
        options, loop, broker = Options(), self._loop, self._broker
        assert loop is not None
        assert broker is not None
        kept = {"server.websocket.port": self.http_port, "server.grpc.port": self.grpc_port} if self.http_port else {}
        brokers = {"publisher.kafka.client.bootstrap.servers": broker.address}
        chosen = {**DEFAULTS, **brokers, **self.settings, **kept}
        with TemporaryDirectory() as folder:
            flags = [f"--{name}={value}" for name, value in chosen.items()]
            options.loaded = load_command_line(flags, {}, Path(folder))
        self._pattern = options.loaded.settings.routing.pattern
        server = makeService(options, loop.reactor)
        if not isinstance(server, Server):
            raise ValueError("a server in a test has one worker")
        server.privilegedStartService()
        server.startService()
        self.http_port, self.grpc_port = server.parts.http.port, server.parts.grpc.port
        return server

    def _wait_until_ready(self) -> None:
        assert self._loop is not None
        assert self._server is not None
        publisher, deadline = self._server.parts.publisher, time.monotonic() + PATIENCE
        while not self._loop.call(lambda: publisher.state[0]):
            if time.monotonic() > deadline:
                raise TimeoutError("the server does not get ready")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop it in order, as an operator would. What it took can still be read. Does nothing if it does not run."""
        server, self._server = self._server, None
        if server is not None and self._loop is not None:
            self._loop.call(server.stopService, timeout=PATIENCE)

    def close(self) -> None:
        """Stop it, and forget everything."""
        loop, broker = self._loop, self._broker
        try:
            self.stop()
        finally:
            self._loop = self._broker = None
            if loop is not None:
                loop.stop()
            if broker is not None:
                broker.stopService()

    def topic(self, kind: str) -> str:
        """The topic that events of this type go to."""
        return self._pattern.replace("%s", kind, 1)

    def values(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[bytes]:
        """As `records`, but only the bytes of the events."""
        return [record.value for record in self.records(kind, count, timeout)]

    def records(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[Record]:
        """What has arrived of a type of events, since the beginning. Within a partition it is in order.

        :param count: so many are waited for; if there are more by then, all of them are returned.
        :raises AssertionError: after so many seconds there are fewer.
        """
        topic, deadline = self.topic(kind), time.monotonic() + timeout
        found: list[Record] = []
        with closing(_consumer(self.bootstrap)) as consumer:
            ends = _ends(consumer, topic)
            while sum(ends.values()) < count and time.monotonic() < deadline:
                time.sleep(0.01)
                ends = _ends(consumer, topic)
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number, end in ends.items() if end])
            while len(found) < sum(ends.values()) and time.monotonic() < deadline:
                found += _taken(consumer)
        if len(found) < count:
            raise AssertionError(f"{len(found)} of {count} records arrived in {topic} within {timeout:g} s: {found}")
        return found


def _consumer(bootstrap: str) -> Any:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",  # asked for, but partitions are assigned by hand and nothing is committed
            "enable.auto.commit": False,
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 10,
            "log_level": 3,
        }
    )


def _ends(consumer: Any, topic: str) -> dict[int, int]:
    """How many records each partition has; nothing of a topic that is not there yet."""
    known = consumer.list_topics(timeout=PATIENCE).topics
    if topic not in known:
        return {}
    places = {number: TopicPartition(topic, number) for number in known[topic].partitions}
    return {number: consumer.get_watermark_offsets(place, timeout=PATIENCE)[1] for number, place in places.items()}


def _taken(consumer: Any) -> Iterator[Record]:
    for message in consumer.consume(500, timeout=0.05):
        if message.error() is None:
            yield Record(message.topic(), message.value() or b"", message.key(), tuple(message.headers() or ()))
