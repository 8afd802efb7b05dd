"""What happens to a batch between a socket and the publisher. All three transports call it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from raccoon_tx.codec import Codec
from raccoon_tx.delivery import Delivery
from raccoon_tx.model import Ack, Answer, Identity, Invalid, Outcome, Refused, Reply
from raccoon_tx.routing import Route

#: A function like `Ingest.submit`.
Submit = Callable[[bytes, Codec, Identity, Answer], None]


@define(eq=False)
class Ingest:
    """Reads a batch, finds its topics, hands it to the publisher, and sees that it is answered.

    :ivar publish: takes a `Delivery` and answers it later, or raises `Refused` having taken nothing.
    :ivar route: makes the records of a batch, or raises `Refused`. :ivar max_events: in one batch.
    """

    _publish: Callable[[Delivery], None]
    _route: Route
    _ack: Ack
    _max_events: int

    def submit(self, body: bytes, codec: Codec, client: Identity, answer: Answer) -> None:
        """Take one batch. Refusals become replies here, and only here.

        :param body: one ``SendEventRequest`` in the encoding of ``codec``.
        :param answer: is called exactly once, perhaps before this returns.
        """
        guid = ""
        try:
            batch = codec.decode(body)
            guid = batch.guid
            count = len(batch.events)
            if not count:
                answer(Reply(Outcome.OK, guid))
                return
            if count > self._max_events:
                raise Invalid(f"too many events: {count} in one batch, at most {self._max_events} are taken")
            delivery = Delivery(batch, self._route(batch.events), client, self._ack, answer)
            self._publish(delivery)
        except Refused as refusal:
            answer(refusal.reply(guid))
