"""Clients on all three transports that connect again whenever they have to, and keep a journal."""

from __future__ import annotations

import time
from contextlib import suppress
from http.client import HTTPException
from threading import Event as Flag
from threading import Thread

import grpc
from attrs import define, field
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection

from faults.journal import CLOSED, FAIL, OK, Journal
from tests.integration.batches import Batch, Said
from tests.integration.clients import WAYS, Ports, frame, next_said, sender, websocket
from tests.integration.load import PIPELINED, WINDOW, eventually

#: What ends a connection, and leaves what was sent on it unknown.
ENDS = (OSError, EOFError, HTTPException, WebSocketException, grpc.RpcError)

#: The code of a close frame.
GOING_AWAY = 1001

#: Seconds between two batches of a client, between two connections, and after a refusal.
PACE, AGAIN, REFUSED = 0.004, 0.05, 0.05


@define(eq=False)
class Clients:
    """One client for each way in, and some that send ahead of the answers. They begin at once."""

    server: Ports
    pace: float = PACE
    pipelines: int = 1
    journals: list[Journal] = field(init=False)
    _threads: list[Thread] = field(init=False)
    _enough: Flag = field(factory=Flag, init=False)

    def __attrs_post_init__(self) -> None:
        pipelines = (f"{PIPELINED}-{number}" for number in range(self.pipelines))
        self.journals = [Journal(way) for way in (*WAYS, *pipelines)]
        self._threads = [Thread(target=self._run, args=[journal], daemon=True) for journal in self.journals]
        for thread in self._threads:
            thread.start()

    def _run(self, journal: Journal) -> None:
        connection = 0
        talk = self._pipeline if journal.client.startswith(PIPELINED) else self._one_by_one
        while not self._enough.is_set():
            connection += 1
            try:
                talk(journal, connection)
            except ENDS:
                pass
            except BaseException as mistake:
                journal.strange.append(f"{journal.client}: {mistake!r}"[:500])
            self._enough.wait(AGAIN)

    def _one_by_one(self, journal: Journal, connection: int) -> None:
        with sender(self.server, journal.client, f"{journal.client}-{connection}") as send:
            while not self._enough.is_set():
                batch = journal.next_batch(connection)
                try:
                    answer = send(batch)
                except ENDS as end:
                    if _nobody_listened(end):
                        journal.withdraw(batch)
                    elif _not_taken(end):
                        journal.note(batch, CLOSED)
                    raise
                self._enough.wait(self.pace if _note(journal, batch, answer) else REFUSED)

    def _pipeline(self, journal: Journal, connection: int) -> None:
        window: dict[str, Batch] = {}
        with websocket(self.server, f"{journal.client}-{connection}") as opened:
            try:
                while not self._enough.is_set():
                    for _ in range(WINDOW):
                        batch = journal.next_batch(connection)
                        window[batch.guid] = batch
                        opened.send(frame(batch, "proto"))
                    well = True
                    while window:
                        answer = next_said(opened, bytes)
                        well &= _note(journal, window.pop(answer["data"]["req_guid"]), answer)
                    self._enough.wait(self.pace * WINDOW if well else REFUSED)
            except ConnectionClosed as end:
                # A batch that is sent when others have been answered already is read behind their answers.
                if _not_taken(end):
                    self._read_the_rest(journal, opened, window)
                    for batch in window.values():
                        journal.note(batch, CLOSED)
                raise

    def _read_the_rest(self, journal: Journal, opened: ClientConnection, window: dict[str, Batch]) -> None:
        """Take the answers that came before the close frame, if it was a `send` that met it."""
        with suppress(ConnectionClosed):
            while window:
                answer = next_said(opened, bytes)
                _note(journal, window.pop(answer["data"]["req_guid"]), answer)

    @property
    def acknowledged(self) -> int:
        """Batches answered with success so far."""
        return sum(len(journal.successes) for journal in self.journals)

    def wait_for_more(self, batches: int = 5, patience: float = 60.0) -> None:
        """Wait until every client has had so many more batches acknowledged."""
        before = [len(journal.successes) for journal in self.journals]
        eventually(
            lambda: all(
                len(journal.successes) >= had + batches for had, journal in zip(before, self.journals, strict=True)
            ),
            patience,
        )

    def enough(self) -> None:
        """Begin nothing new."""
        self._enough.set()

    def finish(self) -> None:
        """Let every client get its last answer, if it still can."""
        self.enough()
        deadline = time.monotonic() + 45.0
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client waits for ever"


def _nobody_listened(end: BaseException) -> bool:
    """Whether there was no connection to send anything on."""
    if isinstance(end, grpc.Call):
        return "connect" in end.details() and "refused" in end.details()
    return isinstance(end, ConnectionRefusedError)


def _not_taken(end: BaseException) -> bool:
    """Whether the server has closed a WebSocket in good order: it answers all that it took before it does."""
    return isinstance(end, ConnectionClosed) and end.rcvd is not None and end.rcvd.code == GOING_AWAY


def _note(journal: Journal, batch: Batch, answer: Said) -> bool:
    """Take an answer. :return: whether it is a success."""
    assert answer["data"]["req_guid"] == batch.guid, answer
    well = answer["status"] == 1
    assert well or answer["code"] == 3, answer
    journal.note(batch, OK if well else FAIL, answer.get("reason", ""))
    return well
