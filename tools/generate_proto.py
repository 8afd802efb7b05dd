"""Generate ``raccoon_tx/_proto`` from ``proto``: run it by ``tox -e proto``.

The compiler is old on purpose: what it writes is accepted by every protobuf runtime since 4.21, while newer ones
write code that refuses runtimes older than themselves.

Two things are changed in what the compiler writes, always the same way. Modules are imported from inside this
package. And the messages live in a descriptor pool of their own, so that a process which also loads another copy
of these definitions (an official client, say) does not meet "duplicate symbol" errors.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
TARGET = ROOT / "raccoon_tx" / "_proto"
MANIFEST = TARGET / "MANIFEST.sha256"

POOL = '''"""The descriptor pool of the generated messages, apart from the process-wide one. Generated; do not edit."""

from google.protobuf import descriptor_pool, timestamp_pb2
from google.protobuf.internal import builder

PRIVATE = descriptor_pool.DescriptorPool()
PRIVATE.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
# Runtimes before 4.25 crash on a message whose class was never made.
builder.BuildTopDescriptorsAndMessages(PRIVATE.FindFileByName("google/protobuf/timestamp.proto"), __name__, {})
'''

PACKAGE = '"""Messages generated from the definitions in `proto/`. Generated; do not edit."""\n'


def tracked() -> list[Path]:
    """The definitions, and everything generated from them, in a fixed order."""
    generated = [path for path in TARGET.rglob("*.py*") if path.suffix in {".py", ".pyi"}]
    return sorted(SOURCES.rglob("*.proto")) + sorted(generated)


def digest() -> str:
    """One line for each tracked file: its SHA-256 and its path below the root."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT).as_posix()}\n" for path in tracked()
    ]
    return "".join(lines)


def generate() -> None:
    """Write `TARGET` anew."""
    from grpc_tools import protoc

    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    (TARGET / "pool.py").write_text(POOL)
    includes = Path(sys.modules["grpc_tools"].__file__ or "").parent / "_proto"
    names = [path.relative_to(SOURCES).as_posix() for path in sorted(SOURCES.rglob("*.proto"))]
    flags = [f"-I{SOURCES}", f"-I{includes}", f"--python_out={TARGET}", f"--pyi_out={TARGET}"]
    status = protoc.main(["protoc", *flags, f"--grpc_python_out={TARGET}", *names])
    if status:
        raise SystemExit(status)
    for path in sorted(TARGET.rglob("*_pb2*.py*")):
        text = path.read_text()
        text = re.sub(r"^from (raystack|odpf)\.", r"from raccoon_tx._proto.\1.", text, flags=re.MULTILINE)
        text = text.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool\n", "from raccoon_tx._proto import pool\n"
        ).replace("_descriptor_pool.Default()", "pool.PRIVATE")
        path.write_text(text)
    for folder in [TARGET, *(path for path in sorted(TARGET.rglob("*")) if path.is_dir())]:
        (folder / "__init__.py").write_text(PACKAGE)
    MANIFEST.write_text(digest())


if __name__ == "__main__":
    generate()
