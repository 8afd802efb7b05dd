"""The documentation is true: its samples run, its tables are complete, and what it quotes stands in the source.

In the pages a comment before a code block says what the block is:

* ``<!-- sample NAME on=SERVER -->``: is run. Blocks of one name are run one after another, in one folder.
* ``<!-- prints NAME -->``: what they print, all together.
* ``<!-- topics NAME -->``: what then stands in the topics: topic and value of each record.
* ``<!-- server SERVER -->``: what an operator types before ``raccoon server``. Without ``on=`` it is nothing.
* ``<!-- file NAME PATH -->``: a file that has to be there.

A sample has the default ports; they are replaced by those of a server with a broker inside, in a process of its own.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from attrs import define, field, frozen

from raccoon_tx.config.keys import KEYS
from raccoon_tx.ingest import REASONS
from raccoon_tx.metrics.names import KNOWN
from tests.integration.consume import read_all

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}

#: Seconds that a start, a stop and a sample may take.
PATIENCE = 30.0

#: What a server gets unless the page says otherwise. At a stop it has nobody to be gentle with.
ENVIRONMENT = {
    "SERVER_WEBSOCKET_CONN_ID_HEADER": "X-User-ID",
    "SERVER_WEBSOCKET_CONN_GROUP_HEADER": "X-User-Group",
    "SERVER_DRAIN_WINDOW_MS": "0",
    "PUBLISHER_TYPE": "embedded",
    "EVENT_ACK": "1",
}

#: The ports of the samples. The last is that of the embedded broker, which chooses it itself.
HTTP, GRPC, METRICS, KAFKA = 8080, 8081, 9090, 9092

_BLOCK = re.compile(r"^<!-- (sample|prints|topics|server|file) (\S+)(?: (\S+))? -->\n```(\w+)\n(.*?)^```$", re.M | re.S)
_BROKER = re.compile(r"EMBEDDED BROKER at 127\.0\.0\.1:(\d+)")


@frozen
class Block:
    """A code block. :ivar option: the third word of its comment. :ivar language: of the fence."""

    kind: str
    name: str
    option: str
    language: str
    text: str


BLOCKS = [Block(*(group or "" for group in match)) for text in PAGES.values() for match in _BLOCK.findall(text)]


def blocks(kind: str, name: str) -> list[Block]:
    """The blocks of this kind and name, in their order."""
    return [block for block in BLOCKS if (block.kind, block.name) == (kind, name)]


SAMPLES = list(dict.fromkeys(block.name for block in BLOCKS if block.kind == "sample"))


def environment() -> dict[str, str]:
    """What every process gets: of the settings of whoever runs the tests, nothing."""
    kept = ("HOME", "LANG", "PYTHONPATH", "TZ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "PATH": path, "NO_PROXY": "*"}


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@define(eq=False)
class Server:
    """A server in a process of its own. :ivar folder: it was started in. :ivar ports: by those of the samples."""

    folder: Path
    ports: dict[int, int]
    _process: subprocess.Popen[bytes]
    _typed: str

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def wait_until_ready(self) -> None:
        """Wait, and find out where its broker is."""
        deadline = time.monotonic() + PATIENCE
        while " is ready: " not in self.log:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)
        broker = _BROKER.search(self.log)
        assert broker is not None, self.log
        self.ports[KAFKA] = int(broker[1])
        while not self._takes_events():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)

    def _takes_events(self) -> bool:
        scheme = "https" if "TLS" in self._typed else "http"
        unverified = ssl._create_unverified_context()
        try:
            urlopen(f"{scheme}://127.0.0.1:{self.ports[HTTP]}/readyz", timeout=PATIENCE, context=unverified).close()
        except HTTPError:
            return False
        return True

    def stop(self) -> None:
        """Stop it in order; nothing was lost, and nothing in its log is for its authors."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE) == 0, self.log
        assert "Traceback" not in self.log

    def kill(self) -> None:
        """End it if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)


def start(name: str, folder: Path) -> Server:
    """Start the server of this name; it need not be ready yet."""
    folder.mkdir(exist_ok=True)
    ports = {port: free_port() for port in (HTTP, GRPC, METRICS)}
    own = {
        "SERVER_WEBSOCKET_PORT": str(ports[HTTP]),
        "SERVER_GRPC_PORT": str(ports[GRPC]),
        "METRIC_PROMETHEUS_PORT": str(ports[METRICS]),
    }
    typed = "".join(block.text for block in blocks("server", name))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-euc", f"{typed}\nexec raccoon server"],
            cwd=folder,
            env={**environment(), **ENVIRONMENT, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return Server(folder, ports, process, typed)


@define
class Servers:
    """Servers by name, started when they are first asked for."""

    folder: Path
    running: dict[str, Server] = field(factory=dict)

    def __getitem__(self, name: str) -> Server:
        server = self.running.get(name)
        if server is None:
            server = start(name, self.folder / (name or "plain"))
            try:
                server.wait_until_ready()
            except BaseException:
                server.kill()
                raise
            self.running[name] = server
        return server


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All servers of the pages."""
    made = Servers(tmp_path_factory.mktemp("servers"))
    try:
        yield made
        for server in made.running.values():
            server.stop()
    finally:
        for server in made.running.values():
            server.kill()


