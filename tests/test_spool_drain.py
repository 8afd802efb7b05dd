"""Tests of `raccoon_tx.spool.drain`, `ledger` and `trial`: what lies in the spool comes to Kafka."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.metrics.counts import Lane
from raccoon_tx.model import Saturated, Unavailable
from raccoon_tx.report import Failure
from raccoon_tx.spool import ledger as ledger_module
from raccoon_tx.spool.drain import ALONE, BESIDE, FIRST_REST, IDLE_INTERVAL, LONGEST_REST, MOST_ROWS, Drain
from raccoon_tx.spool.entry import encode
from raccoon_tx.spool.ledger import FIRST_PAUSE, Ledger
from raccoon_tx.spool.store import LAZY_INTERVAL
from tests.samples import batch
from tests.spooled import Shelf, Spooled, nothing

HOPELESS, LATER = Failure("too large", retryable=False), Failure("no leader")
UNKNOWN = Failure("unknown topic", unknown_topic=True)

INTERVAL = ALONE.interval


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "spool")
        self.shelf = Shelf()
        self.came = 0
        self.addCleanup(self.end)
        self.begin()

    def begin(self) -> None:
        self.spooled = Spooled(self.path)
        self.spooled.start()
        self.clock, self.store = self.spooled.clock, self.spooled.store

    def put(self, *values: bytes) -> None:
        lane = Lane("topic", "group", "type")
        body = encode(batch(guid="g"), [(lane, value) for value in values])
        self.store.put(body, len(values), nothing)

    def start(self, reserved: int = 0) -> Drain:
        self.spooled.box.commit()
        self.ledger = Ledger(self.store, self.clock.seconds)
        self.drain = Drain(
            self.store, self.ledger, self.shelf.publish, self.clock, lambda: self.shelf.room, reserved,
            lambda: self.came, self.spooled.counts,
        )  # fmt: skip
        self.drain.startService()
        return self.drain

    def tick(self, seconds: float = IDLE_INTERVAL + 4 * INTERVAL) -> None:
        for _ in range(round(seconds / INTERVAL)):
            self.clock.advance(INTERVAL)
            self.spooled.box.commit()

    def end(self) -> None:
        self.drain.stopService()
        self.tick(LAZY_INTERVAL * 2)
        self.spooled.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def values(self) -> list[list[bytes]]:
        return self.shelf.values()

    def settled(self) -> list[int]:
        self.tick(LAZY_INTERVAL * 2)
        return self.spooled.rows()


class DrainTests(Case):
    def test_in_order(self) -> None:
        """What lies there is published, oldest first, and deleted when it is delivered."""
        for number in range(200):
            self.put(b"%d" % number)
        self.start()
        self.tick(0.2)
        self.assertEqual(self.values(), [[b"%d" % number] for number in range(200)])
        for _ in range(200):
            self.shelf.end()
        self.assertEqual((self.settled(), self.store.counts.batches, self.store.counts.drained), ([], 0, 200))
        self.assertEqual((self.ledger.waiting, self.ledger.hands), (0, set()))

    def test_bounded(self) -> None:
        """No more rows are on their way than may be; as they land, others follow."""
        for number in range(MOST_ROWS + 50):
            self.put(b"%d" % number)
        self.start()
        self.tick(0.5)
        self.assertEqual(len(self.shelf.kept), MOST_ROWS)
        for _ in range(20):
            self.shelf.end()
        self.tick()
        self.assertEqual(len(self.shelf.kept), MOST_ROWS)

    def test_leaves_room(self) -> None:
        """What is reserved for live traffic is left to it; a row that never fits goes when it is alone."""
        self.shelf.room = 13
        self.put(b"1", b"2")
        self.put(*[b"x"] * 5)
        self.start(reserved=10)
        self.tick(0.1)
        self.assertEqual(self.values(), [[b"1", b"2"]])
        self.shelf.end()
        self.tick(0.1)
        self.assertEqual(self.values(), [[b"x"] * 5])
        self.shelf.end()
        self.put(b"3")
        self.spooled.box.commit()
        self.ledger.release(3)
        self.shelf.room = 10
        self.tick(0.5)
        self.assertEqual(self.values(), [])

    def test_labels(self) -> None:
        """What is delivered after a restart is counted under its own labels, and its age is known."""
        self.put(b"1")
        self.spooled.box.commit()
        self.spooled.stop()
        self.begin()
        self.clock.advance(7)
        self.start()
        self.tick(0.3)
        (errand,) = self.shelf.kept
        lane = errand.records[0][0]
        self.assertEqual((lane.topic, lane.group, lane.type), ("topic", "group", "type"))
        self.assertIn(lane, self.spooled.counts.group("group").all_lanes())
        self.assertEqual((errand.batch.guid, round(errand.received - self.clock.seconds())), ("g", -7))

    def test_idle(self) -> None:
        """With nothing to do it looks rarely, and often as soon as there is something."""
        self.start()
        self.tick(0.1)
        assert self.drain._turning is not None
        self.assertEqual(self.drain._turning.interval, IDLE_INTERVAL)
        self.put(b"1")
        self.spooled.box.commit()
        self.ledger.release(1)
        self.tick(IDLE_INTERVAL + INTERVAL)
        self.assertEqual(self.values(), [[b"1"]])

    def test_beside_live_traffic(self) -> None:
        """While live batches come it goes slower, and reads less at once; when they stop it goes fast again."""
        for number in range(3):
            self.put(b"%d" % number)
        self.start()
        self.shelf.room = 0
        self.tick()
        assert self.drain._turning is not None
        self.assertEqual(self.drain._turning.interval, ALONE.interval)
        for _ in range(10):
            self.came += 1
            self.tick(0.05)
        self.assertEqual(self.drain._turning.interval, BESIDE.interval)
        self.tick(1.0)
        self.assertEqual(self.drain._turning.interval, ALONE.interval)

    def test_few_beside_live_traffic(self) -> None:
        """While live batches come few events are before them on the way to Kafka, however much room there is."""
        of_each = 100
        self.shelf.room = 10 * ALONE.away
        for number in range(MOST_ROWS):
            self.put(*[b"%d" % number] * of_each)
        self.came += 1
        self.start()
        for _ in range(50):
            self.came += 1
            self.tick(0.05)
        self.assertEqual(len(self.shelf.kept), BESIDE.away // of_each)
        for _ in range(5):
            self.shelf.end()
        self.came += 1
        self.tick(0.05)
        self.assertEqual(len(self.shelf.kept), BESIDE.away // of_each)
        self.tick(1.0)
        self.assertEqual(len(self.shelf.kept), MOST_ROWS - 5)

    def test_small_beside_live_traffic(self) -> None:
        """The same goes for their bytes."""
        for _ in range(8):
            self.put(b"x" * (BESIDE.away_bytes // 4))
        self.start()
        for _ in range(20):
            self.came += 1
            self.tick(0.05)
        self.assertEqual(len(self.shelf.kept), 4)
        self.tick(1.0)
        self.assertEqual(len(self.shelf.kept), 8)

    def test_kafka_away(self) -> None:
        """While Kafka is away it tries less and less often; when it is back, everything goes, in order."""
        for number in range(5):
            self.put(b"%d" % number)
        asked: list[float] = []
        publish = Shelf.publish

        def noted(shelf: Shelf, errand: Any) -> None:
            if shelf.refusal is not None:
                asked.append(self.clock.seconds())
            publish(shelf, errand)

        self.patch(Shelf, "publish", noted)
        self.shelf.refusal = Unavailable("away")
        self.start()
        self.tick(8 * FIRST_REST)
        self.assertEqual(len(asked), 4)
        self.assertEqual([round(later - earlier, 1) for earlier, later in pairwise(asked)], [0.5, 1.0, 2.0])
        self.shelf.refusal = None
        self.tick(8 * FIRST_REST)
        self.assertEqual(self.values(), [[b"%d" % number] for number in range(5)])

    def test_longest_rest(self) -> None:
        """It asks again however long it takes."""
        self.put(b"1")
        self.shelf.refusal = Saturated("full")
        self.start()
        for _ in range(20):
            self.clock.advance(LONGEST_REST)
            self.spooled.box.commit()
        self.shelf.refusal = None
        for _ in range(4):
            self.clock.advance(LONGEST_REST)
            self.spooled.box.commit()
        self.assertEqual(self.values(), [[b"1"]])

    def test_in_hand(self) -> None:
        """What somebody else has on its way is left to him, and read when he lets go of it."""
        for number in range(3):
            self.put(b"%d" % number)
        self.start()
        self.ledger.hands.add(2)
        self.ledger.waiting -= 1
        self.tick()
        self.assertEqual(self.values(), [[b"0"], [b"2"]])
        self.ledger.release(2)
        self.tick()
        self.assertEqual(self.values(), [[b"0"], [b"2"], [b"1"]])

    def test_miscounted(self) -> None:
        """Rows that are not there are looked for no longer than it takes to look everywhere."""
        self.put(b"1")
        self.start()
        self.ledger.waiting += 2
        self.tick(0.1)
        self.assertEqual((self.values(), self.ledger.waiting), ([[b"1"]], 0))

    def test_damaged(self) -> None:
        """A row that is damaged is put to the dead; the others are delivered."""
        self.put(b"1")
        self.store.put(b"no batch", 3, nothing)
        self.put(b"2")
        for order in self.spooled.box.orders[:1]:
            wrong: Any = order
            wrong_row = wrong.row._replace(crc=1)
            self.spooled.box.orders[0] = evolve(wrong, row=wrong_row)
        self.start()
        self.tick()
        self.assertEqual(self.values(), [[b"2"]])
        self.assertEqual(self.settled(), [3])
        dead = self.spooled.box.writer._database.dead()
        self.assertEqual([(each.id, each.reason.partition(":")[0]) for each in dead], [(1, "damaged"), (2, "damaged")])
        self.assertEqual((self.store.counts.failures, self.store.counts.dead), ({"corrupt_row": 2}, 2))

    def test_stop(self) -> None:
        """At the stop nothing new is sent; what is on its way is settled when its report comes."""
        for number in range(3):
            self.put(b"%d" % number)
        self.start()
        self.shelf.room = 1
        self.tick()
        self.drain.stopService()
        kept = len(self.shelf.kept)
        self.tick()
        self.assertEqual(len(self.shelf.kept), kept)
        for _ in range(kept):
            self.shelf.end()
        self.assertEqual(len(self.settled()), 3 - kept)
        self.drain.startService()


class FailureTests(Case):
    def test_kafka_in_trouble(self) -> None:
        """After a failure that may be Kafka's it rests, and tries the rest of the row again."""
        self.put(b"1", b"2")
        self.start()
        self.tick()
        self.shelf.end({1: LATER})
        self.tick(FIRST_REST - 2 * INTERVAL)
        self.assertEqual(self.values(), [])
        self.tick(4 * INTERVAL)
        self.assertEqual(self.values(), [[b"2"]])
        self.shelf.end()
        self.assertEqual((self.settled(), self.store.counts.events, self.store.counts.bytes), ([], 0, 0))

    def test_unknown_topic(self) -> None:
        """A row whose topic is missing waits longer and longer, and holds up nobody."""
        self.put(b"1")
        self.put(b"2")
        self.start()
        self.tick()
        self.shelf.end({0: UNKNOWN})
        self.shelf.end()
        self.put(b"3")
        self.spooled.box.commit()
        self.ledger.release(3)
        self.tick(IDLE_INTERVAL + INTERVAL)
        self.assertEqual(self.values(), [[b"3"]])
        self.shelf.end()
        self.tick(FIRST_PAUSE + IDLE_INTERVAL)
        self.assertEqual(self.values(), [[b"1"]])
        self.shelf.end({0: UNKNOWN})
        self.tick(FIRST_PAUSE + IDLE_INTERVAL)
        self.assertEqual(self.values(), [])
        self.tick(FIRST_PAUSE + IDLE_INTERVAL)
        self.assertEqual(self.values(), [[b"1"]])
        self.shelf.end()
        self.assertEqual(self.settled(), [])

    def test_given_up(self) -> None:
        """A row that has failed too often is put to the dead, and so is one when too many wait to be tried again."""
        self.patch(ledger_module, "MOST_TRIES", 2)
        self.patch(ledger_module, "MOST_POSTPONED", 1)
        self.put(b"1")
        self.put(b"2")
        self.start()
        self.tick()
        self.shelf.end({0: UNKNOWN})
        self.shelf.end({0: UNKNOWN})
        self.assertEqual(self.settled(), [1])
        self.tick(FIRST_PAUSE + IDLE_INTERVAL)
        self.shelf.end({0: UNKNOWN})
        self.assertEqual(self.settled(), [])
        dead = self.spooled.box.writer._database.dead()
        self.assertEqual([(each.id, each.reason) for each in dead], [(1, "unknown topic"), (2, "unknown topic")])

    def test_poison(self) -> None:
        """What could not be delivered as it is is tried alone, event by event; what fails again is put to the dead."""
        self.put(b"1", b"2", b"3", b"4")
        self.put(b"5")
        self.start()
        self.tick()
        self.shelf.end({1: HOPELESS, 2: HOPELESS, 3: HOPELESS})
        self.tick()
        self.assertEqual(self.values(), [[b"5"], [b"2"]])
        self.shelf.end(position=1)
        self.assertEqual(self.values(), [[b"5"], [b"3"]])
        self.shelf.end({0: HOPELESS}, position=1)
        self.shelf.end(position=1)
        self.shelf.end()
        self.assertEqual((self.values(), self.settled()), ([], []))
        (dead,) = self.spooled.box.writer._database.dead()
        self.assertEqual((dead.events, dead.reason), (1, "too large"))
        self.assertEqual((self.store.counts.events, self.store.counts.bytes, self.ledger.suspects), (0, 0, set()))

    def test_poison_survives_its_neighbour(self) -> None:
        """If each goes through alone, nothing is dead."""
        self.put(b"1", b"2")
        self.start()
        self.tick()
        self.shelf.end({0: HOPELESS, 1: HOPELESS})
        self.tick()
        self.shelf.end()
        self.shelf.end()
        self.assertEqual((self.settled(), self.store.counts.dead, self.store.counts.drained), ([], 0, 1))

    def test_poison_and_trouble(self) -> None:
        """What may be delivered another time keeps the row alive, with what failed for good."""
        self.put(b"1", b"2")
        self.start()
        self.tick()
        self.shelf.end({0: HOPELESS, 1: HOPELESS})
        self.tick()
        self.shelf.end({0: HOPELESS})
        self.shelf.end({0: LATER})
        self.assertEqual(self.settled(), [1])
        self.tick(FIRST_PAUSE + IDLE_INTERVAL)
        self.shelf.end()
        self.shelf.end({0: HOPELESS})
        self.assertEqual((self.settled(), self.store.counts.dead), ([], 1))

    def test_one_trial_at_a_time(self) -> None:
        """Two suspects are not tried at once."""
        self.put(b"1")
        self.put(b"2")
        self.start()
        self.tick()
        self.shelf.end({0: HOPELESS})
        self.shelf.end({0: HOPELESS})
        self.tick()
        self.assertEqual(self.values(), [[b"1"]])
        self.shelf.end()
        self.tick(3 * IDLE_INTERVAL)
        self.assertEqual(self.values(), [[b"2"]])
        self.shelf.end()
        self.assertEqual(self.settled(), [])

    def test_trial_refused(self) -> None:
        """A trial for which there is no room now is made another time."""
        self.put(b"1", b"2")
        self.start()
        self.tick()
        self.shelf.end({0: HOPELESS, 1: HOPELESS})
        self.shelf.refusal = Saturated("full")
        self.tick()
        self.shelf.refusal = None
        self.tick(2 * FIRST_REST)
        self.assertEqual(self.values(), [[b"1"]])
        self.shelf.turn_away(Saturated("full"))
        self.tick(4 * FIRST_REST)
        self.shelf.end()
        self.shelf.end()
        self.assertEqual(self.settled(), [])
