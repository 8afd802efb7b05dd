"""In the parent: the batches of all clients, whichever worker they came to. Plain data."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from raccoon_tx.dedup import Guids, in_short
from raccoon_tx.model import Answer, Outcome, Reply
from raccoon_tx.workers.messages import Fresh, Known, Message, Pending, Told

#: What becomes of a batch whose worker has ended: nobody knows, so that it may come again.
_LOST = Reply(Outcome.FAILED, None, "the process that had it has ended", {"retryable": "true"})


class _Copy:
    """Who is told what became of a batch. If it is not a copy, its worker knows before us."""

    __slots__ = ("_number", "_send", "original", "told")

    def __init__(self, number: int, send: Callable[[Message], None]) -> None:
        self._number = number
        self._send = send
        self.original = False
        self.told = False

    def __call__(self, reply: Reply) -> None:
        self.told = True
        if not self.original:
            self._send(Known(self._number, Told.of(reply)))


@define(eq=False)
class Questions:
    """Those of one worker. :ivar guids: of all workers. :ivar send: to this one."""

    _guids: Guids
    _send: Callable[[Message], None]
    _open: dict[int, Answer] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, number: int, group: str, id: str, guid: str) -> None:
        """A batch has come to the worker."""
        copy = _Copy(number, self._send)
        settle = self._guids.first((group, id, in_short(guid)), guid, copy)
        if settle is not None:
            copy.original = True
            self._open[number] = settle
            self._send(Fresh(number))
        elif not copy.told:
            self._send(Pending(number))

    def settled(self, number: int, told: Told | None) -> None:
        """A batch that was new has been answered; after `Outcome.EXPIRED` it will be once more."""
        reply = Reply(Outcome.OK) if told is None else told.reply(None)
        settle = self._open.get(number) if reply.outcome is Outcome.EXPIRED else self._open.pop(number, None)
        if settle is not None:
            settle(reply)

    def close(self) -> None:
        """The worker has ended: its batches that are not done are unknown again, and copies of them may be sent
        again."""
        while self._open:
            self._open.popitem()[1](_LOST)
