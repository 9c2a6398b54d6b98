"""The server's end of a connection: checks requests and starts their calls."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from spire_py.errors import InvalidArgument, SpireError, StatusCode
from spire_py.runtime.clock import Clock

from . import frames
from .connection import Connection
from .context import CallContext
from .frames import ErrorCode, StreamFault
from .headers import Header, encode_headers
from .limits import Limits
from .messages import MessageReader
from .metadata import parse_timeout
from .peer import Peer
from .server_call import Handling, ServerCall
from .service import Method
from .status import encode_trailers
from .stream import Stream

_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_TRAILERS_ONLY = encode_headers([(b":status", b"200"), (b"content-type", b"application/grpc")])
# RFC 9113 section 8.2.1, and more: no upper case, no control characters, no colon within.
_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_AGE_JITTER = 0.1
_BYTES_OF_CALL = 4_096
_COPIES_OF_REQUEST = 2
"""A handler's request is held as it was sent, and parsed."""
_jitter = random.SystemRandom()


@dataclass(slots=True)
class Request:
    """What the header block of a request says."""

    path: bytes = b""
    method: bytes = b""
    content_type: bytes = b""
    timeout: bytes | None = None
    encoding: bytes = b"identity"
    accepts_gzip: bool = False
    content_length: int | None = None
    pseudo: set[bytes] = field(default_factory=set)


class ServerConnection(Connection):
    """One client's connection.

    Args:
        methods: by path.
        handling: how calls are handled; this connection's own.
        max_age: seconds after which new calls must go over another connection, give or take 10 %.
        lost: called once when the connection is gone.
        peer_key: equal for all connections of one peer.
    """

    is_server: ClassVar[bool] = True

    def __init__(
        self,
        *,
        methods: Mapping[bytes, Method],
        peer: Peer,
        limits: Limits,
        clock: Clock,
        handling: Handling,
        max_age: float | None,
        lost: Callable[[ServerConnection], None],
        peer_key: object = None,
    ) -> None:
        super().__init__(limits=limits, clock=clock)
        self.peer = peer
        self.peer_key = peer_key
        self._handling = handling
        self._methods = methods
        self._lost = lost
        self._last_headers: Sequence[Header] | None = None
        self._last_request = Request()
        self._goaway_sent = False
        self._retire_at: float | None = None
        if max_age is not None:
            self._retire_at = self.opened_at + max_age * _jitter.uniform(
                1 - _AGE_JITTER, 1 + _AGE_JITTER
            )

    @property
    def held_bytes(self) -> int:
        """About what the peer makes us hold in memory."""
        calls = max(len(self.streams), self._handling.running) * _BYTES_OF_CALL
        calls += self._handling.request_bytes * _COPIES_OF_REQUEST
        return self.buffered_bytes + calls + self.transport.unsent_bytes

    # Requests.

    def open_stream(self, stream_id: int, headers: Sequence[Header], end_stream: bool) -> None:
        self.last_peer_stream = stream_id
        busy = max(len(self.streams), self._handling.running)
        if self.draining or busy >= self.limits.concurrent_streams:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM)
        if headers is not self._last_headers:  # the same object means the same request
            self._last_request = read_request(stream_id, headers)
            self._last_headers = headers
        request = self._last_request
        if end_stream and request.content_length:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length")
        if request.method != b"POST" or not request.content_type.startswith(b"application/grpc"):
            self._begin(_NotGrpc(self, stream_id), request, end_stream)
            return
        method = self._methods.get(request.path)
        if method is None or method.handler is None:
            message = self._unknown(request.path, method)
            self._refuse(stream_id, StatusCode.UNIMPLEMENTED, message, end_stream)
            return
        try:
            timeout = None if request.timeout is None else parse_timeout(request.timeout)
        except InvalidArgument as error:
            self._refuse(stream_id, StatusCode.INTERNAL, error.message, end_stream)
            return
        call = self._call(stream_id, method, request, headers, timeout)
        self._begin(call, request, end_stream)
        call.begin(timeout)
        if end_stream:
            call.on_data(b"", True)

    def _call(
        self,
        stream_id: int,
        method: Method,
        request: Request,
        headers: Sequence[Header],
        timeout: float | None,
    ) -> ServerCall:
        context = CallContext(
            method=method.path,
            peer=self.peer,
            headers=headers,
            clock=self.clock,
            deadline=None if timeout is None else self.read_at + timeout,
        )
        return ServerCall(
            self,
            stream_id,
            handling=self._handling,
            started_at=self.read_at,
            method=method,
            context=context,
            reader=MessageReader(self.limits.message_bytes, request.encoding),
            compress=self.limits.compress_responses and request.accepts_gzip,
        )

    def _begin(self, stream: Stream, request: Request, end_stream: bool) -> None:
        self.streams[stream.id] = stream
        stream.expected_bytes = request.content_length
        stream.remote_closed = end_stream
        if isinstance(stream, _NotGrpc):
            stream.answer()

    def _unknown(self, path: bytes, method: Method | None) -> str:
        if method is not None:
            return f"method {method.path.rpartition('/')[2]} not implemented"
        service, _, name = path.decode("latin-1").lstrip("/").rpartition("/")
        if any(known.startswith(f"/{service}/".encode()) for known in self._methods):
            return f"unknown method {name} for service {service}"
        return f"unknown service {service}"

    def _refuse(self, stream_id: int, code: StatusCode, message: str, end_stream: bool) -> None:
        block = _TRAILERS_ONLY + encode_trailers(code, message)
        self.write(frames.header_frames(stream_id, block, frames.END_STREAM))
        self.budget.earn()
        if not end_stream:
            self.write(frames.rst_stream(stream_id, ErrorCode.NO_ERROR))
            self.remember_reset(stream_id)

    # Ending.

    def on_goaway(self, _last_stream_id: int, _code: int) -> None:
        """The client will open no more streams; the running ones may end.

        Without any it is about to close the connection itself, and until then may still ask with
        a PING.
        """
        self.draining = True

    def on_lost(self) -> None:
        self._lost(self)

    def retire(self) -> None:
        """Let running calls end and take no new ones.

        A client may be opening a stream just now. So the first GOAWAY names no stream, and only
        when the client has answered the PING behind it a second one says which were taken.
        """
        if self._goaway_sent or self.closed:
            return
        if self.draining:  # the client said so first
            self._close_if_drained()
            return
        self._goaway_sent = True
        self.write(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR))
        self.write(frames.frame(frames.PING, 0, 0, _RETIRE_PING))
        if self.pinged_at is None:
            self.pinged_at = self.clock.monotonic()

    def on_ping_ack(self, payload: bytes) -> None:
        if payload == _RETIRE_PING and self._goaway_sent and not self.draining:
            self.draining = True
            self.write(frames.goaway(self.last_peer_stream, ErrorCode.NO_ERROR))
            self._close_if_drained()

    def abort_calls(self, error: SpireError) -> None:
        """End all calls with `error`."""
        for stream in list(self.streams.values()):
            if isinstance(stream, ServerCall):
                stream.abort(error)

    def tick(self, now: float) -> None:
        """Look at all that depends on time; called by the server's housekeeping."""
        if self.closed:
            return
        reason = self.overdue(now)
        if reason is not None:
            self.fail(ErrorCode.NO_ERROR, reason)
            if self.transport.unsent_bytes:
                self.transport.abort()
            return
        if self.draining and not self.streams:
            if now - self.idle_since > self.limits.handshake_timeout:
                self.close()
            return
        idle_timeout = self.limits.idle_timeout
        idle = not self.streams and idle_timeout is not None
        if (self._retire_at is not None and now >= self._retire_at) or (
            idle and now - self.idle_since > (idle_timeout or 0)
        ):
            self.retire()
        elif self.peer.unix is None:
            self.ping_if_silent(now)


