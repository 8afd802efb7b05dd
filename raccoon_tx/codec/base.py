"""What a codec is."""

from __future__ import annotations

from typing import Protocol

from raccoon_tx.model import Batch, Outcome, Reply


class Codec(Protocol):
    """One encoding of batches and replies.

    :ivar media_type: as a ``Content-Type`` header says it.
    """

    media_type: str

    def decode(self, body: bytes) -> Batch:
        """Read one batch.

        :raises Malformed: whatever is wrong with ``body``; never another exception. Its reason is the decoder's,
            short and without line breaks; its guid is what could be read before the mistake, else empty.
        """

    def encode(self, reply: Reply, sent_time: int) -> bytes:
        """Write one reply. :param sent_time: now, in Unix seconds."""


def plain_success(reply: Reply) -> bool:
    """Whether a reply says that all is well and names the batch, as nearly every one does, and nothing else."""
    return reply.outcome is Outcome.OK and bool(reply.guid) and not reply.extra and not reply.reason
