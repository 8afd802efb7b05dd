"""The load generator in ``load/``: compiled when it is first needed, and talked to over pipes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import machine

SOURCE = Path(__file__).parent / "load"


def build() -> Path:
    """Compile it, unless this very source has been. :raises SystemExit: there is no compiler."""
    files = sorted(SOURCE.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raccoon_tx"
    program = cache / f"load-{digest}"
    if program.exists():
        return program
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        raise SystemExit("The load generator is in C: install a compiler (Debian: apt install gcc libc6-dev).")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder, "load")
        sources = [str(path) for path in files if path.suffix == ".c"]
        subprocess.run([compiler, "-O2", "-Wall", "-o", str(made), *sources], check=True)
        made.rename(program)
    return program


class Generator:
    """One that runs. Connections stay open until it is closed."""

    def __init__(self, port: int, host: str = "127.0.0.1", **options: object) -> None:
        """:param options: of the program, with ``_`` for ``-``."""
        words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [str(build()), "--host", host, "--port", str(port), *" ".join(words).split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **machine.on(machine.OTHER_CORE),
        )

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with status {self._process.wait(5)} after: {command}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def connect(self, count: int) -> None:
        """Open so many connections. :raises RuntimeError: some were refused."""
        answer = self._ask(f"connect {count}")
        if answer["failed"]:
            raise RuntimeError(f"{answer['failed']} of {count} connections were refused")

    def closed(self, seconds: float) -> dict[str, Any]:
        """Keep every connection busy."""
        return self._ask(f"closed {seconds}")

    def open(self, seconds: float, batches_per_second: float) -> dict[str, Any]:
        """Send at a fixed rate."""
        return self._ask(f"open {seconds} {batches_per_second}")

    def idle(self, seconds: float) -> dict[str, Any]:
        """Only answer pings."""
        return self._ask(f"idle {seconds}")

    def close(self) -> None:
        """Close its connections and end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
