"""Anyone may ask for the agent's health, which costs it a connection to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from spire_py._proto import workload_pb2
from spire_py.agent.health import WorkloadAPIProbe
from spire_py.errors import PermissionDenied
from spire_py.transport import CallContext, Server, Service
from tests.integration.transport.echo import until

CALLERS = 100


class SlowWorkloadAPI:
    """Answers once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.calls = 0

    async def fetch_x509svid(
        self, _request: workload_pb2.X509SVIDRequest, _context: CallContext
    ) -> AsyncIterator[bytes]:
        self.calls += 1
        await self.may_answer.wait()
        if self.may_answer.is_set():
            raise PermissionDenied("no identity issued")
        yield b""


async def test_many_who_ask_at_once_cost_one_connection(socket_path: Path) -> None:
    api = SlowWorkloadAPI()
    server = Server([Service(workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"], api)])
    await server.listen_unix(socket_path, mode=0o600, directory_mode=0o755)
    try:
        probe = WorkloadAPIProbe(socket_path)
        asked = [asyncio.create_task(probe.is_healthy()) for _ in range(CALLERS)]
        await until(lambda: api.calls > 0)
        for impatient in asked[: CALLERS // 2]:
            impatient.cancel()
        await asyncio.wait(asked[: CALLERS // 2])
        assert (server.connections, api.calls) == (1, 1)
        api.may_answer.set()
        assert all(await asyncio.gather(*asked[CALLERS // 2 :]))
        assert await probe.is_healthy()
        assert api.calls == 2
    finally:
        await server.aclose(timedelta())
