"""Events from arguments, a file or standard input, a batch at a time. Reading blocks, and belongs in a thread."""

from __future__ import annotations

import os
import select
import stat
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol
from uuid import uuid4

from attrs import define, field, frozen

from raccoon_tx._proto.raystack.raccoon.v1beta1.raccoon_pb2 import SendEventRequest
from raccoon_tx.tools.look import Trouble

#: Bytes of events from which on a batch is full, whatever their number.
FULL = 1_000_000

#: Bytes that one line may have.
LONGEST = 16_000_000

#: Seconds that a batch waits for more lines, and between two looks whether it is over.
LINGER = 0.1

_CHUNK = 262_144


@frozen
class Packed:
    """A batch. :ivar body: protobuf, which every transport carries. :ivar count: of its events."""

    guid: str
    body: bytes
    count: int


def pack(kind: str, values: Iterable[bytes]) -> Packed:
    """A batch of these events, with a guid of its own."""
    request = SendEventRequest(req_guid=str(uuid4()))
    request.sent_time.GetCurrentTime()
    for value in values:
        request.events.add(type=kind, event_bytes=value)
    return Packed(request.req_guid, bytes(request.SerializeToString()), len(request.events))


class Events(Protocol):
    """Where events come from."""

    def next(self, most: int) -> list[bytes]:
        """At most so many of them; none: there are no more. Blocks. :raises Trouble: they cannot be read."""

    @property
    def done(self) -> float | None:
        """The part that was given out, from 0 to 1, if the whole is known."""


@define(eq=False)
class Given:
    """Events that are there already."""

    _values: list[bytes]
    _at: int = field(init=False, default=0)

    def next(self, most: int) -> list[bytes]:
        """The next few."""
        taken: list[bytes] = []
        size = 0
        while self._at < len(self._values) and len(taken) < most and size < FULL:
            value = self._values[self._at]
            self._at += 1
            size += len(value)
            taken.append(value)
        return taken

    @property
    def done(self) -> float | None:
        return self._at / len(self._values)


@define(eq=False)
class Lines:
    """Every line of a file or a pipe that is not blank is an event. A pipe that pauses does not hold back what it had
    to say before.

    :ivar stopped: no more is wanted. :ivar name: of what is read, for complaints.
    """

    _descriptor: int
    name: str
    stopped: bool = field(init=False, default=False)
    _ready: deque[bytes] = field(init=False, factory=deque)
    _rest: bytearray = field(init=False, factory=bytearray)
    _number: int = field(init=False, default=0)
    _read: int = field(init=False, default=0)
    _size: int = field(init=False, default=0)
    _ended: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        about = os.fstat(self._descriptor)
        if stat.S_ISDIR(about.st_mode):
            raise Trouble(f"{self.name} is a folder; name a file with an event on each line")
        if stat.S_ISREG(about.st_mode):
            self._size = about.st_size

    def next(self, most: int) -> list[bytes]:
        """Wait for a line, and a little for more."""
        taken: list[bytes] = []
        size, limit = 0, 0.0
        while len(taken) < most and size < FULL:
            if self._ready:
                value = self._ready.popleft()
                size += len(value)
                taken.append(value)
                limit = limit or time.monotonic() + LINGER
            elif self._ended or self.stopped or (taken and time.monotonic() >= limit):
                break
            else:
                self._wait(max(limit - time.monotonic(), 0.0) if taken else LINGER)
        return taken

    def _wait(self, seconds: float) -> None:
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except OSError as error:
            raise Trouble(f"{self.name} cannot be read: {error.strerror}") from None
        self._read += len(chunk)
        if chunk:
            self._rest += chunk
            *lines, rest = self._rest.split(b"\n") if b"\n" in chunk else (self._rest,)
            self._rest = bytearray(rest)
        else:
            lines, self._rest, self._ended = [self._rest], bytearray(), True
        for line in lines:
            self._number += 1
            if value := bytes(line.strip()):
                self._ready.append(value)
        if len(self._rest) > LONGEST:
            raise Trouble(f"line {self._number + 1} of {self.name} is longer than {LONGEST:,} bytes: is it one event?")

    @property
    def done(self) -> float | None:
        return self._read / self._size if self._size else None
