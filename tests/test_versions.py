"""What the documentation says of versions is what the package says of itself, and what the tests run on."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.kafka_node import VERSION as KAFKA

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "versioning.md").read_text("utf-8")


def parsed(name: str) -> ConfigParser:
    """A file of settings in the root."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


def row(name: str) -> list[str]:
    """The cells of a line of a table, by its first one."""
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def lowest(lines: str) -> dict[str, str]:
    """Requirements, each with the oldest version that it allows."""
    found = {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        if not line.startswith("#"):
            name, version = re.split(r"\s*[>=]=\s*", line)
            found[name] = version
    return found


class VersionTests(SynchronousTestCase):
    setup = parsed("setup.cfg")
    required = lowest(setup["options"]["install_requires"])

    def test_pythons(self) -> None:
        """The Pythons of the table are those of the classifiers and of tox, and from the oldest on they are let in."""
        pythons = row("Python")[0].split(", ")
        classifiers = re.findall(r":: Python :: (3\.\d+)$", self.setup["metadata"]["classifiers"], re.M)
        self.assertEqual(pythons, classifiers)
        self.assertEqual(self.setup["options"]["python_requires"], f">={pythons[0]}")
        environments = [f"py{python.replace('.', '')}" for python in pythons]
        self.assertIn(f"`tox -e {','.join(environments)}`", row("Python")[1])
        [section] = [name for name in parsed("tox.ini").sections() if name.startswith("testenv:py")]
        self.assertEqual(section, f"testenv:py3{{{','.join(python[2:] for python in pythons)}}}")
        self.assertEqual(self.setup["mypy"]["python_version"], pythons[0])

    def test_kafka(self) -> None:
        """The Kafka of the table is that of the tests."""
        self.assertIn(f"tested against {KAFKA}", row("Apache Kafka")[0])

    def test_environments(self) -> None:
        """Every environment of tox that the page names is there."""
        sections = parsed("tox.ini").sections()
        for name in re.findall(r"tox -e ([a-z]+)`", PAGE):
            self.assertIn(f"testenv:{name}", sections)

    def test_packages(self) -> None:
        """The table has every package that is needed, with the oldest version that is let in."""
        table = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| \|$", PAGE, re.M))
        self.assertEqual(table, {re.sub(r"\[.*\]", "", name): version for name, version in self.required.items()})

    def test_lowest(self) -> None:
        """The oldest versions are those that the tests with the oldest versions install."""
        pinned = lowest((ROOT / "tests" / "lowest.txt").read_text("utf-8"))
        reflection = lowest(self.setup["options.extras_require"]["reflection"])
        self.assertEqual(pinned, {**self.required, **reflection})

    def test_news(self) -> None:
        """Every news fragment has a kind that there is, so that none gets lost when the news are made."""
        kinds = re.findall(r'^directory = "(\w+)"$', (ROOT / "towncrier.toml").read_text("utf-8"), re.M)[1:]
        for path in (ROOT / "newsfragments").iterdir():
            if path.name != ".gitignore":
                self.assertRegex(path.name, rf"\A\d+\.({'|'.join(kinds)})(\.\d+)?\.rst\Z")
