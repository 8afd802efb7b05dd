"""`raccoon tail`: which Kafka it reads, which topics, and how records look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx.publishers import whereabouts
from raccoon_tx.tools.look import Trouble
from raccoon_tx.tools.payload import for_programs, read
from raccoon_tx.tools.tail import as_json, as_text
from raccoon_tx.tools.topics import Record
from raccoon_tx.tools.where import find, wanted


class InFolder(SynchronousTestCase):
    """Each test has a folder of its own for files that pass."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.patch(tempfile, "tempdir", str(self.folder))


class WhereaboutsTests(InFolder):
    def test_newest(self) -> None:
        """The broker of a process that lives is found; when it is gone there is none."""
        self.assertIsNone(whereabouts.newest())
        whereabouts.note("127.0.0.1:1")
        self.assertEqual(whereabouts.newest(), "127.0.0.1:1")
        whereabouts.forget()
        self.assertIsNone(whereabouts.newest())

    def test_dead(self) -> None:
        """What a process left that was killed is not believed, and taken away."""
        whereabouts.note("127.0.0.1:1")
        (mine,) = self.folder.glob("*/*")
        dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        left = mine.with_name(dead.stdout.decode().strip())
        left.write_text("127.0.0.1:2")
        os.utime(mine, (0, 0))
        self.assertEqual(whereabouts.newest(), "127.0.0.1:1")
        self.assertFalse(left.exists())

    def test_of_others(self) -> None:
        """What others can write to is not believed."""
        whereabouts.note("127.0.0.1:1")
        (folder,) = self.folder.iterdir()
        folder.chmod(0o777)
        self.assertIsNone(whereabouts.newest())

    def test_no_place(self) -> None:
        """Where no file can be written a broker starts all the same."""
        self.patch(tempfile, "tempdir", "/proc/nowhere")
        whereabouts.note("127.0.0.1:1")
        whereabouts.forget()
        self.assertIsNone(whereabouts.newest())


class WhereTests(InFolder):
    def test_said(self) -> None:
        """What is said goes over everything else."""
        whereabouts.note("127.0.0.1:1")
        environ = {"PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "kafka:9092"}
        self.assertEqual(find("other:1", None, environ).brokers, "other:1")

    def test_of_the_server(self) -> None:
        """The server's own settings say where, how to log in, and how topics are called."""
        environ = {
            "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "kafka:9092",
            "PUBLISHER_KAFKA_CLIENT_CLIENT_ID": "me",
            "EVENT_DISTRIBUTION_PUBLISHER_PATTERN": "x-%s",
        }
        whereabouts.note("127.0.0.1:1")
        found = find(None, None, environ)
        self.assertEqual((found.brokers, found.properties["client.id"], found.pattern), ("kafka:9092", "me", "x-%s"))

    def test_embedded(self) -> None:
        """The embedded broker that runs is found where nothing is said, or where the publisher is the embedded one."""
        whereabouts.note("127.0.0.1:1")
        self.assertEqual(find(None, None, {}).brokers, "127.0.0.1:1")
        environ = {"PUBLISHER_TYPE": "embedded", "PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS": "kafka:9092"}
        self.assertEqual(find(None, None, environ).brokers, "127.0.0.1:1")

    def test_nowhere(self) -> None:
        """Where there is no Kafka, one sentence says what to do."""
        self.assertIn("--brokers", str(self.assertRaises(Trouble, find, None, None, {})))

    def test_wrong(self) -> None:
        """A mistake in the configuration is named."""
        self.assertIn("EVENT_ACK", str(self.assertRaises(Trouble, find, "a:1", None, {"EVENT_ACK": "7"})))

    def test_topics(self) -> None:
        """One topic, that of a type, or those of all types."""
        for kind, topic, good, bad in (
            (None, "any.topic", "any.topic", "anyxtopic"),
            ("click", None, "a.click-log", "a.clicks-log"),
            (None, None, "a.click-log", "axclick-log"),
        ):
            is_wanted, words = wanted("a.%s-log", kind, topic)
            self.assertTrue(is_wanted(good))
            self.assertFalse(is_wanted(bad))
            self.assertTrue(words.startswith("topic"))


class PayloadTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """JSON, text, the fields of protobuf, or bytes."""
        request = SendEventRequest(req_guid="a guid that is longer than thirty-two bytes").SerializeToString()
        for value, kind, content in (
            (b'{"a": [1]}', "json", '{"a":[1]}'),
            (b"hello", "text", "hello"),
            (b"zwei\nZeilen", "text", "zwei\nZeilen"),
            (b"", "text", ""),
            (request, "protobuf", '1:"a guid that is longer than thirty-two bytes"'),
            (b"\xff\xfe", "bytes", "//4="),
        ):
            self.assertEqual(read(value), (kind, content))

    @given(st.binary(max_size=40))
    def test_anything(self, value: bytes) -> None:
        """Whatever is in an event is one line for people that cannot steer a terminal, and one of JSON for programs."""
        record = Record("topic", 1, 2, 1_700_000_000_000, None, value, [("h", value)])
        self.assertTrue(as_text(record).replace("\x1b", "").isprintable())
        self.assertEqual(len(as_json(record).split("\n")), 1)
        self.assertEqual(json.loads(as_json(record))["topic"], "topic")

    def test_for_programs(self) -> None:
        """What is JSON stays so, but for what only Python takes for it."""
        self.assertEqual(for_programs(b'{"a":1}'), {"kind": "json", "value": {"a": 1}})
        self.assertEqual(for_programs(b"NaN"), {"kind": "text", "value": "NaN"})
        self.assertEqual(for_programs(b"hello"), {"kind": "text", "value": "hello"})

    def test_record(self) -> None:
        """Programs get all that there is."""
        record = Record("t", 1, 2, None, b"key", b"v", [("h", b"1"), ("b", b"\xff")])
        self.assertEqual(
            json.loads(as_json(record)),
            {
                "topic": "t",
                "partition": 1,
                "offset": 2,
                "time_ms": None,
                "key": "key",
                "headers": {"h": "1", "b": "/w=="},
                "kind": "text",
                "value": "v",
            },
        )
