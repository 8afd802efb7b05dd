"""Plays the first ten minutes of a newcomer, and writes down what he types and sees: docs/first-ten-minutes.md.

    python tools/first_ten_minutes.py                                      # plays, and prints the page
    python tools/first_ten_minutes.py --write docs/first-ten-minutes.md

It begins in an empty folder with a new virtual environment and the wheel of this checkout, and needs curl, Java 17 and
Maven, which fetches Apache Kafka. The ports are those of the page, in a network of their own where the system lets us
have one (`unshare`); else they have to be free. A step that does not do what the page says of it ends the play with
status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.integration.kafka_node import VERSION as KAFKA  # noqa: E402
from tools.release import build  # noqa: E402

#: Seconds that a step may take, and a start.
PATIENCE = 120.0

HEAD = """\
# The first ten minutes

What a newcomer types, and what he sees: a transcript, played from an empty folder with a new virtual environment and
the wheel, and checked while it was played. `python tools/first_ten_minutes.py --write docs/first-ten-minutes.md` plays
it again and writes this page. [](getting-started.md) explains more and shows less.
"""

POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
log.dirs=kafka-data
offsets.topic.replication.factor=1
"""

OLD_CLIENT = """\
import grpc
from raystack.raccoon.v1beta1.raccoon_pb2 import Event, SendEventRequest, SendEventResponse

with grpc.insecure_channel("127.0.0.1:8081") as channel:
    send_event = channel.unary_unary(
        "/raystack.raccoon.v1beta1.EventService/SendEvent",
        request_serializer=SendEventRequest.SerializeToString,
        response_deserializer=SendEventResponse.FromString,
    )
    batch = SendEventRequest(req_guid="old-1", events=[Event(type="click", event_bytes=b'{"by":"an old client"}')])
    print(send_event(batch, metadata=[("x-user-id", "phone-3")], timeout=10))
"""


class Unexpected(Exception):
    """A step did not do what the page says of it."""


