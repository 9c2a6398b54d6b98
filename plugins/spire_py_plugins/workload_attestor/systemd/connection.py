"""A connection to a message bus, for calls. Nothing runs in the background but the event loop."""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

from jeepney import DBusAddress, new_method_call
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_connectable_addresses
from jeepney.low_level import Message

from spire_py.errors import Unavailable
from spire_py_plugins.workload_attestor.systemd.framing import Answer, BadAnswer, Framer

_MAX_SERIAL = 2**32 - 1
_BUS = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")


class ConnectionLost(Unavailable):
    """The bus is gone. A new connection may find it again."""


class BusConnection(asyncio.Protocol):
    """Sends calls and hands each answer to the task that waits for it.

    Made by `open`. A call that is given up retires the connection: the answer may never come, and
    the bus counts what it owes.
    """

    def __init__(self) -> None:
        self._authenticator: Authenticator | None = Authenticator()
        self._authenticated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._framer = Framer()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._serial = 0
        self._transport: asyncio.Transport | None = None
        self._retired = False

    @classmethod
    async def open(cls, addresses: str) -> Self:
        """Connect to the first of a bus's addresses that works, and say hello.

        Args:
            addresses: as in `DBUS_SYSTEM_BUS_ADDRESS`; those of Unix sockets count.

        Raises:
            Unavailable: none works.
        """
        failures: list[str] = []
        for path in _paths(addresses):
            try:
                return await cls._open(path)
            except OSError as error:
                failures.append(f"{_shown(path)}: {error.strerror or error}")
            except (Unavailable, BadAnswer) as error:
                failures.append(f"{_shown(path)}: {error}")
        raise Unavailable("; ".join(failures))

    @classmethod
    async def _open(cls, path: str) -> Self:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(cls, path)
        try:
            await connection._authenticated  # noqa: SLF001 - our own
            answer = await connection.call(new_method_call(_BUS, "Hello"))
            answer.check()
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def usable(self) -> bool:
        """Whether another call may be made."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not self._retired

    async def call(self, message: Message) -> Answer:
        """Make a call; the answer may be an error.

        Raises:
            ConnectionLost: before the answer came.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLost("the connection to the bus was lost")
        self._serial = self._serial % _MAX_SERIAL + 1
        serial = self._serial
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = answer
        try:
            self._transport.write(message.serialise(serial))
            return await answer
        except asyncio.CancelledError:
            self._retired = True
            raise
        finally:
            del self._waiting[serial]
            if self._retired and not self._waiting:
                self.close()

    def close(self) -> None:
        """Close it; calls that wait get `ConnectionLost`."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._authenticate(b"")

    def data_received(self, data: bytes) -> None:
        try:
            if self._authenticator is not None:
                self._authenticate(data)
                return
            for answer in self._framer.feed(data):
                waiting = self._waiting.get(answer.serial)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except Unavailable as error:
            self._fail(error.message)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - a reason for logs
        self._fail("the connection to the bus was lost")
        self._transport = None

    def _authenticate(self, data: bytes) -> None:
        authenticator, transport = self._authenticator, self._transport
        assert authenticator is not None
        assert transport is not None
        try:
            if data:
                authenticator.feed(data)
        except ValueError as error:
            raise Unavailable("the bus refuses to authenticate us") from error
        if more := authenticator.data_to_send():
            transport.write(more)
        if authenticator.authenticated:
            self._authenticator = None
            transport.write(BEGIN)
            if not self._authenticated.done():
                self._authenticated.set_result(None)

    def _fail(self, reason: str) -> None:
        """Nothing more comes: tell all who wait."""
        everyone: list[asyncio.Future[Any]] = [self._authenticated, *self._waiting.values()]
        for waiting in everyone:
            if not waiting.done():
                waiting.set_exception(ConnectionLost(reason))
                waiting.exception()  # Seen, even if the task that waits has just given up.
        self.close()


def _paths(addresses: str) -> list[str]:
    try:
        return list(get_connectable_addresses(addresses))
    except (ValueError, RuntimeError) as error:
        raise Unavailable(f"{addresses!r} names no Unix socket of a bus") from error


def _shown(path: str) -> str:
    """Abstract names start with a zero byte, which is written as `@`."""
    return path.replace("\0", "@")
