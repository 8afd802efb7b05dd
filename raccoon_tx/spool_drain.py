"""``raccoon spool drain``: brings to Kafka what lies in the spool, without a server, and ends."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from raccoon_tx import logs, signals
from raccoon_tx.clock import looping
from raccoon_tx.config import Loaded
from raccoon_tx.logs import Logger
from raccoon_tx.metrics.counts import Counts
from raccoon_tx.pipeline import Pipeline
from raccoon_tx.process import or_exit
from raccoon_tx.tap import make_publisher, make_spool

#: Seconds between two looks at whether it is done, and between two lines that say how far it is.
LOOK_INTERVAL, TELL_INTERVAL = 0.1, 5.0
#: Exit status if something is left.
LEFT = 3

_log = Logger()


def run(loaded: Loaded) -> int:
    """Run until the spool is empty, or until a signal. :return: the exit status."""
    settings = loaded.settings
    logs.begin(settings.log.format, settings.log.level)
    from twisted.internet import reactor

    running: Any = reactor
    counts = Counts()
    publisher, broker, _ = make_publisher(settings, running, counts)
    spool = make_spool(settings, running, publisher, counts)
    assert spool is not None
    services = Pipeline()
    for service in (spool.drain, publisher, spool.publisher, broker, spool.store):
        if service is not None:
            service.setServiceParent(services)
    try:
        or_exit(services.privilegedStartService)
        or_exit(services.startService)
    except SystemExit as end:
        return int(str(end))
    running.addSystemEventTrigger("before", "shutdown", services.stopService)
    signals.install(running, services.hurry, lambda: None)
    _log.info("draining {count} batches", count=spool.store.counts.batches)
    looping(running, _watch(spool.store.counts, running.stop)).start(LOOK_INTERVAL, now=False)
    running.run()
    left = spool.store.counts.batches
    _log.info(
        "{drained} batches were delivered, {buried} given up, {left} are left",
        drained=spool.store.counts.drained,
        buried=spool.store.counts.buried,
        left=left,
    )
    return LEFT if left else 0


def _watch(counts: Any, stop: Callable[[], None]) -> Callable[[], None]:
    told = time()

    def look() -> None:
        nonlocal told
        if not counts.batches:
            stop()
        elif time() - told >= TELL_INTERVAL:
            told = time()
            _log.info("{count} batches are left", count=counts.batches)

    return look
