"""Tests of `raccoon_tx.routing`."""

from __future__ import annotations

from confluent_kafka import KafkaException, Producer
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import OTHER, Counts
from raccoon_tx.model import Batch, Invalid
from raccoon_tx.routing import RECORD_OVERHEAD, Routes
from tests.samples import SampleEvent


class Router:
    """Routes, and what they count for one group."""

    def __init__(self, pattern: str, max_topics: int, largest: int, labels: int = 200) -> None:
        counts = Counts(most=labels)
        self.routes = Routes(pattern, max_topics, largest, counts)
        self.group = counts.group("g")

    def route(self, events: list[SampleEvent]) -> list[tuple[str, bytes]]:
        return [(lane.topic, value) for lane, value in self.routes.route(Batch("", events), self.group)]

    @property
    def remembered(self) -> int:
        return len(self.group.all_lanes())


def routes(pattern: str = "clickstream-%s-log", max_topics: int = 10, largest: int = 100, labels: int = 200) -> Router:
    return Router(pattern, max_topics, largest, labels)


def events(*kinds: str) -> list[SampleEvent]:
    return [SampleEvent(kind, b"value") for kind in kinds]


class RoutesTests(SynchronousTestCase):
    def test_type_in_topic(self) -> None:
        """The topic is the pattern with the type in place of ``%s``; value and order stay."""
        made = routes().route([SampleEvent("b", b"2"), SampleEvent("a", b"1"), SampleEvent("b", b"3")])
        self.assertEqual(made, [("clickstream-b-log", b"2"), ("clickstream-a-log", b"1"), ("clickstream-b-log", b"3")])

    def test_constant(self) -> None:
        """A pattern without ``%s`` is the topic of every event, whatever its type; types beyond the labels that are
        told apart are remembered as one."""
        constant = routes("all", labels=2)
        self.assertEqual(constant.route(events("x", "", "no topic\n", "y", "z")), [("all", b"value")] * 5)
        counted = {lane.type: lane.received for lane in constant.group.all_lanes()}
        self.assertEqual(counted, {"x": 1, "": 1, OTHER: 3})

    def test_counted(self) -> None:
        """Events and their bytes are counted by type, beyond the labels that are told apart as others."""
        under_test = routes(labels=2)
        under_test.route(events("a", "a", "b"))
        under_test.route(events("c", "d"))
        counted = sorted((lane.type, lane.topic, lane.received, lane.bytes) for lane in under_test.group.all_lanes())
        self.assertEqual(
            counted,
            [
                ("a", "clickstream-a-log", 2, 10),
                ("b", "clickstream-b-log", 1, 5),
                (OTHER, "clickstream-c-log", 1, 5),
                (OTHER, "clickstream-d-log", 1, 5),
            ],
        )

    def test_allowed(self) -> None:
        """With a list of allowed types all others are refused, those that were used before as well; their counts
        stay, and go on when they are allowed again."""
        under_test = routes()
        under_test.route(events("a", "b"))
        under_test.routes.allow(["a", "c"])
        self.assertIn("not allowed", self.refusal(under_test, "b").reason)
        self.assertEqual(len(under_test.route(events("a", "c"))), 2)
        under_test.routes.allow([])
        under_test.route(events("b"))
        self.assertEqual({lane.type: lane.received for lane in under_test.group.all_lanes()}, {"a": 2, "b": 2, "c": 1})

    def refusal(self, given_routes: Router, *kinds: str) -> Invalid:
        return self.assertRaises(Invalid, given_routes.route, events(*kinds))

    def test_illegal_types(self) -> None:
        """What Kafka would not take for a topic is refused, and nothing is remembered of it."""
        under_test = routes("%s")
        for kind in ["", " ", "a b", "a/b", "a\n", "\x00", "a\x00b", "\u00e4", ".", "..", "x" * 250, "__offsets", "%s"]:
            refusal = self.refusal(under_test, kind)
            self.assertEqual(refusal.extra["failed"], "0", repr(kind))
            self.assertTrue(refusal.reason.isprintable(), repr(refusal.reason))
        self.assertEqual(under_test.remembered, 0)

    def test_longest(self) -> None:
        """A topic may have 249 characters."""
        self.assertEqual(routes("%s").route(events("x" * 249))[0][0], "x" * 249)

    def test_names_each(self) -> None:
        """The refusal names each event that is wrong, and says that trying again is of no use."""
        refusal = self.refusal(routes(), "good", "b d", "good", "")
        self.assertEqual(
            dict(refusal.extra), {"failed": "1,3", "failed_count": "2", "event_count": "4", "retryable": "false"}
        )
        self.assertTrue(refusal.reason.startswith("invalid events: event 1 (b d): illegal type"), refusal.reason)
        self.assertIn("event 3 (): the type is empty", refusal.reason)

    def test_too_large(self) -> None:
        """An event that the producer would never take is refused before anything of its batch is produced."""
        ok, large = SampleEvent("a", b"x" * 100), SampleEvent("a", b"x" * 101)
        self.assertEqual(len(routes().route([ok, ok])), 2)
        refusal = self.assertRaises(Invalid, routes().route, [ok, large])
        self.assertEqual(refusal.extra["failed"], "1")
        self.assertIn("larger than the 100 bytes", refusal.reason)

    def test_most_topics(self) -> None:
        """A new type is refused when there are as many topics as may be; known ones go on."""
        under_test = routes(max_topics=2)
        under_test.route(events("a", "b"))
        self.assertIn("at most 2 topics", self.refusal(under_test, "c").reason)
        self.assertEqual(len(under_test.route(events("a", "b"))), 2)

    def test_bounded_reason(self) -> None:
        """The reason stays below 1 KiB, however many events fail; ``failed`` names all of them."""
        refusal = self.refusal(routes(), *(["b d" * 300] * 5000))
        self.assertLess(len(refusal.reason.encode()), 1024)
        self.assertTrue(refusal.reason.endswith(" more"), refusal.reason[-40:])
        self.assertEqual(refusal.extra["failed"].count(","), 4999)

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=300))
    def test_any_type(self, kind: str) -> None:
        """Whatever a client names its events, the result is a legal topic or a refusal."""
        under_test = routes("%s")
        try:
            topic = under_test.route(events(kind))[0][0]
        except Invalid as refusal:
            self.assertTrue(refusal.reason.isprintable())
        else:
            self.assertRegex(topic, r"\A[a-zA-Z0-9._-]{1,249}\Z")


class OverheadTests(SynchronousTestCase):
    def test_as_librdkafka(self) -> None:
        """`RECORD_OVERHEAD` is what the client library adds: one byte more than the rest is refused by it."""
        producer = Producer({"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": 5000, "log_level": 0})
        producer.produce("topic", b"x" * (5000 - RECORD_OVERHEAD))
        self.assertRaises(KafkaException, producer.produce, "topic", b"x" * (5001 - RECORD_OVERHEAD))
        producer.purge()
