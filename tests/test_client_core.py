"""Tests of `raccoon_tx.client.core`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.client import Event, Full, Limits
from raccoon_tx.client.core import OVERHEAD, Answer, Batch, Core, event_of

GOOD = Answer(True)


def core(**limits: Any) -> Core:
    """With guids that count, and without jitter: always the longest wait."""
    numbers = count(1)
    return Core(Limits(**{"batch_age": 0.0, **limits}), guid=lambda: f"g{next(numbers)}", jitter=lambda low, high: high)


def add(to: Core, *values: str, now: float = 0.0) -> None:
    for value in values:
        to.add(Event("t", value.encode()), now)


def texts(batches: Iterable[Batch]) -> list[str]:
    """What is in each batch."""
    return [" ".join(event.value.decode() for event in batch.events) for batch in batches]


class BatchTests(SynchronousTestCase):
    """When events travel, and which together."""

    def test_age(self) -> None:
        """Events wait for others for a while, counted from the first."""
        client = core(batch_age=2.0)
        add(client, "a", now=10.0)
        add(client, "b", now=11.0)
        self.assertEqual(client.to_send(11.9), [])
        self.assertEqual(client.next_time(11.9), 12.0)
        self.assertEqual(texts(client.to_send(12.0)), ["a b"])
        self.assertEqual(client.to_send(20.0), [])

    def test_count(self) -> None:
        """So many events are a batch at once."""
        client = core(batch_age=100.0, batch_events=2)
        add(client, "a", "b", "c")
        self.assertEqual(texts(client.to_send(0.0)), ["a b"])

    def test_bytes(self) -> None:
        """A batch does not get larger than it may; an event that is larger goes alone."""
        client = core(batch_age=100.0, batch_bytes=2 * (OVERHEAD + 2))
        add(client, "a", "b", "c", "x" * 1000, "d")
        client.close_batch()
        self.assertEqual(texts(client.to_send(0.0)), ["a b", "c", "x" * 1000, "d"])

    def test_in_flight(self) -> None:
        """No more batches are on their way than may be; an answer makes room."""
        client = core(in_flight=2, batch_events=1)
        add(client, "a", "b", "c")
        self.assertEqual(texts(client.to_send(0.0)), ["a", "b"])
        self.assertEqual(client.to_send(0.0), [])
        client.answered("g1", GOOD, 0.0)
        self.assertEqual(texts(client.to_send(0.0)), ["c"])
        self.assertEqual(client.unanswered, 2)

    def test_event(self) -> None:
        """What cannot be an event is refused when it comes, not when it would travel."""
        self.assertEqual(event_of("t", bytearray(b"x")), Event("t", b"x"))
        for kind, value in (("t", "text"), (b"t", b"x"), ("t", 5)):
            self.assertRaises(TypeError, event_of, kind, value)
        self.assertRaises(ValueError, event_of, "\ud800", b"x")


class RoomTests(SynchronousTestCase):
    """Memory is bounded."""

    def test_events(self) -> None:
        """So many events, wherever they are: waiting for others, ready, or on their way."""
        client = core(buffer_events=3, batch_events=2)
        add(client, "a", "b")
        client.to_send(0.0)
        add(client, "c")
        self.assertRaises(Full, add, client, "d")
        client.answered("g1", GOOD, 0.0)
        add(client, "d", "e")
        self.assertRaises(Full, add, client, "f")

    def test_bytes(self) -> None:
        """So many bytes; but what is larger than all of that is taken when nothing else is there."""
        client = core(buffer_bytes=300)
        add(client, "x" * 1000)
        self.assertRaises(Full, add, client, "y")
        client.to_send(0.0)
        client.answered("g1", GOOD, 0.0)
        self.assertEqual((client.events, client.size, client.idle), (0, 0, True))
        add(client, "y")


class AnswerTests(SynchronousTestCase):
    """What an answer does."""

    def sent(self, *values: str, **limits: Any) -> Core:
        """A core that has sent these in one batch, ``g1``."""
        client = core(**limits)
        add(client, *values)
        client.close_batch()
        self.assertEqual(texts(client.to_send(0.0)), [" ".join(values)])
        return client

    def again(self, client: Core, now: float) -> list[tuple[str, str]]:
        """Guid and content of what is sent now."""
        return [(batch.guid, *texts([batch])) for batch in client.to_send(now)]  # type: ignore[misc]

    def test_good(self) -> None:
        """The events are done with; a second answer changes nothing, nor does one for nobody's batch."""
        client = self.sent("a", "b")
        for guid in ("g1", "g1", "somebody's"):
            client.answered(guid, GOOD, 0.0)
        self.assertEqual((client.idle, client.size, client.counts.delivered), (True, 0, 2))
        self.assertIsNone(client.next_time(0.0))

    def test_all_failed(self) -> None:
        """All of it goes again under the same guid, later and later."""
        client = self.sent("a", "b", backoff=1.0, longest_backoff=3.0)
        now = 0.0
        for wait in (1.0, 2.0, 3.0, 3.0):
            client.answered("g1", Answer(False, True, failed=(0, 1), others_taken=True), now)
            self.assertEqual(client.next_time(now), now + wait)
            self.assertEqual(self.again(client, now + wait - 0.1), [])
            now += wait
            self.assertEqual(self.again(client, now), [("g1", "a b")])

    def test_some_failed(self) -> None:
        """Only those go again, under a new guid."""
        client = self.sent("a", "b", "c", backoff=1.0)
        client.answered("g1", Answer(False, True, failed=(0, 2), others_taken=True), 0.0)
        self.assertEqual((client.events, client.counts.delivered), (2, 1))
        self.assertEqual(self.again(client, 1.0), [("g2", "a c")])

    def test_others_do_not_wait(self) -> None:
        """While a batch that failed waits, later ones go."""
        client = self.sent("a")
        client.answered("g1", Answer(False, True), 0.0)
        add(client, "b")
        self.assertEqual(texts(client.to_send(0.0)), ["b"])

    def test_advice(self) -> None:
        """A server that says how long to wait is left alone for so long, and a little longer; but not for ever."""
        for said, followed in ((2.0, 3.0), (1e9, 450.0)):
            client = self.sent("a")
            client.answered("g1", Answer(False, True, retry_after=said), 0.0)
            add(client, "b")
            client.close_batch()
            self.assertEqual(client.to_send(followed - 0.1), [])
            self.assertEqual(texts(client.to_send(followed)), ["a", "b"])

    def test_some_invalid(self) -> None:
        """Those are told, the others go at once under a new guid: nothing of the batch was taken."""
        client = self.sent("a", "b", "c")
        client.answered("g1", Answer(False, reason="illegal", failed=(1,)), 0.0)
        self.assertEqual(client.rejected, [(Event("t", b"b"), "illegal")])
        self.assertEqual(self.again(client, 0.0), [("g2", "a c")])

    def test_some_never(self) -> None:
        """Of a batch that was published, what cannot be published is told, and the others are done with."""
        client = self.sent("a", "b", "c")
        client.answered("g1", Answer(False, reason="too large", failed=(1,), others_taken=True), 0.0)
        self.assertEqual(client.rejected, [(Event("t", b"b"), "too large")])
        self.assertEqual((client.idle, client.counts.delivered, client.counts.rejected), (True, 2, 1))

    def test_all_invalid(self) -> None:
        """A batch that is refused without a word about its events is told whole."""
        client = self.sent("a", "b")
        client.answered("g1", Answer(False, reason="no"), 0.0)
        self.assertEqual([event.value for event, _ in client.rejected], [b"a", b"b"])
        self.assertTrue(client.idle)

    def test_nonsense(self) -> None:
        """Events that are not there cannot have failed."""
        client = self.sent("a", backoff=1.0)
        client.answered("g1", Answer(False, True, failed=(7,), others_taken=True), 0.0)
        self.assertEqual(self.again(client, 1.0), [("g1", "a")])

    def test_too_large(self) -> None:
        """A batch that is too large is halved until its parts fit, in order; an event that never fits is told."""
        client = self.sent("a", "b", "c")
        large = Answer(False, reason="too large", too_large=True)
        client.answered("g1", large, 0.0)
        self.assertEqual(self.again(client, 0.0), [("g3", "a"), ("g2", "b c")])
        client.answered("g2", large, 0.0)
        self.assertEqual([content for _, content in self.again(client, 0.0)], ["b", "c"])
        client.answered("g3", large, 0.0)
        self.assertEqual([event.value for event, _ in client.rejected], [b"a"])
        self.assertEqual(client.events, 2)

    def test_order_of_halves(self) -> None:
        """The halves of a batch stay in order, whichever of them fails first, and before what comes after them."""
        client = self.sent("a", "b")
        add(client, "c")
        client.answered("g1", Answer(False, too_large=True), 0.0)
        guids = {text: guid for guid, text in self.again(client, 0.0)}
        for text in ("c", "b", "a"):
            client.unknown(guids[text], 0.0)
        self.assertEqual([text for _, text in self.again(client, 100.0)], ["a", "b", "c"])

    def test_too_large_for_connection(self) -> None:
        """If a connection ends because of a message that was too large, it was the largest."""
        client = core(batch_events=1)
        add(client, "a", "x" * 100, "b")
        client.to_send(0.0)
        client.too_large(0.0, "1009")
        self.assertEqual([event.value for event, _ in client.rejected], [b"x" * 100])
        self.assertEqual(texts(client.to_send(100.0)), ["a", "b"])


