"""A TCP proxy in front of Kafka that can do to a connection what networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import TypeVar

from attrs import define, field

HOST = "127.0.0.1"

#: Bytes read at once, and chunks that may wait for their time in one direction.
_CHUNK, _CHUNKS = 65536, 64

T = TypeVar("T")


@define(eq=False)
class _Link:
    """One connection through the proxy. :ivar tainted: what its end was to be told is lost, so it cannot go on."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tainted: bool = False
    cut_next: bool = False

    def reset(self) -> None:
        """End both sides with an RST, whatever is on its way."""
        for writer in self.client, self.server:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@define(eq=False)
class Proxy:
    """Passes ``port`` on to ``target``, from a thread of its own; its methods may be called from any other.

    :ivar links: connections so far. :ivar resets: of them that it cut.
    """

    port: int
    target: int = 0
    links: int = field(default=0, init=False)
    resets: int = field(default=0, init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False)
    _thread: Thread = field(init=False)
    _open: set[_Link] = field(factory=set, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)
    _passing: asyncio.Event = field(factory=asyncio.Event, init=False)
    _dropping: bool = field(default=False, init=False)
    _delay: float = field(default=0.0, init=False)
    _server: asyncio.Server | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.heal()

    def heal(self) -> None:
        """Pass everything on again. Connections that lost bytes are cut: they would go on in the middle."""
        self._wait_for(self._heal())

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, as a host without Kafka does."""
        self._wait_for(self._refuse())

    def reset(self) -> None:
        """Cut every connection, wherever it is; new ones are served."""
        self._call(lambda: [self._cut(link) for link in [*self._open]])

    def reset_in_request(self) -> None:
        """Cut every connection after half of what its client sends next."""
        self._call(lambda: [setattr(link, "cut_next", True) for link in self._open])

    def black_hole(self) -> None:
        """Neither pass anything on nor close anything: connections stand, and nothing comes."""
        self._call(self._passing.clear)

    def drop_answers(self) -> None:
        """Kafka gets every request, and none of its answers arrives."""
        self._call(lambda: setattr(self, "_dropping", True))

    def latency(self, seconds: float) -> None:
        """Everything comes so much later, in both directions."""
        self._call(lambda: setattr(self, "_delay", seconds))

    def close(self) -> None:
        """End all of it."""
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    def _call(self, call: Callable[[], T]) -> T:
        async def within() -> T:
            return call()

        return self._wait_for(within())

    def _wait_for(self, coroutine: object) -> T:  # type: ignore[type-var]
        done: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)  # type: ignore[arg-type]
        return done.result(10.0)

    async def _heal(self) -> None:
        self._dropping, self._delay = False, 0.0
        for link in [*self._open]:
            link.cut_next = False
            if link.tainted:
                self._cut(link)
        self._passing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for link in [*self._open]:
            self._cut(link)

    async def _end(self) -> None:
        await self._refuse()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _cut(self, link: _Link) -> None:
        self.resets += 1
        self._open.discard(link)
        link.reset()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection(HOST, self.target)
        except OSError:
            client.transport.abort()
            return
        self.links += 1
        link = _Link(client, server)
        self._open.add(link)
        if self._server is None:  # it was refused meanwhile
            self._cut(link)
            return
        try:
            await asyncio.gather(self._pump(link, reader, server, True), self._pump(link, answers, client, False))
        finally:
            self._open.discard(link)
            for writer in client, server:
                writer.close()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        """Read here, write there, each chunk at its time."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)

        async def write() -> None:
            while True:
                when, chunk = await queue.get()
                if (wait := when - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._passing.wait()
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                if up and link.cut_next:
                    writer.write(chunk[: len(chunk) // 2])
                    await asyncio.sleep(0)
                    self._cut(link)
                    return
                if not up and self._dropping:
                    link.tainted = True
                    continue
                writer.write(chunk)
                await writer.drain()

        writing = self._loop.create_task(write())
        self._tasks.add(writing)
        writing.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError):
                while chunk := await reader.read(_CHUNK):
                    await queue.put((self._loop.time() + self._delay, chunk))
            await queue.put((self._loop.time() + self._delay, b""))
            with suppress(OSError):
                await writing
        finally:
            writing.cancel()
