"""Batches as gRPC calls. Answers come in threads of grpc's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from attrs import define, field

from raccoon_tx.client import wire
from raccoon_tx.client.address import Address
from raccoon_tx.client.core import Answer
from raccoon_tx.client.engine import Session

#: The request itself is wrong, and will be so again.
_WRONG = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


@define(eq=False)
class Caller:
    """:ivar session: hears of answers, in its own thread. :ivar timeout: seconds of patience with a call."""

    _address: Address
    _session: Session
    _from_thread: Callable[..., object]
    _timeout: float
    _channel: grpc.Channel = field(init=False)
    _call: Any = field(init=False)
    _metadata: list[tuple[str, str]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        address = self._address
        # By default all channels to one address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        if address.tls:
            trusted = Path(address.ca).read_bytes() if address.ca is not None else None
            self._channel = grpc.secure_channel(address.authority, grpc.ssl_channel_credentials(trusted), options)
        else:
            self._channel = grpc.insecure_channel(address.authority, options)
        self._call = self._channel.unary_unary(wire.METHOD)
        self._metadata = [(name.lower(), value) for name, value in address.headers.items()]

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch."""
        future = self._call.future(body, metadata=self._metadata, timeout=self._timeout)
        future.add_done_callback(lambda done: self._from_thread(self._ended, guid, done))

    def close(self) -> None:
        """End it, and what is on its way."""
        self._channel.close()

    def _ended(self, guid: str, done: Any) -> None:
        if done.cancelled():
            return
        problem = done.exception()
        if problem is None:
            self._session.answered(done.result(), guid)
            return
        code, text = problem.code(), f"{problem.code().name}: {problem.details()}"
        if code in _WRONG:
            self._session.take(guid, Answer(False, reason=text))
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger" in text:
            self._session.take(guid, Answer(False, reason=text, too_large=True))
        else:
            self._session.unknown(guid, text)
