"""WorkloadAttestor `systemd`: the unit that a process belongs to (feature J14)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jeepney import DBusAddress, new_method_call

from spire_py.errors import Internal, Unavailable
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py_plugins.workload_attestor.systemd.bus import SystemBus
from spire_py_plugins.workload_attestor.systemd.connection import BusConnection, ConnectionLost
from spire_py_plugins.workload_attestor.systemd.framing import BadAnswer

_TYPE = "systemd"
_SERVICE = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _SERVICE, "org.freedesktop.systemd1.Manager")
_UNIT = "org.freedesktop.systemd1.Unit"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_MAX_ID = 255
_MAX_PATH = 4096
_MAX_PID = 2**31 - 1
_SECONDS = 10.0
_MAX_AT_ONCE = 64


class SystemdWorkloadAttestor(WorkloadAttestor):
    """Asks systemd, over the system bus, for a process's unit.

    Args:
        seconds: that an attestation may take, from the connection to the last answer.
    """

    def __init__(self, *, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._bus = SystemBus()
        # The system bus lets a connection wait for 128 answers at once.
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        if not 0 < pid <= _MAX_PID:
            # For systemd 0 is whoever asks: the agent itself.
            raise Internal(f"invalid value for PID: {pid}")
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                return await self._bus.run(lambda connection: _attest(connection, pid))
        except TimeoutError as error:
            raise Internal(
                f"failed to get unit by pid {pid}: no answer within {self._seconds:g} s"
            ) from error
        except ConnectionLost as error:
            raise Internal(f"failed to get unit by pid {pid}: {error.message}") from error
        except Unavailable as error:
            raise Internal(f"failed to open dbus connection: {error.message}") from error

    async def check_surroundings(self) -> Sequence[str]:
        try:
            # Of systemd's processes, itself is the one that is always there.
            await self.attest(1)
        except Internal as error:
            needed = "the host's system bus, in a pod mounted, and hostPID: true"
            return [f"{error.message}; the agent needs {needed}"]
        return ()

    async def aclose(self) -> None:
        self._bus.close()


async def _attest(connection: BusConnection, pid: int) -> tuple[Selector, ...]:
    unit = await _unit(connection, pid)
    unit_id = await _property(connection, unit, "Id", _MAX_ID)
    path = await _property(connection, unit, "FragmentPath", _MAX_PATH)
    return Selector(_TYPE, f"id:{unit_id}"), Selector(_TYPE, f"fragment_path:{path}")


async def _unit(connection: BusConnection, pid: int) -> DBusAddress:
    with _named(f"failed to get unit by pid {pid}"):
        answer = await connection.call(new_method_call(_MANAGER, "GetUnitByPID", "u", (pid,)))
        return DBusAddress(answer.object_path(), _SERVICE, _PROPERTIES)


async def _property(connection: BusConnection, unit: DBusAddress, name: str, limit: int) -> str:
    with _named(f"error getting value for {name}"):
        answer = await connection.call(new_method_call(unit, "Get", "ss", (_UNIT, name)))
        value = answer.string_variant()
        if len(value) > limit or "\0" in value:
            raise BadAnswer(f"a value of {len(value)} characters is none that systemd gives")
        return value


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Put SPIRE's words before the reason of a failure."""
    try:
        yield
    except BadAnswer as error:
        raise Internal(f"{what}: {error}") from error
