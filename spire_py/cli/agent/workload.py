"""Commands that call the Workload API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from spire_py.cli.command import Command
from spire_py.cli.connection import Connection, connect
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import OUTPUT_FLAG
from spire_py.cli.sockets import AGENT_SOCKET

SERVICE = "/SpiffeWorkloadAPI"
HEADER = (("workload.spiffe.io", "true"),)
_TIMEOUT_FLAG = Flag("timeout", "Time to wait for a response", Kind.DURATION, default="5s")


def workload_command(
    name: str,
    synopsis: str,
    flags: Sequence[Flag],
    run: Callable[[Flags, Connection], Awaitable[int]],
    *,
    bounded: bool = True,
) -> Command:
    """A command that needs a connection to the agent; `bounded` ones take `-timeout`, `-output`."""

    async def connected(given: Flags) -> int:
        async with connect(AGENT_SOCKET.resolve(given), HEADER, error_prefix="") as agent:
            return await run(given, agent)

    shared = (_TIMEOUT_FLAG, OUTPUT_FLAG) if bounded else ()
    return Command(name, synopsis, (*AGENT_SOCKET.flags(), *shared, *flags), connected, "")


def timeout_seconds(flags: Flags) -> float | None:
    """What `-timeout` says; None, for ever, where it says 0 or less."""
    seconds = flags.duration("timeout").total_seconds()
    return seconds if seconds > 0 else None
