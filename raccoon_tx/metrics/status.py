"""The status page: what ``raccoon top`` shows, in a browser. Read-only, and on a port of its own."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from raccoon_tx.metrics.names import Family
from raccoon_tx.metrics.prometheus import Together
from raccoon_tx.metrics.view import Scrape, as_json, of_families, view

#: Seconds between two looks: who asks in between gets the latest. Seconds after which a look is too old to compare to.
FRESH, STALE = 0.9, 10.0

NOT_OURS = "this name is not one of this server's: use its address, or localhost"

PAGE = files("raccoon_tx.metrics").joinpath("status.html").read_bytes()

_PORT = re.compile(r":[0-9]{1,5}\Z")


def _hash(element: bytes) -> str:
    """Of what stands in the page in this element, as a content security policy names it."""
    found = re.search(b"<%b>(.*?)</%b>" % (element, element), PAGE, re.DOTALL)
    assert found is not None
    return "'sha256-" + b64encode(hashlib.sha256(found[1]).digest()).decode() + "'"


#: Nothing runs and nothing is loaded but what the page itself has.
POLICY = (
    f"default-src 'none'; script-src {_hash(b'script')}; style-src {_hash(b'style')}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": POLICY.encode(),
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


def is_ours(host: str, name: str) -> bool:
    """Whether a request means this server: by an address, as ``localhost``, or by the name that is configured.

    A page of somebody else can have his own name lead to the loopback interface, and would read what this server says
    (DNS rebinding); it cannot have the browser send another name.

    :param host: the ``Host`` header. :param name: the configured address.
    """
    bare = _PORT.sub("", host).strip("[]").lower()
    if bare in ("localhost", name.lower()):
        return True
    try:
        ip_address(bare)
    except ValueError:
        return False
    return True


@define(eq=False, slots=False)
class Status(Together):
    """Answers ``/`` with the page and ``/status.json`` with figures.

    :ivar now: seconds of the reactor. :ivar about: what else is said, such as the version. :ivar host: the address that
        is configured.
    """

    _now: Callable[[], float]
    _about: Callable[[], Mapping[str, Any]]
    _host: str = "127.0.0.1"
    _before: Scrape | None = field(default=None, init=False)
    _latest: tuple[float, bytes] | None = field(default=None, init=False)

    def render(self, request: Any) -> Any:
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if not is_ours((request.getHeader(b"host") or b"").decode("latin-1"), self._host):
            request.answer(403, f"{NOT_OURS}\n".encode())
        elif request.path not in (b"/", b"/status.json"):
            request.answer(404, b"there is only / and /status.json\n")
        elif request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            request.answer(405, b"only GET and HEAD\n")
        elif request.path == b"/":
            request.answer(200, PAGE, b"text/html; charset=utf-8")
        else:
            self._tell(request)
        return NOT_DONE_YET

    def _tell(self, request: Any) -> None:
        if self._latest is not None and self._now() - self._latest[0] < FRESH:
            _answer(request, self._latest[1])
        else:
            self.join(request)

    async def look(self) -> bytes:
        snapshot: Callable[[], Any] = self._snapshot
        families: Sequence[Family] = await maybeDeferred(snapshot)
        at = self._now()
        before = self._before if self._before is not None and at - self._before.at < STALE else None
        # Thousands of samples: not in the reactor.
        self._before, figures = await self._in_thread(partial(_figures, families, at, before))
        body = json.dumps({**self._about(), **figures}).encode()
        self._latest = at, body
        return body

    def seen(self, body: bytes) -> None:
        for request in self.everybody():
            _answer(request, body)

    def failed(self, problem: Failure) -> None:
        self._log.failure("the status page has no figures", problem)
        for request in self.everybody():
            request.answer(500, b"there are no figures; the log says why\n")


def _figures(families: Sequence[Family], at: float, before: Scrape | None) -> tuple[Scrape, dict[str, Any]]:
    now = of_families(families, at)
    figures = as_json(view(before or now, now))
    return now, {**figures, "counting": before is None}


def _answer(request: Any, body: bytes) -> None:
    request.answer(200, body, b"application/json")
