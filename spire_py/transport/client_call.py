"""One call at the client: from the request to the status in the trailers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from spire_py.errors import (
    Canceled,
    DeadlineExceeded,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    SpireError,
    Unavailable,
)

from . import frames, messages
from .frames import ErrorCode, StreamFault
from .headers import Header
from .message_stream import MessageStream
from .messages import MessageReader
from .status import error_from_http_status, error_from_trailers
from .stream import Carrier


class NotProcessed(Unavailable):
    """The server surely did not look at the call: it may be made again."""


class ClientCall(MessageStream):
    """A call under way; it ends exactly once, with an error or with None for OK."""

    __slots__ = ("_error", "_finished", "_local_ended", "_response_seen", "_timer")

    def __init__(self, connection: Carrier, stream_id: int, timeout: float | None) -> None:
        super().__init__(connection, stream_id, MessageReader(connection.limits.message_bytes))
        self._error: SpireError | None = None
        self._finished = False
        self._local_ended = False
        self._response_seen = False
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, self._on_deadline)

    # Sending.

    async def send_message(self, message: bytes) -> None:
        """Send one message and wait until it has left.

        Raises:
            SpireError: the call has ended with it.
        """
        if not self._finished:
            self.send(messages.encode(message))
            if self.waiting_bytes:
                await self.drained()
        if self._error is not None:
            raise self._error

    def send_only(self, head: bytes, message: bytes) -> None:
        """Send the headers' frame and the only message of the call, in one piece if possible."""
        data = messages.encode(message)
        size = len(data)
        connection = self.connection
        if size <= self.send_window and connection.may_send(size):
            connection.count_sent(size)
            self._local_ended = True
            body = frames.frame(frames.DATA, frames.END_STREAM, self.id, data)
            connection.write(head + body)
        else:
            connection.write(head)
            self.send(data)
            self.end_sending()

    def end_sending(self) -> None:
        """Tell the server that no more messages come."""
        if not self._local_ended:
            self._local_ended = True
            self.finish(frames.frame(frames.DATA, frames.END_STREAM, self.id))

    def cancel(self) -> None:
        """Give up what is still under way, and what was not taken."""
        if not self._finished:
            self._end(Canceled("the call was canceled"))
            self.reset(ErrorCode.CANCEL)
        self.drop_kept()

    # Receiving.

    async def receive_message(self) -> bytes | None:
        """The next message; None after the last one of a call that ended well.

        Raises:
            SpireError: what the call ended with.
        """
        message = await self.next_message()
        if message is None and self._error is not None:
            raise self._error
        return message

    async def receive_only(self) -> bytes:
        """The one message of a unary answer.

        Raises:
            SpireError: what the call ended with.
        """
        message = await self.receive_message()
        if message is None:
            raise Internal("the server answered without a message")
        if await self.receive_message() is not None:
            raise Internal("the server answered with more than one message")
        return message

    def on_headers(self, headers: Sequence[Header], end_stream: bool) -> None:
        fields = dict(headers)
        status = fields.get(b":status")
        if not self._response_seen and status is None:
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "no :status")
        if not self._response_seen and status is not None:
            if status.startswith(b"1") and not end_stream:
                return  # an informational answer; the real one follows
            self._response_seen = True
            if b"grpc-status" not in fields and status != b"200":
                self._give_up(error_from_http_status(status))
                return
            self._reader.encoding = fields.get(b"grpc-encoding", b"identity")
            if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
                self._give_up(Internal("the server's answer is not gRPC"))
                return
        elif not end_stream:
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "trailers")
        if end_stream:
            self.remote_closed = True
            self._end(error_from_trailers(headers))
            self._leave()

    def on_data(self, data: bytes, end_stream: bool) -> None:
        if self._finished:
            return
        try:
            if not self._response_seen:
                raise Internal("the server sent data before headers")
            self.keep(data)
        except SpireError as error:
            self._give_up(error)
            return
        if end_stream:
            self._end(error_from_trailers(()))
            self._leave()
        self.wake_reader()

    def on_closed(self, code: ErrorCode) -> None:
        self._end(_error_of_reset(code))

    def on_sent(self) -> None:
        if self.remote_closed:
            self.connection.forget(self)

    # The end.

    def fail(self, error: SpireError) -> None:
        """End the call from the connection's side."""
        self._end(error)
        self.connection.forget(self)

    def _give_up(self, error: SpireError) -> None:
        self._end(error)
        self.reset(ErrorCode.CANCEL)

    def _leave(self) -> None:
        if self._local_ended and not self.waiting_bytes:
            self.connection.forget(self)
        else:
            self.reset(ErrorCode.NO_ERROR)

    def _on_deadline(self) -> None:
        self._give_up(DeadlineExceeded("context deadline exceeded"))

    def _end(self, error: SpireError | None) -> None:
        if self._finished:
            return
        self._finished = True
        self._error = error
        if error is None or self._response_seen:
            # A stream left after its answer began is a call as good as any other.
            self.connection.budget.earn()
        if self._timer is not None:
            self._timer.cancel()
        self.wake_reader()


def _error_of_reset(code: ErrorCode) -> SpireError:
    """GRPC's table of HTTP/2 error codes."""
    name = code.name
    if code is ErrorCode.REFUSED_STREAM:
        return NotProcessed("the server refused the stream")
    if code is ErrorCode.CANCEL:
        return Canceled("the server canceled the stream")
    if code is ErrorCode.ENHANCE_YOUR_CALM:
        return ResourceExhausted("the server asks to calm down")
    if code is ErrorCode.INADEQUATE_SECURITY:
        return PermissionDenied("the server asks for better security")
    if code is ErrorCode.CONNECT_ERROR:
        return Unavailable("error reading from server: connection lost")
    return Internal(f"stream terminated by RST_STREAM with error code: {name}")
