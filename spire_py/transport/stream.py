"""One HTTP/2 stream: what waits for the peer's window, and what the peer may send."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from spire_py.runtime.clock import Clock

from .frames import DATA, ErrorCode, StreamFault, frame_header, rst_stream, window_update
from .headers import Header
from .limits import ControlBudget, Limits


class Carrier(Protocol):
    """What a stream needs of the connection that it is part of."""

    limits: Limits
    clock: Clock
    budget: ControlBudget
    waiting: dict[Stream, None]
    """Streams with bytes that could leave if the connection's window were wider."""
    send_window: int
    peer_initial_window: int
    peer_frame_size: int

    def write(self, data: bytes) -> None: ...
    def gather(self) -> list[bytes]: ...
    def may_send(self, size: int) -> bool: ...
    def count_sent(self, size: int) -> None: ...
    def flush_waiting(self) -> None: ...
    def charge(self, size: int) -> bool: ...
    def discharge(self, size: int) -> None: ...
    def forget(self, stream: Stream) -> None: ...
    def remember_reset(self, stream_id: int) -> None: ...


class Stream:
    """The part of a call that HTTP/2 knows of; subclasses say what headers and data mean.

    A stream is *closed* when its connection has forgotten it. Nothing is sent after that.
    """

    __slots__ = (
        "_pending",
        "_pending_sent",
        "_tail",
        "_uncredited",
        "_waiter",
        "closed",
        "connection",
        "expected_bytes",
        "id",
        "progress_at",
        "recv_window",
        "remote_closed",
        "send_window",
    )

    def __init__(self, connection: Carrier, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.send_window = connection.peer_initial_window
        self.recv_window = connection.limits.stream_window
        self.expected_bytes: int | None = None
        self.remote_closed = False
        self.closed = False
        self.progress_at = 0.0
        self._pending: bytes | bytearray | None = None
        self._pending_sent = 0
        self._tail: bytes | None = None
        self._uncredited = 0
        self._waiter: asyncio.Future[None] | None = None

    # What a subclass fills in; called by the connection only.

    def on_headers(self, headers: Sequence[Header], end_stream: bool) -> None:
        """A further header block arrived."""
        raise NotImplementedError

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Bytes arrived. They are credited to the peer by `credit`, not by themselves."""
        raise NotImplementedError

    def on_closed(self, _code: ErrorCode) -> None:
        """The peer, the connection or `reset` ended the stream before its time."""
        raise NotImplementedError

    def check_trailers(self, headers: Sequence[Header], end_stream: bool) -> None:
        """Refuse a further block that does not end the stream or has a pseudo header.

        Raises:
            StreamFault: RFC 9113 section 8.1 does not allow it.
        """
        if not end_stream or any(name[:1] == b":" for name, _ in headers):
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "trailers")

    # Sending.

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the peer's window or a full socket keeps back."""
        return len(self._pending) - self._pending_sent if self._pending is not None else 0

    def send(self, data: bytes) -> None:
        """Send `data` as far as the windows allow and keep the rest; see `drained`."""
        if self.closed:
            return
        connection = self.connection
        size = len(data)
        if self._pending is None and connection.may_send(size) and size <= self.send_window:
            self.send_window -= size
            connection.count_sent(size)
            connection.write(frame_header(size, DATA, 0, self.id) + data)
            return
        self._keep_pending(data)
        if connection.charge(size) and self.send_window > 0:
            connection.waiting[self] = None
            connection.flush_waiting()

    def _keep_pending(self, data: bytes) -> None:
        if self._pending is None:
            # Most often one large message; it is not copied.
            self._pending, self._pending_sent = data, 0
            self.progress_at = self.connection.clock.monotonic()
            return
        rest = bytearray(self._pending) if isinstance(self._pending, bytes) else self._pending
        del rest[: self._pending_sent]
        rest += data
        self.connection.discharge(self._pending_sent)
        self._pending, self._pending_sent = rest, 0

    def _drop_pending(self) -> None:
        # Only now: until here all of it takes up memory.
        if self._pending is not None:
            self.connection.discharge(len(self._pending))
            self._pending = None

    def finish(self, tail: bytes) -> None:
        """Send the frames that end our side, after the data that still waits."""
        if self.closed:
            return
        if self._pending is not None:
            self._tail = tail
            return
        self.connection.write(tail)
        self.on_sent()

    def on_sent(self) -> None:
        """Our side is ended; a subclass may do more."""
        if self.remote_closed:
            self.connection.forget(self)

    def send_waiting(self) -> bool:
        """Send one frame of what waits; whether more could go out at once."""
        pending = self._pending
        if pending is None:
            return False
        connection = self.connection
        start = self._pending_sent
        size = min(
            len(pending) - start,
            self.send_window,
            connection.send_window,
            connection.peer_frame_size,
        )
        if size <= 0:
            return False
        self.send_window -= size
        connection.count_sent(size)
        with memoryview(pending) as view:
            header = frame_header(size, DATA, 0, self.id)
            connection.write(b"".join((header, view[start : start + size])))
        self._pending_sent += size
        self.progress_at = connection.clock.monotonic()
        if self._pending_sent < len(pending):
            return self.send_window > 0
        self._drop_pending()
        self._wake()
        if self._tail is not None:
            tail, self._tail = self._tail, None
            connection.write(tail)
            self.on_sent()
        return False

    async def drained(self) -> None:
        """Wait until nothing waits any more, or the stream is closed."""
        while self._pending is not None and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # Receiving.

    def receive(self, data: bytes, frame_size: int, end_stream: bool) -> None:
        """Take a DATA frame whose payload, with padding, had `frame_size` bytes."""
        if self.remote_closed:
            raise StreamFault(self.id, ErrorCode.STREAM_CLOSED, "data after the end")
        self.recv_window -= frame_size
        if self.recv_window < 0:
            raise StreamFault(self.id, ErrorCode.FLOW_CONTROL_ERROR, "stream window")
        if frame_size > len(data):
            self.credit(frame_size - len(data))  # padding is used up at once
        self.count_body(len(data), end_stream)
        if end_stream:
            self.remote_closed = True
        self.on_data(data, end_stream)

    def count_body(self, size: int, end_stream: bool) -> None:
        """Hold the body against the `content-length` of its headers (RFC 9113 section 8.1.1)."""
        if self.expected_bytes is None:
            return
        self.expected_bytes -= size
        if self.expected_bytes < 0 or (end_stream and self.expected_bytes):
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "content-length")

    def credit(self, size: int) -> None:
        """Allow the peer `size` more bytes; told to it in larger steps."""
        if self.remote_closed or self.closed:
            return
        self._uncredited += size
        if self._uncredited * 4 >= self.connection.limits.stream_window:
            self.connection.write(window_update(self.id, self._uncredited))
            self.recv_window += self._uncredited
            self._uncredited = 0

    # The end.

    def reset(self, code: ErrorCode) -> None:
        """End the stream from our side with RST_STREAM."""
        if not self.closed:
            self.connection.write(rst_stream(self.id, code))
            self.connection.remember_reset(self.id)
            self.abandon(code)

    def abandon(self, code: ErrorCode) -> None:
        """The stream is over: drop what waits and tell the subclass."""
        if not self.closed:
            self.connection.forget(self)
            self.on_closed(code)

    def release(self) -> None:
        """Drop what waits; called by `Carrier.forget`."""
        self.closed = True
        self._drop_pending()
        self._tail = None
        self._wake()
