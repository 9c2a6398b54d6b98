"""The sending half of an HTTP/2 connection: what leaves when, and what waits for the peer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from spire_py.runtime.clock import Clock

from . import frames
from .frames import ErrorCode
from .limits import Limits
from .stream import Stream

if TYPE_CHECKING:
    from .sockets import SocketTransport

_FLUSH_AT = 64 << 10
_REMEMBERED_RESETS = 256


class Outbound:
    """Owns the streams, the peer's windows and the socket that is written to.

    Whatever is written while a read is being handled leaves in one piece at its end.
    """

    def __init__(self, *, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock
        self.streams: dict[int, Stream] = {}
        self.waiting: dict[Stream, None] = {}
        self.send_window = frames.DEFAULT_WINDOW
        self.peer_initial_window = frames.DEFAULT_WINDOW
        self.peer_frame_size = frames.MIN_FRAME_SIZE
        self.buffered_bytes = 0
        self.last_peer_stream = 0
        self.idle_since = clock.monotonic()
        self.draining = False
        self.closed = False
        self._transport: SocketTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._sent_uncounted = 0
        self._resets: deque[int] = deque(maxlen=_REMEMBERED_RESETS)
        self._batch: list[bytes] | None = None
        self._batch_bytes = 0

    @property
    def transport(self) -> SocketTransport:
        if self._transport is None:
            raise RuntimeError("the connection has no socket yet")
        return self._transport

    # Writing.

    def write(self, data: bytes) -> None:
        """Send frames. With several calls under way those of one turn of the loop go together."""
        if self.closed:
            return
        if self._batch is None and len(self.streams) < 2:
            self.transport.write(data)
            return
        batch = self.gather()
        batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes > _FLUSH_AT:
            self._batch, self._batch_bytes = [], 0
            self.transport.write(b"".join(batch))

    def gather(self) -> list[bytes]:
        """From here on, what is written in this turn of the loop leaves in one piece at its end."""
        if self._batch is None:
            self._batch = []
            self._loop.call_soon(self.flush_batch)
        return self._batch

    def flush_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch:
            self._batch_bytes = 0
            if not self.closed:
                self.transport.write(b"".join(batch) if len(batch) > 1 else batch[0])

    def may_send(self, size: int) -> bool:
        """Whether `size` bytes of data can leave as one frame, as far as the connection goes."""
        return (
            size <= self.send_window and size <= self.peer_frame_size and not self.transport.paused
        )

    def count_sent(self, size: int) -> None:
        """Data of `size` bytes is on its way."""
        self.send_window -= size
        self._sent_uncounted += size

    def flush_waiting(self) -> None:
        """Send what waits, one frame of each stream in turn."""
        while self.waiting and self.send_window > 0 and not self.transport.paused:
            stream = next(iter(self.waiting))
            del self.waiting[stream]
            if stream.send_waiting():
                self.waiting[stream] = None

    def charge(self, size: int) -> bool:
        """Count bytes that wait; False, and the end of the connection, where they are too many."""
        self.buffered_bytes += size
        if self.buffered_bytes > self.limits.buffered_bytes:
            self.fail(ErrorCode.ENHANCE_YOUR_CALM, "too many bytes wait")
            return False
        return True

    def discharge(self, size: int) -> None:
        self.buffered_bytes -= size

    # The end of streams and of the connection.

    def forget(self, stream: Stream) -> None:
        """The stream is over; frames that still come for it are ignored or refused."""
        self.streams.pop(stream.id, None)
        self.waiting.pop(stream, None)
        stream.release()
        if not self.streams:
            self.idle_since = self.clock.monotonic()
            if self.draining and not self.closed:
                self._loop.call_soon(self._close_if_drained)

    def remember_reset(self, stream_id: int) -> None:
        """Frames under way for a stream that we reset are no fault of the peer."""
        self._resets.append(stream_id)

    def _close_if_drained(self) -> None:
        if self.draining and not self.streams and not self.closed:
            self.close()

    def close(self) -> None:
        """Close after what was written has left."""
        self.flush_batch()
        self.closed = True
        self.transport.close()

    def fail(self, code: ErrorCode, reason: str = "") -> None:
        """End the connection with GOAWAY."""
        if self.closed:
            return
        self.write(frames.goaway(self.last_peer_stream, code, reason))
        self.close()
        for stream in list(self.streams.values()):
            stream.abandon(ErrorCode.CONNECT_ERROR)
