"""The state of one HTTP/2 connection, for both ends (RFC 9113). It knows nothing of gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from spire_py.runtime.clock import Clock

from . import frames
from .frames import ConnectionFault, ErrorCode, StreamFault
from .headers import Header, HeaderDecoder
from .limits import ControlBudget, Limits
from .outbound import Outbound
from .stream import Stream

if TYPE_CHECKING:
    from .sockets import SocketTransport

_MAX_CONTINUATIONS = 16
_MAX_PEER_FRAME = 65_536
_CONTROL_FRAME_PER_BYTES = 1024


class Connection(Outbound):
    """Reads frames and hands them to the streams they belong to."""

    is_server: ClassVar[bool]

    def __init__(self, *, limits: Limits, clock: Clock) -> None:
        super().__init__(limits=limits, clock=clock)
        now = clock.monotonic()
        self.peer_max_streams = frames.MAX_STREAM_ID
        self.budget = ControlBudget(limits.control_frames, limits.control_period, now)
        self.opened_at = self.read_at = now
        self.settings_seen = False
        self.pinged_at: float | None = None
        self._headers = HeaderDecoder(limits.header_list_bytes)
        self._recv_window = limits.connection_window
        self._uncredited = 0
        self._rest = b""
        self._preface_seen = not self.is_server
        self._block: tuple[int, int, bytearray] | None = None
        self._continuations = 0
        self._incomplete_since: float | None = None
        self._handlers = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
        }

    # What a subclass fills in.

    def open_stream(self, stream_id: int, headers: Sequence[Header], end_stream: bool) -> None:
        """The peer opened a stream; server only."""
        raise NotImplementedError

    def on_goaway(self, _last_stream_id: int, _code: int) -> None:
        """The peer will take no more streams; those above the last it never looked at."""
        raise NotImplementedError

    def on_ping_ack(self, payload: bytes) -> None:
        """The peer answered a PING of ours."""

    def on_settings(self) -> None:
        """The peer's settings were taken over."""

    def on_lost(self) -> None:
        """The connection is gone; its streams were told already."""

    # The socket's side.

    def connection_made(self, transport: SocketTransport) -> None:
        """The socket is ready: our settings go out at once, before anything is read."""
        self._transport = transport
        limits = self.limits
        ours = [
            (frames.MAX_CONCURRENT_STREAMS, limits.concurrent_streams),
            (frames.INITIAL_WINDOW_SIZE, limits.stream_window),
            (frames.MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
        ]
        if not self.is_server:
            ours[0] = (frames.ENABLE_PUSH, 0)
        extra = limits.connection_window - frames.DEFAULT_WINDOW
        greeting = b"" if self.is_server else frames.PREFACE
        greeting += frames.settings(ours)
        if extra > 0:
            greeting += frames.window_update(0, extra)
        transport.write(greeting)

    def data_received(self, data: memoryview) -> None:
        """Bytes arrived; `data` is only valid during the call."""
        if self.closed:
            return
        self.read_at = self.clock.monotonic()
        if self._batch is None:
            self._batch = []
        try:
            self._parse(self._rest + data if self._rest else bytes(data))
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)
        except Exception:
            # A bug. What else was in this read is lost, so the connection cannot go on.
            self.fail(ErrorCode.INTERNAL_ERROR)
            raise
        finally:
            self.flush_batch()

    def writable(self) -> None:
        """The socket takes bytes again."""
        self.flush_waiting()

    def connection_lost(self) -> None:
        """The socket is gone."""
        self.closed = True
        self._batch = None
        for stream in list(self.streams.values()):
            stream.abandon(ErrorCode.CONNECT_ERROR)
        self.on_lost()
        # No cycles: what hangs on us, such as the peer's descriptor, goes at once.
        self._handlers.clear()
        self._transport = None

    def spend(self) -> None:
        """Count a frame that cost the peer nothing."""
        self.budget.spend(self.read_at)

    # Reading.

    def _parse(self, data: bytes) -> None:
        position = 0
        end = len(data)
        if not self._preface_seen:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "preface")
            if end < len(frames.PREFACE):
                self._rest = data
                return
            self._preface_seen = True
            position = len(frames.PREFACE)
        while end - position >= frames.HEADER_LENGTH:
            length = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            if length > frames.MIN_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            following = position + frames.HEADER_LENGTH + length
            if following > end:
                break
            kind = data[position + 3]
            flags = data[position + 4]
            stream_id = int.from_bytes(data[position + 5 : position + 9], "big") & 0x7FFF_FFFF
            payload = data[position + frames.HEADER_LENGTH : following]
            position = following
            self._dispatch(kind, flags, stream_id, payload)
            if self.closed:
                return
        self._rest = data[position:] if position < end else b""
        if not self._rest and self._block is None:
            self._incomplete_since = None
        elif self._incomplete_since is None or (position and self._block is None):
            self._incomplete_since = self.read_at

    def _dispatch(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self.settings_seen:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self.settings_seen = True
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block[0]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        try:
            handle = self._handlers.get(kind)
            if handle is not None:
                handle(flags, stream_id, payload)
            else:
                self.spend()  # section 4.1: unknown types are ignored
        except StreamFault as fault:
            self._reset(fault)

    def _reset(self, fault: StreamFault) -> None:
        # A peer can make us reset streams by breaking rules; that must not be free either.
        self.spend()
        stream = self.streams.get(fault.stream_id)
        if stream is not None:
            stream.reset(fault.code)
        else:
            self.write(frames.rst_stream(fault.stream_id, fault.code))
            self.remember_reset(fault.stream_id)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data on stream 0")
        if flags & frames.PADDED:
            payload = frames.unpad(payload)
        self._take_from_window(size)
        end_stream = bool(flags & frames.END_STREAM)
        if not payload and not end_stream:
            self.spend()
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.receive(payload, size, end_stream)
        elif self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data on an idle stream")
        elif stream_id not in self._resets:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "data on a closed stream")

    def _take_from_window(self, size: int) -> None:
        # Credited at once: one slow stream must not hold up the others. What streams keep is
        # bounded by their own windows and by `buffered_bytes`.
        self._recv_window -= size
        if self._recv_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window")
        self._uncredited += size
        if self._uncredited * 4 >= self.limits.connection_window:
            self.write(frames.window_update(0, self._uncredited))
            self._recv_window += self._uncredited
            self._uncredited = 0

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0 or not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "stream id")
        if flags & frames.PADDED:
            payload = frames.unpad(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "priority fields")
            if frames.uint31(payload) == stream_id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, payload, bool(flags & frames.END_STREAM))
        else:
            self._block = (stream_id, flags, bytearray(payload))
            self._continuations = 0

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "continuation of nothing")
        first_flags, block = self._block[1:]
        block += payload
        self._continuations += 1
        too_long = len(block) > 2 * self.limits.header_list_bytes
        if too_long or self._continuations > _MAX_CONTINUATIONS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream_id, bytes(block), bool(first_flags & frames.END_STREAM))

    def _on_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        headers = self._headers.decode(block)  # always: the next block builds on this one
        stream = self.streams.get(stream_id)
        if stream is not None:
            if stream.remote_closed:
                raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "headers after the end")
            stream.count_body(0, end_stream)
            stream.on_headers(headers, end_stream)
        elif self._is_idle(stream_id):
            self.open_stream(stream_id, headers, end_stream)
        elif stream_id not in self._resets:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "headers on a closed stream")

    def _is_idle(self, stream_id: int) -> bool:
        """Whether nobody has opened the stream yet."""
        return stream_id > self.last_peer_stream

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "window update length")
        increment = frames.uint31(payload)
        self._spend_unless_sent()
        if stream_id == 0:
            if increment == 0:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "window update of 0")
            self.send_window += increment
            if self.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window")
            self.flush_waiting()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "window of an idle stream")
            return
        if increment == 0:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "window update of 0")
        self._widen(stream, increment)

    def _spend_unless_sent(self) -> None:
        """Count a frame with which the peer answers our data; each KiB sent makes one free.

        grpc-go probes the window with a PING for every burst that it receives.
        """
        if self._sent_uncounted >= _CONTROL_FRAME_PER_BYTES:
            self._sent_uncounted -= _CONTROL_FRAME_PER_BYTES
        else:
            self.spend()

    def _widen(self, stream: Stream, increment: int) -> None:
        stream.send_window += increment
        if stream.send_window > frames.MAX_WINDOW:
            raise StreamFault(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "stream window")
        if stream.waiting_bytes and stream.send_window > 0:
            self.waiting[stream] = None
            self.flush_waiting()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.spend()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "settings of a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings ack with a payload")
            return
        changes = list(frames.parse_settings(payload))
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        for key, value in changes:
            if key == frames.INITIAL_WINDOW_SIZE:
                self._set_initial_window(value)
            elif key == frames.MAX_FRAME_SIZE_SETTING:
                self.peer_frame_size = min(value, _MAX_PEER_FRAME)
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self.peer_max_streams = value
            elif key == frames.ENABLE_PUSH and value and not self.is_server:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a server cannot be pushed to")
        self.on_settings()

    def _set_initial_window(self, size: int) -> None:
        change = size - self.peer_initial_window
        self.peer_initial_window = size
        for stream in list(self.streams.values()):
            if stream.send_window + change > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "stream window")
            self._widen(stream, change)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._spend_unless_sent()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ping of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "ping length")
        if flags & frames.ACK:
            self.pinged_at = None
            self.on_ping_ack(payload)
        else:
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self.spend()
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "reset length")
        if stream_id == 0 or self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "reset of an idle stream")
        stream = self.streams.get(stream_id)
        if stream is not None:
            code = int.from_bytes(payload, "big")
            known = code in ErrorCode.__members__.values()
            stream.remote_closed = True
            stream.abandon(ErrorCode(code) if known else ErrorCode.INTERNAL_ERROR)

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self.spend()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "goaway of a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "goaway length")
        self.on_goaway(frames.uint31(payload), int.from_bytes(payload[4:8], "big"))

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self.spend()
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "priority of stream 0")
        if len(payload) != 5:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "priority length")
        if frames.uint31(payload) == stream_id:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "push is switched off")

    # Time.

    def overdue(self, now: float) -> str | None:
        """Why the connection must be dropped at `now`, or None; also ends streams that stall."""
        limits = self.limits
        if not self.settings_seen:
            late = now - self.opened_at > limits.handshake_timeout
            return "handshake timeout" if late else None
        incomplete = self._incomplete_since
        if incomplete is not None and now - incomplete > limits.frame_timeout:
            return "a frame was not finished"
        if self.transport.stalled_for(now) > limits.stall_timeout:
            return "the peer does not read"
        if self.pinged_at is not None and now - self.pinged_at > limits.keepalive_timeout:
            return "the peer does not answer"
        if self.buffered_bytes:
            self._end_stalled_streams(now)
        return None

    def _end_stalled_streams(self, now: float) -> None:
        for stream in list(self.streams.values()):
            if stream.waiting_bytes and now - stream.progress_at > self.limits.stall_timeout:
                stream.reset(ErrorCode.CANCEL)

    def ping_if_silent(self, now: float) -> None:
        """Keepalive: ask a silent peer whether it is still there."""
        if self.pinged_at is None and now - self.read_at > self.limits.keepalive_interval:
            self.pinged_at = now
            self.write(frames.frame(frames.PING, 0, 0, b"alive?\x00\x00"))
