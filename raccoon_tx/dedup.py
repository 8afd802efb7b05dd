"""Which guids were seen, and for how long: contract section 8. Plain data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b

from raccoon_tx.model import Answer, Outcome, Reply

#: Characters of a guid that are remembered as they are. Every known client sends a UUID; one of megabytes is echoed
#: like any other, but ten thousand of them are not to be kept.
_KEPT = 256


def in_short(guid: str) -> Hashable:
    """What is remembered of a guid: it, or a digest of it."""
    return guid if len(guid) <= _KEPT else blake2b(guid.encode(), digest_size=32).digest()


class _Pending:
    """A batch that is on its way, and those who wait for what becomes of it.

    :ivar overdue: what they were told when their time was over, and what everybody is told who comes later.
    """

    __slots__ = ("overdue", "waiting")

    def __init__(self, answer: Answer) -> None:
        self.waiting = [answer]
        self.overdue: Reply | None = None


class Guids:
    """The batches of one connection, or of everybody.

    Only what was accepted is remembered, for `lifetime` seconds and up to `most` guids, the oldest out first. Batches
    on their way are remembered until they are answered; those who send one again meanwhile get the same answer.

    :ivar now: seconds.
    """

    def __init__(self, most: int, lifetime: float, now: Callable[[], float]) -> None:
        self._most = most
        self._lifetime = lifetime
        self._now = now
        self._done: OrderedDict[Hashable, float] = OrderedDict()
        self._pending: dict[Hashable, _Pending] = {}

    def __len__(self) -> int:
        return len(self._done) + len(self._pending)

    def first(self, key: Hashable, guid: str, answer: Answer) -> Answer | None:
        """A batch has come.

        :param key: names it. :param answer: its client's.
        :return: where to send its answer if it is new, and after `Outcome.EXPIRED` what became of it in the end;
            nothing if it is not new, and then it is or will be answered.
        """
        self._forget()
        if key in self._done:
            answer(Reply(Outcome.OK, guid, extra={"duplicate": "true"}))
            return None
        pending = self._pending.get(key)
        if pending is None:
            self._pending[key] = _Pending(answer)
            return lambda reply: self._settle(key, reply)
        if pending.overdue is not None:
            answer(pending.overdue)
        else:
            pending.waiting.append(answer)
        return None

    def _settle(self, key: Hashable, reply: Reply) -> None:
        pending = self._pending[key]
        waiting, pending.waiting = pending.waiting, []
        if reply.outcome is Outcome.EXPIRED:
            # It may still be delivered, and then whoever sends it again must not publish it again.
            pending.overdue = reply
        else:
            del self._pending[key]
            if reply.outcome is Outcome.OK:
                self._done[key] = self._now() + self._lifetime
                if len(self._done) > self._most:
                    self._done.popitem(last=False)
        for each in waiting:
            each(reply)

    def _forget(self) -> None:
        now = self._now()
        while self._done:
            key = next(iter(self._done))
            if self._done[key] > now:
                break
            del self._done[key]
