"""What travels between the rooms of the house: batches, identities, replies, refusals. Plain data.

Batches and replies are made for each message, so they are made by msgspec, at a fifth of the price.

Wire names and numbers are those of contract section 2.1, outcomes those of sections 4.3, 5.4 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Protocol

from attrs import define, frozen
from msgspec import Struct


class Status(IntEnum):
    """``status`` on the wire."""

    SUCCESS = 1
    ERROR = 2


class Code(IntEnum):
    """``code`` on the wire. `INTERNAL_ERROR` means: worth sending again."""

    OK = 1
    BAD_REQUEST = 2
    INTERNAL_ERROR = 3
    MAX_CONNECTION_LIMIT_REACHED = 4
    MAX_USER_LIMIT_REACHED = 5


class Ack(IntEnum):
    """When a batch is acknowledged (``event.ack``, contract section 7.2)."""

    ACCEPTED = 0
    """Once the publisher has taken all of it."""
    DELIVERED = 1
    """Once Kafka has confirmed every event of it."""
    DURABLE = 2
    """Once it is on the disk, in the spool."""


class Outcome(Enum):
    """What became of a batch: finer than `Code`, because HTTP has more statuses than the wire has codes."""

    OK = "ok"
    MALFORMED = "malformed"
    INVALID = "invalid"
    TOO_LARGE = "too large"
    UNKNOWN_TYPE = "unknown content type"
    UNKNOWN_ENCODING = "unknown content encoding"
    UNREADABLE = "unreadable"
    LATE_BODY = "late body"
    FAILED = "failed"
    SATURATED = "saturated"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate limited"
    FOREIGN = "foreign origin"
    DRAINING = "draining"
    EXPIRED = "expired"
    MAX_CONNECTIONS = "max connections"
    DUPLICATE_CONNECTION = "duplicate connection"

    @property
    def code(self) -> Code:
        """The code a client is told."""
        return _CODES.get(self, Code.INTERNAL_ERROR)

    @property
    def retryable(self) -> bool:
        """Whether sending the same batch again may help."""
        return self.code is Code.INTERNAL_ERROR


_CODES = {
    Outcome.OK: Code.OK,
    Outcome.MALFORMED: Code.BAD_REQUEST,
    Outcome.INVALID: Code.BAD_REQUEST,
    Outcome.TOO_LARGE: Code.BAD_REQUEST,
    Outcome.UNKNOWN_TYPE: Code.BAD_REQUEST,
    Outcome.UNKNOWN_ENCODING: Code.BAD_REQUEST,
    Outcome.LATE_BODY: Code.BAD_REQUEST,
    Outcome.FOREIGN: Code.BAD_REQUEST,
    Outcome.MAX_CONNECTIONS: Code.MAX_CONNECTION_LIMIT_REACHED,
    Outcome.DUPLICATE_CONNECTION: Code.MAX_USER_LIMIT_REACHED,
}


@frozen
class Identity:
    """Who sends: contract section 3. Both parts are at most 256 bytes and without control characters."""

    group: str
    id: str

    def __str__(self) -> str:
        return f"[{self.group}] {self.id}"


@define(eq=False)
class Client:
    """Who sends, and how. A WebSocket has one for its life; other transports make one for each batch.

    :ivar transport: ``websocket``, ``rest`` or ``grpc``. :ivar media_type: of the batch at hand.
    :ivar source: what stands for a client without an id where clients are told apart: its address, or its connection.
    :ivar guids: the batches its connection has seen, a `raccoon_tx.dedup.Guids`; ``None`` without one.
    """

    identity: Identity
    transport: str
    source: str = ""
    media_type: str = ""
    guids: Any = None


class Event(Protocol):
    """One event, as the codecs make it: the generated message, or anything with these two attributes."""

    @property
    def type(self) -> str: ...

    @property
    def event_bytes(self) -> bytes: ...


class Batch(Struct, frozen=True):
    """One ``SendEventRequest``.

    :ivar guid: names the batch, or is empty. :ivar sent_time: the client's Unix time in seconds, if it said.
    """

    guid: str
    events: Sequence[Event]
    sent_time: float | None = None


class Reply(Struct, frozen=True):
    """What a client is told about one batch; a codec turns it into a ``SendEventResponse``.

    :ivar guid: goes out as ``data.req_guid``; ``None`` leaves ``data`` out altogether.
    :ivar extra: further entries of ``data`` (contract section 7.5).
    :ivar retry_after: seconds after which to try again, where that is known.
    """

    outcome: Outcome
    guid: str | None = None
    reason: str = ""
    extra: Mapping[str, str] = {}
    retry_after: float | None = None

    @property
    def code(self) -> Code:
        return self.outcome.code

    @property
    def status(self) -> Status:
        return Status.SUCCESS if self.outcome is Outcome.OK else Status.ERROR


#: Takes the reply to one batch. Called exactly once for each batch, in the reactor thread.
Answer = Callable[[Reply], None]


class Refused(Exception):
    """Something the client is told: nothing of the batch was taken. Bugs are not `Refused`; they stay loud.

    :ivar guid: of the batch, as far as it could be read; empty otherwise.
    """

    outcome = Outcome.FAILED

    def __init__(
        self,
        reason: str,
        guid: str = "",
        extra: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.guid = guid
        self.extra: Mapping[str, str] = extra or {}
        self.retry_after = retry_after

    def reply(self, guid: str = "") -> Reply:
        """What to answer: the reason, and whether trying again may help.

        :param guid: of the batch, if it is known by now.
        """
        extra = {"retryable": "true" if self.outcome.retryable else "false", **self.extra}
        if self.outcome is Outcome.MALFORMED:
            # Contract vector 17 wants nothing beside the guid.
            extra = dict(self.extra)
        if self.retry_after is not None:
            extra["retry_after_ms"] = str(round(self.retry_after * 1000))
        return Reply(self.outcome, self.guid or guid, self.reason, extra, self.retry_after)


class Malformed(Refused):
    """The bytes are not a batch."""

    outcome = Outcome.MALFORMED


class Invalid(Refused):
    """The batch is readable, but something in it can never be published."""

    outcome = Outcome.INVALID


class Saturated(Refused):
    """No room now: come back later."""

    outcome = Outcome.SATURATED


class RateLimited(Refused):
    """This client has sent more than its share: come back later."""

    outcome = Outcome.RATE_LIMITED


class Unavailable(Refused):
    """Kafka is known to be away, and the client wants to hear of its deliveries: come back later."""

    outcome = Outcome.UNAVAILABLE


class Draining(Refused):
    """The server is about to stop: go elsewhere, or come back."""

    outcome = Outcome.DRAINING
