"""A real Apache Kafka node for tests: fetched once, formatted in a temporary folder, stopped and started at will.

By hand: ``python -m tests.integration.kafka_node`` starts one, prints its address and stops it on Ctrl-C.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from attrs import define, field
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

VERSION = "4.1.1"

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>raccoon_tx</groupId>
  <artifactId>kafka-node</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
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
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},BEHIND://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},BEHIND://127.0.0.1:{front}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=true
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=250
log.cleaner.dedupe.buffer.size=16777216
"""

LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
"""


def _program(name: str, home: str, package: str) -> str:
    """The path of a program. :raises RuntimeError: it is not installed."""
    at_home = Path(os.environ.get(home, "/nonexistent"), "bin", name)
    path = str(at_home) if at_home.is_file() else shutil.which(name)
    if path is None:
        raise RuntimeError(
            f"These tests need `{name}` to run Apache Kafka: install it ('apt-get install {package}') or set {home}."
        )
    return path


def jars() -> Path:
    """The folder with Kafka and all it needs, fetched by Maven the first time."""
    caches = os.environ.get("RACCOON_KAFKA_CACHE") or Path.home() / ".cache" / "raccoon_tx"
    cache = Path(caches).absolute() / f"kafka-{VERSION}"
    if cache.is_dir():
        return cache
    maven = _program("mvn", "MAVEN_HOME", "maven")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f".{cache.name}-") as work:
        Path(work, "pom.xml").write_text(POM)
        fetched = Path(work, "jars")
        command = [maven, "-B", "-q", "-f", f"{work}/pom.xml", "dependency:copy-dependencies"]
        options = ["-Dstyle.color=never", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if run.returncode or not fetched.is_dir():
            said, *_ = (run.stdout + run.stderr).strip().splitlines() or ["nothing"]
            raise RuntimeError(
                f"Maven could not fetch Apache Kafka {VERSION}: let it reach a repository, or put the jars into "
                f"{cache}. It said: {said}"
            )
        try:
            fetched.rename(cache)
        except OSError:
            if not cache.is_dir():  # else another process was faster, and what it brought is the same
                raise
    return cache


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range the kernel takes the near end of connections from.

    A client that keeps trying an address of that range, while nobody listens there, ends up connected to itself
    and holds the port.
    """
    free: list[int] = []
    for port in random.sample(range(20000, 32768), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise RuntimeError("No free port between 20000 and 32768.")


@define(eq=False)
class KafkaNode:
    """One Kafka node, controller and broker in one; its address and data stay the same over stop and start.

    :ivar folder: holds settings, data and ``kafka.log``; a temporary one, gone after `close`.
    :ivar front: the port of a proxy that passes everything on to ``behind``: who asks there is sent there again.
    :ivar bootstrap: the address for clients. :ivar behind: a second port, for a proxy.
    """

    front: int | None = None
    folder: Path = field(init=False)
    bootstrap: str = field(init=False)
    behind: int = field(init=False)
    _command: list[str] = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _keeper: Thread | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        java, libraries = _program("java", "JAVA_HOME", "default-jre-headless"), jars()
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-node-"))
        atexit.register(self.close)
        port, self.behind, controller = free_ports(3)
        self.bootstrap = f"127.0.0.1:{port}"
        front = self.front or self.behind
        properties = self.folder / "server.properties"
        ports = {"port": port, "behind": self.behind, "front": front, "controller": controller}
        properties.write_text(PROPERTIES.format(**ports, data=self.folder / "data"))
        logging = self.folder / "log4j2.properties"
        logging.write_text(LOGGING)
        # A quick start matters more here than a fast server: no second compiler, no parallel collector.
        flags = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={logging}"]
        self._command = [java, *flags, "-cp", f"{libraries}/*"]
        cluster = ["--cluster-id", "raccoon-tx-test-node00", "--config", str(properties)]
        with self._log.open("wb") as log:
            format_ = [*self._command, "kafka.tools.StorageTool", "format", *cluster]
            status = subprocess.run(format_, stdout=log, stderr=log, check=False).returncode
        if status:
            raise RuntimeError(f"Kafka could not format its folder:\n{self.log_tail()}")
        self._command += ["kafka.Kafka", str(properties)]

    def __enter__(self) -> KafkaNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 30) -> str:
        """The end of what Kafka logged."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def start(self, patience: float = 60.0) -> None:
        """Start it on the data it has. :raises RuntimeError: it does not answer within ``patience`` seconds."""
        if self.running:
            return
        launched: Future[subprocess.Popen[bytes]] = Future()
        self._keeper = Thread(target=self._keep, args=[launched], name="kafka-node", daemon=True)
        self._keeper.start()
        self._process = launched.result()
        deadline = time.monotonic() + patience
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Kafka did not start. The end of its log:\n{self.log_tail()}")
            time.sleep(0.05)

    def _keep(self, launched: Future[subprocess.Popen[bytes]]) -> None:
        """Launch Kafka and stay until it ends.

        `setpriv` has the kernel kill it with its parent, so that a test run killed in mid-air leaves nothing behind;
        the parent is the launching *thread*, hence one that stays.
        """
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    [*guard, *self._command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except BaseException as error:
            launched.set_exception(error)
        else:
            launched.set_result(process)
            process.wait()

    def _answers(self) -> bool:
        """Whether it serves: it names itself, and every partition has a leader again."""
        host, port = self.bootstrap.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
            known = self._admin().list_topics(timeout=2.0)
        except (OSError, KafkaException):
            return False
        leaders = [part.leader for topic in known.topics.values() for part in topic.partitions.values()]
        return bool(known.brokers) and -1 not in leaders

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, config: Mapping[str, str] | None = None, partitions: int = 4) -> None:
        """Create a topic. :raises KafkaException: Kafka refuses."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin = self._admin()  # must outlive the request: without it the request is given up
        admin.create_topics([topic])[name].result(timeout=10.0)

    def stop(self, patience: float = 20.0) -> None:
        """Stop it as an operator would; end it if that takes longer than ``patience`` seconds."""
        self._end(signal.SIGTERM, patience)
        self.kill()

    def kill(self) -> None:
        """End it at once, as if the machine had lost it."""
        self._end(signal.SIGKILL, 10.0)

    def _end(self, how: signal.Signals, patience: float) -> None:
        if self._process is not None and self._keeper is not None:
            self._process.send_signal(how)
            self._keeper.join(patience)

    def close(self) -> None:
        """End it, and forget its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with KafkaNode() as node:
        print(f"Apache Kafka {VERSION} listens on {node.bootstrap}; its log is {node.folder / 'kafka.log'}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            node.stop()


if __name__ == "__main__":
    main()
