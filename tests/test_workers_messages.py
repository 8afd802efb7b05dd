"""Tests of `raccoon_tx.workers.messages` and `raccoon_tx.workers.link`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import DecodeError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.names import Buckets
from raccoon_tx.model import Outcome, Reply
from raccoon_tx.workers import messages
from raccoon_tx.workers.link import Link
from raccoon_tx.workers.messages import (
    Ask,
    Counted,
    Enter,
    Frames,
    Hurry,
    Known,
    Leave,
    Message,
    Observation,
    Settled,
    Start,
    Stop,
    Told,
    TooLong,
    frame,
    to_samples,
)

REPLY = Reply(Outcome.FAILED, "1", "broken", {"failed": "0"}, 1.5)

SOME: list[Message] = [
    Start(b"\x00settings", "text"),
    Stop(),
    Hurry(),
    Enter(1, "g", "ä"),
    Ask(2, "g", "i", "x" * 70_000),
    Settled(2),
    Settled(3, Told.of(REPLY)),
    Known(4, Told.of(Reply(Outcome.OK, "1", extra={"duplicate": "true"}))),
    Counted(
        5,
        {
            "a_total": [(("x", "y"), 3)],
            "b_seconds": [((), 0.5)],
            "c_ms": to_samples({("w",): Buckets((1, 2), (3, 4, 5), 6)}),
        },
        [Observation("c_ms", ("l",), ("w",), [1, 2], 3)],
        {"publisher": (False, "unreachable")},
    ),
]


class FrameTests(SynchronousTestCase):
    @given(st.lists(st.integers(1, 400), max_size=400))
    def test_pieces(self, sizes: list[int]) -> None:
        """Whatever the pieces in which bytes arrive, the messages are those that were sent."""
        data = frame(SOME[:3]) + frame([]) + frame(SOME[3:])
        frames, found = Frames(), []
        for size in [*sizes, len(data)]:
            piece, data = data[:size], data[size:]
            found += frames.add(piece)
        self.assertEqual(found, SOME)

    def test_reply(self) -> None:
        """A reply arrives as it was, with the guid that the other side knows."""
        self.assertEqual(Told.of(REPLY).reply("1"), REPLY)

    def test_kinds(self) -> None:
        """Every kind of message is told apart from the others."""
        kinds = [kind for kind in vars(messages).values() if getattr(kind, "__struct_config__", None)]
        tags = [kind.__struct_config__.tag for kind in kinds if kind.__struct_config__.tag is not None]
        self.assertEqual(len(tags), len(set(tags)))
        self.assertEqual(len(tags), len(messages.Message.__args__))  # type: ignore[attr-defined]

    def test_nonsense(self) -> None:
        """What is no message is said to be none."""
        self.assertRaises(DecodeError, list, Frames().add(b"\x00\x00\x00\x01\xff"))
        self.assertRaises(TooLong, list, Frames().add(b"\xff" * 8))


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.written: list[bytes] = []
        self.taken: list[Message] = []
        self.link = Link(self.clock, self.written.append, self.taken.append)  # type: ignore[arg-type]

    def test_one_piece(self) -> None:
        """What is sent in one turn goes out in one piece."""
        for message in SOME:
            self.link.send(message)
        self.assertEqual(self.written, [])
        self.clock.advance(0)
        self.assertEqual(self.written, [frame(SOME)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_received(self) -> None:
        """What comes is handed on in order."""
        self.link.received(frame(SOME))
        self.assertEqual(self.taken, SOME)

    def test_closed(self) -> None:
        """Nothing is written to somebody who has gone."""
        self.link.send(Stop())
        self.link.close()
        self.link.send(Leave(1))
        self.clock.advance(0)
        self.assertEqual(self.written, [])
