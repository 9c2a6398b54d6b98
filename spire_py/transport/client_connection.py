"""The client's end of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from spire_py.errors import Unavailable
from spire_py.runtime.clock import Clock

from . import frames
from .client_call import ClientCall, NotProcessed
from .connection import Connection
from .frames import ConnectionFault, ErrorCode
from .headers import Header
from .limits import Limits
from .sockets import SocketTransport
from .stream import Stream

_TICK_SECONDS = 1.0


class ClientConnection(Connection):
    """A connection that calls are made over, until the server says it will take no more.

    Args:
        lost: called once when the connection is gone.
    """

    is_server: ClassVar[bool] = False

    def __init__(
        self, *, limits: Limits, clock: Clock, lost: Callable[[ClientConnection], None]
    ) -> None:
        super().__init__(limits=limits, clock=clock)
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._lost = lost
        self._next_stream = 1
        self._slot_waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: SocketTransport) -> None:
        # Not before: a connection whose handshake fails is dropped without a word.
        super().connection_made(transport)
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    # Calls.

    @property
    def usable(self) -> bool:
        """Whether a new call may be made here at all."""
        return not (self.closed or self.draining or self._next_stream > frames.MAX_STREAM_ID)

    @property
    def full(self) -> bool:
        """Whether the server allows no further call until one has ended."""
        return len(self.streams) >= min(self.peer_max_streams, self.limits.concurrent_streams)

    async def slot(self) -> None:
        """Wait until a call has ended or the connection is gone."""
        waiter = self._loop.create_future()
        self._slot_waiters.append(waiter)
        await waiter

    def open_call(self, timeout: float | None) -> ClientCall:
        """A new call, whose headers are to be sent next; `timeout` is in seconds.

        Raises:
            NotProcessed: the connection takes no more calls.
        """
        if not self.usable or self.full:
            raise NotProcessed("the connection takes no more calls")
        call = ClientCall(self, self._next_stream, timeout)
        self._next_stream += 2
        self.streams[call.id] = call
        return call

    def forget_quietly(self) -> None:
        """Make no new calls here; close when the running ones have ended."""
        self.draining = True
        self._close_if_drained()

    # What the server says.

    def open_stream(self, stream_id: int, headers: Sequence[Header], end_stream: bool) -> None:  # noqa: ARG002 - as all of its kind
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} of the server's own")

    def on_settings(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        self._wake_slots()

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """Running calls may end; those that the server never looked at may be made again."""
        self.draining = True
        calm = code == ErrorCode.ENHANCE_YOUR_CALM
        for stream in list(self.streams.values()):
            if stream.id > last_stream_id and isinstance(stream, ClientCall):
                # Not at once again, when the server is under pressure.
                error = Unavailable("the server asks to calm down") if calm else _unprocessed()
                stream.fail(error)
        self._close_if_drained()
        self._wake_slots()

    def on_lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("connection closed before the settings"))
            self.ready.exception()  # nobody may be waiting for it any more
        self._wake_slots()
        self._lost(self)

    def forget(self, stream: Stream) -> None:
        super().forget(stream)
        if self._slot_waiters:
            self._wake_slots()

    def _wake_slots(self) -> None:
        waiters, self._slot_waiters = self._slot_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _is_idle(self, stream_id: int) -> bool:
        return not stream_id & 1 or stream_id >= self._next_stream

    # Time.

    def _tick(self) -> None:
        if self.closed:
            return
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)
        now = self.clock.monotonic()
        reason = self.overdue(now)
        if reason is not None:
            self.fail(ErrorCode.NO_ERROR, reason)
            self.transport.abort()
        elif self.streams:
            self.ping_if_silent(now)


def _unprocessed() -> NotProcessed:
    return NotProcessed("the server closed the connection before it looked at the call")
