"""One end of the stream between the parent and a worker."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from raccoon_tx.clock import Clock
from raccoon_tx.workers.messages import Frames, Message, frame


@define(eq=False)
class Link:
    """Sends all messages of one turn of the reactor in one piece.

    :ivar write: puts bytes on the way. :ivar take: gets each message that comes.
    """

    _clock: Clock
    _write: Callable[[bytes], None]
    _take: Callable[[Message], None]
    _outgoing: list[Message] = field(factory=list, init=False)
    _frames: Frames = field(factory=Frames, init=False)
    _closed: bool = field(default=False, init=False)

    def send(self, message: Message) -> None:
        """Send a message; to somebody who has gone, nothing."""
        if self._closed:
            return
        if not self._outgoing:
            self._clock.callLater(0, self.flush)
        self._outgoing.append(message)

    def flush(self) -> None:
        """Send now what is waiting."""
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and not self._closed:
            self._write(frame(outgoing))

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        for message in self._frames.add(data):
            self._take(message)

    def close(self) -> None:
        """The other side has gone."""
        self._closed = True
        self._outgoing = []
