"""Non-blocking sockets on the event loop, plain or with TLS, below one HTTP/2 connection each.

They stand in for asyncio's transports, which hold 256 KiB for each TLS connection, hide the
verified chain and cost more time per read. One buffer serves all reads of the process: what is
read is handled before the next read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Protocol, cast

_READ_SIZE = 65_536
_buffer = bytearray(_READ_SIZE)
_view = memoryview(_buffer)
_HARD_FACTOR = 4
_CLOSE_TIMEOUT_SECONDS = 5.0
_LINGER_SECONDS = 1.0


class ByteHandler(Protocol):
    """What a socket needs of the connection above it."""

    def connection_made(self, transport: SocketTransport) -> None: ...

    def data_received(self, data: memoryview) -> None: ...

    def writable(self) -> None: ...

    def connection_lost(self) -> None: ...


class SocketTransport:
    """A connected, non-blocking socket.

    Args:
        sock: becomes the transport's own.
        handler: told of everything that happens, from `start` on.
        write_buffer_bytes: at as many unsent bytes `paused` becomes true; at four times as many
            the connection is dropped, because only answers to floods get that far.
    """

    __slots__ = (
        "_broken",
        "_buffer_limit",
        "_closing",
        "_fd",
        "_handler",
        "_loop",
        "_progress_at",
        "_sock",
        "_timer",
        "_unsent",
        "paused",
    )

    def __init__(
        self, sock: socket.socket, handler: ByteHandler, *, write_buffer_bytes: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._handler = handler
        self._buffer_limit = write_buffer_bytes
        self._unsent = bytearray()
        self._progress_at: float | None = None
        self._broken = False
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self.paused = False

    def start(self) -> None:
        """Begin to read."""
        self._loop.add_reader(self._fd, self._on_readable)
        self._handler.connection_made(self)

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    def stalled_for(self, now: float) -> float:
        """Seconds for which the socket took none of the bytes that wait; 0 if none wait.

        `now` is of `Clock.monotonic`; the first look at a stall starts its count.
        """
        if not self._unsent:
            self._progress_at = None
            return 0.0
        if self._progress_at is None:
            self._progress_at = now
        return now - self._progress_at

    def write(self, data: bytes) -> None:
        """Send `data`, or keep what the socket does not take."""
        if not (self._closing or self._broken):
            self._send(data)

    def close(self) -> None:
        """Close when all is sent, at the latest after five seconds.

        Then our side is shut and the peer's is read, and thrown away, until it closes too or a
        second has passed: a socket closed while the peer still sends would be reset, and the peer
        might lose the end of what we sent.
        """
        if self._closing:
            return
        self._closing = True
        if self._unsent:
            self._abort_after(_CLOSE_TIMEOUT_SECONDS)
        else:
            self._shut()

    def _shut(self) -> None:
        with suppress(OSError):  # the peer may be gone; then the reader will see it
            self._sock.shutdown(socket.SHUT_WR)
        self._abort_after(_LINGER_SECONDS)

    def _abort_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)

    def abort_soon(self) -> None:
        """As `abort`, for those who are in the middle of something: in the loop's next turn."""
        self._closing = True
        self._loop.call_soon(self.abort)

    def abort(self) -> None:
        """Close at once; what waits is lost."""
        if self._fd < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        fd, self._fd = self._fd, -1
        self._closing = True
        self._loop.remove_reader(fd)
        if self._unsent:
            self._loop.remove_writer(fd)
            self._unsent.clear()
        self._sock.close()
        self._handler.connection_lost()

    def _send(self, data: bytes) -> None:
        unsent = self._unsent
        if unsent:
            unsent += data
        else:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._stop_sending()
                return
            if sent == len(data):
                return
            unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._on_writable)
        if len(unsent) > self._buffer_limit:
            self.paused = True
            if len(unsent) > self._buffer_limit * _HARD_FACTOR:
                self.abort_soon()

    def _stop_sending(self) -> None:
        # The peer takes nothing more, but what it sent before may still be there to be read.
        self._broken = True
        self._abort_after(_LINGER_SECONDS)

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent.clear()
            self._loop.remove_writer(self._fd)
            self._stop_sending()
            return
        del self._unsent[:sent]
        self._progress_at = None
        if not self._unsent:
            self._loop.remove_writer(self._fd)
            if self._closing:
                self._shut()
                return
        if self.paused and len(self._unsent) <= self._buffer_limit // 4:
            self.paused = False
            self._handler.writable()

    def _on_readable(self) -> None:
        size = self._receive()
        if size and not self._closing:
            self._handler.data_received(_view[:size])

    def _receive(self) -> int:
        """How many bytes were read into the shared buffer; 0 when there is nothing to handle."""
        try:
            size = self._sock.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            size = 0
        if not size:
            self.abort()
        return size


