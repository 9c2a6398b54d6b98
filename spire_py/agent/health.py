"""Whether the agent does its work, found out as a workload would (feature C31)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from spire_py._proto import workload_pb2
from spire_py.agent.api.caller import SECURITY_HEADER
from spire_py.errors import PermissionDenied, SpireError
from spire_py.telemetry.health import HealthState
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel

log = get_logger("health")

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
_TIMEOUT_SECONDS = 10.0


class WorkloadAPIProbe:
    """Calls the agent's own socket.

    That the agent itself has no identity there is what is to be expected, and is healthy.
    """

    def __init__(self, socket_path: Path | None) -> None:
        self._socket_path = socket_path
        self.started = False
        """Set once the socket is open."""
        self.obstacle: Callable[[], str] = str
        """Tells what the start has met with; empty where nothing is known."""
        self._search: asyncio.Task[str] | None = None

    async def fault(self) -> str:
        """What is wrong; empty where nothing is.

        Whoever asks while somebody else's answer is under way shares it: anyone may ask, and each
        search takes a connection of the agent's own.
        """
        if self._socket_path is None:
            return ""
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._find_fault(self._socket_path))
        return await asyncio.shield(self._search)

    async def _find_fault(self, socket_path: Path) -> str:
        try:
            async with (
                aclosing(Channel.unix(socket_path)) as channel,
                channel.server_stream(
                    _METHOD,
                    workload_pb2.X509SVIDRequest(),
                    workload_pb2.X509SVIDResponse,
                    timeout=_TIMEOUT_SECONDS,
                    metadata=[(SECURITY_HEADER, "true")],
                ) as messages,
            ):
                await anext(aiter(messages))
        except PermissionDenied:
            return ""
        except StopAsyncIteration:
            return "workload api ended the stream"
        except SpireError as error:
            return str(error)
        return ""

    def _not_yet(self) -> dict[str, str]:
        obstacle = self.obstacle()
        # The first is SPIRE's.
        details = {"make_new_x509_err": "workload api is unavailable"}
        return {**details, "start": obstacle} if obstacle else details

    async def is_healthy(self) -> bool:
        """For gRPC's health service."""
        fault = await self.fault()
        if fault:
            reason = "unable to fetch X.509 context from Workload API"
            log.warning("Health check failed", reason=reason, error=fault)
        return not fault

    async def state(self) -> HealthState:
        """For the health listener."""
        if not self.started:
            return HealthState(
                live=True,
                ready=False,
                started=False,
                live_details={},
                ready_details=self._not_yet(),
            )
        fault = await self.fault()
        details = {"make_new_x509_err": fault} if fault else {}
        return HealthState(
            live=not fault,
            ready=not fault,
            started=True,
            live_details=details,
            ready_details=details,
        )
