"""Builds the source distribution and the wheel, and checks both. Run by ``tox -e release``.

    python tools/release.py dist

A distribution that passes has all that it should and nothing else, reads well on a package index, and what is installed
from it in a new virtual environment works. The files are left in the folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What is in the repository for its own sake.
NOT_RELEASED = (".ci/", ".gitignore")

#: What Python, its tools and twistd leave behind; in no distribution. Of ours, what is not for users; not in the wheel.
LEFT_BEHIND = ("__pycache__", ".pyc", "dropin.cache", "twistd.pid", "_trial_temp")
NOT_INSTALLED = (
    "tests",
    "docs",
    "tools",
    "attacks",
    "benchmarks",
    "faults",
    "fuzz",
    "proto",
    "deploy",
    "newsfragments",
)

#: What the wheel has beside Python modules.
DATA = (".pyi", ".js", ".html", "py.typed", "MANIFEST.sha256")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command that has to succeed. :return: what it prints."""
    ended = subprocess.run(
        [str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def in_repository() -> list[str]:
    """All files under version control."""
    return run("git", "ls-files", "--cached").splitlines()


def wrong_with_sdist(names: Iterable[str], files: Iterable[str]) -> list[str]:
    """:param names: of the members, without the first folder. :param files: of the repository."""
    found = set(names)
    missing = {file for file in files if not file.startswith(NOT_RELEASED)} - found
    metadata = {"PKG-INFO", "setup.cfg"}
    problems = [f"the source distribution lacks {name}" for name in sorted(missing | metadata - found)]
    litter = [
        name for name in found if any(word in name for word in LEFT_BEHIND) and not name.startswith("raccoon_tx.")
    ]
    return problems + [f"the source distribution has {name}" for name in sorted(litter)]


def wrong_with_wheel(names: Iterable[str], files: Iterable[str]) -> list[str]:
    """:param names: of the members. :param files: of the repository."""
    found = set(names)
    wanted = {
        file
        for file in files
        if file.startswith(("raccoon_tx/", "twisted/")) and (file.endswith(".py") or file.endswith(DATA))
    }
    problems = [f"the wheel lacks {name}" for name in sorted(wanted - found)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in found):
        problems.append("the wheel lacks the licence")
    for name in sorted(found):
        top = name.partition("/")[0]
        ours = top in ("raccoon_tx", "twisted") or top.endswith(".dist-info")
        if top in NOT_INSTALLED or not ours or any(word in name for word in LEFT_BEHIND):
            problems.append(f"the wheel has {name}")
    if "twisted/__init__.py" in found or "twisted/plugins/__init__.py" in found:
        problems.append("the wheel would overwrite Twisted")
    return problems


def wrong_when_installed(distribution: Path, version: str) -> list[str]:
    """Install it where nothing else is, and try what a user would try first."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        # Not venv: some systems have it in a package of its own.
        run(sys.executable, "-m", "virtualenv", "--quiet", folder)
        programs = Path(folder, "bin")
        run(programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", distribution)
        work = Path(folder, "work")
        work.mkdir()
        if version not in run(programs / "raccoon", "--version", cwd=work):
            problems.append(f"after {distribution.name}, `raccoon --version` does not say {version}")
        if "\n    raccoon  " not in run(programs / "twistd", "--help", cwd=work):
            problems.append(f"after {distribution.name}, `twistd --help` does not list raccoon")
        if "Everything arrived." not in run(programs / "raccoon", "demo", "--once", cwd=work):
            problems.append(f"after {distribution.name}, `raccoon demo --once` does not work")
        run(programs / "python", "-m", "pip", "check", cwd=work)
    return problems


def build(target: Path) -> tuple[Path, Path]:
    """Make both from what is committed, so that nothing that lies about gets in. :return: their paths."""
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder, "source")
        run("git", "clone", "--quiet", "--no-hardlinks", ROOT, clean)
        run(sys.executable, "-m", "build", "--quiet", "--outdir", target, clean, cwd=clean)
    [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel


def main(target: Path) -> int:
    """:return: the exit status."""
    shutil.rmtree(target, ignore_errors=True)
    sdist, wheel = build(target)
    version = sdist.name.removesuffix(".tar.gz").rpartition("-")[2]
    print(run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel).strip())
    files = in_repository()
    with tarfile.open(sdist) as archive:
        members = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    problems = wrong_with_sdist(members, files)
    problems += wrong_with_wheel(zipfile.ZipFile(wheel).namelist(), files)
    for distribution in sdist, wheel:
        problems += wrong_when_installed(distribution, version)
    draft = run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", version)
    print(draft[draft.index(f"{version} (") :].strip())
    for problem in problems:
        print(problem, file=sys.stderr)
    for distribution in sdist, wheel:
        print(f"{distribution.name}: {distribution.stat().st_size} bytes, {'wrong' if problems else 'good'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
