"""Who is connected, and how many may be: contract section 5.2. Plain data, no sockets."""

from __future__ import annotations

from raccoon_tx.model import Identity, Outcome, Reply


class Connections:
    """The WebSocket connections that were let in.

    A client without an id is nobody's duplicate, but counts towards the limit.

    :ivar most: connections that may be open at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[Identity] = set()
        self._nameless = 0

    def __len__(self) -> int:
        return len(self._known) + self._nameless

    def admit(self, client: Identity) -> Reply | None:
        """Let a client in. :return: nothing, or why it has to stay out."""
        if client.id and client in self._known:
            return Reply(Outcome.DUPLICATE_CONNECTION, None, f"duplicated connection: {client},")
        if len(self) >= self._most:
            return Reply(Outcome.MAX_CONNECTIONS, None, "max connection reached")
        if client.id:
            self._known.add(client)
        else:
            self._nameless += 1
        return None

    def release(self, client: Identity) -> None:
        """A client that was let in has gone."""
        if client.id:
            self._known.remove(client)
        else:
            self._nameless -= 1
