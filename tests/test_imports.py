"""Who may know whom: events go transports -> codec -> ingest -> publisher, and imports with them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import raccoon_tx

HOME = Path(raccoon_tx.__file__).parent
NAME = "raccoon_tx"

#: May not know Twisted: plain data, and what turns bytes into it.
PLAIN = {
    "model",
    "settings",
    "routing",
    "report",
    "records",
    "dedup",
    "descriptors",
    "ratelimit",
    "metrics.counts",
    "metrics.names",
    "metrics.families",
    "metrics.exposition",
    "metrics.view",
    "metrics.statsd_lines",
    "metrics.kafka_statistics",
    "publishers.accounts",
    "publishers.watchdog",
    "spool.entry",
    "spool.database",
    "spool.folder",
    "spool.errand",
    "spool.ledger",
    "spool.trial",
    "spool.tools",
    "publishers.whereabouts",
    "tools.events",
    "tools.health",
    "tools.look",
    "tools.where",
    "tools.topics",
    "tools.tail",
    "delivery",
    "ingest",
    "codec",
    "workers.messages",
    "workers.link",
    "workers.patience",
    "workers.table",
    "workers.memory",
    "workers.remote",
    "workers.merge",
    "workers.states",
    "workers.backoff",
    "workers.ports",
    "transports.identity",
    "transports.connections",
    "transports.media",
    "transports.upgrade",
    "transports.cors",
    "transports.health",
    "transports.plain",
    "transports.deadlines",
    "config",
    "client.address",
    "client.aio",
    "client.core",
    "client.engine",
    "client.rest",
    "client.wire",
}

#: Put the parts together, or run them, so they may know everybody.
ABOVE = {
    *("tap", "server", "runner", "spool_drain", "demo", "demo_clients", "bench", "cli", "options", "signals", "reload"),
    *("process", "workers", "testing", "tools"),
}

#: What each room may know of the others, beside itself; everybody may know `model`, `settings`, `clock`, `logs`
#: and `metrics.counts`.
ALLOWED = {
    "model": set(),
    "settings": set(),
    "report": set(),
    "metrics": set(),
    "routing": {"report"},
    "records": {"routing"},
    "dedup": set(),
    "descriptors": set(),
    "ratelimit": set(),
    "codec": {"_proto"},
    "delivery": {"report", "routing"},
    "ingest": {"codec", "dedup", "delivery", "ratelimit", "routing"},
    "transports": {"codec", "ingest", "reactor"},
    "reactor": set(),
    "publishers": {"delivery", "report", "routing"},
    "spool": {"delivery"},
    "config": set(),
    "client": {"_proto"},
    "clock": set(),
    "pipeline": set(),
    "logs": set(),
    "systemd": set(),
}


def modules() -> dict[str, Path]:
    """Every module of ours, by its name without the package."""
    found = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = list(path.relative_to(HOME).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def imported(path: Path) -> set[str]:
    """The full names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module: str) -> str:
    return module.split(".")[0]


def ours(path: Path) -> set[str]:
    """The rooms of ours that a module imports."""
    prefix = NAME + "."
    return {room(name[len(prefix) :]) for name in imported(path) if name.startswith(prefix)}


class ImportTests(SynchronousTestCase):
    def test_arrow(self) -> None:
        """Imports follow the arrow or point at `model`."""
        for module, path in modules().items():
            if room(module) in ALLOWED:
                known = ours(path) - {room(module), "model", "settings", "clock", "logs", "metrics"}
                self.assertLessEqual(known, ALLOWED[room(module)], f"{module} imports what it may not know")

    def test_counts_alone(self) -> None:
        """Of the metrics, those who count know only what is counted; who sends it out is the exporters' business."""
        for module, path in modules().items():
            if room(module) not in ABOVE | {"metrics"}:
                known = {name for name in imported(path) if name.startswith(f"{NAME}.metrics")}
                exporters = {name for name in known if not name.startswith(f"{NAME}.metrics.counts")}
                self.assertEqual(exporters, set(), module)

    def test_nobody_looks_up(self) -> None:
        """Only what stands above puts the parts together: nobody else imports it."""
        for module, path in modules().items():
            if room(module) not in ABOVE:
                self.assertEqual(ours(path) & ABOVE, set(), module)

    def test_workers(self) -> None:
        """What workers share is told apart from how they are started, watched and put together."""
        above = {module for module, path in modules().items() if ours(path) & (ABOVE - {"workers"})}
        of_workers = {module for module in above if room(module) == "workers"}
        self.assertEqual(of_workers, {"workers.child", "workers.crew", "workers.parent"})

    def test_one_process(self) -> None:
        """With one worker there is no parent: nothing imports what several need before somebody wants it."""
        code = "import sys, raccoon_tx.runner, raccoon_tx.tap; print([m for m in sys.modules if 'tx.workers' in m])"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout, "[]\n")

    def test_client_alone(self) -> None:
        """A program that sends events loads neither the server nor a transport or loop that it does not use."""
        for module, needs in (("aio", set()), ("tx", {"twisted", "autobahn"})):
            code = f"import sys, raccoon_tx.client.{module}; print(*sys.modules)"
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            loaded = said.stdout.split()
            heavy = {
                "twisted",
                "autobahn",
                "klein",
                "grpc",
                "confluent_kafka",
                "websockets",
                "yaml",
                "prometheus_client",
            }
            self.assertEqual({name.split(".")[0] for name in loaded} & heavy, needs)
            rooms = {room(name.removeprefix("raccoon_tx.")) for name in loaded if name.startswith("raccoon_tx.")}
            self.assertEqual(rooms, {"client", "model", "_proto"})

    def test_all_rooms_are_known(self) -> None:
        """Every module has its place in this test, so that a new one is thought about."""
        others = {room(module) for module in modules()} - set(ALLOWED) - ABOVE
        self.assertEqual(others, {"", "_proto", "_version"})

    def test_plain_data(self) -> None:
        """What is plain data, the codecs and `ingest` do not know Twisted; `model` knows nothing of ours."""
        names = modules()
        for module, path in names.items():
            if module in PLAIN or room(module) in PLAIN:
                frameworks = {name.split(".")[0] for name in imported(path)} & {"twisted", "klein", "autobahn", "grpc"}
                self.assertEqual(frameworks, set(), module)
        self.assertEqual(ours(names["model"]), set())
        self.assertLessEqual(PLAIN, set(names))

    def test_only_codecs_read_messages(self) -> None:
        """The generated messages are the codecs' business (and that of clients: ours, and those that play others')."""
        readers = {module for module, path in modules().items() if "_proto" in ours(path)}
        known = {"codec.protobuf", "client.wire", "demo_clients", "bench.batches", "tools.events"}
        self.assertLessEqual({module for module in readers if room(module) != "_proto"}, known)

    def test_global_reactor(self) -> None:
        """Nobody imports the global reactor but those who run it."""
        users = {module for module, path in modules().items() if "twisted.internet.reactor" in imported(path)}
        self.assertEqual(users, {"tap", "runner", "bench", "workers.child", "spool_drain", "tools.send"})

    def test_kafka_has_one_home(self) -> None:
        """The Kafka client is known to the publishers, and to those who check or show what it says."""
        users = {room(module) for module, path in modules().items() if "confluent_kafka" in str(imported(path))}
        self.assertLessEqual(users, {"publishers", "config", "testing", "process", "demo", "demo_clients", "tools"})
