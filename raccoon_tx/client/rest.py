"""Batches as POST requests, in threads: each thread keeps one connection."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from attrs import define, field

from raccoon_tx.client import wire
from raccoon_tx.client.address import Address
from raccoon_tx.client.core import Answer
from raccoon_tx.client.engine import Session

#: Bytes that an answer may have.
_LONGEST = 1 << 20

_TOO_LARGE = 413
#: Of a proxy, say: come back later.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@define(eq=False)
class Poster:
    """:ivar session: hears of answers, in its own thread. :ivar threads: requests at once. :ivar timeout: seconds of
    patience with a connection."""

    _address: Address
    _session: Session
    _from_thread: Callable[..., object]
    _threads: int
    _timeout: float
    _pool: ThreadPoolExecutor = field(init=False)
    _own: threading.local = field(init=False, factory=threading.local)

    def __attrs_post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads, "raccoon-client")

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch, in a thread."""
        self._pool.submit(self._post, guid, body)

    def close(self) -> None:
        """Send nothing more. A request that is on its way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _post(self, guid: str, body: bytes) -> None:
        try:
            status, retry_after, answer = self._ask(body)
            named, said = self._read(status, retry_after, answer)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self._forget()
            self._from_thread(self._session.unknown, guid, f"{type(problem).__name__}: {problem}")
        else:
            self._from_thread(self._session.take, named or guid, said)

    def _ask(self, body: bytes) -> tuple[int, str | None, bytes]:
        connection = self._connection()
        fresh = connection.sock is None
        try:
            return self._exchange(connection, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if fresh:
                raise
        # A kept connection that the server has closed meanwhile; the guid is the same, so this is no new batch.
        self._forget()
        return self._exchange(self._connection(), body)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, str | None, bytes]:
        headers = {**self._address.headers, "Content-Type": wire.MEDIA_TYPE, "User-Agent": "raccoon-client"}
        connection.request("POST", self._address.path, body, headers)
        response = connection.getresponse()
        answer = response.read(_LONGEST)
        if not response.isclosed():
            raise ValueError("an answer without an end")
        return response.status, response.getheader("Retry-After"), answer

    def _read(self, status: int, retry_after: str | None, body: bytes) -> tuple[str, Answer]:
        """What was answered. What does not come from a server of events is judged by its status."""
        wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
        try:
            named, said = wire.read(body)
        except ValueError:
            named, said = "", None
        if said is not None and said.reason and not said.good:
            if status == _TOO_LARGE:
                return named, Answer(False, reason=said.reason, too_large=True)
            if said.retryable and said.retry_after is None and wait is not None:
                return named, Answer(False, True, said.reason, said.failed, said.others_taken, retry_after=wait)
            return named, said
        if said is not None and said.good and status == 200:
            return named, said
        retryable = status in _PASSING or status < 400
        return "", Answer(False, retryable, f"HTTP status {status}", too_large=status == _TOO_LARGE, retry_after=wait)

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is None:
            address = self._address
            if address.tls:
                context = ssl.create_default_context(cafile=address.ca)
                kept = http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout, context=context)
            else:
                kept = http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
            self._own.connection = kept
        return kept

    def _forget(self) -> None:
        self._connection().close()
