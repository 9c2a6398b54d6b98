"""`spire-agent healthcheck` (feature F3)."""

from __future__ import annotations

from spire_py.cli.command import Command
from spire_py.cli.flags import Flags
from spire_py.cli.health import HEALTH_FLAGS, check_health
from spire_py.cli.sockets import AGENT_SOCKET


async def _check(flags: Flags) -> int:
    path = AGENT_SOCKET.resolve(flags)
    return await check_health("agent", path, flags, failure_prefix="Agent is unhealthy: ")


HEALTHCHECK = Command(
    "healthcheck",
    "Tells whether the agent is healthy",
    (*AGENT_SOCKET.flags(), *HEALTH_FLAGS),
    _check,
)