class LossTests(SynchronousTestCase):
    """What the end of a connection does."""

    def test_lost(self) -> None:
        """All that was on its way goes again, in order, before what is new, under the same guids."""
        client = core(batch_events=1, in_flight=3, backoff=1.0)
        add(client, "a", "b", "c", "d")
        client.to_send(0.0)
        client.answered("g2", GOOD, 0.0)
        client.lost(0.0)
        self.assertFalse(client.wants_connection(0.9))
        self.assertTrue(client.wants_connection(1.0))
        again = client.to_send(1.0)
        self.assertEqual([batch.guid for batch in again], ["g1", "g3", "g4"])
        self.assertEqual(client.counts.sent_again, 2)

    def test_backoff(self) -> None:
        """Each loss in a row doubles the wait, up to a limit; an answer ends the row."""
        client = core(backoff=1.0, longest_backoff=4.0)
        add(client, "a", "b")
        waits = []
        for _ in range(4):
            client.lost(0.0)
            waits.append(client.pause)
            client.pause = 0.0
        self.assertEqual(waits, [1.0, 2.0, 4.0, 4.0])
        client.to_send(0.0)
        client.answered("g1", GOOD, 0.0)
        client.lost(0.0)
        self.assertEqual(client.pause, 1.0)

    def test_jitter(self) -> None:
        """Clients that were cut off together do not come back together."""
        asked: list[tuple[float, float]] = []

        def jitter(low: float, high: float) -> float:
            asked.append((low, high))
            return low

        client = Core(Limits(backoff=1.0), jitter=jitter)
        client.lost(0.0)
        self.assertEqual((asked, client.pause), ([(0.5, 1.0)], 0.5))

    def test_unknown(self) -> None:
        """A request without an answer goes again; those that broke off together count as one loss."""
        client = core(batch_events=1, backoff=1.0)
        add(client, "a", "b")
        client.to_send(0.0)
        client.unknown("g1", 0.0)
        client.unknown("g2", 0.0)
        self.assertEqual(client.pause, 1.0)
        self.assertEqual(texts(client.to_send(1.0)), ["a", "b"])

    def test_late_answer(self) -> None:
        """A good answer is good even if its batch was about to go again."""
        client = core()
        add(client, "a")
        client.to_send(0.0)
        client.unknown("g1", 0.0)
        client.answered("g1", Answer(False, True), 0.0)
        self.assertFalse(client.idle)
        client.answered("g1", GOOD, 0.0)
        self.assertTrue(client.idle)
        self.assertEqual(client.to_send(100.0), [])

    def test_overdue(self) -> None:
        """An answer is waited for so long, and somebody is woken for it."""
        client = core(answer_timeout=15.0)
        add(client, "a")
        client.to_send(1.0)
        self.assertEqual(client.next_time(1.0), 16.0)
        self.assertFalse(client.overdue(15.9))
        self.assertTrue(client.overdue(16.0))


