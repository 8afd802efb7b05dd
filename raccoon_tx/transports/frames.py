"""The fast lane of a WebSocket: whole frames read and written without Autobahn, everything else left to it untouched.

Autobahn costs more for each message than all that happens to its events. What it costs is the generality that nearly
no frame needs: a client's frame is nearly always whole, final, masked, and outside a fragmented message.
"""

from __future__ import annotations

from typing import Any

from raccoon_tx.transports.bounded import PING, BoundedSocket
from raccoon_tx.transports.direct import write_now
from raccoon_tx.transports.mask import unmask

#: First bytes of frames (RFC 6455, section 5.2): final, without reserved bits.
TEXT, BINARY, PING_FRAME, PONG = 0x81, 0x82, 0x89, 0x8A

#: What is read of a connection in one turn of the reactor: frames in the fast lane, and bytes in Autobahn's, which may
#: be as many small frames. The rest has to wait until others had their turn.
FRAMES_IN_A_TURN, BYTES_IN_A_TURN = 32, 4096

#: Bytes that are read and thrown away after we have said goodbye.
DISCARDED = 16 * 1024 * 1024

_PING_FRAME = b"\x89%c%b" % (len(PING), PING)


class FramedSocket(BoundedSocket):
    """A WebSocket with two lanes. Which one a frame takes makes no difference to what is answered.

    :ivar lane: the fast lane is open; a class attribute, so that tests can close it.
    """

    lane = True

    # Autobahn's, of which the type checker knows little.
    state: Any
    data: Any
    current_frame: Any
    current_frame_masker: Any
    inside_message: bool

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        # The beginning of a frame that is not all here, and how long it will be.
        self._partial: Any = None
        self._whole = 0
        # What is to be written at the end of the bytes that are being read.
        self._burst: list[bytes] | None = None
        # What came and has to wait for its turn.
        self._later: bytearray | None = None
        self._turn_over = False
        self._discarded = 0

    def dataReceived(self, data: bytes) -> None:
        if self._later is not None:
            self._later += data
            return
        if self.state == self.STATE_CLOSING:
            self._discarded += len(data)
            if self._discarded > DISCARDED:
                self.abort()
                return
        if self._partial is not None:
            self._partial += data
            if len(self._partial) < self._whole and self.state == self.STATE_OPEN:
                return
            data, self._partial = bytes(self._partial), None
        if (
            self.lane
            and self.state == self.STATE_OPEN
            and not self.data
            and self.current_frame is None
            and not self.inside_message
            and self._perMessageCompress is None
        ):
            self._burst = []
            try:
                data = self._read_frames(data)
            finally:
                self._end_burst()
        if self._turn_over:
            self._turn_over = False
            if data:
                self._read_later(data)
        elif data:
            self._to_autobahn(data)

    def _to_autobahn(self, data: bytes) -> None:
        most = BYTES_IN_A_TURN
        if self.current_frame is not None:
            most += self.current_frame.length - self.current_frame_masker.pointer()
        # Without the line that Autobahn has for whatever comes in.
        self._dataReceived(data[:most])
        if len(data) > most:
            self._read_later(data[most:])

    def _read_later(self, data: bytes) -> None:
        self._later = bytearray(data)
        self.transport.pauseProducing()
        self.factory.clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        later, self._later = self._later, None
        if later is not None and self.state != self.STATE_CLOSED:
            self.transport.resumeProducing()
            self.dataReceived(bytes(later))

    def _read_frames(self, data: bytes) -> bytes:
        """Take all frames up to the first that is not for this lane. :return: the rest."""
        position, end, limit = 0, len(data), self.factory.limit
        left = FRAMES_IN_A_TURN
        while end - position >= 6:
            if not left:
                self._turn_over = True
                break
            left -= 1
            first, length = data[position], data[position + 1] - 128
            start = position + 6
            if length == 126 and end - position >= 8:
                length = int.from_bytes(data[position + 2 : position + 4], "big")
                start = position + 8
                if length < 126:
                    break  # not the shortest form
            elif length == 127 and end - position >= 14:
                length = int.from_bytes(data[position + 2 : position + 10], "big")
                start = position + 14
                if length < 65536:
                    break
            elif not 0 <= length < 126:
                break  # not masked, or the length is not all here
            stop = start + length
            if first == BINARY:
                if length > limit:
                    break
                if stop > end:
                    self._partial, self._whole = bytearray(data[position:]), stop - position
                    return b""
                payload = unmask(data[start - 4 : start], data[start:stop])
            elif first == TEXT:
                if length > limit or stop > end:
                    break
                payload = unmask(data[start - 4 : start], data[start:stop])
                if not payload.isascii() and not _is_utf8(payload):
                    break
            elif first == PONG and length < 126 and stop <= end:
                # That something came is all that it says.
                position = stop
                continue
            elif first == PING_FRAME and length < 126 and stop <= end:
                position = stop
                self._pong(unmask(data[start - 4 : start], data[start:stop]))
                continue
            else:
                break
            position = stop
            self.onMessage(payload, first == BINARY)
            if self.state != self.STATE_OPEN:
                break
        return data[position:]

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Send one message."""
        size = len(payload)
        if self._unread is not None or size > 65535 or not self.lane:
            self.sendFrame(2 if binary else 1, payload)
            return
        first = BINARY if binary else TEXT
        frame = b"%c%c%b" % (first, size, payload) if size < 126 else _longer_frame(first, payload)
        if self._burst is not None:
            self._burst.append(frame)
        else:
            write_now(self.transport, frame)

    def _pong(self, payload: bytes) -> None:
        if self._unread is not None or self._burst is None:
            self.sendPong(payload)
        else:
            self._burst.append(b"\x8a%c%b" % (len(payload), payload))

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._unread is None and self.lane and self.state == self.STATE_OPEN:
            write_now(self.transport, _PING_FRAME)
        else:
            self.sendPing(PING)

    def _end_burst(self) -> None:
        burst, self._burst = self._burst, None
        if burst:
            frames = b"".join(burst)
            if self._unread is None:
                write_now(self.transport, frames)
            else:
                super().sendData(frames)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self._end_burst()
        super().sendData(data, sync, chopsize)

    def dropConnection(self, abort: bool = False) -> None:
        self._end_burst()
        super().dropConnection(abort)


def _longer_frame(first: int, payload: bytes) -> bytes:
    return b"%c\x7e%b%b" % (first, len(payload).to_bytes(2, "big"), payload)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
