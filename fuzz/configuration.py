"""A target: the configuration file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.target import Target
from raccoon_tx.config import ConfigurationError
from raccoon_tx.config.file import as_yaml
from raccoon_tx.config.load import load

SEEDS = (
    b"server:\n  websocket:\n    port: 8080\n    conn:\n      id:\n        header: X-User-ID\n",
    b"publisher:\n  type: log\nserver.websocket.conn.id.header: X\nevent: {ack: 1}\n",
    b"a: &x [1, ~, 'b', \"\\u00fc\"]\nb: *x\n? c\n: - d\n<<: {e: f}\n--- \n...\n",
    b"publisher:\n  kafka:\n    client:\n      bootstrap.servers: a:9092\n      acks: all\n",
    b"\xef\xbb\xbfevent:\n  ack: 0 # no\nspool: {path: !!str /tmp}\n",
)


def read(body: bytes) -> None:
    """It is understood, or every mistake is told in a line of its own; what was understood can be printed."""
    with TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        (Path(folder) / "config.yaml").write_bytes(body)
        try:
            loaded = load({}, {}, None, Path(folder))
        except ConfigurationError as problem:
            if not all(mistake.strip() for mistake in problem.mistakes) or not problem.mistakes:
                raise AssertionError("nothing is told") from None
            return
    as_yaml({name: tuple(given) for name, given in loaded.values.items()})


TARGETS = (Target("configuration", read, SEEDS),)
