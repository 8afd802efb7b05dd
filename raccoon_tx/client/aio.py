"""The client for asyncio."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from attrs import define, field

from raccoon_tx.client.address import Address, parse
from raccoon_tx.client.core import Core, Counts, Event, Full, Limits, event_of
from raccoon_tx.client.engine import REQUEST_SHARE, Engine, Session

__all__ = ["Client"]


@define(eq=False)
class _Time:
    loop: asyncio.AbstractEventLoop

    def now(self) -> float:
        return self.loop.time()

    def call_later(self, delay: float, call: Callable[[], object]) -> asyncio.TimerHandle:
        return self.loop.call_later(delay, call)


class Client:
    """Sends events in batches. Made and used within a running event loop::

    async with Client("ws://127.0.0.1:8080", id="phone-1") as client:
        await client.send("click", b"...")
    """

    def __init__(
        self,
        url: str,
        *,
        id: str = "",
        group: str = "",
        limits: Limits | None = None,
        rejected: Callable[[Event, str], object] = lambda event, reason: None,
        **more: Any,
    ) -> None:
        """:param url: of the server; its scheme is the transport. :param id: :param group: who sends.
        :param rejected: is called with each event that the server will never take, and the reason.
        :param more: ``headers``, ``id_header``, ``group_header``, ``ca``, as `raccoon_tx.client.address.parse` has it.
        :raises ValueError: the address is wrong.
        """
        self._loop = asyncio.get_running_loop()
        self._address = parse(url, id, group, **more)
        self._limits = limits or Limits()
        self._engine = Engine(Core(self._limits), self._dial, _Time(self._loop), self._changed, rejected)
        self._waiters: list[asyncio.Future[None]] = []
        self._dialing: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> Counts:
        """What has become of events so far."""
        return self._engine.core.counts

    @property
    def waiting(self) -> int:
        """Events that are not done with."""
        return self._engine.core.events

    def send_now(self, type: str, value: bytes) -> None:
        """Take an event, to be sent soon. :raises Full: there is no room. :raises Closed:"""
        self._engine.add(event_of(type, value))

    async def send(self, type: str, value: bytes) -> None:
        """Take an event, to be sent soon, as soon as there is room for it. :raises Closed:"""
        event = event_of(type, value)
        while True:
            try:
                self._engine.add(event)
            except Full:
                await self._change()
            else:
                return

    async def flush(self) -> None:
        """Send what is there, and wait until everything is done with."""
        self._engine.hurry()
        while not self._engine.finished:
            await self._change()

    async def close(self, timeout: float = 30.0) -> int:
        """Take nothing more, wait for the answers, and let go of the connection.

        :param timeout: seconds to wait at most. :return: how many events were not answered by then.
        """
        self._engine.close()
        try:
            await asyncio.wait_for(self.flush(), timeout)
        except asyncio.TimeoutError:
            pass
        finally:
            left = self.waiting
            self._engine.stop()
            self._changed()
            for task in self._dialing:
                task.cancel()
            await asyncio.gather(*self._dialing, return_exceptions=True)
        return left

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _dial(self, session: Session) -> None:
        address, limits = self._address, self._limits
        patience = limits.answer_timeout * REQUEST_SHARE
        if address.transport == "rest":
            from raccoon_tx.client.rest import Poster

            session.connected(Poster(address, session, self._from_thread, limits.in_flight, patience))
        elif address.transport == "grpc":
            from raccoon_tx.client.rpc import Caller

            session.connected(Caller(address, session, self._from_thread, patience))
        else:
            task = self._loop.create_task(_Socket(session).run(address, limits.answer_timeout))
            self._dialing.add(task)
            task.add_done_callback(self._dialing.discard)

    def _from_thread(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, and we were not
            self._loop.call_soon_threadsafe(call, *arguments)


@define(eq=False)
class _Socket:
    """One WebSocket."""

    _session: Session
    _to_send: asyncio.Queue[bytes] = field(init=False, factory=asyncio.Queue)
    _task: asyncio.Task[None] | None = field(init=False, default=None)

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch; its answer names it. No more are here than may be in flight."""
        self._to_send.put_nowait(body)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def run(self, address: Address, patience: float) -> None:
        """Connect, and serve to the end."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, WebSocketException

        self._task = asyncio.current_task()
        reason, too_large = "closed", False
        context = ssl.create_default_context(cafile=address.ca) if address.tls else None
        headers: Mapping[str, str] = address.headers
        try:
            async with connect(
                address.url,
                additional_headers=headers,
                ssl=context,
                proxy=None,
                compression=None,
                open_timeout=patience,
                close_timeout=1.0,
            ) as socket:
                self._session.connected(self)
                writing = asyncio.ensure_future(self._write(socket))
                try:
                    async for message in socket:
                        body = message.encode() if isinstance(message, str) else message
                        self._session.answered(body)
                    reason = f"closed with code {socket.close_code} {socket.close_reason or ''}"
                finally:
                    writing.cancel()
        except ConnectionClosed as problem:
            received = problem.rcvd
            too_large = received is not None and received.code == 1009
            reason = str(problem)
        except (OSError, WebSocketException, asyncio.TimeoutError) as problem:
            reason = f"{type(problem).__name__}: {problem}"
        finally:
            self._session.lost(reason, too_large)

    async def _write(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                await socket.send(await self._to_send.get())
        except ConnectionClosed:
            pass  # the reader says so
