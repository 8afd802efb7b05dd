"""Small answers straight to the socket, without a turn of the reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write_now(transport: Any, data: bytes) -> None:
    """Write ``data``, to the socket itself where nothing is in front of it.

    What does not fit there goes to ``transport.write()``, and so does everything for a transport that is not a plain
    TCP connection, or is about to close: order, back-pressure and the end stay Twisted's business. Asking the kernel
    at once saves a turn of the reactor, and two system calls, for each answer.
    """
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not transport.disconnecting
        and not transport._writeDisconnected
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and transport.TLS is False
    ):
        sent = transport.writeSomeData(data)
        if not isinstance(sent, int):
            sent = 0  # the connection is broken, as the reactor will find too when it writes
        elif sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
