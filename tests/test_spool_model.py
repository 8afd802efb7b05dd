"""The store against a model of it: whatever happens in whatever order, what was told to be durable is there.

A crash is the loss of everything but the files: they are copied as they stand, with a write-ahead log that may have
been cut off after the last transaction that was told of, and opened again.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raccoon_tx.spool.database import FEWEST_PAGES, Put
from raccoon_tx.spool.entry import checksum
from raccoon_tx.spool.store import NoRoom
from tests.spooled import Spooled


class SpoolMachine(RuleBasedStateMachine):
    """:ivar durable: rows that have to be there, with their bodies. :ivar going: what was ordered and not yet told of:
    rows that may or may not be there after a crash. :ivar gone: rows that were deleted, perhaps not yet on the disk.
    :ivar larger: what rows were before they were replaced, perhaps not yet on the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(mkdtemp())
        self.number = 0
        self.durable: dict[int, bytes] = {}
        self.going: dict[int, bytes] = {}
        self.gone: dict[int, bytes] = {}
        self.larger: dict[int, list[bytes]] = {}
        self.spooled = self.opened(self.home / "0")

    def opened(self, path: Path) -> Spooled:
        spooled = Spooled(path, max_bytes=FEWEST_PAGES * 4096)
        spooled.start()
        return spooled

    def told(self, row: int, durable: bool) -> None:
        body = self.going.pop(row)
        if durable:
            self.durable[row] = body

    @rule(size=st.sampled_from([1, 10, 1000, 5000, 60_000]), events=st.integers(1, 5))
    def put_one(self, size: int, events: int) -> None:
        self.put(size, events)

    def put(self, size: int, events: int) -> None:
        self.number += 1
        body = (b"%d-" % self.number) * (size // 2 + 1)
        row = 0
        try:
            row = self.spooled.store.put(body, events, lambda durable: self.told(row, durable))
        except NoRoom:
            return
        assert row not in self.durable
        self.going[row] = body

    @rule()
    def fill(self) -> None:
        """Until it takes no more."""
        while self.spooled.store.usable:
            self.put(50_000, 1)
            self.spooled.box.commit()

    @rule()
    def commit(self) -> None:
        self.spooled.box.commit()
        assert not self.going

    @precondition(lambda self: self.durable)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.durable)))
        body = self.gone[row] = self.durable.pop(row)
        self.spooled.store.delete(row, 1, len(body))

    @precondition(lambda self: self.durable)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.durable)))
        body = self.gone[row] = self.durable.pop(row)
        self.spooled.store.bury(row, 1, len(body), "hopeless")

    @precondition(lambda self: self.durable)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.durable)))
        before, body = self.durable[row], b"less"
        self.spooled.store.replace(row, 1, len(before), body, 1)
        # Until that is on the disk the whole may be found again, which is no loss.
        self.durable[row] = body
        self.larger.setdefault(row, []).append(before)

    @rule(seconds=st.sampled_from([0.05, 0.1, 1.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.spooled.clock.advance(seconds)
        self.spooled.box.commit()

    @rule()
    def restart(self) -> None:
        path = self.spooled.path
        self.spooled.stop()
        assert not self.going
        self.spooled = self.opened(path)
        self.check()

    @rule(cut=st.none() | st.integers(0, 2**16), late=st.booleans())
    def crash(self, cut: int | None, late: bool) -> None:
        if late:
            # It came down after the transaction and before anybody was told.
            orders, self.spooled.box.orders = self.spooled.box.orders, []
            if orders:
                self.spooled.box.writer.turn(orders)
        before = self.spooled.path
        after = before.with_name(str(int(before.name) + 1))
        log = before / "spool.db-wal"
        durable_log = log.stat().st_size if log.exists() else 0
        shutil.copytree(before, after)
        self.close()
        if cut is not None:
            # Bytes that were on their way, in whatever state: after what was durable.
            with (after / "spool.db-wal").open("ab") as file:
                file.write(random.Random(cut).randbytes(cut % 9000))
            assert durable_log <= (after / "spool.db-wal").stat().st_size
        (after / "spool.db-shm").unlink(missing_ok=True)
        self.spooled = self.opened(after)
        self.check()

    def check(self) -> None:
        """After a start everything is there that has to be, as it was written, and nothing that never was."""
        found = {put.id: put.body for put in self.stored()}
        assert set(self.durable) <= set(found)
        assert set(found) <= {*self.durable, *self.going, *self.gone}
        before = {**self.going, **self.gone, **self.durable}
        for row, body in found.items():
            assert body in (before[row], *self.larger.get(row, ()))
        # Those that were not told of, and those that were deleted too late, are there now as well.
        self.durable = found
        for forgotten in (self.going, self.gone, self.larger):
            forgotten.clear()

    def stored(self) -> list[Put]:
        return self.spooled.box.writer._database.read(0, (), 10_000, 1 << 40)

    @invariant()
    def consistent(self) -> None:
        for put in self.stored():
            assert checksum(put.id, put.body) == put.crc
        counts = self.spooled.store.counts
        assert counts.batches == len(self.durable)
        assert counts.bytes == sum(map(len, self.durable.values()))

    def close(self) -> None:
        opened = self.spooled.store._opened
        assert opened is not None
        opened.database.close()
        self.spooled.box.writer._folder.leave()

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.home)


SpoolTests = SpoolMachine.TestCase
SpoolTests.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
