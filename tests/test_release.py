"""The checks of `tools/release.py` find what they look for. Whether they find anything is for ``tox -e release``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.release import wrong_with_sdist, wrong_with_wheel

FILES = [
    ".ci/run",
    "LICENSE",
    "proto/raystack/raccoon/v1beta1/raccoon.proto",
    "raccoon_tx/__init__.py",
    "raccoon_tx/client/raccoon.js",
    "raccoon_tx/py.typed",
    "setup.cfg",
    "tests/test_model.py",
    "twisted/plugins/raccoon_plugin.py",
]
SDIST = [*FILES[1:], "PKG-INFO", "raccoon_tx.egg-info/SOURCES.txt"]
WHEEL = [
    "raccoon_tx-0.1.0.dist-info/METADATA",
    "raccoon_tx-0.1.0.dist-info/licenses/LICENSE",
    *(file for file in FILES if file.startswith(("raccoon_tx", "twisted"))),
]


class SdistTests(SynchronousTestCase):
    def test_good(self) -> None:
        """All that is in the repository and is for others, and the metadata."""
        self.assertEqual(wrong_with_sdist(SDIST, FILES), [])

    def test_missing(self) -> None:
        """Any file that is missing is named."""
        for name in ("LICENSE", "PKG-INFO", "proto/raystack/raccoon/v1beta1/raccoon.proto", "tests/test_model.py"):
            names = [other for other in SDIST if other != name]
            self.assertEqual(wrong_with_sdist(names, FILES), [f"the source distribution lacks {name}"])

    def test_litter(self) -> None:
        """So is what programs have left behind."""
        name = "tests/__pycache__/test_model.cpython-311.pyc"
        self.assertEqual(wrong_with_sdist([*SDIST, name], FILES), [f"the source distribution has {name}"])


class WheelTests(SynchronousTestCase):
    def test_good(self) -> None:
        """What users need."""
        self.assertEqual(wrong_with_wheel(WHEEL, FILES), [])

    def test_missing(self) -> None:
        """A module, the script for pages, the mark of types, the plugin: any that is missing is named."""
        for name in FILES:
            if name in WHEEL:
                names = [other for other in WHEEL if other != name]
                self.assertEqual(wrong_with_wheel(names, FILES), [f"the wheel lacks {name}"])

    def test_licence(self) -> None:
        """The licence has to be there."""
        names = [name for name in WHEEL if "LICENSE" not in name]
        self.assertEqual(wrong_with_wheel(names, FILES), ["the wheel lacks the licence"])

    def test_too_much(self) -> None:
        """Tests, caches and other top-level packages are not installed on anybody."""
        for name in ("tests/__init__.py", "twisted/plugins/dropin.cache", "raccoon_tx/__pycache__/a.pyc", "extra.py"):
            self.assertEqual(wrong_with_wheel([*WHEEL, name], FILES), [f"the wheel has {name}"])

    def test_in_the_way(self) -> None:
        """Nothing of Twisted's own is overwritten."""
        names = [*WHEEL, "twisted/plugins/__init__.py"]
        self.assertEqual(wrong_with_wheel(names, FILES), ["the wheel would overwrite Twisted"])
