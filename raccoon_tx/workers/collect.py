"""In the parent: asks all workers what they have counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from raccoon_tx.clock import Clock, Timer
from raccoon_tx.metrics.names import Family, Observed
from raccoon_tx.workers.merge import Totals
from raccoon_tx.workers.messages import Counted, Message, Scrape

#: Seconds that workers get to answer. One that does not has the numbers it had before.
TIMEOUT = 3.0
#: Observations that may wait for an exporter: of each some, of each histogram.
MOST_OBSERVATIONS = 10_000


class Source(Protocol):
    """A worker that runs. :ivar number: its number."""

    @property
    def number(self) -> int: ...
    def send(self, message: Message) -> None: ...


@define(eq=False)
class _Round:
    waiting: set[Source]
    done: Deferred[list[Family]]
    timer: Timer


@define(eq=False)
class Collector:
    """:ivar sources: the workers that run now."""

    _clock: Clock
    _totals: Totals
    _sources: Callable[[], Iterable[Source]]
    _last: int = field(default=0, init=False)
    _rounds: dict[int, _Round] = field(factory=dict, init=False)
    _states: dict[int, Mapping[str, tuple[bool, str]]] = field(factory=dict, init=False)
    _observed: deque[Observed] = field(factory=lambda: deque(maxlen=MOST_OBSERVATIONS), init=False)

    def snapshot(self, observations: bool = False) -> Deferred[list[Family]]:
        """Fires with all metrics. :param observations: those that were kept are wanted next, too."""
        done: Deferred[list[Family]] = Deferred()
        self._last += 1
        waiting = set(self._sources())
        if waiting:
            timer = self._clock.callLater(TIMEOUT, self._finish, self._last)
            self._rounds[self._last] = _Round(waiting, done, timer)
            for source in waiting:
                source.send(Scrape(self._last, observations))
        else:
            done.callback(self._totals.families())
        return done

    def observations(self) -> list[Observed]:
        """What the workers have sent of them since this was last asked."""
        taken = list(self._observed)
        self._observed.clear()
        return taken

    def states(self) -> list[Mapping[str, tuple[bool, str]]]:
        """How the parts of each worker are that has answered the last question."""
        return list(self._states.values())

    def heard(self, source: Source, counted: Counted) -> None:
        """A worker has told what it has counted, asked or not."""
        self._totals.heard(source.number, counted.samples)
        self._states[source.number] = counted.states
        self._observed.extend(
            Observed(each.name, each.labels, each.values, each.kept, each.seen) for each in counted.observations
        )
        self._answered(counted.number, source)

    def ended(self, source: Source) -> None:
        """A worker has ended."""
        self._totals.ended(source.number)
        self._states.pop(source.number, None)
        for number in list(self._rounds):
            self._answered(number, source)

    def _answered(self, number: int, source: Source) -> None:
        found = self._rounds.get(number)
        if found is not None:
            found.waiting.discard(source)
            if not found.waiting:
                found.timer.cancel()
                self._finish(number)

    def _finish(self, number: int) -> None:
        found = self._rounds.pop(number)
        for source in found.waiting:
            self._states.pop(source.number, None)
        found.done.callback(self._totals.families())


@define(eq=False)
class WithObservations:
    """The same for an exporter that sends observations: what it asks of `raccoon_tx.metrics.families.Families`."""

    _collector: Collector

    def snapshot(self) -> Any:
        return self._collector.snapshot(observations=True)

    def observations(self) -> list[Observed]:
        return self._collector.observations()
