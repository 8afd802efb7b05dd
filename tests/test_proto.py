"""The generated messages are those of the definitions, and get along with other copies of them."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pool, message_factory
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.odpf.raccoon.v1beta1 import raccoon_pb2 as odpf
from raccoon_tx._proto.raystack.raccoon.v1beta1 import raccoon_pb2 as raystack

GENERATOR = Path(__file__).resolve().parent.parent / "tools" / "generate_proto.py"


def generator() -> ModuleType:
    """`tools/generate_proto.py`, which is a script and in no package."""
    spec = spec_from_file_location("generate_proto", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class GeneratedTests(SynchronousTestCase):
    """``raccoon_tx/_proto`` is what the generator made of ``proto``."""

    maxDiff = None

    def test_fresh(self) -> None:
        """Neither a definition nor a generated file was changed since the last generation."""
        tool = generator()
        self.assertEqual(
            tool.digest(),
            tool.MANIFEST.read_text(),
            "raccoon_tx/_proto is not what proto/ says: run `tox -e proto` and commit what it writes",
        )


class CopiesTests(SynchronousTestCase):
    """A client library with its own copy of the definitions may live in the same process."""

    def test_other_copy(self) -> None:
        """The same definitions in the default pool do not conflict with ours, and mean the same."""
        default = descriptor_pool.Default()
        # In protobuf 4.21 it has another name.
        make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(default).GetPrototype
        for ours in (raystack, odpf):
            file = ours.DESCRIPTOR
            default.AddSerializedFile(file.serialized_pb)
            theirs = make(default.FindMessageTypeByName(f"{file.package}.SendEventRequest"))
            self.assertIsNot(theirs, ours.SendEventRequest)
            sent = theirs(req_guid="1", events=[{"type": "a", "event_bytes": b"\xff"}])
            sent.sent_time.seconds = 7
            read = ours.SendEventRequest.FromString(sent.SerializeToString())
            self.assertEqual(
                (read.req_guid, read.sent_time.seconds, read.events[0].type, read.events[0].event_bytes),
                ("1", 7, "a", b"\xff"),
            )
