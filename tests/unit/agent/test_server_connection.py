from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spire_py.agent.attestation import fetch_bundle_over
from spire_py.agent.rebootstrap import is_unknown_authority
from spire_py.agent.server_connection import ServerAddress, open_channel, open_insecure_channel
from spire_py.errors import Unavailable
from spire_py.spiffe.bundle import Bundle
from tests.fakes.spire_server import FakeSpireServer
from tests.unit.agent.builders import EXAMPLE, OTHER, Authority


@pytest.fixture
async def server() -> AsyncIterator[FakeSpireServer]:
    server = FakeSpireServer()
    await server.start()
    yield server
    await server.stop()


def address(server: FakeSpireServer) -> ServerAddress:
    return ServerAddress("127.0.0.1", server.port, EXAMPLE)


async def fetch(server: FakeSpireServer, bundle: Bundle) -> Bundle:
    channel = open_channel(address(server), bundle=lambda: bundle)
    try:
        return await fetch_bundle_over(channel, EXAMPLE)
    finally:
        await channel.aclose()


async def test_the_server_is_known_by_its_bundle_and_its_id(server: FakeSpireServer) -> None:
    assert await fetch(server, server.bundle) == server.bundle


async def test_a_bundle_that_changed_counts_for_the_next_connection(
    server: FakeSpireServer,
) -> None:
    bundles = [Authority().bundle]
    channel = open_channel(address(server), bundle=lambda: bundles[0])
    with pytest.raises(Unavailable):
        await fetch_bundle_over(channel, EXAMPLE)
    bundles[0] = server.bundle
    assert await fetch_bundle_over(channel, EXAMPLE) == server.bundle
    await channel.aclose()


async def test_an_unknown_authority_is_told_from_other_failures(server: FakeSpireServer) -> None:
    with pytest.raises(Unavailable) as unknown:
        await fetch(server, Authority().bundle)
    assert is_unknown_authority(unknown.value)
    await server.stop()
    with pytest.raises(Unavailable) as away:
        await fetch(server, server.bundle)
    assert not is_unknown_authority(away.value)


@pytest.mark.parametrize("insecure", [False, True])
async def test_a_workload_is_not_taken_for_the_server(insecure: bool) -> None:
    server = FakeSpireServer(server_path="/workload")
    await server.start()
    channel = (
        open_insecure_channel(address(server))
        if insecure
        else open_channel(address(server), bundle=lambda: server.bundle)
    )
    with pytest.raises(Unavailable, match=r"spiffe://example\.org/workload"):
        await fetch_bundle_over(channel, EXAMPLE)
    await channel.aclose()
    await server.stop()


async def test_the_server_of_another_trust_domain_is_refused() -> None:
    server = FakeSpireServer(OTHER)
    await server.start()
    channel = open_channel(address(server), bundle=lambda: server.bundle)
    with pytest.raises(Unavailable):
        await fetch_bundle_over(channel, EXAMPLE)
    await channel.aclose()
    await server.stop()


def test_the_address_names_the_only_id_to_talk_to() -> None:
    assert str(ServerAddress("s", 1, EXAMPLE).server_id) == "spiffe://example.org/spire/server"
