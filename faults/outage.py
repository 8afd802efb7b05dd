"""What an operator sees of an outage: ``python -m faults.outage --write docs/operating/outage.md``.

A real Kafka is gone for two minutes, under load; the page is what the server's log, its health route, its metrics and
``raccoon spool status`` said meanwhile, word for word.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from faults.clients import Clients
from faults.stage import Kafka, Mode, Stage, kafka
from tests.integration.clients import HOST, request
from tests.integration.kafka_node import free_ports
from tests.integration.load import eventually

#: Of all the metrics, those that tell of an outage.
TELLING = (
    "spool_batches_current",
    "spool_bytes_current",
    "spool_oldest_age_seconds",
    "spool_usable_current",
    "kafka_messages_undelivered_total",
)

#: What stands in the page for the folder of the spool, which has a name of its own each time.
PLACE = "/var/spool/raccoon"

#: Seconds between two batches of a client: some hundreds of batches a second in all.
PACE = 0.02

_BEGIN = """\
# An outage, as an operator sees it

Kafka is gone for {minutes} while clients send {rate} batches of five events a second. The server has
{{setting}}`EVENT_ACK` 2 and a spool; [](spool.md) says how that works.
This page was written by `python -m faults.outage`: what stands in the blocks is what was printed, but for ports
and the folder.

No client notices: of {batches:,} batches {failed} were refused, the slowest answer took {slowest:.0f} ms, and no event
was lost.
"""


def seen(stage: Stage, metrics: int, known: int) -> Iterator[str]:
    """Log since the last look, health, metrics, spool: each with the command that shows it. Markdown."""
    assert stage.server is not None
    lines = stage.server.log.splitlines()[known:]
    yield from _block("the log", lines or ["(nothing new)"])
    answer = request(stage, "GET", "/readyz")
    yield from _block("curl -i http://127.0.0.1:8080/readyz", [f"{answer.status}", answer.body.decode().strip()])
    with urlopen(f"http://{HOST}:{metrics}/metrics", timeout=5.0) as scrape:
        scraped = scrape.read().decode()
    told = [line for line in scraped.splitlines() if line.startswith(TELLING)]
    yield from _block("curl -s http://127.0.0.1:9090/metrics | grep -E 'spool|undelivered'", told)
    spool = str(stage.folder / "spool")
    command = [str(Path(sys.executable).with_name("raccoon")), "spool", "status", f"--spool.path={spool}"]
    status = subprocess.run(command, capture_output=True, text=True, check=False)
    yield from _block(f"raccoon spool status --spool.path={PLACE}", (status.stdout + status.stderr).splitlines())


def _block(command: str, lines: list[str]) -> Iterator[str]:
    yield f"\n`{command}`:\n\n```text"
    yield from lines
    yield "```"


def play(opened: Kafka, seconds: float, folder: Path) -> str:
    """:param seconds: that Kafka is gone. :return: the page."""
    scrape = free_ports(1)[0]
    settings = {
        "metric.prometheus.enabled": "true",
        "metric.prometheus.port": scrape,
        "spool.path": folder / "spool",
        "spool.min_free_bytes": 0,
    }
    stage = Stage(opened, Mode(ack=2, spool=True), random.Random(1), folder, settings)
    told: list[str] = []
    try:
        stage.start()
        clients = Clients(stage, pace=PACE)
        stage.clients.append(clients)
        clients.wait_for_more(20)
        eventually(lambda: 0 <= stage.spooled() < 20)
        known = 0

        def look(title: str) -> None:
            nonlocal known
            told.append(f"\n## {title}")
            told.extend(seen(stage, scrape, known))
            assert stage.server is not None
            known = len(stage.server.log.splitlines())

        look("Before")
        opened.proxy.refuse()
        gone = time.monotonic()
        before = clients.acknowledged
        for after, title in ((10.0, "Ten seconds into it"), (seconds - 5.0, f"After {seconds - 5:.0f} seconds")):
            time.sleep(max(0.0, gone + after - time.monotonic()))
            look(title)
        time.sleep(max(0.0, gone + seconds - time.monotonic()))
        rate = (clients.acknowledged - before) / (time.monotonic() - gone)
        opened.heal()
        back = time.monotonic()
        time.sleep(1.0)
        look("A second after Kafka is back")
        eventually(lambda: stage.spooled() < 50, 60.0)
        took = time.monotonic() - back
        look(f"{took:.0f} seconds after Kafka is back")
        clients.finish()
        journals = clients.journals
        failed = sum(sum(journal.refusals.values()) for journal in journals)
        begin = _BEGIN.format(
            minutes=f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds",
            rate=f"{rate:.0f}",
            batches=clients.acknowledged + failed,
            failed=failed,
            slowest=max(journal.slowest for journal in journals) * 1000,
        )
        found = stage.finish()
        known_values = {
            number for journal in journals for number, outcome in journal.answered.items() if outcome == "ok"
        }
        lost = known_values - {value.decode() for value in found}
        if lost:
            raise AssertionError(f"{len(lost)} acknowledged events were lost")
        print(f"{len(known_values)} events acknowledged, 0 lost", file=sys.stderr)
    finally:
        stage.close()
    text = begin + "\n".join(told) + "\n"
    text = text.replace(str(folder / "spool"), PLACE)
    for port, usual in ((opened.proxy.port, 9092), (stage.http, 8080), (stage.grpc, 8081)):
        text = re.sub(rf"\b{port}\b", str(usual), text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser("python -m faults.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="that Kafka is gone (default: 120)")
    parser.add_argument("--write", type=Path, help="write the page to this file; else it is printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, kafka() as opened:
        page = play(opened, options.seconds, Path(folder))
    if options.write:
        options.write.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
