"""Clients on all transports that send as fast as they are answered, and keep account of every event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from threading import Event as Flag
from threading import Thread

import grpc
from attrs import define, field
from websockets.exceptions import ConnectionClosed

from tests.integration.batches import Batch, Event, Said
from tests.integration.clients import WAYS, Ports, frame, next_said, sender, websocket

#: The type of all events.
KIND = "load"

#: Events in a batch.
EVENTS = 5

#: A way in that does not wait for every answer, but sends so many batches before.
PIPELINED, WINDOW = "pipelined", 8

#: How a connection ends when the server goes away.
_ENDS = (OSError, HTTPException, ConnectionClosed, grpc.RpcError)


def eventually(condition: Callable[[], object], patience: float = 30.0) -> None:
    """Wait until something is true. Blocks. :raises AssertionError: it does not become true."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


@define(eq=False)
class Account:
    """What one client knows.

    :ivar way: it goes. :ivar client: its id.
    :ivar acknowledged: the values of the events in batches that were answered with success.
    :ivar refused: batches that were answered with something else, which has to be worth another try.
    :ivar unanswered: batches on their way, and since when.
    :ivar close_code: of a WebSocket that the server closed. :ivar slowest: seconds that an answer took.
    """

    way: str
    client: str
    acknowledged: list[bytes] = field(factory=list)
    refused: int = 0
    unanswered: dict[str, float] = field(factory=dict)
    close_code: int | None = None
    slowest: float = 0.0
    _sent: dict[str, Batch] = field(factory=dict)
    _count: int = 0

    def next_batch(self) -> Batch:
        """One that was not sent before."""
        guid = f"{self.client} {self._count}"
        self._count += 1
        batch = Batch(guid, *(Event(KIND, f"{guid} {index}".encode()) for index in range(EVENTS)))
        self._sent[guid] = batch
        self.unanswered[guid] = time.monotonic()
        return batch

    def note(self, answer: Said) -> bool:
        """Take an answer, to the batch that it names. :return: whether it is a success."""
        guid = answer["data"]["req_guid"]
        self.slowest = max(self.slowest, time.monotonic() - self.unanswered.pop(guid))
        batch = self._sent.pop(guid)
        if answer["status"] == 1:
            self.acknowledged += [event.value for event in batch.events]
            return True
        assert answer["code"] == 3, answer
        self.refused += 1
        return False


@define(eq=False)
class Load:
    """All clients together; they begin at once. :ivar name: sets their ids apart from those of another load."""

    _server: Ports
    _name: str = "load"
    accounts: list[Account] = field(init=False)
    _threads: list[Thread] = field(init=False, repr=False)
    _enough: Flag = field(factory=Flag, init=False)
    _mistakes: list[BaseException] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.accounts = [Account(way, f"{self._name} {way}") for way in (*WAYS, PIPELINED)]
        self._threads = [Thread(target=self._run, args=[account], daemon=True) for account in self.accounts]
        for thread in self._threads:
            thread.start()

    def _run(self, account: Account) -> None:
        try:
            if account.way == PIPELINED:
                self._pipeline(account)
            else:
                self._one_by_one(account)
        except ConnectionClosed as end:
            account.close_code = end.rcvd.code if end.rcvd else None
        except _ENDS:
            pass
        except BaseException as mistake:
            self._mistakes.append(mistake)

    def _one_by_one(self, account: Account) -> None:
        with sender(self._server, account.way, account.client) as send:
            while not self._enough.is_set():
                if not account.note(send(account.next_batch())):
                    self._enough.wait(0.05)

    def _pipeline(self, account: Account) -> None:
        with websocket(self._server, account.client) as connection:
            while not self._enough.is_set():
                for _ in range(WINDOW):
                    connection.send(frame(account.next_batch(), "proto"))
                successes = [account.note(next_said(connection, bytes)) for _ in range(WINDOW)]
                if not all(successes):
                    self._enough.wait(0.05)

    @property
    def acknowledged(self) -> list[bytes]:
        return [value for account in self.accounts for value in account.acknowledged]

    @property
    def refused(self) -> int:
        return sum(account.refused for account in self.accounts)

    @property
    def unanswered(self) -> list[str]:
        return [guid for account in self.accounts for guid in account.unanswered]

    def wait_for_more(self, batches: int = 5) -> None:
        """Wait until every client has had so many more batches acknowledged. Blocks."""
        before = [len(account.acknowledged) for account in self.accounts]

        def all_have() -> bool:
            pairs = zip(before, self.accounts, strict=True)
            return bool(self._mistakes) or all(
                len(account.acknowledged) >= had + batches * EVENTS for had, account in pairs
            )

        eventually(all_have)

    def finish(self) -> None:
        """Let every client get its last answers, if it still can. Blocks."""
        self._enough.set()
        for thread in self._threads:
            thread.join(30.0)
            assert not thread.is_alive(), "a client waits for ever"
        for mistake in self._mistakes:
            raise mistake

    @property
    def slowest(self) -> float:
        return max(account.slowest for account in self.accounts)


def summary(found: Sequence[bytes], *loads: Load) -> str:
    """One line. :param found: the values that stand in the topic."""
    acknowledged = [value for load in loads for value in load.acknowledged]
    return (
        f"acknowledged {len(acknowledged)} events, lost {len(set(acknowledged) - set(found))}; "
        f"found {len(found)}, of which {len(found) - len(set(found))} again; "
        f"refused {sum(load.refused for load in loads)} batches, "
        f"unanswered {sum(len(load.unanswered) for load in loads)}; "
        f"slowest answer {max(load.slowest for load in loads):.1f} s"
    )