@define(eq=False)
class World:
    """A server, and a network that loses what it likes. :ivar taken: what the server has published, in its order."""

    client: Core
    now: float = 0.0
    taken: list[bytes] = field(factory=list)
    told: list[bytes] = field(factory=list)
    guids: set[str] = field(factory=set)
    contents: dict[str, list[bytes]] = field(factory=dict)
    on_the_way: list[Batch] = field(factory=list)

    def send(self) -> None:
        for batch in self.client.to_send(self.now):
            content = [event.value for event in batch.events]
            # A guid means the same events for ever, or a server would take one batch for another.
            assert self.contents.setdefault(batch.guid, content) == content
            self.on_the_way.append(batch)

    def take(self, batch: Batch, but: set[int]) -> None:
        """The server publishes a batch, but for some events; what it has seen whole it does not publish again."""
        if batch.guid not in self.guids:
            self.taken += [value for index, value in enumerate(self.contents[batch.guid]) if index not in but]
            if not but:
                self.guids.add(batch.guid)

    def step(self, what: str, number: int) -> None:
        self.now += number / 10
        self.send()
        if what == "lost":
            self.on_the_way.clear()
            self.client.lost(self.now)
        if not self.on_the_way:
            return
        batch = self.on_the_way.pop(number % len(self.on_the_way))
        size = len(self.contents[batch.guid])
        index = number % size
        if what == "good" or (batch.guid in self.guids and what in ("some failed", "one invalid", "too large")):
            self.take(batch, set())
            self.client.answered(batch.guid, GOOD, self.now)
        elif what == "unheard":
            self.take(batch, set())
            self.client.unknown(batch.guid, self.now)
        elif what == "unseen":
            self.client.unknown(batch.guid, self.now)
        elif what == "some failed":
            self.take(batch, {index})
            self.client.answered(batch.guid, Answer(False, True, failed=(index,), others_taken=True), self.now)
        elif what == "busy":
            self.client.answered(batch.guid, Answer(False, True, retry_after=number / 10), self.now)
        elif what == "one invalid":
            self.client.answered(batch.guid, Answer(False, failed=(index,)), self.now)
        elif what == "too large" and size > 1:
            self.client.answered(batch.guid, Answer(False, too_large=True), self.now)
        else:
            self.on_the_way.append(batch)

    def finish(self) -> None:
        """From now on all goes well."""
        self.client.close_batch()
        self.client.lost(self.now)
        self.on_the_way.clear()
        for _ in range(1000):
            if self.client.idle:
                return
            due = self.client.next_time(self.now)
            assert due is not None, "somebody is forgotten"
            self.now = due
            self.send()
            for batch in self.on_the_way:
                self.take(batch, set())
                self.client.answered(batch.guid, GOOD, self.now)
            self.on_the_way.clear()
        raise AssertionError("it does not end")


