"""What happens to a batch between a socket and the publisher. All three transports call it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from attrs import define

from raccoon_tx.codec import Codec
from raccoon_tx.dedup import Guids, in_short
from raccoon_tx.delivery import Delivery
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.model import (
    Ack,
    Answer,
    Batch,
    Client,
    Identity,
    Invalid,
    Outcome,
    RateLimited,
    Refused,
    Reply,
)
from raccoon_tx.ratelimit import RateLimit
from raccoon_tx.routing import Route

#: A function like `Ingest.submit`.
Submit = Callable[[bytes, Codec, Client, Answer], None]

#: Under which reason a batch that was not taken is counted (contract section 12.1).
REASONS = {
    Outcome.MALFORMED: "serde",
    Outcome.INVALID: "invalidevent",
    Outcome.TOO_LARGE: "toolarge",
    Outcome.UNKNOWN_TYPE: "unknowncontentype",
    Outcome.UNKNOWN_ENCODING: "encoding",
    Outcome.UNREADABLE: "readerr",
    Outcome.LATE_BODY: "timeout",
    Outcome.SATURATED: "overload",
    Outcome.UNAVAILABLE: "overload",
    Outcome.RATE_LIMITED: "ratelimit",
    Outcome.DRAINING: "draining",
}

_log = Logger()


class Elsewhere(Protocol):
    """A memory of batches in another process."""

    def ask(self, client: Identity, guid: str, answer: Answer, asked: Asked, /) -> None:
        """Whether a batch was seen before. :param answer: its client's. :param asked: is called back, later."""


@define(eq=False)
class Ingest:
    """Reads a batch, sorts out what was seen before, finds its topics, hands it to the publisher, and sees that it is
    answered.

    :ivar publish: takes a `Delivery` and answers it later, or raises `Refused` having taken nothing.
    :ivar route: makes the records of a batch, or raises `Refused`. :ivar max_events: in one batch.
    :ivar counts: what is counted. :ivar now: seconds of the publisher's clock. :ivar rate_limit: for each client.
    :ivar guids: the batches of all clients with an id; ``None`` leaves it to those of each connection.
    :ivar elsewhere: the same, but another process has to be asked for them.
    """

    _publish: Callable[[Delivery], None]
    _route: Route
    _ack: Ack
    _max_events: int
    _counts: Counts
    _now: Callable[[], float]
    _rate_limit: RateLimit
    _guids: Guids | None = None
    _elsewhere: Elsewhere | None = None

    def submit(self, body: bytes, codec: Codec, client: Client, answer: Answer) -> None:
        """Take one batch. Refusals become replies here, and only here.

        :param body: one ``SendEventRequest`` in the encoding of ``codec``.
        :param answer: is called exactly once, perhaps before this returns.
        """
        received = self._now()
        group = self._counts.group(client.identity.group)
        guid = ""
        unseen: Answer | None = None
        try:
            batch = codec.decode(body)
            guid = batch.guid
            if guid and self._elsewhere is not None and client.identity.id:
                asked = Asked(self, batch, codec.media_type, client, group, answer, received)
                self._elsewhere.ask(client.identity, guid, answer, asked)
                return
            if guid and (self._guids is not None or client.guids is not None):
                unseen = self._unseen(batch, client, group, answer)
                if unseen is None:
                    return
                answer = unseen
            self.take(batch, codec.media_type, client, group, answer, received, unseen)
        except Refused as refusal:
            group.could_not_read(REASONS.get(refusal.outcome, "unknown"))
            answer(refusal.reply(guid))
        except Exception:
            if unseen is not None:
                # Whoever sends the batch again must not wait for this one.
                unseen(Reply(Outcome.FAILED, guid, "internal error"))
            raise
        else:
            group.read += 1

    def take(
        self,
        batch: Batch,
        media_type: str,
        client: Client,
        group: GroupCounts,
        answer: Answer,
        received: float,
        unseen: Answer | None,
    ) -> None:
        """Take a batch that was not seen before.

        :param unseen: is told what became of it after its client was told that time is over.
        :raises Refused: nothing of it was taken.
        """
        count = len(batch.events)
        if count:
            self._admit(count, client)
            client.media_type = media_type
            records = self._route(batch, group, client)
            self._publish(Delivery(batch, records, group, self._ack, answer, received, unseen))
        else:
            answer(Reply(Outcome.OK, batch.guid))

    def _unseen(self, batch: Batch, client: Client, group: GroupCounts, answer: Answer) -> Answer | None:
        identity = client.identity
        if self._guids is not None:
            if not identity.id:
                return answer
            unseen = self._guids.first((identity.group, identity.id, in_short(batch.guid)), batch.guid, answer)
        else:
            unseen = client.guids.first(in_short(batch.guid), batch.guid, answer)
        if unseen is None:
            group.read += 1
            group.duplicates += 1
        return unseen

    def _admit(self, count: int, client: Client) -> None:
        if count > self._max_events:
            raise Invalid(f"too many events: {count} in one batch, at most {self._max_events} are taken")
        if self._rate_limit.rate:
            who = client.identity if client.identity.id else client.source
            wait = self._rate_limit.wait(who, count)
            if wait:
                # Later by a random part, so that the clients of one moment do not all come back in another.
                wait = max(1.0, wait) * random.uniform(1.0, 1.25)
                raise RateLimited("too many events from this client, try again later", retry_after=wait)


@define(eq=False)
class Asked:
    """A batch whose guid another process is asked for; see `raccoon_tx.workers.remote.Asking`."""

    _ingest: Ingest
    _batch: Batch
    _media_type: str
    _client: Client
    _group: GroupCounts
    _answer: Answer
    _received: float

    def fresh(self, settle: Answer) -> None:
        """It is new: take it. :param settle: takes its answers, as `Guids.first` returns it."""
        batch, group = self._batch, self._group
        try:
            self._ingest.take(batch, self._media_type, self._client, group, settle, self._received, settle)
        except Refused as refusal:
            group.could_not_read(REASONS.get(refusal.outcome, "unknown"))
            settle(refusal.reply(batch.guid))
        except Exception:
            _log.failure("a batch could not be taken")
            settle(Reply(Outcome.FAILED, batch.guid, "internal error"))
        else:
            group.read += 1

    def known(self, reply: Reply) -> None:
        """It is a copy: its answer is that of the first one."""
        self._group.read += 1
        self._group.duplicates += 1
        self._answer(reply)

    def silence(self, reply: Reply) -> None:
        """Nobody can tell: it has to come again."""
        self._group.could_not_read(REASONS[reply.outcome])
        self._answer(Reply(reply.outcome, self._batch.guid, reply.reason, reply.extra, reply.retry_after))
