"""A small HTTP/1.1 server for health and metrics: GET, whole answers, everything bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formatdate
from http import HTTPStatus
from typing import TypeAlias

import h11

from spire_py.telemetry.http_response import HttpResponse
from spire_py.transport.listeners import bind_tcp

__all__ = ["HttpHandler", "HttpLimits", "HttpResponse", "HttpServer"]

HttpHandler: TypeAlias = Callable[[], Awaitable[HttpResponse]]

_READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of an `HttpServer`.

    Attributes:
        connections: open at once; where there are more, the one that is idle longest is dropped.
        header_bytes: of a request's line and headers while they are incomplete.
        header_timeout: from a connection's start, or the last answer, to the end of the headers.
        handler_timeout: for a handler; the answer is 503 then.
        write_timeout: for the peer to take an answer.
    """

    connections: int = 100
    header_bytes: int = 16 * 1024
    header_timeout: timedelta = timedelta(seconds=10)
    handler_timeout: timedelta = timedelta(seconds=30)
    write_timeout: timedelta = timedelta(seconds=10)


class HttpServer:
    """Answers GET by path.

    Args:
        handlers: by path, without a query.
        fallback: for all other paths; 404 without one.
        limits: what a peer may cost.
    """

    def __init__(
        self,
        handlers: Mapping[str, HttpHandler],
        *,
        fallback: HttpHandler | None = None,
        limits: HttpLimits = HttpLimits(),
    ) -> None:
        self._handlers = dict(handlers)
        self._fallback = fallback
        self._limits = limits
        self._servers: list[asyncio.Server] = []
        self._connections: dict[_Connection, asyncio.Task[None] | None] = {}

    async def listen_tcp(self, host: str, port: int) -> tuple[str, int]:
        """Begin to answer at an address; port 0 takes a free one.

        Returns:
            The address bound.

        Raises:
            FailedPrecondition: the address cannot be used.
        """
        sock = await asyncio.to_thread(bind_tcp, host, port)
        server = await asyncio.start_server(self._serve, sock=sock, limit=_READ_BYTES)
        self._servers.append(server)
        bound: tuple[str, int] = sock.getsockname()[:2]
        return bound

    async def aclose(self, grace: timedelta = timedelta(seconds=1)) -> None:
        """Stop listening, let answers under way end within `grace`, drop the rest."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.close_when_idle()
        tasks = [task for task in self._connections.values() if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._answer, self._limits)
        if len(self._connections) >= self._limits.connections:
            self._drop_idlest()
        if len(self._connections) >= self._limits.connections:
            writer.transport.abort()
            return
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.run()
        finally:
            self._connections.pop(connection, None)
            writer.transport.abort()

    def _drop_idlest(self) -> None:
        idle = [connection for connection in self._connections if connection.is_idle]
        if idle:
            idlest = min(idle, key=lambda connection: connection.idle_since)
            self._connections.pop(idlest)
            idlest.close_when_idle()

    async def _answer(self, method: bytes, target: bytes) -> HttpResponse:
        if method != b"GET":
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        path = target.partition(b"?")[0].decode("ascii", "replace")
        handler = self._handlers.get(path, self._fallback)
        if handler is None:
            return _plain(HTTPStatus.NOT_FOUND)
        try:
            async with asyncio.timeout(self._limits.handler_timeout.total_seconds()):
                return await handler()
        except TimeoutError:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: Callable[[bytes, bytes], Awaitable[HttpResponse]]
    limits: HttpLimits
    is_idle: bool = True
    idle_since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    closing: bool = False

    def __post_init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.header_bytes)
        self._wants_body = True
        sock: socket.socket | None = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close_when_idle(self) -> None:
        """End at once when nothing is asked, else after the answer."""
        self.closing = True
        if self.is_idle:
            self.writer.transport.abort()

    async def run(self) -> None:
        """Answer requests until one side has had enough."""
        try:
            while await self._request():
                pass
        except (TimeoutError, OSError):
            # The peer is slow or gone; there is nobody to tell.
            return

    async def _request(self) -> bool:
        """One request and its answer; whether there may be another."""
        try:
            async with asyncio.timeout(self.limits.header_timeout.total_seconds()):
                event = await self._next_event()
        except h11.RemoteProtocolError as error:
            await self._send(_plain(HTTPStatus(error.error_status_hint)), close=True)
            return False
        if not isinstance(event, h11.Request):
            return False
        self.is_idle = False
        self._wants_body = event.method != b"HEAD"
        response = await self.answer(event.method, event.target)
        keep = self._has_no_body() and not self.closing
        await self._send(response, close=not keep)
        if not keep or self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.is_idle, self.idle_since = True, asyncio.get_running_loop().time()
        return not self.closing

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self.reader.read(_READ_BYTES))

    def _has_no_body(self) -> bool:
        """Whether the request is all there; a body that nobody asked for is not read."""
        try:
            return isinstance(self._http.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError:
            return False

    async def _send(self, response: HttpResponse, *, close: bool) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Date", formatdate(usegmt=True)),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET"))
        if close:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        body = response.body if self._wants_body else b""
        parts = (head, h11.Data(data=body), h11.EndOfMessage())
        self.writer.write(b"".join(self._http.send(part) or b"" for part in parts))
        async with asyncio.timeout(self.limits.write_timeout.total_seconds()):
            await self.writer.drain()
            if close:
                self.writer.close()
                await self.writer.wait_closed()


def _plain(status: HTTPStatus) -> HttpResponse:
    return HttpResponse(status, f"{status.phrase}\n".encode())
