"""Who is let in when a client is connected already: ``server.websocket.duplicate_policy``, contract section 5.2."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field, frozen

from raccoon_tx.clock import Clock, Timer
from raccoon_tx.model import Identity, Reply
from raccoon_tx.transports.connections import Connections, duplicate

#: Seconds that a connection gets to give a sign of life, while its client waits on a new one.
PROBE_TIME = 2.0


class Connection(Protocol):
    """One connection, as far as it concerns its admission."""

    @property
    def identity(self) -> Identity: ...

    def let_in(self) -> None:
        """It may stay."""

    def refuse(self, refusal: Reply) -> None:
        """It has to go, and is told why."""

    def wait(self) -> None:
        """It will be let in or refused later."""

    def pause(self) -> None:
        """It will hear more in a moment, and is not read from until then."""

    def replaced(self) -> None:
        """Its client has a new connection: it has to go."""

    def ask(self) -> None:
        """Its client wants a new connection: call `Admission.heard` at the next sign of life."""

    def give_way(self) -> None:
        """There was no sign of life: it has to go at once."""


class Admits(Protocol):
    """What lets connections in: `Admission`, or what asks the one of another process."""

    def enter(self, newcomer: Connection) -> None: ...
    def heard(self, resident: Connection) -> None: ...
    def leave(self, connection: Connection) -> None: ...


@frozen
class _Probe:
    """:ivar resident: is asked whether it is alive. :ivar newcomer: waits for that."""

    resident: Connection
    newcomer: Connection
    timer: Timer


@define(eq=False)
class Admission:
    """Lets connections in, one for each client with an id.

    :ivar policy: ``reject``: who is connected stays. ``replace``: who comes later stays. ``probe``: who is connected
        stays if it gives a sign of life within `PROBE_TIME`. One newcomer waits for that; more are refused.
    """

    _connections: Connections
    _policy: str
    _clock: Clock
    _probes: dict[Identity, _Probe] = field(factory=dict, init=False)

    def enter(self, newcomer: Connection) -> None:
        """Let a connection in, or refuse it, now or later."""
        identity = newcomer.identity
        resident: Connection | None = self._connections.of(identity)
        if resident is None or self._policy == "reject" or identity in self._probes:
            refusal = self._connections.admit(identity, newcomer)
            if refusal is None:
                newcomer.let_in()
            else:
                newcomer.refuse(refusal)
        elif self._policy == "replace":
            self._connections.replace(identity, newcomer)
            resident.replaced()
            newcomer.let_in()
        else:
            timer = self._clock.callLater(PROBE_TIME, self._silent, identity)
            self._probes[identity] = _Probe(resident, newcomer, timer)
            newcomer.wait()
            resident.ask()

    def heard(self, resident: Connection) -> None:
        """A connection that was asked has given a sign of life."""
        probe = self._ended(resident)
        if probe is not None:
            probe.newcomer.refuse(duplicate(resident.identity))

    def leave(self, connection: Connection) -> None:
        """A connection that was let in, or waits for it, has ended."""
        probe = self._ended(connection)
        if probe is not None and connection is probe.resident:
            self._connections.replace(connection.identity, probe.newcomer)
            probe.newcomer.let_in()
        else:
            self._connections.release(connection.identity, connection)

    def _silent(self, identity: Identity) -> None:
        probe = self._probes.pop(identity)
        self._connections.replace(identity, probe.newcomer)
        probe.resident.give_way()
        probe.newcomer.let_in()

    def _ended(self, connection: Connection) -> _Probe | None:
        """The probe in which this connection takes part; it is over."""
        probe = self._probes.get(connection.identity)
        if probe is None or (connection is not probe.resident and connection is not probe.newcomer):
            return None
        probe.timer.cancel()
        return self._probes.pop(connection.identity)
