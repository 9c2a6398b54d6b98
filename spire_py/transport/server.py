"""The gRPC server: listens, lets peers in, looks after connections and drains them at the end."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from spire_py.errors import FailedPrecondition, SpireError, Unavailable
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.telemetry.logs import get_logger

from .dialer import join_host_port
from .frames import ErrorCode
from .limits import Limits, fitted_to
from .listeners import bind_tcp, bind_unix, raise_open_files_limit
from .peer import Peer, peer_key, unix_peer
from .server_call import Authorize, Handling, Observe
from .server_connection import ServerConnection
from .service import Method, Service
from .sockets import SocketTransport, TlsTransport
from .tasks import TaskSet
from .tls import verified_chain

log = get_logger("transport")

VerifyPeer = Callable[[tuple[bytes, ...]], object]

_ACCEPTS_PER_TURN = 64
_ACCEPT_PAUSE_SECONDS = 0.5
_FEW_CONNECTIONS = 16
_HOUSEKEEPING = timedelta(seconds=1)
_CANCEL_SECONDS = 5.0
_LAST_READ_SECONDS = 1.0
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class _Listener:
    """One listening socket and what its connections are like."""

    socket: socket.socket
    path: Path | None = None
    inode: int = 0
    tls: Callable[[], ssl.SSLContext] | None = None
    verify_peer: VerifyPeer | None = None
    max_age: float | None = None


class Server:
    """Serves `services` on any number of sockets.

    Args:
        authorize: runs before each handler and before a request message is handed on; raises what
            the caller is told.
        observe: told of the end of each call with its status and its seconds.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        limits: Limits | None = None,
        authorize: Authorize | None = None,
        observe: Observe | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._methods: dict[bytes, Method] = {}
        self.replace_services(services)
        self._limits = limits or Limits()
        self._authorize = authorize
        self._observe = observe
        self._clock = clock or SystemClock()
        self._calls = TaskSet()
        self._handshakes = TaskSet()
        self._shaking_hands: dict[ServerConnection, asyncio.Task[None]] = {}
        self._listeners: list[_Listener] = []
        self._connections: set[ServerConnection] = set()
        self._open: Counter[object] = Counter()
        self._open_count = 0
        self._turned_away = 0
        self._made_room = 0
        self._housekeeping: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._closing = False

    def replace_services(self, services: Sequence[Service]) -> None:
        """Have the calls that begin from now on handled by these."""
        self._methods.clear()
        for service in services:
            self._methods.update(service.methods)

    @property
    def connections(self) -> int:
        """Open connections, those in their handshake included."""
        return self._open_count

    @property
    def calls(self) -> int:
        """Handlers that run now."""
        return len(self._calls)

    async def listen_unix(self, path: Path, *, mode: int, directory_mode: int) -> None:
        """Listen at `path`, whose missing directory is made with `directory_mode`.

        Raises:
            FailedPrecondition: another process listens there, or the path cannot be used.
        """
        sock = bind_unix(path, mode=mode, directory_mode=directory_mode)
        self._listen(_Listener(socket=sock, path=path, inode=path.stat().st_ino))

    async def listen_tcp(
        self,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None,
        verify_peer: VerifyPeer | None,
        max_connection_age: timedelta | None,
    ) -> tuple[str, int]:
        """Listen on an address; the result is the one bound.

        Args:
            host: a name or an IP address; empty listens on all.
            port: 0 takes a free one.
            tls: asked at each accept, so that what it returns may change; None is plain TCP.
            verify_peer: gets the verified chain of a client that has a certificate, as DER, leaf
                first and the anchor last; what it returns becomes the peer's `identity`, and a
                `SpireError` refuses the connection.
            max_connection_age: after it, give or take 10 %, a connection takes no new calls.

        Raises:
            FailedPrecondition: the address cannot be used.
        """
        sock = bind_tcp(host, port)
        max_age = None if max_connection_age is None else max_connection_age.total_seconds()
        self._listen(_Listener(socket=sock, tls=tls, verify_peer=verify_peer, max_age=max_age))
        bound = sock.getsockname()
        return bound[0], bound[1]

    async def aclose(self, grace: timedelta = timedelta(seconds=10)) -> None:
        """Stop listening, let running calls end for up to `grace`, then end them."""
        self._closing = True
        for listener in self._listeners:
            self._stop_listening(listener)
        self._listeners.clear()
        await asyncio.sleep(0)  # a handshake that has not begun could not clean up
        self._handshakes.cancel()
        for connection in tuple(self._connections):
            connection.retire()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()):
                await self._wait_until_empty()
        await self._end_connections()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait((self._housekeeping,))

    async def _end_connections(self) -> None:
        for connection in tuple(self._connections):
            connection.abort_calls(Unavailable("the server is shutting down"))
            connection.fail(ErrorCode.NO_ERROR, "shutting down")
        self._calls.cancel()
        await self._calls.wait(_CANCEL_SECONDS)
        await self._handshakes.wait(_CANCEL_SECONDS)
        # Clients close as soon as they have read what was sent last.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_READ_SECONDS):
                await self._wait_until_empty()
        for connection in tuple(self._connections):
            connection.transport.abort()

    async def _wait_until_empty(self) -> None:
        while self._connections:
            self._empty.clear()
            await self._empty.wait()

    # Listening.

    def _listen(self, listener: _Listener) -> None:
        if self._closing:
            listener.socket.close()
            raise FailedPrecondition("the server is closed")
        self._limits = fitted_to(self._limits, raise_open_files_limit())
        self._listeners.append(listener)
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.socket, self._accept, listener)
        if self._housekeeping is None:
            self._start_housekeeping()

    def _stop_listening(self, listener: _Listener) -> None:
        asyncio.get_running_loop().remove_reader(listener.socket)
        listener.socket.close()
        path = listener.path
        # Another process may have put its own socket there meanwhile.
        with suppress(OSError):
            if path is not None and path.stat().st_ino == listener.inode:
                path.unlink()

    def _accept(self, listener: _Listener) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, address = listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._pause(listener, error)
                return
            try:
                sock.setblocking(False)
                self._admit(listener, sock, address)
            except OSError:
                sock.close()  # the peer went away before it could be looked at

    def _pause(self, listener: _Listener, error: OSError) -> None:
        log.error("accept_paused", error=error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.socket)
        loop.call_later(_ACCEPT_PAUSE_SECONDS, self._resume, listener)

    def _resume(self, listener: _Listener) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener.socket, self._accept, listener)

    def _admit(self, listener: _Listener, sock: socket.socket, address: object) -> None:
        if listener.path is not None:
            peer = Peer(address="@", unix=unix_peer(sock))
            key: object = peer.unix.uid if peer.unix else None
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host, port = address[:2] if isinstance(address, tuple) else ("", 0)
            peer = Peer(address=join_host_port(host, port))
            key = peer_key(host)
        limits = self._limits
        full = self.connections >= limits.connections and not self._make_room_for(key)
        if full or self._open[key] >= limits.connections_per_peer:
            self._turned_away += 1
            sock.close()
            return
        self._open[key] += 1
        self._open_count += 1
        if listener.tls is None:
            connection = self._connection(listener, peer, key)
            self._begin(
                connection,
                SocketTransport(sock, connection, write_buffer_bytes=limits.write_buffer_bytes),
            )
        else:
            self._handshakes.create(self._shake_hands(listener, listener.tls, sock, peer, key))

    def _make_room_for(self, newcomer: object) -> bool:
        """With all places taken, one who has few gets one of the peer who has most."""
        few = self._open.get(newcomer, 0)
        [(heaviest, many)] = self._open.most_common(1)
        if few > _FEW_CONNECTIONS or many <= few + 1:
            return False
        for connection, handshake in self._shaking_hands.items():  # the oldest first
            if connection.peer_key == heaviest:
                del self._shaking_hands[connection]
                self._leave(heaviest)  # now: others may come before the task hears of its end
                handshake.cancel()
                self._made_room += 1
                return True
        theirs = [each for each in self._connections if each.peer_key == heaviest]
        if theirs:
            self._end_some([min(theirs, key=_use)], "all places are taken")
            self._made_room += 1
        return bool(theirs)

    # Connections.

    def _connection(self, listener: _Listener, peer: Peer, key: object) -> ServerConnection:
        def lost(connection: ServerConnection) -> None:
            self._connections.discard(connection)
            self._leave(key)
            if not self._connections:
                self._empty.set()

        return ServerConnection(
            methods=self._methods,
            peer=peer,
            limits=self._limits,
            clock=self._clock,
            handling=Handling(self._calls, self._authorize, self._observe),
            max_age=listener.max_age,
            lost=lost,
            peer_key=key,
        )

    def _begin(self, connection: ServerConnection, transport: SocketTransport) -> None:
        self._connections.add(connection)
        transport.start()

    def _leave(self, key: object) -> None:
        self._open_count -= 1
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    async def _shake_hands(
        self,
        listener: _Listener,
        tls: Callable[[], ssl.SSLContext],
        sock: socket.socket,
        peer: Peer,
        key: object,
    ) -> None:
        """Finish the TLS handshake, check the client's chain, then begin with HTTP/2."""
        transport: TlsTransport | None = None
        begun = False
        connection = self._connection(listener, peer, key)
        task = asyncio.current_task()
        assert task is not None
        self._shaking_hands[connection] = task
        try:
            transport = TlsTransport(
                sock,
                connection,
                write_buffer_bytes=self._limits.write_buffer_bytes,
                context=_made(tls),
                server_side=True,
            )
            async with asyncio.timeout(self._limits.handshake_timeout):
                await transport.handshake()
            chain = verified_chain(transport.tls)
            identity = listener.verify_peer(chain) if chain and listener.verify_peer else None
            connection.peer = Peer(address=peer.address, identity=identity, tls=True)
            if not self._closing:
                begun = True
                self._begin(connection, transport)
        except (OSError, SpireError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            log.debug("tls_handshake_failed", peer=peer.address, error=str(error))
        finally:
            counts = self._shaking_hands.pop(connection, None) is not None
            if not begun:
                if counts:
                    self._leave(key)
                if transport is not None:
                    transport.discard()
                else:
                    sock.close()

    # Time.

    def _start_housekeeping(self) -> None:
        loop = asyncio.get_running_loop()
        self._housekeeping = loop.create_task(self._keep_house(), name="grpc housekeeping")
        self._housekeeping.add_done_callback(self._housekeeping_ended)

    def _housekeeping_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._closing:
            return
        # Without it no bound of time would hold any more.
        log.error("housekeeping_failed", exc_info=task.exception())
        self._start_housekeeping()

    async def _keep_house(self) -> None:
        while True:
            await self._clock.sleep(_HOUSEKEEPING)
            now = self._clock.monotonic()
            for connection in tuple(self._connections):
                connection.tick(now)
            self._shed()
            # Told once a second: a line for each would be a flood itself.
            if self._turned_away:
                log.warning("connections_refused", count=self._turned_away)
                self._turned_away = 0
            if self._made_room:
                log.warning("connections_ended_for_others", count=self._made_room)
                self._made_room = 0

    def _shed(self) -> None:
        """Where memory grows too much, end connections of the peer that holds most of it."""
        held = sum(connection.held_bytes for connection in self._connections)
        while self._connections and held > self._limits.held_bytes:
            by_peer: Counter[object] = Counter()
            for connection in self._connections:
                by_peer[connection.peer_key] += connection.held_bytes
            [(heaviest, _)] = by_peer.most_common(1)
            worst = sorted(
                (each for each in self._connections if each.peer_key == heaviest),
                key=lambda each: each.held_bytes,
                reverse=True,
            )
            ended = worst[: max(1, len(worst) // 8)]
            reason = "memory grows too much"
            address = ended[0].peer.address
            log.warning("connections_ended", reason=reason, peer=address, count=len(ended))
            held -= self._end_some(ended, reason)

    def _end_some(self, connections: Sequence[ServerConnection], reason: str) -> int:
        """End connections at once; the bytes they held."""
        freed = 0
        for connection in connections:
            freed += connection.held_bytes
            connection.fail(ErrorCode.ENHANCE_YOUR_CALM, reason)
            connection.transport.abort()
        return freed


def _use(connection: ServerConnection) -> tuple[bool, float]:
    """Orders connections: the longest idle first, the oldest with a call last."""
    if connection.streams:
        return True, -connection.opened_at
    return False, connection.idle_since


def _made(tls: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context; where there is none nobody gets in, and that is no peer's fault."""
    try:
        return tls()
    except SpireError as error:
        log.error("tls_context_failed", error=error.message)
        raise
