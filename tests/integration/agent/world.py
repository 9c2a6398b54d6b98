"""A whole agent of ours with a fake server, and time that tests move."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from spire_py._proto import workload_pb2
from spire_py.agent.run import run_agent
from spire_py.config.agent import AgentConfig, load_agent_config
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import (
    SpireError,
)
from spire_py.transport import Channel
from tests.fakes.clock import FakeClock
from tests.fakes.spire_server import FakeSpireServer

HEADER = (("workload.spiffe.io", "true"),)
ME = f"unix:uid:{os.geteuid()}"
TOKEN = "11111111-2222-4333-8444-555555555555"

AT_REST = 4
"""How many of an agent's tasks sleep when it has nothing to do."""

_CONFIG = """
agent {{
  trust_domain = "example.org"
  data_dir = "{folder}/data"
  server_address = "127.0.0.1"
  server_port = {port}
  socket_path = "{folder}/public/api.sock"
  admin_socket_path = "{folder}/admin/admin.sock"
  join_token = "{token}"
  {bootstrap}
}}
plugins {{
  KeyManager "disk" {{ plugin_data {{ directory = "{folder}/data" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
{more}
"""


class World:
    """One agent's folder, its clock and its server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "public" / "api.sock"
        self.admin = folder / "admin" / "admin.sock"
        self.clock = FakeClock(datetime.now(UTC))
        self.server = FakeSpireServer(now=self.clock.now)
        self.server.tokens.add(TOKEN)
        self.bootstrap = f'trust_bundle_path = "{folder}/bundle"'
        self.more = ""
        self.write_bundle(certificates_to_pem([self.server.certificate]))

    def write_bundle(self, text: str) -> None:
        (self.folder / "bundle").write_text(text)

    def config(self) -> AgentConfig:
        path = self.folder / "agent.conf"
        path.write_text(
            _CONFIG.format(
                folder=self.folder,
                port=self.server.port,
                token=TOKEN,
                bootstrap=self.bootstrap,
                more=self.more,
            )
        )
        return load_agent_config(path)

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(run_agent(self.config(), clock=self.clock))

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[asyncio.Task[None]]:
        """A running agent, its socket open."""
        task = self.start()
        try:
            await self.clock.sleepers(AT_REST)
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, SpireError):
                await task

    async def pass_time(self, duration: timedelta, step: timedelta = timedelta(seconds=5)) -> None:
        """Let time pass in steps, and the agent finish after each what it has begun."""
        for _ in range(duration // step):
            await self.clock.advance(step)
            await self.clock.sleepers(AT_REST)

    @property
    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "data" / "agent-data.json").read_text())
        return found

    @asynccontextmanager
    async def workload(self) -> AsyncIterator[Channel]:
        channel = Channel.unix(self.socket)
        try:
            yield channel
        finally:
            await channel.aclose()

    async def fetch(self, method: str, request: Message, response: type[Message]) -> Any:
        async with (
            self.workload() as channel,
            channel.server_stream(
                f"/SpiffeWorkloadAPI/{method}", request, response, timeout=20, metadata=HEADER
            ) as messages,
        ):
            return await anext(messages)

    async def administer(self, method: str, request: Message, response: type[Message]) -> Any:
        channel = Channel.unix(self.admin)
        try:
            return await channel.unary(f"/{method}", request, response, timeout=20)
        finally:
            await channel.aclose()

    async def ids(self) -> list[str]:
        response = await self.fetch(
            "FetchX509SVID", workload_pb2.X509SVIDRequest(), workload_pb2.X509SVIDResponse
        )
        return [svid.spiffe_id for svid in response.svids]

    async def call(self, method: str, request: Message, response: type[Message]) -> Any:
        async with self.workload() as channel:
            return await channel.unary(
                f"/SpiffeWorkloadAPI/{method}", request, response, timeout=20, metadata=HEADER
            )
