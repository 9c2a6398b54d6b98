"""The system bus: one connection for all who ask, made anew when it is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from spire_py_plugins.workload_attestor.systemd.connection import BusConnection, ConnectionLost

T = TypeVar("T")

_ADDRESS_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"
_USUAL_ADDRESS = "unix:path=/var/run/dbus/system_bus_socket"


class SystemBus:
    """Connects at the first use. `DBUS_SYSTEM_BUS_ADDRESS` says where to, as it does for SPIRE."""

    def __init__(self) -> None:
        self._connection: BusConnection | None = None
        self._connecting = asyncio.Lock()

    async def run(self, work: Callable[[BusConnection], Awaitable[T]]) -> T:
        """Do work that only asks, and once more where a connection from before turns out lost.

        Raises:
            Unavailable: there is no bus.
        """
        before = self._connection
        connection = await self._connected()
        try:
            return await work(connection)
        except ConnectionLost:
            if connection is not before:
                raise
        return await work(await self._connected())

    async def _connected(self) -> BusConnection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                addresses = os.environ.get(_ADDRESS_VARIABLE) or _USUAL_ADDRESS
                self._connection = await BusConnection.open(addresses)
            return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
