"""A fake server's services on a Unix socket, and a channel to them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from spire_py.transport import Channel, Server, Service


@asynccontextmanager
async def served(services: Sequence[Service]) -> AsyncIterator[Path]:
    """The path of a socket that offers these services."""
    server = Server(services)
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        path = Path(folder) / "s.sock"
        await server.listen_unix(path, mode=0o700, directory_mode=0o700)
        try:
            yield path
        finally:
            await server.aclose(timedelta())


@asynccontextmanager
async def channel_to(service: Service) -> AsyncIterator[Channel]:
    """A channel to one service."""
    async with served([service]) as path:
        channel = Channel.unix(path)
        try:
            yield channel
        finally:
            await channel.aclose()
