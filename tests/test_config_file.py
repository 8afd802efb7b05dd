"""The configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.config.file import ConfigurationError, as_yaml, read_file


class ReadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cwd = Path(folder.name)

    def read(self, content: str | bytes) -> dict[str, Any]:
        (self.cwd / "config.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return dict(read_file(None, self.cwd))

    def refused(self, content: str | bytes) -> str:
        """The one mistake that this content is."""
        mistakes = self.assertRaises(ConfigurationError, self.read, content).mistakes
        self.assertEqual(len(mistakes), 1)
        return str(mistakes[0])

    def test_names(self) -> None:
        """Names nest, or are dotted, or both."""
        for content in (
            "server:\n  websocket:\n    port: 1\n",
            "server: {websocket: {port: 1}}",
            "server.websocket.port: 1",
            "server:\n  websocket.port: '1'\n",
            "Server:\n  WebSocket:\n    PORT: 1\n",
            b"\xef\xbb\xbfserver.websocket.port: 1",
        ):
            self.assertEqual(self.read(content), {"server.websocket.port": "1"})

    def test_values_stay_as_written(self) -> None:
        """No value is taken for a number, a date or a switch: a password may look like any of them."""
        for written in ("0123", "1e5", "yes", "1_000", "12:30", "2020-01-01", "0x10", "true", "1.10"):
            self.assertEqual(self.read(f"a: {written}"), {"a": written})
        self.assertEqual(self.read("a: 'null'"), {"a": "null"})

    def test_nothing(self) -> None:
        """A name without a value is as good as not there; so is an empty file, and so is none."""
        self.assertEqual(read_file(None, self.cwd), {})
        for content in ("", "# nothing\n", "---\n", "a:\nb: ~\nc: null\n"):
            self.assertEqual(self.read(content), {})

    def test_lists(self) -> None:
        """Lists stay lists."""
        self.assertEqual(self.read("a: [1, x]\nb:\n- c\n- ~\n"), {"a": ["1", "x"], "b": ["c"]})

    def test_anchors(self) -> None:
        """A part of the file may be used again."""
        self.assertEqual(self.read("a: &x {b: 1}\nc: {<<: *x, d: 2}"), {"a.b": "1", "c.b": "1", "c.d": "2"})

    def test_named(self) -> None:
        """A file that was named must be there, wherever it is."""
        (self.cwd / "other.yaml").write_text("a: b")
        self.assertEqual(read_file("other.yaml", self.cwd), {"a": "b"})
        self.assertEqual(read_file(str(self.cwd / "other.yaml"), Path("/")), {"a": "b"})
        mistakes = self.assertRaises(ConfigurationError, read_file, "no.yaml", self.cwd).mistakes
        self.assertEqual(mistakes, [f"the configuration file {self.cwd / 'no.yaml'} does not exist"])

    def test_unreadable(self) -> None:
        """A file that cannot be read is a mistake, named or not."""
        os.mkdir(self.cwd / "config.yaml")
        for name in (None, "config.yaml"):
            mistakes = self.assertRaises(ConfigurationError, read_file, name, self.cwd).mistakes
            self.assertIn("cannot be read", mistakes[0])

    def test_malformed(self) -> None:
        """A mistake in the file is named with its line."""
        for content, line in (
            ("a: b\nc: d: e\n", 2),
            ("a: b\n\tc: d\n", 2),
            ("a: [b\n\n", 3),
            ("- a\n- b\n", 1),
            ("just words", 1),
            (b"a: b\nc: \xff\n", 2),
            ("a: b\nc: d\ne: \x01\n", 3),
            ("a: b\nc: !!python/object:os.system {}\n", 2),
            ("a: b\nb: c\na: d\n", 3),
            ("a: b\n? [c]\n: d\n", 2),
            ("a: b\n---\nc: d\n", 2),
        ):
            self.assertIn(f"config.yaml, line {line}: ", self.refused(content), content)

    def test_odd(self) -> None:
        """Two spellings of one name, a value within itself and endless nesting are mistakes, not tracebacks."""
        self.assertIn("server.port is given twice", self.refused("server: {port: 1}\nserver.port: 2\n"))
        self.assertIn("contains itself", self.refused("a: &x {b: *x}"))
        self.assertIn("nested too deeply", self.refused("a: " + "[" * 5000))

    def test_no_secret_is_shown(self) -> None:
        """A password that lacks its quotes is not repeated."""
        for content in (
            "password: *hunter2\n",
            "password: !hunter2\n",
            "password: !hunter2!x y\n",
            "password: 'hunter2\n",
        ):
            self.assertNotIn("hunter2", self.refused(content))


class AsYamlTests(SynchronousTestCase):
    def test_form(self) -> None:
        """Each setting stands in its section with its value and its source."""
        values: dict[str, tuple[object, str]] = {
            "server.port": (8080, "flag"),
            "server.on": (True, "default"),
            "server.types": (("a", "b c"), "file"),
            "log": ("", "default"),
        }
        self.assertEqual(
            as_yaml(values),
            "server:\n  port: 8080  # flag\n  on: true  # default\n  types: [a, b c]  # file\nlog: ''  # default\n",
        )

    def test_readable(self) -> None:
        """Whatever the values, the file reads back as they were."""
        texts = ("yes", "0123", "a # b", "a: b", "'", '"', "\t", "é", "\x07", "x" * 500, "[", "*a", "~", "\n", "🦝")
        with TemporaryDirectory() as folder:
            (Path(folder) / "config.yaml").write_text(as_yaml({f"a.t{n}": (t, "file") for n, t in enumerate(texts)}))
            self.assertEqual(read_file(None, Path(folder)), {f"a.t{n}": t for n, t in enumerate(texts)})

    def test_secrets(self) -> None:
        """Secrets are masked; an empty one has nothing to hide."""
        self.assertEqual(as_yaml({"sasl_password": ("hunter2", "flag")}), "sasl_password: '***'  # flag\n")
        self.assertEqual(
            as_yaml({"publisher.pubsub.credentials": ("", "default")}).split("\n")[-2], "    credentials: ''  # default"
        )
