"""The gRPC client: one connection, made when it is needed and made again when it is gone."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from spire_py.errors import DeadlineExceeded, Internal, SpireError, Unavailable
from spire_py.runtime.clock import Clock, SystemClock

from . import frames
from .client_call import ClientCall, NotProcessed
from .client_connection import ClientConnection
from .dialer import Address, connect, dial_error, join_host_port, resolve_tcp, resolve_unix
from .frames import ErrorCode
from .headers import Header, encode_headers
from .limits import Limits
from .metadata import encode_pair, format_timeout
from .sockets import SocketTransport, TlsTransport

T = TypeVar("T", bound=Message)
VerifyPeer = Callable[[tuple[bytes, ...]], object]
MetadataPairs = Sequence[tuple[str, str | bytes]]

# A server of grpc-go takes pings more often than every five minutes for abuse.
CLIENT_LIMITS = Limits(keepalive_interval=320.0)
_ATTEMPTS = 3
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?")


class BidiCall(Generic[T]):
    """A call in which both sides stream."""

    def __init__(self, call: ClientCall, response_type: type[T]) -> None:
        self._call = call
        self._parse = response_type.FromString

    async def send(self, message: Message) -> None:
        """Send one message; waits while the server does not take it.

        Raises:
            SpireError: what the call ended with.
        """
        await self._call.send_message(message.SerializeToString())

    def done_sending(self) -> None:
        """Tell the server that no more messages come."""
        self._call.end_sending()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        message = await self._call.receive_message()
        if message is None:
            raise StopAsyncIteration
        return _parsed(self._parse, message)


class Channel:
    """Calls to one server. Calls share a connection; the first one makes it.

    A status that is not OK raises the `SpireError` of its code, with its details; without a
    connection that is `Unavailable`, after the time that a call has it is `DeadlineExceeded`.
    """

    def __init__(
        self,
        resolve: Callable[[], Awaitable[list[Address]]],
        *,
        authority: str,
        tls: Callable[[], ssl.SSLContext] | None = None,
        verify_peer: VerifyPeer | None = None,
        server_name: str | None = None,
        limits: Limits = CLIENT_LIMITS,
        clock: Clock | None = None,
    ) -> None:
        self._resolve = resolve
        self._tls = tls
        self._verify_peer = verify_peer
        self._server_name = server_name
        self._limits = limits
        self._clock = clock or SystemClock()
        self._start: tuple[Header, ...] = (
            (b":method", b"POST"),
            (b":scheme", b"http" if tls is None else b"https"),
            (b":authority", authority.encode()),
        )
        self._heads: dict[str, bytes] = {}
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._open: set[ClientConnection] = set()
        self._turn = 0
        self._closed = False

    @classmethod
    def unix(cls, path: Path | str, *, limits: Limits = CLIENT_LIMITS) -> Channel:
        """Calls over a Unix socket."""
        target = Path(path)
        return cls(lambda: resolve_unix(target), authority="localhost", limits=limits)

    @classmethod
    def tcp(
        cls,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None,
        verify_peer: VerifyPeer | None,
        authority: str | None = None,
        limits: Limits = CLIENT_LIMITS,
    ) -> Channel:
        """Calls over TCP. Each connection is to the next of the host's addresses, if that answers.

        Args:
            host: a name or an IP address.
            port: of the server.
            tls: asked for each connection, so that what it returns may change; None is plain TCP.
            verify_peer: gets the server's verified chain as DER, leaf first and the anchor last; a
                `SpireError` refuses the server.
            authority: what the server is told it is called; `host:port` if not given.
            limits: bounds of each connection.
        """
        return cls(
            lambda: resolve_tcp(host, port),
            authority=authority or join_host_port(host, port),
            tls=tls,
            verify_peer=verify_peer,
            server_name=_server_name(host),
            limits=limits,
        )

    # Calls.

    async def unary(
        self,
        method: str,
        request: Message,
        response_type: type[T],
        *,
        timeout: float | None,
        metadata: MetadataPairs = (),
    ) -> T:
        """One request, one answer.

        Args:
            method: `/package.Service/Method`.
            request: the message.
            response_type: the class of the answer.
            timeout: seconds for all of it, connecting included.
            metadata: further headers.

        Raises:
            SpireError: the status that the server answered with, or why there is none.
        """
        message = request.SerializeToString()
        deadline = self._deadline(timeout)
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self._unary_once(method, message, deadline, metadata)
            except NotProcessed:
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return _parsed(response_type.FromString, answer)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def server_stream(
        self,
        method: str,
        request: Message,
        response_type: type[T],
        *,
        timeout: float | None = None,
        metadata: MetadataPairs = (),
    ) -> AsyncGenerator[AsyncIterator[T]]:
        """One request, any number of answers; leaving the block ends the call."""
        message = request.SerializeToString()
        _, call, head = await self._open_call(method, self._deadline(timeout), metadata)
        try:
            call.send_only(head, message)
            yield BidiCall(call, response_type)
        finally:
            call.cancel()

    @asynccontextmanager
    async def bidi(
        self,
        method: str,
        response_type: type[T],
        *,
        timeout: float | None = None,
        metadata: MetadataPairs = (),
    ) -> AsyncGenerator[BidiCall[T]]:
        """Both sides stream; leaving the block ends the call."""
        connection, call, head = await self._open_call(method, self._deadline(timeout), metadata)
        try:
            connection.write(head)
            yield BidiCall(call, response_type)
        finally:
            call.cancel()

    async def aclose(self) -> None:
        """End all calls and close the connection. The channel cannot be used any more."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        for connection in tuple(self._open):
            connection.fail(ErrorCode.NO_ERROR)
            connection.transport.abort()

    async def _unary_once(
        self, method: str, message: bytes, deadline: float | None, metadata: MetadataPairs
    ) -> bytes:
        connection, call, head = await self._open_call(method, deadline, metadata)
        try:
            call.send_only(head, message)
            started = self._clock.monotonic()
            return await call.receive_only()
        except DeadlineExceeded:
            if connection.read_at < started:
                # Not a byte came meanwhile: the next call had better not wait here too.
                connection.forget_quietly()
            raise
        finally:
            call.cancel()

    def _deadline(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._clock.monotonic() + timeout

    async def _open_call(
        self, method: str, deadline: float | None, metadata: MetadataPairs
    ) -> tuple[ClientConnection, ClientCall, bytes]:
        """A connection that takes the call, the call, and the frame with its headers."""
        extra = [encode_pair(name, value) for name, value in metadata]
        try:
            async with asyncio.timeout(self._remaining(deadline)):
                connection = await self._usable_connection()
        except TimeoutError as error:
            raise DeadlineExceeded("context deadline exceeded while connecting") from error
        remaining = self._remaining(deadline)
        call = connection.open_call(remaining)
        if remaining is not None:
            extra.append((b"grpc-timeout", format_timeout(remaining)))
        block = self._head(method) + encode_headers(extra)
        return connection, call, frames.header_frames(call.id, block)

    def _remaining(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - self._clock.monotonic())

    def _head(self, method: str) -> bytes:
        head = self._heads.get(method)
        if head is None:
            head = encode_headers(
                (
                    *self._start,
                    (b":path", method.encode()),
                    (b"te", b"trailers"),
                    (b"content-type", b"application/grpc"),
                    (b"user-agent", b"spire-py"),
                    (b"grpc-accept-encoding", b"identity,gzip"),
                )
            )
            self._heads[method] = head
        return head

    # Connections.

    async def _usable_connection(self) -> ClientConnection:
        connected = 0
        while not self._closed:
            connection = self._connection
            if connection is not None and connection.usable:
                if not connection.full:
                    return connection
                await connection.slot()
                continue
            if connected == _ATTEMPTS:
                raise Unavailable("the server closes each connection at once")
            connected += 1
            if self._connecting is None:
                # Not the caller's own: others wait for it too, and the caller may give up.
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            await asyncio.shield(self._connecting)
        raise Unavailable("the channel is closed")

    async def _connect(self) -> None:
        try:
            self._connection = await self._connect_to_any()
        finally:
            self._connecting = None  # at once: a callback would come after the next caller's look

    async def _connect_to_any(self) -> ClientConnection:
        """Try the addresses in turn.

        Raises:
            SpireError: none of them took us.
        """
        addresses = await self._resolve()
        self._turn += 1
        last: SpireError = Unavailable("name resolver error: produced zero addresses")
        for offset in range(len(addresses)):
            address = addresses[(self._turn + offset) % len(addresses)]
            try:
                async with asyncio.timeout(self._limits.handshake_timeout):
                    return await self._connect_to(address)
            except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
                last = (
                    _handshake_error(error) if _is_tls(error) else dial_error(address.text, error)
                )
                last.__cause__ = error
            except SpireError as error:
                last = _handshake_error(error)
                last.__cause__ = error
        raise last

    async def _connect_to(self, address: Address) -> ClientConnection:
        context = None if self._tls is None else self._tls()
        sock = await connect(address)
        connection = ClientConnection(
            limits=self._limits, clock=self._clock, lost=self._open.discard
        )
        if context is None:
            transport = SocketTransport(
                sock, connection, write_buffer_bytes=self._limits.write_buffer_bytes
            )
        else:
            transport = await self._shake_hands(sock, connection, context)
        self._open.add(connection)
        transport.start()
        try:
            await connection.ready
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _shake_hands(
        self, sock: socket.socket, connection: ClientConnection, context: ssl.SSLContext
    ) -> TlsTransport:
        transport = TlsTransport(
            sock,
            connection,
            write_buffer_bytes=self._limits.write_buffer_bytes,
            context=context,
            server_side=False,
            server_name=self._server_name,
        )
        try:
            await transport.handshake()
            if self._verify_peer is not None:
                # Here, because a command on a Unix socket starts faster without it.
                from .tls import verified_chain

                self._verify_peer(verified_chain(transport.tls))
        except BaseException:
            transport.discard()
            connection.connection_lost()  # its clock ticks since it was made
            raise
        return transport


def _parsed(parse: Callable[[bytes], T], message: bytes) -> T:
    try:
        return parse(message)
    except DecodeError as error:
        raise Internal("grpc: failed to unmarshal the received message") from error


def _is_tls(error: OSError) -> bool:
    return isinstance(error, ssl.SSLError)


def _handshake_error(error: Exception) -> Unavailable:
    reason = error.message if isinstance(error, SpireError) else str(error)
    return Unavailable(
        f'connection error: desc = "transport: authentication handshake failed: {reason}"'
    )


def _server_name(host: str) -> str | None:
    """The name for SNI; an address has none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if _HOST_NAME.fullmatch(host) else None
    return None
