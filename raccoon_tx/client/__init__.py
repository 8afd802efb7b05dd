"""Send events to raccoon_tx from a Python program: in batches, again when they were lost, in bounded memory.

`raccoon_tx.client.aio` has a `Client` for asyncio, `raccoon_tx.client.tx` the same one for Twisted. The scheme of the
address is the transport: ``ws`` and ``wss``, ``http`` and ``https``, ``grpc`` and ``grpcs``. This module needs neither
a server nor Twisted, and imports no transport before an address asks for it.
"""

from raccoon_tx.client.core import Closed, Counts, Event, Full, Limits

__all__ = ["Closed", "Counts", "Event", "Full", "Limits"]
