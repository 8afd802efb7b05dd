"""A reactor of one's own in a thread: it does not matter which event loop a test uses, or that it uses none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from raccoon_tx.reactor import make

T = TypeVar("T")


@define(eq=False)
class ReactorThread:
    """Runs from `start` to `stop`, once. :ivar reactor: it is nobody else's, and not the global one."""

    reactor: Any = field(factory=make, init=False)
    _thread: Thread = field(init=False)

    def start(self) -> None:
        """Return when it runs."""
        self._thread = Thread(target=self._run, name="raccoon-reactor", daemon=True)
        self._thread.start()
        self.call(lambda: None)

    def _run(self) -> None:
        # Twisted notes globally which thread is that of the reactor; the one of the test, if it has one, is to stay so.
        before = threadable.ioThread
        self.reactor.callWhenRunning(setattr, threadable, "ioThread", before)
        self.reactor.run(installSignalHandlers=False)

    def call(self, call: Callable[..., Any], *arguments: Any, timeout: float = 30.0) -> Any:
        """Call something in the reactor's thread, and wait for what it, or its Deferred, comes to.

        :raises TimeoutError: that takes too long.
        """
        done: Future[Any] = Future()

        def fail(failure: Failure) -> None:
            done.set_exception(failure.value)

        def run() -> None:
            maybeDeferred(call, *arguments).addCallbacks(done.set_result, fail)

        self.reactor.callFromThread(run)
        return done.result(timeout)

    def stop(self, timeout: float = 30.0) -> None:
        """Return when it has ended."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(timeout)
