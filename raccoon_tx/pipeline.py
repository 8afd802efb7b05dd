"""Services in a row: started from the downstream end, stopped from the upstream end, one after another."""

from __future__ import annotations

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger


class Pipeline(MultiService):
    """Its services stand in the order in which events pass them. A plain `MultiService` stops all of its services
    at once, so that events could be cut off between two of them."""

    _log = Logger()

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        for child in reversed(self.services):
            child.privilegedStartService()

    def startService(self) -> None:
        Service.startService(self)
        for child in reversed(self.services):
            child.startService()

    def stopService(self) -> Deferred[None]:
        """Fires when the last service has stopped. A service that fails to stop does not keep the next ones from
        stopping."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        Service.stopService(self)
        for child in self.services:
            if child.running:
                try:
                    await maybeDeferred(child.stopService)
                except Exception:
                    self._log.failure("{child} did not stop as it should", child=type(child).__name__)

    def hurry(self) -> None:
        """Wait for nothing any more: a stop that is on its way ends soon."""
        _hurry(self)


def _hurry(services: MultiService) -> None:
    for child in services.services:
        hurry = getattr(child, "hurry", None)
        if hurry is not None:
            hurry()
        elif isinstance(child, MultiService):
            _hurry(child)
