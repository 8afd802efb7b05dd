"""One HTTP request: clean paths, a bounded body, and what CORS has to say before anybody else."""

from __future__ import annotations

import posixpath
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from twisted.web.http import datetimeToString
from twisted.web.server import Request

from raccoon_tx.transports.cors import Cors, Verdict
from raccoon_tx.transports.rest import allowed, text_header

#: Bytes of a refused body that are read and thrown away, so that the client gets to read the answer.
DRAINED = 16 * 1024 * 1024
#: A path that leads nowhere.
NOWHERE = b"/*"


def clean(target: bytes) -> bytes:
    """The path of a request target without scheme and host, ``//``, ``.``, ``..`` and a slash at the end, escaped or
    not; never a reason for a redirect."""
    if not target.startswith(b"/"):
        scheme, _, rest = target.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            return target if target == b"*" else NOWHERE
        target = b"/" + rest.partition(b"/")[2]
    if b"%" in target or not target.isascii():
        try:
            target = quote(unquote_to_bytes(target).decode("utf-8")).encode()
        except UnicodeDecodeError:
            return NOWHERE
    if b"//" in target or b"/." in target or target.endswith(b"/"):
        return b"/" + posixpath.normpath(target).lstrip(b"/")
    return target


class EventRequest(Request):
    """A request whose body has a limit, and is kept in memory.

    :ivar refused: it has been answered before its body was complete. :ivar foreign: it comes from a page of a site
        that CORS does not allow.
    """

    channel: Any
    content: Any
    refused = False
    foreign = False
    _received = 0

    def parseCookies(self) -> None:
        """Not before they are needed."""

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if self.channel.early:
            self.refused = True
        elif length is not None and length > self.channel.factory.largest_body:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self.refused:
            if self._received > DRAINED:
                self.channel.forceAbortClient()
        elif self._received > self.channel.factory.largest_body:
            self._refuse()
        else:
            self.content.write(data)

    def _refuse(self) -> None:
        self.content = BytesIO()
        self.channel.answer_too_large()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.channel.loseConnection()
        else:
            # As in Twisted, which would also parse the query, and bodies that are forms.
            self.content.seek(0)
            self.method, self.uri, self.clientproto = command, path, version
            self.path = clean(path.partition(b"?")[0])
            self.process()

    def judge(self, cors: Cors, method: str) -> Verdict:
        """What CORS has to say of this request."""
        origin = self.requestHeaders.getRawHeaders(b"Origin")
        asked = text_header(self, "access-control-request-method")
        wanted = text_header(self, "access-control-request-headers")
        return cors.judge(method, origin[0].decode("latin-1") if origin else None, asked, wanted)

    def process(self) -> None:
        cors = self.channel.factory.cors
        if cors is not None:
            verdict = self.judge(cors, self.method.decode("latin-1"))
            self.foreign = verdict.foreign
            for name, value in verdict.headers:
                self.setHeader(name.encode(), value.encode("latin-1"))
            if verdict.status is not None:
                self._answer(verdict.status)
                return
        if self.method.isupper():
            super().process()
        else:  # Klein would not mind
            self._answer(405)

    def _answer(self, status: int) -> None:
        self.setResponseCode(status)
        self.setHeader(b"Date", datetimeToString())
        self.setHeader(b"Content-Length", b"0")
        if status == 405:
            self.setHeader(b"Allow", allowed(self.path))
        self.finish()

    def getRequestHostname(self) -> bytes:
        # No route depends on what a client calls this host, so it need not even be a name.
        return b"localhost"
