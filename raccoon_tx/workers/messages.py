"""What the parent and its workers tell each other. Plain data.

A worker numbers its questions and connections itself, and the answers bear the same numbers. Several messages travel
in one frame: a length of four bytes, and a list in MessagePack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from raccoon_tx.model import Outcome, Reply

#: Bytes of a frame. A worker with all the labels it may have needs a few hundred thousand.
LONGEST = 64 * 1024 * 1024

_HEAD = 4


class TooLong(Exception):
    """A frame is longer than any that is sent."""


class Told(Struct, array_like=True, frozen=True):
    """A `Reply`, without the guid, which both sides know."""

    outcome: Outcome
    reason: str = ""
    extra: dict[str, str] = {}
    retry_after: float | None = None

    @classmethod
    def of(cls, reply: Reply) -> Told:
        return cls(reply.outcome, reply.reason, dict(reply.extra), reply.retry_after)

    def reply(self, guid: str | None) -> Reply:
        return Reply(self.outcome, guid, self.reason, self.extra, self.retry_after)


#: Values of the labels, and a number, or bounds, counts and total of a histogram.
Sample = tuple[tuple[str, ...], int | float | tuple[tuple[int, ...], tuple[int, ...], int]]


class Observation(Struct, array_like=True, frozen=True):
    """A `raccoon_tx.metrics.names.Observed`."""

    name: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    kept: list[int]
    seen: int


# The parent tells


class Start(Struct, array_like=True, frozen=True, tag=0):
    """The first message. :ivar settings: pickled. :ivar log_format: of the log lines."""

    settings: bytes
    log_format: str


class Change(Struct, array_like=True, frozen=True, tag=1):
    """Take over what can change. :ivar settings: pickled."""

    settings: bytes


class Stop(Struct, array_like=True, frozen=True, tag=2):
    """Finish what was received, and end."""


class Hurry(Struct, array_like=True, frozen=True, tag=3):
    """Wait for nothing any more."""


class LetIn(Struct, array_like=True, frozen=True, tag=4):
    """A connection may stay."""

    number: int


class Refuse(Struct, array_like=True, frozen=True, tag=5):
    """A connection has to go."""

    number: int
    told: Told


class Replace(Struct, array_like=True, frozen=True, tag=6):
    """The client of a connection has a new one: it has to go."""

    number: int


class Probe(Struct, array_like=True, frozen=True, tag=7):
    """The client of a connection wants a new one: `Heard` is wanted at the next sign of life."""

    number: int


class GiveWay(Struct, array_like=True, frozen=True, tag=8):
    """A connection gave no sign of life, and has to go at once."""

    number: int


class Fresh(Struct, array_like=True, frozen=True, tag=9):
    """A batch is new. `Settled` is to follow."""

    number: int


class Known(Struct, array_like=True, frozen=True, tag=10):
    """A batch is a copy of another one, of which this became."""

    number: int
    told: Told


class Scrape(Struct, array_like=True, frozen=True, tag=11):
    """What was counted? :ivar observations: those that were kept are wanted as well."""

    number: int
    observations: bool


class Pending(Struct, array_like=True, frozen=True, tag=12):
    """A batch is a copy of one that is on its way. `Known` is to follow."""

    number: int


class Wait(Struct, array_like=True, frozen=True, tag=13):
    """A connection is let in or refused later."""

    number: int


# A worker tells


class Ready(Struct, array_like=True, frozen=True, tag=20):
    """It listens on these ports."""

    http: int
    grpc: int


class Failed(Struct, array_like=True, frozen=True, tag=21):
    """It could not start, and ends with this status."""

    text: str
    status: int


class Enter(Struct, array_like=True, frozen=True, tag=22):
    """A client has connected: may it stay?"""

    number: int
    group: str
    id: str


class Heard(Struct, array_like=True, frozen=True, tag=23):
    """A connection that was probed gave a sign of life."""

    number: int


class Leave(Struct, array_like=True, frozen=True, tag=24):
    """A connection has ended."""

    number: int


class Ask(Struct, array_like=True, frozen=True, tag=25):
    """Was this batch seen before?"""

    number: int
    group: str
    id: str
    guid: str


class Settled(Struct, array_like=True, frozen=True, tag=26):
    """What became of a batch. :ivar told: nothing for success."""

    number: int
    told: Told | None = None


class Counted(Struct, array_like=True, frozen=True, tag=27):
    """What was counted. :ivar number: of the question; 0 at the end of the worker. :ivar samples: by the name of the
    metric. :ivar states: whether a part of the worker can take an event, and how it is, by its name."""

    number: int
    samples: dict[str, list[Sample]]
    observations: list[Observation] = []
    states: dict[str, tuple[bool, str]] = {}


Message = (
    Start
    | Change
    | Stop
    | Hurry
    | LetIn
    | Refuse
    | Replace
    | Probe
    | GiveWay
    | Wait
    | Fresh
    | Known
    | Pending
    | Scrape
    | Ready
    | Failed
    | Enter
    | Heard
    | Leave
    | Ask
    | Settled
    | Counted
)

_encoder = Encoder()
_decoder: Decoder[Any] = Decoder(list[Message])


def frame(messages: Sequence[Message]) -> bytes:
    """The bytes of these messages."""
    body = _encoder.encode(messages)
    return len(body).to_bytes(_HEAD, "big") + body


class Frames:
    """Puts frames together from the pieces in which they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now.

        :raises TooLong: :raises msgspec.DecodeError: the other side is not what it should be.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= _HEAD:
                start = position + _HEAD
                length = int.from_bytes(buffer[position:start], "big")
                if length > LONGEST:
                    raise TooLong(f"a frame of {length} bytes")
                if len(buffer) - start < length:
                    break
                position = start + length
                yield from _decoder.decode(bytes(buffer[start:position]))
        finally:
            del buffer[:position]


def to_samples(samples: Mapping[tuple[str, ...], Any]) -> list[Sample]:
    """The samples of a `raccoon_tx.metrics.names.Family`, ready for the way."""
    return [
        (values, (value.bounds, value.counts, value.total) if hasattr(value, "bounds") else value)
        for values, value in samples.items()
    ]
