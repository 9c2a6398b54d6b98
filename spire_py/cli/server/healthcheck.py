"""`spire-server healthcheck` (feature E3)."""

from __future__ import annotations

from spire_py.cli.command import Command
from spire_py.cli.flags import Flags
from spire_py.cli.health import HEALTH_FLAGS, check_health
from spire_py.cli.sockets import SERVER_SOCKET


async def _check(flags: Flags) -> int:
    path = SERVER_SOCKET.resolve(flags)
    return await check_health("server", path, flags, failure_prefix="Error: server is unhealthy: ")


HEALTHCHECK = Command(
    "healthcheck",
    "Tells whether the server is healthy",
    (*SERVER_SOCKET.flags(), *HEALTH_FLAGS),
    _check,
)