def command(block: Block) -> list[str]:
    """What runs a block."""
    programs = {
        "sh": ["bash", "-euo", "pipefail", "-c"],
        "python": [sys.executable, "-c"],
        # In Node.js 20 what every browser has is there only on demand.
        "javascript": ["node", "--experimental-websocket", "--input-type=module", "-e"],
    }
    return [*programs[block.language], block.text]


def missing_program(text: str) -> str | None:
    """A program that ``text`` needs and this machine lacks."""
    words = {"curl", "openssl", "gzip", "node"} & set(re.findall(r"\w+", text))
    return next((word for word in sorted(words) if shutil.which(word) is None), None)


def make_stubs(folder: Path) -> None:
    """What ``grpc_tools`` would generate, where it is not installed."""
    for name in ("raccoon_pb2", "raccoon_pb2_grpc"):
        module = folder / f"raystack/raccoon/v1beta1/{name}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(f"from raccoon_tx._proto.raystack.raccoon.v1beta1.{name} import *\n")


def run(block: Block, folder: Path, ports: Mapping[int, int]) -> str:
    """Run a block in a folder. :return: what it prints."""
    if "grpc_tools" in block.text and find_spec("grpc_tools") is None:
        make_stubs(folder)
        return ""
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda match: str(ports[int(match[0])]), block.text)
    ended = subprocess.run(
        command(Block(block.kind, block.name, block.option, block.language, text)),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return "".join(f"{line}\n" for line in ended.stdout.splitlines())


def comparable(text: str) -> list[str]:
    """What was or should be printed, without what differs each time: when an answer or a record was sent, and how long
    it took."""
    text = re.sub(r'"sent_time":\d{10}', '"sent_time":0', text)
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "00:00:00.000 ", text, flags=re.M)
    return re.sub(r"[\d.]+ ms", "0 ms", text).rstrip("\n").split("\n")


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str, servers: Servers, tmp_path: Path) -> None:
    """It does, and prints, what the page says."""
    steps, printed, topics = blocks("sample", name), blocks("prints", name), blocks("topics", name)
    on = next((block.option.removeprefix("on=") for block in steps if block.option), "")
    everything = "".join(block.language + block.text for block in [*steps, *blocks("server", on)])
    lacks = missing_program(everything.replace("javascript", "node "))
    if lacks is not None:
        pytest.skip(f"this machine has no {lacks}")
    ports: Mapping[int, int] = {}
    if topics or "127.0.0.1" in everything:
        ports = servers[on].ports
    if on:
        shutil.copytree(servers[on].folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    for file in blocks("file", name):
        (tmp_path / file.option).write_text(file.text)
    output = "".join(run(step, tmp_path, ports) for step in steps)
    assert comparable(output) == comparable("".join(block.text for block in printed))
    expected: dict[str, list[bytes]] = {}
    for line in "".join(block.text for block in topics).splitlines():
        topic, value = line.split(maxsplit=1)
        expected.setdefault(topic, []).append(value.encode())
    if expected:
        found = read_all(f"127.0.0.1:{ports[KAFKA]}", expected, sum(map(len, expected.values())), PATIENCE)
        assert {topic: sorted(values) for topic, values in found.items()} == {
            topic: sorted(values) for topic, values in expected.items()
        }


def test_blocks_belong_together() -> None:
    """No comment is misspelt, and nothing that is expected belongs to a sample that is not there."""
    marked = sum(len(re.findall(r"^<!-- ", text, re.M)) for text in PAGES.values())
    assert len(BLOCKS) == marked
    assert {block.name for block in BLOCKS if block.kind in ("prints", "topics", "file")} <= set(SAMPLES)
    on = {block.option.removeprefix("on=") for block in BLOCKS if block.kind == "sample" and block.option}
    assert on == {block.name for block in BLOCKS if block.kind == "server"}


def words_of_the_source() -> list[list[str]]:
    """Every text in the source, in the pieces between which something is filled in."""
    found = []
    for path in sorted((ROOT / "raccoon_tx").rglob("*.py")):
        if "_proto" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append(re.split(r"\0+", "".join(parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.split(r"\{\w+\}", node.value.strip("\n")))
    return [pieces for pieces in found if len(re.findall("[A-Za-z]", "".join(pieces))) >= 5]


#: What the system and librdkafka say, within texts of ours.
OTHERS = [
    "Address already in use",
    "Permission denied",
    "file is not a database",
    "Expecting value at character",
    "Failed to get metadata: Local: Broker transport failure",
    "Broker: Unknown topic or partition",
    "Broker: Producer fenced",
    "Failed to create producer",
]


def unexplained(quote: str, source: list[list[str]]) -> list[str]:
    """What is left of a quotation without the texts of the source. What was filled in is words of their own."""
    text = re.sub(r"\[\S+\] [\w-]+", "IDENTITY", re.sub(r"[A-Z_]+ \(--[a-z.]+\)", "SETTING", quote))
    left = list(text)
    for pieces in [*source, *([other] for other in OTHERS)]:
        if all(piece in text for piece in pieces):
            match = re.search(".*?".join(f"({re.escape(piece)})" for piece in pieces), text)
            for begin, end in match.regs[1:] if match is not None else ():
                left[begin:end] = "\0" * (end - begin)
    return [gap for gap in re.split("[\0:,()]+", "".join(left)) if " " in gap.strip(" '\"")]


def quotations() -> list[str]:
    """What the pages say that the server says."""
    return [quote for text in PAGES.values() for quote in re.findall(r"\{says\}`([^`]+)`", text)]


@pytest.mark.parametrize("quote", list(dict.fromkeys(quotations())))
def test_quotation(quote: str, source: list[list[str]]) -> None:
    """The server really says so."""
    assert unexplained(quote, source) == []


@pytest.fixture(scope="module")
def source() -> list[list[str]]:
    """All texts of the source."""
    return words_of_the_source()


def test_quotations_are_looked_at(source: list[list[str]]) -> None:
    """Words that the server does not say are found."""
    for quote in (
        "cannot listen on HTTP port *:8080: the address is in use",
        "invalid events: event 0 (): its type is missing",
        "we are shutting down, send it again later",
    ):
        assert unexplained(quote, source) != []


def test_reasons() -> None:
    """Every reason under which a batch is counted is explained."""
    for reason in REASONS.values():
        assert f"\n| `{reason}` |" in PAGES["metrics.md"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built without a warning: with that, links lead somewhere and settings that are named exist."""
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(package)
    target = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(target)],
        cwd=target,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return target


def test_every_setting(site: Path) -> None:
    """Every setting is in the reference, under its three names."""
    page = (site / "configuration.html").read_text("utf-8")
    for key in KEYS:
        row = page[page.index(f'id="setting-{re.sub("[._]", "-", key.name)}"') :]
        for name in (key.name, key.env, f"--{key.flag}"):
            assert name in re.sub("<[^>]+>", "", row[: row.index("</tr>")])


def test_every_metric(site: Path) -> None:
    """Every metric is in the reference, with its labels."""
    page = (site / "metrics.html").read_text("utf-8")
    for family in KNOWN:
        name = family.name.replace("%", "kafka")
        row = page[page.index(f'id="metric-{name.replace("_", "-").lower()}"') :]
        text = re.sub("<[^>]+>", "", row[: row.index("</tr>")])
        for word in (name, *family.labels):
            assert word in text