class Play:
    """:ivar folder: where all of it happens. :ivar page: what has been written so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page: list[str] = []

    def environment(self) -> dict[str, str]:
        """Of a newcomer: of the settings of whoever plays, nothing."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "JAVA_HOME") if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "MAVEN_"))}
        return {**kept, "PATH": f"{self.folder}/venv/bin:{os.environ['PATH']}", "TMPDIR": str(self.folder / "tmp")}

    def clean(self, text: str) -> str:
        """Without what is of this machine."""
        return re.sub(rf"{re.escape(str(self.folder))}/?|\x1b\[\d*m", "", text).rstrip("\n")

    def say(self, text: str) -> None:
        """Prose."""
        for part in text.split("\n\n"):
            plain = not part.startswith(("#", "```"))
            self.page.append(fill(part, 120, break_long_words=False, break_on_hyphens=False) if plain else part)

    def show(self, language: str, text: str) -> None:
        """A block."""
        self.page.append(f"```{language}\n{text}\n```")

    def file(self, name: str, text: str, language: str) -> None:
        """Write a file, as the newcomer would with an editor."""
        (self.folder / name).write_text(text)
        self.say(f"`{name}`:")
        self.show(language, text.rstrip("\n"))

    def type(self, command: str, *expected: str, status: int = 0) -> str:
        """Type a command and wait for its end. :param expected: patterns of what it prints."""
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self._shown(command, ended.stdout)
        if ended.returncode != status:
            raise Unexpected(f"{command}\nended with status {ended.returncode}, not {status}:\n{ended.stdout}")
        for pattern in expected:
            if not re.search(pattern, ended.stdout):
                raise Unexpected(f"{command}\ndid not print {pattern!r}, but:\n{ended.stdout}")
        return ended.stdout

    def _shown(self, command: str, output: str) -> None:
        printed = self.clean(output)
        # Without a shell in between the process can be told to stop; a newcomer has Ctrl-C.
        typed = command.replace("\n", "\n> ").replace("exec ", "")
        self.show("console", f"$ {typed}" + (f"\n{printed}" if printed else ""))

    @contextmanager
    def other_terminal(self, command: str, until: str | int) -> Iterator[subprocess.Popen[bytes]]:
        """Type a command in a terminal of its own, and wait until it prints what matches, or listens on this port.
        Ctrl-C at the end."""
        log = self.folder / "tmp" / f"terminal-{len(self.page)}"
        with log.open("wb") as output:
            started = subprocess.Popen(
                ["bash", "-c", command if "; " in command else f"exec {command}"],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._until(started, log, until)
            self._shown(command, log.read_text(errors="replace"))
            yield started
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGINT)
                try:
                    started.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    os.killpg(started.pid, signal.SIGKILL)
                    started.wait()

    def _until(self, started: subprocess.Popen[bytes], log: Path, until: str | int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (listens(until) if isinstance(until, int) else re.search(until, log.read_text(errors="replace"))):
            if started.poll() is not None or time.monotonic() > deadline:
                raise Unexpected(f"did not get to {until!r}, but printed:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)


def listens(port: int) -> bool:
    """Whether anybody does."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def install(play: Play, wheel: Path) -> None:
    """With the network."""
    shutil.copy(wheel, play.folder)
    play.say("## Install\n\nPython 3.10 or newer on Linux. Nothing is compiled.")
    play.type("python3 -m venv venv")
    play.type(f"venv/bin/pip install --quiet --disable-pip-version-check ./{wheel.name}")
    play.say(
        "In a clone, `pip install .` does the same; `python3 bootstrap.py demo` does all of this step and the next by "
        "itself."
    )
    play.type(". venv/bin/activate; raccoon --version", r"^raccoon_tx \d")
    play.say("One of the steps below speaks WebSocket from Python:")
    play.type("pip install --quiet --disable-pip-version-check websockets")


def demo(play: Play) -> None:
    """With a Kafka inside the process."""
    play.say("## See it work\n\nA server with a Kafka inside, in a terminal of its own:")
    with play.other_terminal("raccoon demo", "Everything arrived."):
        play.say("## Send an event\n\n`aGVsbG8=` is `hello` in base64.")
        play.type(
            FIRST_EVENT,
            r'^{"status":1,"code":1,"sent_time":\d+,"data":{"req_guid":"my-first"}}$',
        )
        mistakes(play)
        tools(play)
        bench(play)
    play.say("Ctrl-C ends the demo, and its Kafka with it.")


def mistakes(play: Play) -> None:
    """On purpose."""
    play.say("## Make mistakes\n\nNo content type (curl says it is a form):")
    play.type(
        "curl -s http://127.0.0.1:8080/api/v1/events -d '{\"events\":[]}'",
        r'"code":2.*"reason":"invalid content type"}$',
    )
    play.say("Broken JSON:")
    broken = """'{"req_guid":"2","events":['"""
    play.type(
        f"curl -s http://127.0.0.1:8080/api/v1/events -H 'Content-Type: application/json' -d {broken}",
        r'"code":2.*"reason":"deserialization failure"}$',
    )
    play.say(
        "Over REST these two reasons are what they are in raystack/raccoon, word for word. What is wrong with the body "
        "is told over WebSocket:"
    )
    play.type(
        "python3 - <<'END'\n"
        "from websockets.sync.client import connect\n"
        'with connect("ws://127.0.0.1:8080/api/v1/events") as socket:\n'
        '    socket.send(\'{"req_guid":"2","events":[\')\n'
        "    print(socket.recv())\n"
        "END",
        "cannot deserialize request: ",
    )
    play.say("Names in camelCase are no mistake here; the old server published an empty record:")
    play.type(
        "curl -s http://127.0.0.1:8080/api/v1/events -H 'Content-Type: application/json' \\\n"
        '  -d \'{"reqGuid":"3","events":[{"type":"click","eventBytes":"Y2FtZWw="}]}\'',
        r'^{"status":1,.*"req_guid":"3"}}$',
    )
    play.say("A type that cannot be a topic:")
    play.type(
        "curl -s http://127.0.0.1:8080/api/v1/events -H 'Content-Type: application/json' \\\n"
        '  -d \'{"req_guid":"4","events":[{"type":"my clicks","event_bytes":"aGVsbG8="}]}\'',
        r"illegal type: only letters, digits",
    )
    play.say("A flag that is misspelt, and a server without a Kafka:")
    play.type("raccoon server --event.akc 1", "did you mean", status=1)
    play.type("raccoon server", "SERVER_WEBSOCKET_CONN_ID_HEADER", "BOOTSTRAP_SERVERS", status=1)


def tools(play: Play) -> None:
    """Over each transport."""
    play.say("## Send with a tool, over each transport")
    for address in ("http://127.0.0.1:8080", "ws://127.0.0.1:8080", "grpc://127.0.0.1:8081"):
        transport = address.partition(":")[0]
        play.type(f'raccoon send --type click --to {address} \'{{"over":"{transport}"}}\'', "accepted   1 event")
    play.say("## See what has arrived")
    play.type("raccoon tail --type click -n 6", "hello\n", "camel\n", '"over":"http"', '"over":"ws"', '"over":"grpc"')


def bench(play: Play) -> None:
    """A short one."""
    play.say("## See what it can do\n\nA load for the server that runs; without `--to`, for one of its own:")
    play.type("raccoon bench --to ws://127.0.0.1:8080 --seconds 3", "accepted")


SETTINGS = """\
export SERVER_WEBSOCKET_CONN_ID_HEADER=X-User-ID
export PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS=127.0.0.1:9092
export EVENT_ACK=1
"""

#: As in the README and in docs/getting-started.md.
FIRST_EVENT = """\
curl -s -H 'Content-Type: application/json' -H 'X-User-ID: me' \\
  -d '{"req_guid":"my-first","events":[{"type":"click","event_bytes":"aGVsbG8="}]}' \\
  http://127.0.0.1:8080/api/v1/events"""

START_KAFKA = "java -cp 'kafka/*' kafka.Kafka server.properties"


def fetch_kafka(play: Play) -> None:
    """With the network."""
    play.say(
        """\
## Take a real Kafka

If you have one, go on with the next step. If you have Docker, `deploy/` has a compose file. The archive from
<https://kafka.apache.org/downloads> will do as well; in it the two programs below are called so:

```sh
bin/kafka-storage.sh format --standalone -t $(bin/kafka-storage.sh random-uuid) -c config/server.properties
bin/kafka-server-start.sh config/server.properties
```

With Java 17 and Maven alone it goes like this:"""
    )
    play.file("pom.xml", POM.format(version=KAFKA), "xml")
    play.type("mvn -q dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=kafka")
    play.file("server.properties", PROPERTIES, "properties")


def format_kafka(play: Play) -> None:
    """Once."""
    play.type(
        "java -cp 'kafka/*' kafka.tools.StorageTool format -t first-ten-minutes-0000A -c server.properties 2>/dev/null",
        "ormatting",
    )


def with_kafka(play: Play) -> None:
    """The same commands, and what happens when it is away."""
    with ExitStack() as stack:
        kafka = stack.enter_context(play.other_terminal(START_KAFKA, 9092))
        play.say("## Point the server at it\n\nIn the environment, or in a file: [](getting-started.md).")
        (play.folder / "settings").write_text(SETTINGS)
        play.say("`settings`:")
        play.show("sh", SETTINGS.strip())
        play.type(". ./settings; raccoon config check", "configuration is valid")
        server = play.other_terminal(". ./settings; exec raccoon server", " is ready: ")
        stack.enter_context(server)
        play.say("The same commands as before:")
        play.type(
            FIRST_EVENT,
            r'^{"status":1,',
        )
        for address in ("ws://127.0.0.1:8080", "grpc://127.0.0.1:8081"):
            play.type(f"raccoon send --type click --to {address} one two three", "accepted   3 events")
        play.type("raccoon tail --type click --brokers 127.0.0.1:9092 -n 7", r"(?s)hello.*three.*three")
        old_client(play)
        play.say("## Stop Kafka\n\nWith Ctrl-C in its terminal.")
        os.killpg(kafka.pid, signal.SIGINT)
        kafka.wait(PATIENCE)
        wait_until("not ready")
        play.type("curl -s http://127.0.0.1:8080/readyz", "not ready")
        play.say(
            "With `event.ack` 1 nothing is acknowledged that Kafka does not have. The client is told that it is worth "
            "trying again, and when:"
        )
        play.type(
            "curl -si http://127.0.0.1:8080/api/v1/events -H 'Content-Type: application/json' \\\n"
            '  -d \'{"req_guid":"6","events":[{"type":"click","event_bytes":"aGVsbG8="}]}\'',
            r"HTTP/1.1 503 ",
            r"Retry-After: \d",
            "Kafka cannot be reached",
        )
        play.say("`raccoon send` tries again by itself. It is started now, and Kafka a moment later:")
        command = "raccoon send --type click --attempts 20 'sent while Kafka was away'"
        sending = subprocess.Popen(
            ["bash", "-c", command],
            cwd=play.folder,
            env=play.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        time.sleep(2)
        stack.enter_context(play.other_terminal(START_KAFKA, 9092))
        output, _ = sending.communicate(timeout=PATIENCE)
        play.show("console", f"$ {command}\n{play.clean(output)}")
        if sending.returncode or "accepted   1 event" not in output:
            raise Unexpected(output)
        play.type("raccoon tail --type click --brokers 127.0.0.1:9092 -n 1", "sent while Kafka was away")
        spool(play, stack)


def spool(play: Play, stack: ExitStack) -> None:
    """Kafka away again, and then the server killed."""
    play.say(
        "## Keep events on the disk\n\nA client that cannot wait wants `event.ack` 2: its batch is acknowledged when "
        "it is on the server's disk, and delivered when Kafka is there. Stop the server and Kafka, and start the "
        "server with a spool:"
    )
    stack.close()
    spooling = ". ./settings; exec raccoon server --event.ack 2 --spool.path spool"
    with play.other_terminal(spooling, " is ready: ") as server:
        play.type("raccoon send --type click 'sent while Kafka was away again'", "accepted   1 event")
        play.type("raccoon spool status --spool.path spool", r"\nbatches: 1\n")
        play.say(f"It is on the disk, so even the worst may happen to the server, process {server.pid}:")
        play.type(f"kill -KILL {server.pid}")
        server.wait(PATIENCE)
    play.say("Start both again, in their terminals, and wait a moment:")
    with play.other_terminal(START_KAFKA, 9092), play.other_terminal(spooling, " is ready: "):
        wait_until(r'"batches": 0\b')
        play.type("raccoon tail --type click --brokers 127.0.0.1:9092 -n 1", "sent while Kafka was away again")


def wait_until(pattern: str) -> None:
    """For what ``/readyz`` says."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        command = ["curl", "-s", "http://127.0.0.1:8080/readyz"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if re.search(pattern, found):
            return
        time.sleep(0.2)
    raise Unexpected(f"the server does not say {pattern!r}, but {found}")


def get_old_client(play: Play) -> None:
    """With the network."""
    play.say(
        "## Point an old client at it\n\nClients of raystack/raccoon need no change but the address. Here are the "
        "messages as raystack publishes them for Python, in an environment that knows nothing of raccoon_tx:"
    )
    play.type("python3 -m venv old")
    play.type("old/bin/pip install --quiet --disable-pip-version-check grpcio protobuf")
    play.type("old/bin/pip install --quiet --disable-pip-version-check --no-deps raystack-proton")
    play.file("old_client.py", OLD_CLIENT, "python")


def old_client(play: Play) -> None:
    """What was fetched before."""
    play.page += json.loads((play.folder / "tmp" / "old.json").read_text())
    play.type("old/bin/python old_client.py", "status: STATUS_SUCCESS", "code: CODE_OK", 'value: "old-1"')
    play.type("raccoon tail --type click --brokers 127.0.0.1:9092 -n 1", "an old client")
    play.say("[](migration.md) says what else to look at before the old server goes.")


def in_own_network(folder: Path) -> list[str]:
    """The command line of the part that needs ports but no network."""
    command = [sys.executable, __file__, "--go-on", str(folder)]
    for options in (["--net"], ["--net", "--map-root-user"]):
        inner = ["unshare", *options, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        if (
            shutil.which("unshare")
            and subprocess.run([*inner, "true"], capture_output=True, check=False).returncode == 0
        ):
            return [*inner, *command]
    return command


def main() -> int:
    """:return: the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--wheel", type=Path, help="one that is built already")
    parser.add_argument("--go-on", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.go_on:
        return go_on(asked.go_on)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="first-") as work:
        folder = Path(work, "first")
        (folder / "tmp").mkdir(parents=True)
        wheel = asked.wheel or build(Path(work, "dist"))[1]
        installing, kafka, old = Play(folder), Play(folder), Play(folder)
        try:
            install(installing, wheel.resolve())
            fetch_kafka(kafka)
            get_old_client(old)
        except Unexpected as problem:
            print(problem, file=sys.stderr)
            return 1
        (folder / "tmp/kafka.json").write_text(json.dumps(kafka.page))
        (folder / "tmp/old.json").write_text(json.dumps(old.page))
        ended = subprocess.run(in_own_network(folder), stdin=subprocess.DEVNULL, check=False)
        if ended.returncode:
            return 1
        pages = [HEAD, *installing.page, *json.loads((folder / "tmp/played.json").read_text())]
    pages.append(
        f"## How long it took\n\nAll of it, by a program that types without thinking: {time.monotonic() - began:.0f} s."
    )
    page = "\n\n".join(part.strip("\n") for part in pages) + "\n"
    if asked.write:
        asked.write.write_text(page)
    else:
        print(page)
    return 0


def go_on(folder: Path) -> int:
    """The part that needs ports. :return: the exit status."""
    play = Play(folder)
    try:
        demo(play)
        play.page += json.loads((folder / "tmp/kafka.json").read_text())
        format_kafka(play)
        with_kafka(play)
    except Unexpected as problem:
        print(problem, file=sys.stderr)
        return 1
    (folder / "tmp/played.json").write_text(json.dumps(play.page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
