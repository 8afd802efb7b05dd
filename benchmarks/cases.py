"""What is measured."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen


@frozen
class Case:
    """One measurement.

    :ivar kind: which of the functions in `measure` makes it. :ivar rate: events per second; 0: as fast as answers come.
    :ivar settings: of the server, by the names that they have in an environment.
    :ivar limit: most that the ratio of the server's CPU to that of its baseline should be.
    :ivar quick: whether it belongs to the quick run. :ivar rarely: whether a full run makes it in every other round.
    """

    name: str
    transport: str = "websocket"
    format: str = "protobuf"
    batch: int = 10
    size: int = 100
    ack: int = 1
    connections: int = 50
    depth: int = 1
    rate: float = 0.0
    seconds: float = 1.5
    kind: str = "load"
    settings: Mapping[str, object] = field(factory=dict)
    limit: float | None = None
    quick: bool = False
    rarely: bool = False

    @property
    def baseline(self) -> str:
        """The baseline that it is compared with."""
        return "empty-grpc" if self.transport == "grpc" else f"raw-{self.batch}-{self.size}"


#: Most that a batch may cost, in times of its baseline, by its events; acknowledgement 1, 100 bytes.
LIMITS = {
    "websocket": {1: 18.0, 10: 4.5, 100: 2.5},
    "rest": {1: 25.0, 10: 6.0, 100: 3.0},
    "grpc": {1: 1.7, 10: 2.0, 100: 3.5},
}


def _loads() -> list[Case]:
    made = []
    for transport, limits in LIMITS.items():
        connections, depth = (8, 8) if transport == "grpc" else (50, 1)
        one = Case("", transport, connections=connections, depth=depth)
        for batch in (1, 10, 100):
            for ack in (1, 0):
                name = f"{transport}-{batch}" + ("" if ack else "-ack0")
                limit = limits[batch] if ack else None
                made.append(evolve(one, name=name, batch=batch, ack=ack, limit=limit, quick=bool(ack)))
            made.append(evolve(one, name=f"{transport}-{batch}-1kB", batch=batch, size=1000, rarely=True))
        if transport != "grpc":
            made.append(evolve(one, name=f"{transport}-10-json", format="json", quick=transport == "websocket"))
    return made


def _paced() -> list[Case]:
    return [
        Case(f"paced-{rate // 1000}k", connections=200, depth=16, rate=rate, seconds=2.5, kind="paced", quick=True)
        for rate in (5_000, 20_000, 50_000)
    ]


ALL: list[Case] = [
    *_loads(),
    *_paced(),
    Case(
        "headline",
        batch=15,
        connections=10_000,
        depth=16,
        rate=150_000,
        seconds=4,
        kind="paced",
        rarely=True,
    ),
    Case(
        "idle",
        connections=10_000,
        seconds=5,
        kind="idle",
        settings={"SERVER_WEBSOCKET_PING_INTERVAL_MS": 5000},
        rarely=True,
    ),
    # As many connections for each worker as the one process has that it is compared with.
    Case("workers-2", connections=100, settings={"SERVER_WORKERS": 2}),
]


def baselines(cases: list[Case]) -> list[Case]:
    """What these cases are compared with, each once."""
    found: dict[str, Case] = {}
    for case in cases:
        if case.kind != "idle":
            kind = "empty" if case.transport == "grpc" else "raw"
            found.setdefault(case.baseline, evolve(case, name=case.baseline, kind=kind, seconds=1.0, settings={}))
    return list(found.values())


def named(names: list[str]) -> list[Case]:
    """The cases of these names. :raises SystemExit: there is no such case."""
    known = {case.name: case for case in ALL}
    for name in names:
        if name not in known:
            raise SystemExit(f"There is no case {name}; there are {', '.join(known)}.")
    return [known[name] for name in names]
