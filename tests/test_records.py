"""Tests of `raccoon_tx.records`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import OTHER, Counts
from raccoon_tx.model import Batch, Invalid
from raccoon_tx.records import FullRecords
from raccoon_tx.routing import Routes
from tests.samples import SampleEvent, client

NOW = 1700000000.5
EVENTS = [SampleEvent("a", b"1"), SampleEvent("b", b"2")]
ALL = ("time", "guid", "index", "id", "group", "type", "transport", "content_type")


class FullRecordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counts = Counts()
        self.group = self.counts.group("g")
        self.routes = Routes("%s-log", 10, 500, self.counts)

    def made(
        self, events: list[SampleEvent] = EVENTS, guid: str = "the-guid", sent_time: float | None = None, **asked: Any
    ) -> list[Any]:
        settings: dict[str, Any] = {"key": "none", "headers": (), "timestamp": "produce", "dead_letters": "", **asked}
        who = asked.pop("who", None) or client("g", "me", "websocket")
        settings.pop("who", None)
        who.media_type = "application/proto"
        records = FullRecords(self.routes, **settings, now=lambda: NOW)
        return records.route(Batch(guid, events, sent_time), self.group, who)

    def test_nothing(self) -> None:
        """What is not asked for is not there."""
        lane, *rest = self.made()[0]
        self.assertEqual((lane.topic, rest), ("a-log", [b"1", None, 0, None]))

    def test_keys(self) -> None:
        """The key is the client's, its group's, the batch's or the type's."""
        for asked, keys in {
            "none": [None, None],
            "identity": [b"g:me", b"g:me"],
            "group": [b"g", b"g"],
            "guid": [b"the-guid", b"the-guid"],
            "type": [b"a", b"b"],
        }.items():
            self.assertEqual([record[2] for record in self.made(key=asked)], keys, asked)

    def test_no_key(self) -> None:
        """Clients without an id, and batches without a guid, do not all go into one partition."""
        self.assertIsNone(self.made(key="identity", who=client("g", ""))[0][2])
        self.assertIsNone(self.made(key="guid", guid="")[0][2])

    def test_headers(self) -> None:
        """Headers say what they are asked to say, in the order in which they are asked for."""
        self.assertEqual(
            self.made(headers=ALL)[1][4],
            [
                ("raccoon-time", b"1700000000500"),
                ("raccoon-guid", b"the-guid"),
                ("raccoon-index", b"1"),
                ("raccoon-id", b"me"),
                ("raccoon-group", b"g"),
                ("raccoon-type", b"b"),
                ("raccoon-transport", b"websocket"),
                ("raccoon-content_type", b"application/proto"),
            ],
        )

    def test_timestamps(self) -> None:
        """A record bears the time of its production, of its receipt, or what the client said."""
        for asked, sent_time, time in [
            ("produce", 5.0, 0),
            ("receive", 5.0, 1700000000500),
            ("sent_time", 5.25, 5250),
            ("sent_time", None, 0),
            ("sent_time", -5.0, 0),
            ("sent_time", 1e300, 0),
        ]:
            self.assertEqual(self.made(timestamp=asked, sent_time=sent_time)[0][3], time, (asked, sent_time))

    def test_dead_letters(self) -> None:
        """With a topic for them, events without one go there, with the reason; their neighbours go their way."""
        events = [SampleEvent("a", b"1"), SampleEvent("b d", b"2"), SampleEvent("", b"3")]
        good, bad, empty = self.made(events, dead_letters="dead", headers=("type", "index"))
        self.assertEqual((good[0].topic, good[1]), ("a-log", b"1"))
        self.assertEqual(good[4], [("raccoon-type", b"a"), ("raccoon-index", b"0")])
        self.assertEqual((bad[0].topic, bad[1]), ("dead", b"2"))
        headers = dict(bad[4])
        self.assertIn(b"illegal type", headers["raccoon-reason"])
        self.assertEqual((headers["raccoon-type"], headers["raccoon-index"]), (b"b d", b"1"))
        self.assertEqual(dict(empty[4])["raccoon-reason"], b"the type is empty")
        counted = {(lane.topic, lane.type): lane.received for lane in self.group.all_lanes()}
        self.assertEqual(counted, {("a-log", "a"): 1, ("dead", OTHER): 2})

    def test_no_dead_letters(self) -> None:
        """Without one the batch is refused."""
        self.assertRaises(Invalid, self.made, [SampleEvent("b d", b"2")])

    def test_too_large(self) -> None:
        """What the producer would never take is refused, dead letter or not, alone or with its key and headers."""
        for value, asked in [(b"x" * 501, {}), (b"x" * 501, {"dead_letters": "dead"}), (b"x" * 450, {"headers": ALL})]:
            events = [SampleEvent("a", b"1"), SampleEvent("b", value)]
            refusal = self.assertRaises(Invalid, self.made, events, **asked)
            self.assertIn("1", refusal.extra["failed"].split(","))
