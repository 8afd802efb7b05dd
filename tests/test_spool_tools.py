"""``raccoon spool``: what an operator does by hand. Draining needs a Kafka, and is in ``tests/integration``."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.cli import cli
from raccoon_tx.metrics.counts import Lane
from raccoon_tx.spool.entry import encode
from tests.samples import batch
from tests.spooled import Spooled, nothing


class SpoolCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "spool")
        self.spooled = Spooled(self.path)
        self.spooled.start()
        lane = Lane("topic", "group", "type")
        for number in range(3):
            body = encode(batch(guid=f"guid-{number}"), [(lane, b"value", b"key", 5, [("name", b"held")])])
            self.spooled.store.put(body, 1, nothing)
        self.spooled.store.put(b"no batch", 1, nothing)
        self.spooled.box.commit()
        self.spooled.store.bury(2, 1, 0, "hopeless")
        self.spooled.clock.advance(1)
        self.spooled.box.commit()
        self.addCleanup(self.spooled.stop)

    def run_command(self, *argv: str, path: Path | None = None) -> tuple[int, list[str]]:
        ended = CliRunner(env={"SPOOL_PATH": str(path or self.path)}).invoke(cli, ("spool", *argv))
        return ended.exit_code, ended.output.splitlines()

    def test_looking(self) -> None:
        """Looking is safe while somebody has it: how much there is, which batches, and what is in them."""
        status, (line,) = self.run_command("status", "--json")
        found = json.loads(line)
        self.assertEqual((status, found["batches"], found["events"], found["dead_batches"]), (0, 3, 3, 1))
        self.assertIsNotNone(found["server"])
        self.assertIn("batches: 3", self.run_command("status")[1])
        lines = self.run_command("list")[1]
        self.assertEqual([line.split()[0] for line in lines], ["1", "3", "4"])
        self.assertIn("guid-2  topic", lines[1])
        self.assertIn("not a batch", lines[2])
        (dead,) = [json.loads(line) for line in self.run_command("list", "--dead", "--json")[1]]
        self.assertEqual((dead["id"], dead["reason"], dead["guid"]), (2, "hopeless", "guid-1"))
        first, _, damaged = [json.loads(line) for line in self.run_command("export")[1]]
        (record,) = first["records"]
        self.assertEqual({**record, "value": base64.b64decode(record["value"])}, {
            "topic": "topic", "group": "group", "type": "type", "value": b"value", "key": "a2V5", "timestamp": 5,
            "headers": [["name", "aGVsZA=="]],
        })  # fmt: skip
        self.assertEqual(base64.b64decode(damaged["body"]), b"no batch")

    def test_changing(self) -> None:
        """Changing is refused while somebody has it."""
        for command in (("purge", "--yes"), ("purge", "--dead", "--yes"), ("revive",)):
            status, (line,) = self.run_command(*command)
            self.assertEqual(status, 1)
            self.assertIn("is in use by process", line)
        self.spooled.stop()
        self.assertIn("say --yes", self.run_command("purge")[1][0])
        self.assertEqual(self.run_command("revive", "--json"), (0, ['{"revived": 1}']))
        self.assertEqual(self.run_command("purge", "--yes"), (0, ["4 batches forgotten"]))
        self.assertEqual(self.run_command("list"), (0, []))

    def test_mistakes(self) -> None:
        """Without a spool there is nothing to do, and nothing is made."""
        for command in ("status", "list", "export", "revive"):
            status, (line,) = self.run_command(command, path=self.path / "other")
            self.assertEqual((status, "there is no spool in" in line), (1, True))
        self.assertFalse((self.path / "other").exists())
        minimal = ("--server.websocket.conn.id.header=X", "--publisher.type=log", "--spool.path=")
        self.assertIn("there is no spool: set SPOOL_PATH", self.run_command("drain", *minimal)[1][-1])
