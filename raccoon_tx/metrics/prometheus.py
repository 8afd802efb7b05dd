"""The port that Prometheus scrapes: contract section 12.2."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from raccoon_tx.clock import Clock
from raccoon_tx.metrics.exposition import CONTENT_TYPE, CannotCollect, Exposition
from raccoon_tx.metrics.names import COUNTER, Family, Values

#: Connections that may be open at once: a few servers scrape, and somebody looks.
MOST_CONNECTIONS = 32
#: Seconds after which a connection without a request is closed.
IDLE_TIMEOUT = 60.0

#: Has all metrics, now or later.
Snapshot = Callable[[], Sequence[Family] | Deferred[Sequence[Family]]]

#: Why a scrape may fail, as the reference counts it.
GATHERING, ENCODING = "gathering", "encoding"


class _Request(Request):
    """A request whose body nobody wants."""

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        pass

    def answer(self, status: int, body: bytes, content_type: bytes = b"text/plain; charset=utf-8") -> None:
        """Send all of the answer."""
        self.setResponseCode(status)
        # Who asks need not know what this server is made of.
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(b"content-type", content_type)
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()

    @property
    def takes_gzip(self) -> bool:
        """Whether the client can read it."""
        for each in (self.getHeader("accept-encoding") or "").lower().split(","):
            coding, _, quality = each.partition(";")
            if coding.strip() == "gzip":
                return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False


class _Channel(HTTPChannel):
    """One connection."""

    factory: MetricsSite

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)


class MetricsSite(Site):
    """The connections. :ivar channels: those that are open."""

    protocol = _Channel  # type: ignore[assignment]
    noisy = False

    def __init__(self, resource: Resource, clock: Clock) -> None:
        reactor: Any = clock
        super().__init__(
            resource,
            requestFactory=_Request,
            timeout=IDLE_TIMEOUT,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.channels: set[_Channel] = set()

    def buildProtocol(self, addr: Any) -> Any:
        return super().buildProtocol(addr) if len(self.channels) < MOST_CONNECTIONS else None

    def log(self, request: Any) -> None:
        """No access log: that one looks every few seconds is no news."""


@define(eq=False, slots=False)
class Together(Resource):
    """Looks once for all who ask meanwhile. What is looked for, and how it is told, is the business of others.

    :ivar snapshot: all metrics as they stand. :ivar in_thread: like ``deferToThread``.
    """

    _snapshot: Snapshot
    _in_thread: Callable[..., Deferred[Any]]
    _waiting: dict[Any, None] = field(factory=dict, init=False)
    _busy: bool = field(default=False, init=False)

    isLeaf = True  # noqa: N815
    _log = Logger()

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def join(self, request: Any) -> None:
        """Have a request answered when there is something to tell."""
        self._waiting[request] = None
        request.notifyFinish().addErrback(lambda _: self._waiting.pop(request, None))
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self.look()).addCallbacks(self.seen, self.failed)

    def everybody(self) -> list[Any]:
        """Those who have waited for this look; who comes now waits for the next."""
        self._busy = False
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    async def look(self) -> Any:
        """What there is to tell."""
        raise NotImplementedError

    def seen(self, found: Any) -> None:
        """Answer everybody."""
        raise NotImplementedError

    def failed(self, problem: Failure) -> None:
        """Answer everybody that there is nothing."""
        raise NotImplementedError


@define(eq=False, slots=False)
class Metrics(Together):
    """Answers scrapes. :ivar path: the one that there is. :ivar errors: scrapes that failed, by cause."""

    _path: str
    _exposition: Exposition = field(factory=Exposition)
    errors: dict[str, int] = field(factory=lambda: {ENCODING: 0, GATHERING: 0}, init=False)

    def render(self, request: Any) -> Any:
        if request.path != ("/" + self._path.lstrip("/")).encode():
            request.answer(404, b"404 page not found\n")
        elif request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            request.answer(405, b"only GET and HEAD\n")
        else:
            self.join(request)
        return NOT_DONE_YET

    async def look(self) -> tuple[bytes, bytes]:
        try:
            families = [*await maybeDeferred(self._snapshot), self._own()]
        except Exception as problem:
            raise CannotCollect(str(problem)) from problem
        texts: tuple[bytes, bytes] = await self._in_thread(_rendered, self._exposition, families)
        return texts

    def _own(self) -> Family:
        causes: dict[Values, int] = {(cause,): count for cause, count in self.errors.items()}
        text = "Scrapes that could not be answered, with the cause."
        return Family("promhttp_metric_handler_errors_total", COUNTER, ("cause",), text, causes)

    def seen(self, texts: tuple[bytes, bytes]) -> None:
        plain, zipped = texts
        for request in self.everybody():
            if request.takes_gzip:
                request.setHeader(b"content-encoding", b"gzip")
            request.answer(200, zipped if request.takes_gzip else plain, CONTENT_TYPE)

    def failed(self, problem: Failure) -> None:
        self.errors[GATHERING if problem.check(CannotCollect) else ENCODING] += 1
        self._log.failure("the metrics could not be written down", problem)
        for request in self.everybody():
            request.answer(500, b"the metrics could not be written down; the log says why\n")


def _rendered(exposition: Exposition, families: Sequence[Family]) -> tuple[bytes, bytes]:
    text = exposition.text(families)
    return text, gzip.compress(text, 4)


class SiteService(Service):
    """Listens on a port with one resource. It comes last in the pipeline, so that the end of everything else can be
    seen.

    :ivar port: that is listened on, once the service has started.
    """

    def __init__(self, listen: Callable[[MetricsSite], Any], clock: Clock, resource: Resource) -> None:
        """:param listen: takes the port for a factory, and returns an ``IListeningPort``. :param clock: the reactor."""
        self._listen = listen
        self._site = MetricsSite(resource, clock)
        self._listening: Any = None

    @property
    def port(self) -> int:
        return int(self._listening.getHost().port)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._take_port()

    def startService(self) -> None:
        super().startService()
        self._take_port()

    def _take_port(self) -> None:
        if self._listening is None:
            self._listening = self._listen(self._site)

    def stopService(self) -> Deferred[None]:
        """Fires when the port is closed; connections are closed as well."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        for channel in list(self._site.channels):
            channel.loseConnection()


class PrometheusExporter(SiteService):
    """What Prometheus scrapes. For the parameters see `SiteService` and `Metrics`."""

    def __init__(
        self,
        listen: Callable[[MetricsSite], Any],
        clock: Clock,
        path: str,
        snapshot: Snapshot,
        in_thread: Callable[..., Deferred[Any]],
        exposition: Exposition | None = None,
    ) -> None:
        super().__init__(listen, clock, Metrics(snapshot, in_thread, path, exposition or Exposition()))
