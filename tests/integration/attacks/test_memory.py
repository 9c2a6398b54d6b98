"""Peers that make a server hold what they sent, or the start of a call, in many connections."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import SpireError
from spire_py.transport import Channel, Limits, Server
from tests.fakes.clock import FakeClock
from tests.integration.transport.echo import UNARY, Echo, serving, until
from tests.integration.transport.raw import (
    DATA,
    ENHANCE_YOUR_CALM,
    RawClient,
    frame,
    goaway_code,
    headers,
    raw_client,
    raw_tcp_client,
)

SECOND = timedelta(seconds=1)
CONNECTIONS = 8
PATIENT = {"keepalive_interval": 1e9, "keepalive_timeout": 1e9, "idle_timeout": None}


def half_a_message(stream: int, size: int) -> bytes:
    start = b"\0" + struct.pack(">I", 4_000_000)
    data = frame(DATA, 0, stream, start + b"x" * (size - len(start)))
    return headers(stream) + data


HALF_SENT = [half_a_message(1, 16_000)]
HALF_OPEN = [headers(stream) for stream in range(1, 201, 2)]


@asynccontextmanager
async def two_peers(
    path: Path, clock: FakeClock, limits: Limits
) -> AsyncIterator[tuple[Server, RawClient, list[RawClient]]]:
    """A server with an honest peer, by its uid, and an attacker's connections from one address."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(path, limits=limits, clock=clock))
        _, port = await server.listen_tcp(
            "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=None
        )
        honest = await stack.enter_async_context(raw_client(path))
        honest.hello()
        assert await honest.alive(1)
        attackers = [
            await stack.enter_async_context(raw_tcp_client(port)) for _ in range(CONNECTIONS)
        ]
        yield server, honest, attackers


@pytest.mark.parametrize("attack", [HALF_SENT, HALF_OPEN], ids=["half sent", "half open"])
async def test_the_peer_that_holds_most_loses_connections_and_no_other(
    socket_path: Path, attack: list[bytes]
) -> None:
    clock = FakeClock()
    limits = Limits(held_bytes=60_000, **PATIENT)  # type: ignore[arg-type]
    async with two_peers(socket_path, clock, limits) as (server, honest, attackers):
        for attacker in attackers:
            attacker.hello()
            attacker.send(*attack)
        honest.send(half_a_message(3, 10_000))
        await until(lambda: sum(each.held_bytes for each in server._connections) > 90_000)
        await clock.advance(SECOND)
        assert sum(each.held_bytes for each in server._connections) <= 60_000
        assert await honest.alive(5)


async def test_the_requests_of_handlers_that_run_are_held_too(socket_path: Path) -> None:
    clock, echo = FakeClock(), Echo()
    limits = Limits(held_bytes=100_000, **PATIENT)  # type: ignore[arg-type]
    async with serving(socket_path, echo, limits=limits, clock=clock) as server:
        channel = Channel.unix(socket_path)
        # A field that the message does not have is kept with it.
        request = BytesValue(value=b"hang")
        request.MergeFromString(b"\x12" + struct.pack("<BBB", 0xE0, 0xD4, 0x03) + b"x" * 60_000)
        waiting = asyncio.create_task(channel.unary(UNARY, request, BytesValue, timeout=20))
        await echo.started.wait()
        assert sum(each.held_bytes for each in server._connections) > 120_000
        await clock.advance(SECOND)
        with pytest.raises(SpireError):
            await waiting
        await until(lambda: server.calls == 0)
        await channel.aclose()


async def test_what_a_server_may_well_hold_costs_nobody_a_connection(socket_path: Path) -> None:
    clock = FakeClock()
    limits = Limits(held_bytes=10_000_000, **PATIENT)  # type: ignore[arg-type]
    async with two_peers(socket_path, clock, limits) as (server, honest, attackers):
        for attacker in attackers:
            attacker.hello()
            attacker.send(*HALF_SENT)
        await until(lambda: sum(each.held_bytes for each in server._connections) > 100_000)
        await clock.advance(SECOND)
        assert server.connections == CONNECTIONS + 1
        assert await honest.alive(3)


async def test_all_peers_together_are_bounded(socket_path: Path) -> None:
    """Where nobody holds little, everybody is heaviest in turn."""
    clock = FakeClock()
    async with two_peers(
        socket_path,
        clock,
        Limits(held_bytes=0, **PATIENT),  # type: ignore[arg-type]
    ) as (server, honest, attackers):
        for client in attackers:
            client.hello()
            client.send(*HALF_SENT)
        honest.send(half_a_message(3, 16_000))
        await until(lambda: sum(each.held_bytes for each in server._connections) > 140_000)
        await clock.advance(SECOND)
        await until(lambda: not sum(each.held_bytes for each in server._connections))
        assert goaway_code(await attackers[0].read_all()) == ENHANCE_YOUR_CALM