WHAT = ("good", "unheard", "unseen", "lost", "some failed", "busy", "one invalid", "too large", "event", "event")


class PropertyTests(SynchronousTestCase):
    """Whatever happens."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 30)), max_size=60), st.integers(1, 5))
    def test_whatever_happens(self, steps: list[tuple[str, int]], in_flight: int) -> None:
        """Every event that was taken arrives, once, or is told; and never are there more than may be.

        Once, because this server recognises a batch that it has published: none is sent under another guid without
        need.
        """
        client = core(buffer_events=12, batch_events=4, batch_age=0.2, in_flight=in_flight, longest_backoff=2.0)
        world = World(client)
        given_in: list[bytes] = []
        for number, (what, size) in enumerate(steps):
            if what == "event":
                for part in range(size % 5):
                    event = Event("t", f"{number}.{part}".encode())
                    if client.has_room(event):
                        client.add(event, world.now)
                        given_in.append(event.value)
            else:
                world.step(what, size)
            self.assertLessEqual(client.events, 12)
            self.assertLessEqual(client.unanswered, in_flight)
        world.finish()
        told = [event.value for event, _ in client.rejected]
        self.assertEqual(sorted(world.taken + told), sorted(given_in))
        self.assertEqual((client.size, client.counts.delivered), (0, len(world.taken)))
        self.assertEqual(client.counts.rejected, len(told))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["good", "lost", "unheard"]), max_size=30), st.integers(1, 40))
    def test_order(self, steps: list[str], events: int) -> None:
        """Over one request at a time events arrive in order, whatever is lost."""
        client = core(batch_events=3, in_flight=1)
        world = World(client)
        for number in range(events):
            client.add(Event("t", b"%d" % number), 0.0)
        for what in steps:
            world.now += 100.0
            world.step(what, 0)
        world.finish()
        self.assertEqual(world.taken, [b"%d" % number for number in range(events)])