_RETIRE_PING = b"retire\x00\x00"


def read_request(stream_id: int, headers: Sequence[Header]) -> Request:
    """Check a request's header block by RFC 9113 section 8 and pick what gRPC needs.

    Raises:
        StreamFault: it is malformed.
    """
    request = Request()
    regular = False
    for name, value in headers:
        if name[:1] == b":":
            if regular or name in request.pseudo or name not in _PSEUDO:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "pseudo header")
            request.pseudo.add(name)
            if name == b":path":
                request.path = value
            elif name == b":method":
                request.method = value
            continue
        regular = True
        if name in _READERS:
            _READERS[name](request, value)
        if (
            name in _CONNECTION_SPECIFIC
            or not _FIELD_NAME.fullmatch(name)
            or (name == b"te" and value != b"trailers")
            or b"\n" in value
            or b"\r" in value
            or b"\0" in value
        ):
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "header field")
    if not request.path or not {b":method", b":scheme"} <= request.pseudo:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "pseudo header is missing")
    if request.content_length is not None and request.content_length < 0:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length")
    return request


def _content_type(request: Request, value: bytes) -> None:
    request.content_type = value


def _timeout(request: Request, value: bytes) -> None:
    request.timeout = value


def _encoding(request: Request, value: bytes) -> None:
    request.encoding = value


def _accept_encoding(request: Request, value: bytes) -> None:
    request.accepts_gzip = b"gzip" in value.replace(b" ", b"").split(b",")


def _content_length(request: Request, value: bytes) -> None:
    request.content_length = int(value) if value.isdigit() and len(value) < 16 else -1


_READERS: dict[bytes, Callable[[Request, bytes], None]] = {
    b"content-type": _content_type,
    b"grpc-timeout": _timeout,
    b"grpc-encoding": _encoding,
    b"grpc-accept-encoding": _accept_encoding,
    b"content-length": _content_length,
}


class _NotGrpc(Stream):
    """Tells a client that is no gRPC client where it has come to."""

    __slots__ = ()

    _BLOCK: ClassVar[bytes] = encode_headers(
        [(b":status", b"415"), (b"content-type", b"text/plain")]
    )
    _BODY: ClassVar[bytes] = b"this port speaks gRPC only\n"

    def answer(self) -> None:
        self.connection.write(frames.header_frames(self.id, self._BLOCK))
        self.send(self._BODY)
        self.finish(frames.frame(frames.DATA, frames.END_STREAM, self.id))

    def on_headers(self, headers: Sequence[Header], end_stream: bool) -> None:
        self.check_trailers(headers, end_stream)
        self.on_data(b"", True)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self.credit(len(data))
        if end_stream:
            self.remote_closed = True
            if self._pending is None:
                self.connection.forget(self)

    def on_closed(self, _code: ErrorCode) -> None:
        """Nothing was begun."""
