"""Tests of `raccoon_tx.spool.entry`."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import Lane
from raccoon_tx.model import Batch
from raccoon_tx.spool.entry import Damaged, checksum, decode, encode, part

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LANES = st.builds(Lane, TEXTS, TEXTS, TEXTS)
PLAIN = st.lists(st.tuples(LANES, st.binary(max_size=50)), min_size=1, max_size=6)
HEADERS = st.none() | st.lists(st.tuples(TEXTS, st.binary(max_size=9)), min_size=1, max_size=3)
FULL = st.lists(
    st.tuples(LANES, st.binary(max_size=50), st.none() | st.binary(max_size=9), st.integers(0, 2**63 - 1), HEADERS),
    min_size=1,
    max_size=6,
)


def names(records: list[Any]) -> list[tuple[Any, ...]]:
    return [(lane.topic, lane.group, lane.type, *rest) for lane, *rest in records]


class EntryTests(SynchronousTestCase):
    @given(TEXTS, st.none() | st.floats(allow_nan=False), PLAIN | FULL)
    def test_round_trip(self, guid: str, sent_time: float | None, records: list[Any]) -> None:
        """What is read is what was written: records with all their parts, guid, time and labels."""
        batch, read = decode(encode(Batch(guid, (), sent_time), records), Lane)
        self.assertEqual((batch.guid, batch.sent_time, names(read)), (guid, sent_time, names(records)))
        self.assertEqual([event.type for event in batch.events], [record[0].type for record in records])
        self.assertEqual([event.event_bytes for event in batch.events], [record[1] for record in records])

    @given(st.binary(max_size=80))
    def test_garbage(self, body: bytes) -> None:
        """Whatever else is read is `Damaged`, and no other exception."""
        try:
            decode(body, Lane)
        except Damaged as problem:
            self.assertTrue(str(problem))

    @given(PLAIN | FULL, st.data())
    def test_damage(self, records: list[Any], data: Any) -> None:
        """A byte that has changed changes the checksum, and so does another row; reading on raises nothing else."""
        body = encode(Batch("1", (), None), records)
        position = data.draw(st.integers(0, len(body) - 1))
        other = bytearray(body)
        other[position] ^= data.draw(st.integers(1, 255))
        self.assertNotEqual(checksum(7, bytes(other)), checksum(7, body))
        self.assertNotEqual(checksum(8, body), checksum(7, body))
        with contextlib.suppress(Damaged):
            decode(bytes(other), Lane)

    def test_other_layout(self) -> None:
        """What a later version has written is not guessed at."""
        body = bytearray(encode(Batch("1", (), None), [(Lane("t", "g", "k"), b"v")]))
        body[1] = 9
        self.assertIn("layout 9", str(self.assertRaises(Damaged, decode, bytes(body), Lane)))

    def test_part(self) -> None:
        """A part of a batch keeps its name and its time."""
        record = (Lane("t", "g", "k"), b"v")
        found = part(Batch("1", (), 5.0), [record])
        self.assertEqual((found.guid, found.sent_time, found.events[0].type, len(found.events)), ("1", 5.0, "k", 1))
