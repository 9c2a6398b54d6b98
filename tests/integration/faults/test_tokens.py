"""A join token is good for one agent, however many try at once and wherever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from spire_py.errors import InvalidArgument
from spire_py.transport import Channel
from tests.integration.daemons import Stack
from tests.integration.faults.clients import Identity, create_token, port, race, roots_of
from tests.integration.faults.faults import content, database

ROUNDS = 15
RACERS = 4


@pytest.fixture
async def pair(stack: Stack) -> AsyncIterator[tuple[Stack, Stack]]:
    """Two servers on one database."""
    stack.server_keys = "ratelimit { attestation = false }"
    stack.start_server()
    folder = stack.folder / "second"
    folder.mkdir()
    (folder / "server-data").mkdir()
    second = replace(stack, folder=folder, port=0, processes=[])
    (folder / "server-data" / "datastore.sqlite3").symlink_to(database(stack))
    try:
        second.start_server()
        yield stack, second
    finally:
        second.close()


async def test_one_of_many_racers_wins(stack: Stack) -> None:
    stack.server_keys = "ratelimit { attestation = false }"
    stack.start_server()
    await _race_in_rounds(stack, [stack] * RACERS)


async def test_one_of_many_racers_at_two_servers_wins(pair: tuple[Stack, Stack]) -> None:
    await _race_in_rounds(pair[0], [pair[0], pair[1]] * (RACERS // 2))


async def _race_in_rounds(stack: Stack, servers: list[Stack]) -> None:
    async with AsyncExitStack() as resources:
        roots = [root for server in servers for root in await roots_of(server)]
        channels: list[Channel] = [
            await resources.enter_async_context(port(server, roots=roots)) for server in servers
        ]
        for number in range(ROUNDS):
            channels = channels[1:] + channels[:1]
            token = await create_token(servers[number % len(servers)])
            outcomes = await race(*channels, token=token)
            winners = [each for each in outcomes if isinstance(each, Identity)]
            assert len(winners) == 1, outcomes
            for loser in outcomes:
                if not isinstance(loser, Identity):
                    assert isinstance(loser, InvalidArgument), loser
                    assert "does not exist or has already been used" in loser.message
    assert len(content(stack)["attested_node_entries"]) == ROUNDS
    assert content(stack)["join_tokens"] == []
