"""Open files against connections."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from raccoon_tx.descriptors import RESERVE, fitted, is_default, raise_limit, room
from raccoon_tx.settings import IdentitySettings, Settings, WebSocketSettings


def wanting(connections: int, workers: int = 1) -> Settings:
    websocket = WebSocketSettings(max_connections=connections)
    return Settings(identity=IdentitySettings(id_header="X-User-ID"), websocket=websocket, workers=workers)


class DescriptorsTests(SynchronousTestCase):
    def test_enough(self) -> None:
        """Settings stay as they are where there is room for them, and nothing is said."""
        settings = wanting(20_000 - RESERVE)
        self.assertEqual(fitted(settings, 20_000), (settings, ""))

    def test_too_many(self) -> None:
        """There are no more connections than files, less what is kept; both numbers and the remedy are said."""
        settings, said = fitted(wanting(30_000), 20_000)
        self.assertEqual(settings, wanting(20_000 - RESERVE))
        for part in ("server.websocket.max_conn is 30000", "is 20000:", "19488 WebSocket", "ulimit -n"):
            self.assertIn(part, said)

    def test_workers(self) -> None:
        """The limit is each worker's, the setting everybody's."""
        settings, said = fitted(wanting(1000, workers=2), 400)
        self.assertEqual(settings.websocket.max_connections, 600)
        self.assertIn("for each worker", said)

    def test_small_limits(self) -> None:
        """A part of a small limit is kept; there is always room for one."""
        self.assertEqual([room(limit) for limit in (200, 1024, 4096, 1)], [150, 768, 4096 - RESERVE, 1])

    def test_default(self) -> None:
        self.assertTrue(is_default(wanting(WebSocketSettings().max_connections)))
        self.assertFalse(is_default(wanting(WebSocketSettings().max_connections - 1)))

    def test_raise(self) -> None:
        """The soft limit becomes the hard one."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
        self.assertEqual(raise_limit(), hard)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (hard, hard))