class TlsTransport(SocketTransport):
    """A socket with TLS; the handler hears of it once the handshake is done and the peer checked.

    Until then `handshake` is to be awaited; it needs the caller's own timeout.
    """

    __slots__ = ("_incoming", "_outgoing", "_ready", "_tls")

    def __init__(
        self,
        sock: socket.socket,
        handler: ByteHandler,
        *,
        write_buffer_bytes: int,
        context: ssl.SSLContext,
        server_side: bool,
        server_name: str | None = None,
    ) -> None:
        super().__init__(sock, handler, write_buffer_bytes=write_buffer_bytes)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self._ready: asyncio.Future[None] | None = None

    @property
    def tls(self) -> ssl.SSLObject:
        return self._tls

    async def handshake(self) -> None:
        """Shake hands; nothing is read beyond it until `start`.

        The socket stays with the loop, which costs less than to take it away for a moment:
        without a pause either `start` or `discard` has to follow.

        Raises:
            ssl.SSLError: it failed; an alert was sent.
            OSError: the connection was lost, or the peer does not speak HTTP/2.
        """
        self._ready = self._loop.create_future()
        self._loop.add_reader(self._fd, self._on_handshake)
        self._shake()
        try:
            await self._ready
        finally:
            self._ready = None

    def start(self) -> None:
        super().start()
        if self._fd >= 0 and self._incoming.pending:
            self._deliver()

    def write(self, data: bytes) -> None:
        if self._closing or self._broken:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.abort_soon()
            return
        self._send(self._outgoing.read())

    def close(self) -> None:
        if not self._closing:
            with suppress(ssl.SSLError):  # the peer has not answered our close_notify yet
                self._tls.unwrap()
            self._flush_outgoing()
        super().close()

    def abort(self) -> None:
        ready = self._ready
        if ready is None:
            super().abort()
            return
        self.discard()
        if not ready.done():
            ready.set_exception(ConnectionResetError("connection lost during the TLS handshake"))

    def discard(self) -> None:
        """Close a socket that never was started, whose handler so knows nothing of us."""
        self._closing = True
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._sock.close()

    def _on_handshake(self) -> None:
        size = self._receive()
        if size:
            self._incoming.write(_view[:size])
            self._shake()

    def _shake(self) -> None:
        ready = self._ready
        if ready is None or ready.done():
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush_outgoing()
        except (ssl.SSLError, OSError) as error:
            self._flush_outgoing()
            if not ready.done():
                ready.set_exception(error)
        else:
            self._flush_outgoing()
            if self._tls.selected_alpn_protocol() != "h2":
                ready.set_exception(ConnectionError("the peer does not speak HTTP/2"))
            elif not ready.done():
                ready.set_result(None)

    def _flush_outgoing(self) -> None:
        data = self._outgoing.read()
        if data and self._fd >= 0 and not self._broken:
            self._send(data)

    def _on_readable(self) -> None:
        size = self._receive()
        if size and not self._closing:
            self._incoming.write(_view[:size])
            self._deliver()

    def _deliver(self) -> None:
        try:
            while self._fd >= 0 and not self._closing:
                size = cast(int, self._tls.read(_READ_SIZE, _buffer))
                if not size:
                    self.abort()
                    return
                self._handler.data_received(_view[:size])
        except ssl.SSLWantReadError:
            self._flush_outgoing()
        except ssl.SSLError:
            self.abort()
