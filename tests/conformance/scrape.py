"""What ``/metrics`` says, read without a library, and what StatsD is told."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable

from attrs import define, field, frozen

from tests.conformance.server import Server
from tests.integration.clients import HOST, request

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

#: A sample: its name, and its labels in the order they are written.
Sample = tuple[str, tuple[tuple[str, str], ...]]


@frozen
class Scrape:
    """One scrape. :ivar types: by the name of the metric. :ivar helps: likewise."""

    types: dict[str, str]
    helps: dict[str, str]
    samples: dict[Sample, float]
    text: str

    def value(self, name: str, **labels: str) -> float:
        """Of one sample; 0 if it is not there."""
        wanted = set(labels.items())
        found = [value for (of, given), value in self.samples.items() if of == name and set(given) == wanted]
        assert len(found) < 2
        return found[0] if found else 0.0

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of all samples of this name."""
        return [dict(given) for of, given in self.samples if of == name]


def read(text: str) -> Scrape:
    """:raises AssertionError: it is not the format."""
    types: dict[str, str] = {}
    helps: dict[str, str] = {}
    samples: dict[Sample, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            helps[name] = words
        elif line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            pairs = tuple(
                (label, re.sub(r"\\.", lambda found: _ESCAPES[found[0]], content))
                for label, content in _LABEL.findall(labels or "")
            )
            assert (name, pairs) not in samples, line
            samples[name, pairs] = float(value)
    return Scrape(types, helps, samples, text)


def scrape(server: Server, path: str = "/metrics") -> Scrape:
    """Ask for the metrics of a server."""
    response = request(_Metrics(server.metrics), "GET", path)
    assert response.status == 200
    return read(response.body.decode())


@frozen
class _Metrics:
    http: int
    grpc: int = 0


@define(eq=False)
class StatsD:
    """Somebody who takes packets. :ivar packets: that came so far."""

    packets: list[bytes] = field(factory=list, init=False)
    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(0.05)

    def __enter__(self) -> StatsD:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def take(self) -> None:
        """What is there now."""
        try:
            while True:
                self.packets.append(self._socket.recv(65536))
        except TimeoutError:
            return

    @property
    def lines(self) -> list[str]:
        """In the order they came."""
        return [line for packet in self.packets for line in packet.decode().split("\n") if line]

    def until(self, condition: Callable[[], bool], patience: float = 10.0) -> None:
        """Take packets until something is true."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.lines)
            self.take()

    def count(self, name: str) -> int:
        """The sum over the lines of a counter; ``name`` with its labels."""
        total = 0
        for line in self.lines:
            of, _, rest = line.partition(":")
            if of == name:
                value, _, kind = rest.partition("|")
                assert kind == "c", line
                total += int(value)
        return total
