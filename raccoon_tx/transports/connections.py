"""Who is connected, and how many may be: contract section 5.2. Plain data, no sockets."""

from __future__ import annotations

from typing import Any

from raccoon_tx.model import Identity, Outcome, Reply


class Connections:
    """The WebSocket connections that were let in. Each is known by whatever stands for it.

    A client without an id is nobody's duplicate, but counts towards the limit.

    :ivar most: connections that may be open at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Identity, Any] = {}
        self._nameless: set[Any] = set()

    def __len__(self) -> int:
        return len(self._known) + len(self._nameless)

    def of(self, client: Identity) -> Any:
        """The connection of a client; nothing for one that is not connected, or has no id."""
        return self._known.get(client)

    def admit(self, client: Identity, connection: Any) -> Reply | None:
        """Let a client in. :return: nothing, or why it has to stay out."""
        if client.id and client in self._known:
            return duplicate(client)
        if len(self) >= self._most:
            return Reply(Outcome.MAX_CONNECTIONS, None, "max connection reached")
        if client.id:
            self._known[client] = connection
        else:
            self._nameless.add(connection)
        return None

    def replace(self, client: Identity, connection: Any) -> None:
        """The place of a client that is connected goes to another connection of it."""
        self._known[client] = connection

    def release(self, client: Identity, connection: Any) -> None:
        """A connection has ended. If its place went to another one, that keeps it."""
        if not client.id:
            self._nameless.discard(connection)
        elif self._known.get(client) is connection:
            del self._known[client]


def duplicate(client: Identity) -> Reply:
    """What a client is told that is connected already."""
    return Reply(Outcome.DUPLICATE_CONNECTION, None, f"duplicated connection: {client},")
