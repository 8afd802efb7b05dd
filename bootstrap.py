"""From a bare clone to a running server, or to the tests, with nothing but a Python.

    python3 bootstrap.py demo [arguments of `raccoon demo`]
    python3 bootstrap.py test [arguments of `tox`]

Either makes the virtual environment `.venv` beside this file and installs there what it needs. Nothing is compiled,
and nothing outside of `.venv` is touched, unless the system's Python cannot make virtual environments at all: then
its package manager is asked for what is missing, if we may.

Pythons too old for raccoon_tx must still be able to read this file, and say so.
"""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 10)
OTHERS = ["python3.13", "python3.12", "python3.11", "python3.10", "/usr/bin/python3"]


def say(line: str) -> None:
    """Tell what is being done."""
    print(f"bootstrap: {line}", file=sys.stderr, flush=True)


def failure(command: "list[str]") -> str:
    """Run a command whose failure is no misfortune. Returns what is wrong, in a line, or nothing if it went well."""
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return str(error)
    said = run.stdout.decode(errors="replace").strip()
    telling = said.splitlines()[-1] if said.startswith("Traceback") else " ".join(said.split("\n\n")[0].split())
    return "" if run.returncode == 0 else telling or f"status {run.returncode}"


def new_enough(python: str) -> bool:
    """Whether there is such a Python, and raccoon_tx runs on it."""
    return not failure([python, "-c", f"import sys; sys.exit(sys.version_info < {OLDEST})"])


def pythons() -> "list[str]":
    """The Pythons to try: this one, then others of this machine."""
    named = {}  # type: dict[str, str]
    for python in [sys.executable, *filter(None, map(shutil.which, OTHERS))]:
        named.setdefault(os.path.realpath(python), python)
    return [python for python in named.values() if new_enough(python)]


def usable() -> bool:
    """Whether `.venv` is complete, and its Python is still there."""
    return new_enough(VENV_PYTHON) and not failure([VENV_PYTHON, "-m", "pip", "--version"])


def made_by(python: str) -> bool:
    """Make `.venv` with this Python, in one way or another."""
    ways = {
        "venv": [[python, "-m", "venv", VENV]],
        "virtualenv": [[python, "-m", "virtualenv", "--quiet", VENV]],
        "venv and a pip from outside": [
            [python, "-m", "venv", "--without-pip", VENV],
            [python, "-m", "pip", "--python", VENV_PYTHON, "install", "--quiet", "pip"],
        ],
    }
    for name, commands in ways.items():
        say(f"making .venv with {name} of {python}")
        shutil.rmtree(VENV, ignore_errors=True)
        wrong = next(filter(None, map(failure, commands)), "")
        if not wrong and usable():
            return True
        say(f"that did not work: {wrong or 'it has no working pip'}")
    shutil.rmtree(VENV, ignore_errors=True)
    return False


def made_after_apt() -> bool:
    """Let Debian's package manager bring what its Python lacks, then make `.venv`."""
    ask = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or failure([*ask, "true"]):
        return False
    apt = [*ask, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    say("asking apt-get for what this Python lacks")
    failure([*apt, "update"])
    for package in ["python3-venv", f"python3.{sys.version_info[1]}-venv"]:
        say(f"installing {package}")
        wrong = failure([*apt, "install", "-y", "--no-install-recommends", package])
        if wrong:
            say(f"that did not work: {wrong}")
        elif any(map(made_by, pythons())):
            return True
    return False


def environment() -> None:
    """See to it that `.venv` is there and works."""
    if usable():
        say("using .venv")
        return
    candidates = pythons()
    if not candidates:
        this = "{}.{}".format(*sys.version_info)
        raise SystemExit(
            f"raccoon_tx needs Python 3.10 or newer, this is {this}, and no newer one was found: install one, "
            "then run this again with it."
        )
    if not any(map(made_by, candidates)) and not made_after_apt():
        raise SystemExit(
            "No Python here can make virtual environments: install its venv module ('apt-get install python3-venv' "
            "on Debian and Ubuntu), then run this again."
        )


def install(what: str) -> None:
    """Install into `.venv`, from wheels alone: a package that needs a compiler is an error at once, not later."""
    pip = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    if subprocess.run([*pip, what], env=dict(os.environ, PIP_USER="0")).returncode:
        raise SystemExit(f"pip could not install {what}; what it printed above says why.")


def demo(arguments: "list[str]") -> None:
    """Install raccoon_tx and run its demo."""
    environment()
    say("installing raccoon_tx and what it needs; a minute, the first time")
    install(ROOT)
    say("running raccoon demo")
    raccoon = os.path.join(VENV, "bin", "raccoon")
    os.execv(raccoon, [raccoon, "demo", *arguments])


def test(arguments: "list[str]") -> None:
    """Install tox and run it; tox installs the rest."""
    environment()
    say("installing tox")
    install("tox>=4.18")
    say("running tox")
    os.chdir(ROOT)
    os.execv(VENV_PYTHON, [VENV_PYTHON, "-m", "tox", *arguments])


def main() -> None:
    """Do what the first argument says."""
    tasks = {"demo": demo, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in tasks:
        raise SystemExit("usage: python3 bootstrap.py demo [arguments of raccoon demo] | test [arguments of tox]")
    tasks[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
