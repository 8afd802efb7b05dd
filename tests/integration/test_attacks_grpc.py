"""Bugs of ours that clients must not hear of, and a protobuf that is slow: what the table of attacks
(``python -m attacks``) cannot have, since good clients would suffer."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import pytest_twisted

from raccoon_tx.ingest import Ingest
from tests.integration.batches import TWO_EVENTS, success
from tests.integration.clients import ID_HEADER, TIMEOUT, WAYS, call, channel, sender
from tests.integration.mock_cluster import MockCluster
from tests.integration.server import Running, Topics, in_thread, process, serving

SEND = "/raystack.raccoon.v1beta1.EventService/SendEvent"
SECRET = "secret-token-4711"


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_bug(broker: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with us stays in our log: clients get a fixed text, on all transports."""

    def broken(self: Any, *arguments: Any) -> Any:
        raise ZeroDivisionError(SECRET)

    heard: list[str] = []

    def send(server: Running) -> None:
        try:
            with sender(server, way) as ask:
                heard.append(str(ask(TWO_EVENTS)))
        except grpc.RpcError as end:
            heard.append(f"{end.code()} {end.details()}")
        except Exception as end:
            heard.append(repr(end))

    async def scenario() -> None:
        async with serving(broker) as server:
            with monkeypatch.context() as patch:
                patch.setattr(Ingest, "take", broken)
                await in_thread(send, server)

    with pytest.raises(AssertionError, match="Traceback"):  # `serving` finds our log
        await scenario()
    (text,) = heard
    assert SECRET not in text
    assert "ZeroDivision" not in text
    assert ".py" not in text


def test_pure_python_protobuf() -> None:
    """A protobuf without its compiled part is said at the start, once, and works."""
    with MockCluster() as cluster:
        settings = {"protocol_buffers_python_implementation": "python"}
        with process(Topics(cluster.bootstrap), 1, settings) as server:
            with channel(server) as opened:
                assert call(opened, TWO_EVENTS) == success("1234")
                with pytest.raises(grpc.RpcError) as end:
                    opened.unary_unary(SEND)(b"\x23" * 100_000, timeout=TIMEOUT, metadata=[(ID_HEADER.lower(), "1")])
                assert end.value.code() is grpc.StatusCode.INTERNAL
            lines = [line for line in server.log.splitlines() if "pure Python" in line]
            assert len(lines) == 1
            assert " warn " in lines[0]
        with process(Topics(cluster.bootstrap), 1) as server:
            assert "pure Python" not in server.log
