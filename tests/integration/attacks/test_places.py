"""Peers who take all the connections that there may be."""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from spire_py.telemetry.logs import configure_logging
from spire_py.transport import Limits, Server, server_context
from tests.fakes.clock import FakeClock
from tests.integration.transport.certificates import Authority
from tests.integration.transport.echo import serving, until
from tests.integration.transport.raw import RawClient, headers, raw_client, raw_tcp_client

PLACES = 6


@asynccontextmanager
async def full_server(path: Path, *, calls: bool) -> AsyncIterator[tuple[Server, int]]:
    """All places are one address's, each with a call under way or without."""
    limits = Limits(connections=PLACES, connections_per_peer=PLACES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(path, limits=limits))
        _, port = await server.listen_tcp(
            "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=None
        )
        for _ in range(PLACES):
            client = await stack.enter_async_context(raw_tcp_client(port))
            client.hello()
            assert await client.alive(1)
            if calls:
                client.send(headers(3))
        wanted = PLACES if calls else 0
        await until(lambda: sum(len(each.streams) for each in server._connections) == wanted)
        yield server, port


@pytest.mark.parametrize("calls", [True, False], ids=["with calls", "idle"])
async def test_a_newcomer_gets_a_place_of_the_peer_who_has_most(
    socket_path: Path, calls: bool
) -> None:
    async with (
        full_server(socket_path, calls=calls) as (server, _),
        raw_client(socket_path) as first,
        raw_client(socket_path) as second,
    ):
        for client in (first, second):
            client.hello()
            assert await client.alive(1)
        assert server.connections == PLACES


async def served(client: RawClient) -> bool:
    """Whether the server greets the client; it closes the connection of one it refuses."""
    client.hello()
    return await client.read() is not None


async def test_the_peer_who_has_most_gets_no_more(socket_path: Path) -> None:
    async with (
        full_server(socket_path, calls=False) as (server, port),
        raw_client(socket_path) as honest,
    ):
        honest.hello()
        assert await honest.alive(1)
        for _ in range(PLACES):
            async with raw_tcp_client(port) as attacker:
                assert not await served(attacker)
        assert await honest.alive(3)
        assert server.connections == PLACES


async def test_who_only_begins_handshakes_keeps_no_one_out(
    socket_path: Path, authority: Authority
) -> None:
    identity = authority.issue("spiffe://example.org/spire/server")
    context = server_context(chain=[identity.certificate], key=identity.key, roots=[authority.root])
    limits = Limits(connections=PLACES, connections_per_peer=PLACES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(socket_path, limits=limits))
        _, port = await server.listen_tcp(
            "127.0.0.1", 0, tls=lambda: context, verify_peer=None, max_connection_age=None
        )
        silent = [await stack.enter_async_context(raw_tcp_client(port)) for _ in range(PLACES)]
        await until(lambda: server.connections == PLACES)
        for client in [await stack.enter_async_context(raw_client(socket_path)) for _ in "12"]:
            assert await served(client)
        # Those who began first have gone.
        assert [await client.read() for client in silent[:2]] == [None, None]
        assert server.connections == PLACES


async def test_many_at_once_take_no_more_places_than_there_are(
    socket_path: Path, authority: Authority
) -> None:
    identity = authority.issue("spiffe://example.org/spire/server")
    context = server_context(chain=[identity.certificate], key=identity.key, roots=[authority.root])
    limits = Limits(connections=PLACES, connections_per_peer=PLACES)
    most = 0

    def at_accept() -> ssl.SSLContext:
        nonlocal most
        most = max(most, server.connections)
        return context

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(socket_path, limits=limits))
        _, port = await server.listen_tcp(
            "127.0.0.1", 0, tls=at_accept, verify_peer=None, max_connection_age=None
        )
        for address in [*["127.0.0.1"] * PLACES, *(f"127.0.1.{n}" for n in range(1, 21))]:
            if address == "127.0.1.1":
                await until(lambda: len(server._shaking_hands) == PLACES)
            client = stack.enter_context(socket.socket())
            client.bind((address, 0))
            client.connect(("127.0.0.1", port))
        await until(lambda: len(server._open) == PLACES)
        await until(lambda: server.connections == PLACES)
        # Each has one place, and so has he who had all.
        assert set(server._open) >= {"127.0.0.1"}
    assert most == PLACES
    assert server.connections == 0


async def test_who_makes_room_again_and_again_writes_a_line_a_second(socket_path: Path) -> None:
    clock, lines = FakeClock(), io.StringIO()
    configure_logging(stream=lines)
    limits = Limits(connections=PLACES, connections_per_peer=PLACES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(socket_path, limits=limits, clock=clock))
        _, port = await server.listen_tcp(
            "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=None
        )
        for _ in range(20):
            while server.connections < PLACES:
                client = await stack.enter_async_context(raw_tcp_client(port))
                assert await served(client)
            async with raw_client(socket_path) as other:
                assert await served(other)
            await until(lambda: server.connections < PLACES)
        assert "ended" not in lines.getvalue()
        await clock.advance(timedelta(seconds=1))
        assert lines.getvalue().count("connections_ended_for_others") == 1
        assert "count=20" in lines.getvalue()
    configure_logging()
