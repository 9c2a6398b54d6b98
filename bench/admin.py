"""The few calls that the bench itself makes: create entries, ask for health."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from spire_py._proto.grpc import health_pb2
from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.errors import SpireError
from spire_py.transport import Channel
from tests.integration.daemons import TRUST_DOMAIN

_HEALTHY_WITHIN_SECONDS = 30.0


def create_entry(server_socket: Path, name: str) -> float:
    """An entry for this user below the agent; returns the Unix time at which it was there.

    Raises:
        RuntimeError: it was refused.
    """
    return asyncio.run(_create_entry(server_socket, name))


async def _create_entry(server_socket: Path, name: str) -> float:
    entry = types_pb2.Entry(
        parent_id=types_pb2.SPIFFEID(trust_domain=TRUST_DOMAIN, path="/node"),
        spiffe_id=types_pb2.SPIFFEID(trust_domain=TRUST_DOMAIN, path=f"/{name}"),
        selectors=[types_pb2.Selector(type="unix", value=f"uid:{os.getuid()}")],
    )
    channel = Channel.unix(server_socket)
    try:
        answer = await channel.unary(
            "/spire.api.server.entry.v1.Entry/BatchCreateEntry",
            entry_pb2.BatchCreateEntryRequest(entries=[entry]),
            entry_pb2.BatchCreateEntryResponse,
            timeout=30,
        )
    finally:
        await channel.aclose()
    created_at = time.time()
    if answer.results[0].status.code:
        raise RuntimeError(answer.results[0].status.message)
    return created_at


def wait_until_healthy(socket: Path) -> None:
    """Ask the daemon behind `socket` until it says that it serves.

    Raises:
        RuntimeError: it did not for long.
    """
    asyncio.run(_wait_until_healthy(socket))


async def _wait_until_healthy(socket: Path) -> None:
    give_up_at = time.monotonic() + _HEALTHY_WITHIN_SECONDS
    while time.monotonic() < give_up_at:
        if socket.exists() and await _is_healthy(socket):
            return
        await asyncio.sleep(0.002)
    raise RuntimeError(f"nothing healthy at {socket}")


async def _is_healthy(socket: Path) -> bool:
    channel = Channel.unix(socket)
    try:
        answer = await channel.unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(),
            health_pb2.HealthCheckResponse,
            timeout=5,
        )
    except SpireError:
        return False
    finally:
        await channel.aclose()
    return answer.status == health_pb2.HealthCheckResponse.SERVING
