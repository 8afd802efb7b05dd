"""The first that a connection to the HTTP port meets."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer  # type: ignore[import-untyped, unused-ignore]

from raccoon_tx.ingest import Submit
from raccoon_tx.transports.answers import Answers
from raccoon_tx.transports.channel import EventSite
from raccoon_tx.transports.deadlines import Deadlines
from raccoon_tx.transports.plain import LONGEST, POST, Heads
from raccoon_tx.transports.plain_channel import PlainChannel
from raccoon_tx.transports.websocket import EventSocketFactory


@implementer(IProtocolNegotiationFactory)
class FrontFactory(ServerFactory):
    """Makes the connections, and has what they share. See `Shared`."""

    noisy = False

    def __init__(self, site: EventSite, sockets: EventSocketFactory, heads: Heads, submit: Submit, clock: Any) -> None:
        self.site = site
        self.sockets = sockets
        self.heads = heads
        self.submit = submit
        self.idle = Deadlines(clock, site.idle_timeout)
        self.heads_due = Deadlines(clock, site.head_timeout)
        self.bodies = Deadlines(clock, site.body_timeout)
        self.answers = Answers()
        self._open = 0

    def buildProtocol(self, addr: Any) -> Any:
        return PlainChannel(self)

    def acceptableProtocols(self) -> list[bytes]:
        """For clients that ask in their TLS handshake."""
        return self.site.acceptableProtocols()

    def enter(self, channel: PlainChannel) -> None:
        """A connection begins."""
        self.site.channels.add(channel)
        self._open += 1

    def leave(self, channel: PlainChannel) -> None:
        """A connection ends, or goes elsewhere."""
        if channel in self.site.channels:
            self.site.channels.discard(channel)
            self._open -= 1
            if not self._open:
                for deadlines in (self.idle, self.heads_due, self.bodies):
                    deadlines.stop()

    def promises(self, start: bytes, new: bytes) -> bool:
        """Whether what has come of a head may become that of something plain.

        :param new: the part that came last. Heads that come byte by byte are looked at once in a line.
        """
        if b"\n" in new or len(start) <= len(POST):
            return self.heads.promising(start)
        return len(start) <= LONGEST
