"""Tests of `raccoon_tx.dedup`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.dedup import Guids
from raccoon_tx.model import Outcome, Reply

OK, FAILED = Reply(Outcome.OK, "g"), Reply(Outcome.FAILED, "g", "broken")


class GuidsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = 0.0
        self.answers: list[Reply] = []
        self.guids = Guids(3, 10.0, lambda: self.time)

    def first(self, key: str, reply: Reply | None = None) -> bool:
        """A batch comes, and is answered if it is new and there is a reply. :return: whether it was new."""
        answer = self.guids.first(key, key, self.answers.append)
        if answer is not None and reply is not None:
            answer(reply)
        return answer is not None

    def test_remembers(self) -> None:
        """What was accepted is not new any more, and is answered as a duplicate under its own guid."""
        self.assertTrue(self.first("a", OK))
        self.assertFalse(self.first("a"))
        self.assertEqual(self.answers[1:], [Reply(Outcome.OK, "a", extra={"duplicate": "true"})])

    def test_failed(self) -> None:
        """What failed is new again."""
        self.first("a", FAILED)
        self.assertTrue(self.first("a", OK))

    def test_lifetime(self) -> None:
        """After its time a guid is forgotten."""
        self.first("a", OK)
        self.time = 9.9
        self.assertFalse(self.first("a"))
        self.time = 10.0
        self.assertTrue(self.first("a", OK))

    def test_bounded(self) -> None:
        """Of more guids than may be remembered the oldest is forgotten."""
        for key in "abcd":
            self.first(key, OK)
        self.assertEqual(len(self.guids), 3)
        self.assertFalse(self.first("b"))
        self.assertTrue(self.first("a", OK))

    def test_in_flight(self) -> None:
        """While a batch is on its way, everybody who sends it gets its answer, whatever it is."""
        answer = self.guids.first("a", "a", self.answers.append)
        self.first("a")
        self.first("a")
        assert answer is not None
        answer(FAILED)
        self.assertEqual(self.answers, [FAILED] * 3)

    def test_in_flight_does_not_expire(self) -> None:
        """A batch on its way is not forgotten, however long it takes."""
        self.first("a")
        self.time = 100.0
        self.assertFalse(self.first("a"))

    def test_overdue(self) -> None:
        """A batch whose client was told that time is over stays on its way: who sends it again is told the same, until
        it is known what became of it."""
        answer = self.guids.first("a", "a", self.answers.append)
        assert answer is not None
        expired = Reply(Outcome.EXPIRED, "a")
        answer(expired)
        self.assertFalse(self.first("a"))
        self.assertEqual(self.answers, [expired, expired])
        answer(OK)
        self.assertFalse(self.first("a"))
        self.assertEqual(self.answers[2:], [Reply(Outcome.OK, "a", extra={"duplicate": "true"})])

    def test_overdue_and_failed(self) -> None:
        """If it has failed in the end, it is new again."""
        answer = self.guids.first("a", "a", self.answers.append)
        assert answer is not None
        answer(Reply(Outcome.EXPIRED, "a"))
        answer(FAILED)
        self.assertTrue(self.first("a", OK))
        self.assertEqual([reply.outcome for reply in self.answers], [Outcome.EXPIRED, Outcome.OK])

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([OK, FAILED]), st.floats(0, 4)), max_size=60))
    def test_never_more(self, batches: list[tuple[str, Reply, float]]) -> None:
        """However batches come, what is remembered is bounded, and each is answered once."""
        guids = Guids(3, 10.0, lambda: self.time)
        answers: list[Reply] = []
        for number, (key, reply, pause) in enumerate(batches, 1):
            self.time += pause
            answer = guids.first(key, key, answers.append)
            if answer is not None:
                answer(reply)
            self.assertEqual(len(answers), number)
            self.assertLessEqual(len(guids), 3)
