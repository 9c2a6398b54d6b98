"""One call at the server: from the request's bytes to the trailers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError, Message

from spire_py.errors import Canceled, DeadlineExceeded, Internal, SpireError, StatusCode
from spire_py.telemetry.logs import get_logger

from . import messages
from .context import CallContext
from .frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    ErrorCode,
    header_frames,
    rst_stream,
)
from .headers import Header, encode_headers
from .message_stream import MessageStream
from .messages import MessageReader
from .service import Method
from .status import TRAILER_OK, encode_trailers
from .stream import Carrier
from .tasks import TaskSet

log = get_logger("transport")

Authorize: TypeAlias = Callable[[CallContext], Awaitable[None]]
Observe: TypeAlias = Callable[[CallContext, StatusCode, float], None]

_RESPONSE = encode_headers(
    [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-accept-encoding", b"identity,gzip"),
    ]
)
_COMPRESSED_RESPONSE = _RESPONSE + encode_headers([(b"grpc-encoding", b"gzip")])
_PLAIN_START = len(_RESPONSE).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
_OK_START = len(TRAILER_OK).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS | END_STREAM))


@dataclass(slots=True)
class Handling:
    """How the calls of a connection are handled, and how many of its handlers run.

    Attributes:
        tasks: of the handlers.
        authorize: runs before each handler.
        observe: told of each call's end, with its status and seconds.
        request_bytes: of the requests that handlers have, as they were sent; streams' excepted.
    """

    tasks: TaskSet
    authorize: Authorize | None
    observe: Observe | None
    running: int = 0
    request_bytes: int = 0


class ServerCall(MessageStream):
    """A call under way. It runs its handler in one task and ends exactly once."""

    __slots__ = (
        "_compress",
        "_ended",
        "_handling",
        "_headers_sent",
        "_method",
        "_started_at",
        "_task",
        "_timer",
        "context",
    )

    def __init__(
        self,
        connection: Carrier,
        stream_id: int,
        *,
        handling: Handling,
        started_at: float,
        method: Method,
        context: CallContext,
        reader: MessageReader,
        compress: bool,
    ) -> None:
        super().__init__(connection, stream_id, reader)
        self.context = context
        self._handling = handling
        self._method = method
        self._compress = compress
        self._headers_sent = False
        self._ended = False
        self._started_at = started_at
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, timeout: float | None) -> None:
        """The headers are read; `timeout` is in seconds."""
        if timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._on_deadline)
        if self._method.client_streaming:
            self._start(None)

    # What the peer sends.

    def on_headers(self, headers: Sequence[Header], end_stream: bool) -> None:
        self.check_trailers(headers, end_stream)
        self.remote_closed = True
        self.on_data(b"", True)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        if self._ended:
            return
        try:
            if self._method.client_streaming:
                self.keep(data)
                self.wake_reader()
            elif end_stream:
                request = self._reader.single(data)
                self._start(self._last_request(data) if request is None else request)
            else:
                self.keep(data)
        except SpireError as error:
            self._end_early(error)

    def on_closed(self, _code: ErrorCode) -> None:
        if not self._ended:
            self._end()
            self._tell(StatusCode.CANCELLED)
        self._cancel()

    def _last_request(self, data: bytes) -> bytes:
        self.keep(data)
        request = self.take()
        if request is None:
            raise Internal("grpc: the request message is missing or incomplete")
        if self._reader.size:
            raise Internal("grpc: more than one message in a unary request")
        return request

    # The handler.

    def _start(self, request: bytes | None) -> None:
        self._handling.running += 1
        self._task = self._handling.tasks.create(self._run(request))

    async def _run(self, request: bytes | None) -> None:
        size = len(request) if request else 0
        self._handling.request_bytes += size
        try:
            await self._handle(request)
        except SpireError as error:
            self._end_with(error)
        except asyncio.CancelledError:
            self._end_with(Canceled("the call was canceled"))
            raise
        except Exception:
            # One of the few places that catch everything: a bug must not show its text to a peer.
            log.exception("call_failed", method=self._method.path)
            self._end_with(Internal("internal error"))
        finally:
            self._handling.running -= 1
            self._handling.request_bytes -= size

    async def _handle(self, request: bytes | None) -> None:
        if self._handling.authorize is not None:
            await self._handling.authorize(self.context)
        handler = self._method.handler
        if handler is None:
            raise Internal("no handler")
        argument = _Requests(self) if request is None else self.parse(request)
        if not self._method.server_streaming:
            self._respond(_encoded(await handler(argument, self.context)))
            return
        answers = handler(argument, self.context)
        try:
            async for answer in answers:
                self._send_message(_encoded(answer))
                if self.waiting_bytes:
                    await self.drained()
                if self.closed:
                    return
        finally:
            close = getattr(answers, "aclose", None)
            if close is not None:
                await close()
        self._send_ok()

    def parse(self, request: bytes) -> Message:
        """A request's message.

        Raises:
            Internal: the bytes are none.
        """
        try:
            return self._method.parse(request)
        except DecodeError as error:
            raise Internal("grpc: error unmarshalling request") from error

    # Answering.

    def _respond(self, message: bytes) -> None:
        """The answer of a unary call; usually headers, message and trailers in one piece."""
        connection = self.connection
        size = len(message) + 5
        plain = not (self._compress or self.context.trailing_metadata or self._ended)
        if not plain or size > self.send_window or not connection.may_send(size):
            self._send_message(message)
            self._send_ok()
            return
        connection.count_sent(size)
        stream_id = self.id.to_bytes(4, "big")
        connection.write(
            b"".join(
                (
                    _PLAIN_START,
                    stream_id,
                    _RESPONSE,
                    size.to_bytes(3, "big"),
                    b"\0\0",
                    stream_id,
                    b"\0",
                    len(message).to_bytes(4, "big"),
                    message,
                    _OK_START,
                    stream_id,
                    TRAILER_OK,
                )
            )
        )
        self._end()
        self.on_sent()
        self._tell(StatusCode.OK)

    def _send_message(self, message: bytes) -> None:
        if self._ended:
            return
        encode = messages.encode_compressed if self._compress else messages.encode
        if self._headers_sent:
            self.send(encode(message))
            return
        self._headers_sent = True
        block = _COMPRESSED_RESPONSE if self._compress else _RESPONSE
        self.connection.gather()  # headers and message leave in one piece
        self.connection.write(header_frames(self.id, block))
        self.send(encode(message))

    def _send_ok(self) -> None:
        trailing = self.context.trailing_metadata
        block = encode_trailers(StatusCode.OK, metadata=trailing) if trailing else TRAILER_OK
        self._send_trailers(StatusCode.OK, block)

    def _end_with(self, error: SpireError) -> None:
        if not self._ended:
            trailing = self.context.trailing_metadata
            block = encode_trailers(error.code, error.message, error.details, trailing)
            self._send_trailers(error.code, block)

    def _end_early(self, error: SpireError) -> None:
        """End a call whose handler may be running."""
        self._end_with(error)
        if self.waiting_bytes:
            self.reset(ErrorCode.CANCEL)
        self._cancel()

    def _on_deadline(self) -> None:
        self._end_early(DeadlineExceeded("context deadline exceeded"))

    def _send_trailers(self, code: StatusCode, block: bytes) -> None:
        if self._ended:
            return
        self._end()
        if not self._headers_sent:
            self._headers_sent = True
            block = _RESPONSE + block
        self.finish(header_frames(self.id, block, END_STREAM))
        self._tell(code)

    def on_sent(self) -> None:
        if not self.remote_closed and not self.closed:
            # RFC 9113 section 8.1: tell the caller to stop sending what nobody reads.
            self.connection.write(rst_stream(self.id, ErrorCode.NO_ERROR))
            self.connection.remember_reset(self.id)
        self.connection.forget(self)

    # The end.

    def _end(self) -> None:
        """The outcome is known; what was buffered of the request is let go."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self.drop_kept()
        if self._headers_sent or not self.closed:
            # Whoever leaves a stream after its first message made a call as good as any other.
            self.connection.budget.earn()

    def _tell(self, code: StatusCode) -> None:
        if self._handling.observe is not None:
            seconds = self.connection.clock.monotonic() - self._started_at
            self._handling.observe(self.context, code, seconds)

    def _cancel(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self.wake_reader()

    def abort(self, error: SpireError) -> None:
        """End the call from outside, as when the server closes."""
        self._end_early(error)


class _Requests:
    """The messages of a streaming caller."""

    __slots__ = ("_call",)

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        request = await self._call.next_message()
        if request is None:
            raise StopAsyncIteration
        return self._call.parse(request)


def _encoded(answer: Any) -> bytes:
    if isinstance(answer, bytes):
        return answer
    encoded: bytes = answer.SerializeToString()
    return encoded
