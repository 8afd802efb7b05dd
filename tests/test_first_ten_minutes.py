"""docs/first-ten-minutes.md is what `tools/first_ten_minutes.py` writes today, and the other pages say the same."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.first_ten_minutes import FIRST_EVENT, HEAD, OLD_CLIENT, PROPERTIES, SETTINGS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "first-ten-minutes.md").read_text("utf-8")


class PageTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """The page has the parts that the program plays, and the files and the first event as they are."""
        source = (ROOT / "tools" / "first_ten_minutes.py").read_text("utf-8")
        played = set(re.findall(r"## ([^\\\n\"]+)(?:\\n|\n|\")", source))
        self.assertEqual(set(re.findall(r"^## (.+)$", PAGE, re.M)), played)
        for part in (HEAD, PROPERTIES, SETTINGS, OLD_CLIENT):
            self.assertIn(part.strip(), PAGE)
        self.assertIn(FIRST_EVENT.replace("\n", "\n> "), PAGE)

    def test_same_elsewhere(self) -> None:
        """The first event is sent in the same way in the README, and elsewhere to the same address."""
        readme = (ROOT / "README.md").read_text("utf-8")
        self.assertIn(FIRST_EVENT, readme)
        for command in ("python3 bootstrap.py demo", "raccoon bench", "raccoon tail", "raccoon send --type click"):
            self.assertIn(command, readme)
            self.assertIn(command, PAGE)

    def test_of_no_machine(self) -> None:
        """Nothing in it is of the machine that played it."""
        self.assertNotRegex(PAGE, r"/(tmp|root|home|work)/|\x1b")
