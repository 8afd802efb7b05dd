"""Batches as gRPC calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from attrs import define
from twisted.internet.threads import deferToThreadPool

from raccoon_tx.bench.address import Address
from raccoon_tx.bench.dial import TIMEOUT, CannotConnect
from raccoon_tx.bench.load import PATIENCE, Answers

METHOD = "/raystack.raccoon.v1beta1.EventService/SendEvent"


@define(eq=False)
class Caller:
    """One connection."""

    _channel: grpc.Channel
    _call: Any
    _metadata: list[tuple[str, str]]
    _load: Answers
    _from_thread: Callable[..., Any]

    def send(self, guid: str, body: bytes) -> None:
        """Send a batch. The answer comes in a thread of grpc's."""
        future = self._call.future(body, metadata=self._metadata, timeout=2 * PATIENCE)
        future.add_done_callback(lambda done: self._from_thread(self._ended, guid, done))

    def _ended(self, guid: str, done: Any) -> None:
        problem = done.exception()
        if problem is None:
            self._load.answered(guid, done.result())
        else:
            self._load.failed(guid, f"{problem.code().name}: {problem.details()}")

    def close(self) -> None:
        """End it, and what is on its way."""
        self._channel.close()


async def open_caller(reactor: Any, address: Address, ca: str | None, headers: dict[str, str], load: Answers) -> Caller:
    """Connect. :raises CannotConnect: it cannot be done."""
    # By default all channels to one address share a connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    if address.tls:
        trusted = Path(ca).read_bytes() if ca is not None else None
        channel = grpc.secure_channel(address.authority, grpc.ssl_channel_credentials(trusted), options)
    else:
        channel = grpc.insecure_channel(address.authority, options)
    ready = grpc.channel_ready_future(channel)
    try:
        await deferToThreadPool(reactor, reactor.getThreadPool(), ready.result, TIMEOUT)
    except grpc.FutureTimeoutError:
        channel.close()
        raise CannotConnect(f"no answer within {TIMEOUT} s") from None
    metadata = [(name.lower(), value) for name, value in headers.items()]
    return Caller(channel, channel.unary_unary(METHOD), metadata, load, reactor.callFromThread)
