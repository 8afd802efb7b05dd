"""What happens to a batch between a socket and the publisher. All three transports call it."""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define

from raccoon_tx.codec import Codec
from raccoon_tx.dedup import Guids
from raccoon_tx.delivery import Delivery
from raccoon_tx.metrics.counts import Counts, GroupCounts
from raccoon_tx.model import Ack, Answer, Batch, Client, Invalid, Outcome, RateLimited, Refused, Reply
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


@define(eq=False)
class Ingest:
    """Reads a batch, sorts out what was seen before, finds its topics, hands it to the publisher, and sees that it is
    answered.

    :ivar publish: takes a `Delivery` and answers it later, or raises `Refused` having taken nothing.
    :ivar route: makes the records of a batch, or raises `Refused`. :ivar max_events: in one batch.
    :ivar counts: what is counted. :ivar now: seconds of the publisher's clock. :ivar rate_limit: for each client.
    :ivar guids: the batches of all clients with an id; ``None`` leaves it to those of each connection.
    """

    _publish: Callable[[Delivery], None]
    _route: Route
    _ack: Ack
    _max_events: int
    _counts: Counts
    _now: Callable[[], float]
    _rate_limit: RateLimit
    _guids: Guids | None = None

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
            if guid and (self._guids is not None or client.guids is not None):
                unseen = self._unseen(batch, client, group, answer)
                if unseen is None:
                    return
                answer = unseen
            count = len(batch.events)
            if count:
                self._admit(count, client)
                client.media_type = codec.media_type
                records = self._route(batch, group, client)
                self._publish(Delivery(batch, records, group, self._ack, answer, received, unseen))
            else:
                answer(Reply(Outcome.OK, guid))
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

    def _unseen(self, batch: Batch, client: Client, group: GroupCounts, answer: Answer) -> Answer | None:
        identity = client.identity
        if self._guids is not None:
            if not identity.id:
                return answer
            unseen = self._guids.first((identity.group, identity.id, batch.guid), batch.guid, answer)
        else:
            unseen = client.guids.first(batch.guid, batch.guid, answer)
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
