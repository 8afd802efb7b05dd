"""Tests of `raccoon_tx.publishers.log`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx.logs import text_line
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.model import Ack, Outcome, Reply
from raccoon_tx.publishers.accounts import Accounts
from raccoon_tx.publishers.log import LogPublisher, show
from tests.samples import delivery


class ShowTests(SynchronousTestCase):
    def test_json(self) -> None:
        """JSON is shown as JSON, in one line."""
        self.assertEqual(show(b'{"a": [1,\n 2], "b": "\xc3\xa4"}'), ("json", '{"a":[1,2],"b":"\u00e4"}'))

    def test_protobuf(self) -> None:
        """A message is shown by its field numbers."""
        message = SendEventRequest(req_guid="abc")
        message.sent_time.seconds = 5
        message.events.add(type="t", event_bytes=b"\xff")
        kind, text = show(message.SerializeToString())
        self.assertEqual(kind, "protobuf")
        self.assertTrue(text.startswith('1:"abc" 2:'), text)

    def test_bytes(self) -> None:
        """What is neither is shown as base64."""
        self.assertEqual(show(b"\xff\xff"), ("bytes", "//8="))

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_anything(self, value: bytes) -> None:
        """Nothing a client sends is too odd to be shown."""
        kind, text = show(value)
        self.assertIn(kind, ("json", "protobuf", "bytes"))
        self.assertIsInstance(text, str)

    def test_deep(self) -> None:
        """Nor too deep."""
        self.assertEqual(show(b"[" * 100_000)[0], "bytes")


class LogPublisherTests(SynchronousTestCase):
    def test_publish(self) -> None:
        """Each event is one line, with its type and content, and the batch succeeds in both modes."""
        for ack in Ack:
            lines: list[str] = []
            counts = Counts()
            publisher = LogPublisher(Accounts(counts, lambda: 0.0, lambda: 0.0))

            def emit(level: LogLevel, form: str, into: list[str] = lines, **values: object) -> None:
                into.append(text_line({"log_format": form, "log_level": level, **values}))

            publisher._log = type("Log", (), {"info": lambda self, form, **v: emit(LogLevel.info, form, **v)})()
            answers: list[Reply] = []
            publisher.publish(delivery(("a", b'{"x":1}'), ("b", b"\xff\xff"), ack=ack, answer=answers.append))
            self.assertEqual(answers, [Reply(Outcome.OK, "1234")])
            self.assertIn('[LogPublisher] kind = json, event_type = a, event = {"x":1}', lines[0])
            self.assertEqual(sum(counts.published.counts), 1)
            self.assertIn("[LogPublisher] kind = bytes, event_type = b, event = //8=", lines[1])
