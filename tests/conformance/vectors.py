"""The batch of vector 2, in types that nobody else uses, and what is said of it."""

from __future__ import annotations

from attrs import field, frozen

from tests.conformance.topics import Kafka, word
from tests.integration.batches import Batch, Encoding, Event, success
from tests.integration.clients import ID_HEADER, MEDIA_TYPES, Ports, post

#: Written as in the contract.
JSON = (
    '{"req_guid":"1234","sent_time":{"seconds":1,"nanos":2},"events":['
    '{"event_bytes":"ZXZlbnRfMQ==","type":"type_a"},{"event_bytes":"ZXZlbnRfMg==","type":"type_b"}]}'
)

CONTENT_TYPE_REFUSED = {"status": 2, "code": 2, "reason": "invalid content type"}
UNREADABLE = {"status": 2, "code": 2, "reason": "deserialization failure"}


@frozen
class Two:
    """Two events. :ivar first: :ivar second: their types."""

    first: str = field(factory=lambda: f"type_a-{word()}")
    second: str = field(factory=lambda: f"type_b-{word()}")

    def text(self, **instead: str) -> str:
        """As JSON, with parts of the original replaced."""
        written = JSON
        for old, new in instead.items():
            assert old in written
            written = written.replace(old, new)
        return written.replace("type_a", self.first).replace("type_b", self.second)

    @property
    def batch(self) -> Batch:
        return Batch("1234", Event(self.first, b"event_1"), Event(self.second, b"event_2"))

    def body(self, encoding: Encoding) -> bytes:
        return self.text().encode() if encoding == "json" else self.batch.written("proto")

    def assert_produced(self, kafka: Kafka, times: int = 1) -> None:
        """Both events stand in the topics of their types, so often."""
        found = kafka.values(self.first, self.second, expected=2 * times)
        assert found == {self.first: [b"event_1"] * times, self.second: [b"event_2"] * times}


def media_type(encoding: Encoding) -> str:
    return MEDIA_TYPES[encoding]


def assert_nothing_produced(server: Ports, kafka: Kafka, *kinds: str) -> None:
    """The next event of each of these types is the first one in its topic."""
    marker = Batch("marker", *(Event(kind, b"marker") for kind in kinds))
    assert post(server, marker.written("json"), **{ID_HEADER: "marker"}).said == success("marker")
    found = kafka.values(*kinds, expected=len(kinds))
    assert found == {kind: [b"marker"] for kind in kinds}
