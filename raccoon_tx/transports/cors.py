"""Browsers on pages of other sites: contract section 10.1, in the words of the Fetch standard. Plain data."""

from __future__ import annotations

from attrs import field, frozen

from raccoon_tx.settings import LONGEST_AGE, CorsSettings

#: Headers that need no permission, as the server that this one replaces counts them.
_SIMPLE_HEADERS = {"accept", "accept-language", "content-language", "origin"}
_SIMPLE_METHODS = {"GET", "HEAD", "POST"}

#: What scripts may read of an answer beside its body.
_EXPOSED = "Retry-After"

Headers = list[tuple[str, str]]


@frozen
class Verdict:
    """What CORS has to say of a request.

    :ivar status: of the answer, if that is all; ``None``: the request goes on. :ivar headers: for the answer,
        whatever it is. :ivar foreign: it comes from a page of a site that is not allowed.
    """

    status: int | None
    headers: Headers = field(factory=list)
    foreign: bool = False


class Cors:
    """:ivar settings: :ivar own_headers: the names of ours, which are always allowed."""

    def __init__(self, settings: CorsSettings, own_headers: list[str]) -> None:
        self._everybody = "*" in settings.origins
        self._origins = frozenset(settings.origins)
        self._methods = frozenset(settings.methods)
        allowed = ["Content-Type", *own_headers, *settings.headers]
        self._headers = _SIMPLE_HEADERS | {name.lower() for name in allowed if name}
        self._credentials = settings.credentials
        self._age = min(settings.max_age, LONGEST_AGE)

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may use what they get."""
        return self._everybody or origin in self._origins

    def judge(self, method: str, origin: str | None, asked_method: str | None, asked_headers: str) -> Verdict:
        """:param origin: the header of that name. :param asked_method: :param asked_headers: those that a preflight
        asks for, ``Access-Control-Request-...``."""
        # What is answered depends on who asks, and caches have to know.
        vary: Headers = [] if self._everybody else [("Vary", "Origin")]
        if origin is None or not self.allows(origin):
            return Verdict(200 if method == "OPTIONS" else None, vary, origin is not None)
        granted = [("Access-Control-Allow-Origin", "*" if self._everybody else origin)]
        if self._credentials:
            granted.append(("Access-Control-Allow-Credentials", "true"))
        if method != "OPTIONS":
            return Verdict(None, [*granted, ("Access-Control-Expose-Headers", _EXPOSED), *vary])
        if not asked_method:
            return Verdict(400, vary)
        if asked_method not in self._methods:
            return Verdict(405, vary)
        wanted = [name.strip().lower() for name in asked_headers.split(",") if name.strip()]
        if not self._headers.issuperset(wanted):
            return Verdict(403, vary)
        return Verdict(200, [*granted, *self._permissions(asked_method, wanted), *vary])

    def _permissions(self, method: str, wanted: list[str]) -> Headers:
        granted = []
        special = [_canonical(name) for name in dict.fromkeys(wanted) if name not in _SIMPLE_HEADERS]
        if special:
            granted.append(("Access-Control-Allow-Headers", ",".join(special)))
        if method not in _SIMPLE_METHODS:
            granted.append(("Access-Control-Allow-Methods", method))
        if self._age:
            granted.append(("Access-Control-Max-Age", str(self._age)))
        return granted


def _canonical(name: str) -> str:
    """``x-user-id`` as ``X-User-Id``."""
    return "-".join(part[:1].upper() + part[1:] for part in name.split("-"))
