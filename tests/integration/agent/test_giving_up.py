"""How long an agent goes on trying to attest (feature O12)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from spire_py.errors import Internal, SpireError
from tests.integration.agent.world import World

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def failing(world: World) -> World:
    """An agent whose server is there, and fails."""
    world.server.attest_error = Internal("failed to attest: the API server is away")
    return world


async def tries_for(world: World, task: asyncio.Task[None], limit: timedelta) -> timedelta:
    """Let time pass until the agent ends, or for as long as `limit`."""
    begun = world.clock.now()
    while not task.done() and world.clock.now() - begun < limit:
        resting = asyncio.create_task(world.clock.sleepers(1))
        await asyncio.wait((task, resting), return_when=asyncio.FIRST_COMPLETED)
        resting.cancel()
        if not task.done():
            await world.clock.advance(timedelta(seconds=1))
    return world.clock.now() - begun


async def test_it_is_a_minute(failing: World) -> None:
    task = failing.start()
    # The last try is the last that begins within the minute: waits are 5, 7.5, 11.3 and 16.9 s.
    assert timedelta(seconds=30) < await tries_for(failing, task, 10 * MINUTE) <= MINUTE
    with pytest.raises(Internal):
        await task


async def test_it_is_a_day_where_the_agent_may_begin_anew(failing: World) -> None:
    failing.bootstrap += '\nrebootstrap_mode = "auto"'
    task = failing.start()
    assert await tries_for(failing, task, 10 * MINUTE) == 10 * MINUTE
    task.cancel()
    with suppress(asyncio.CancelledError, SpireError):
        await task


async def test_a_server_that_is_not_there_is_waited_for(world: World) -> None:
    await world.server.stop()
    task = world.start()
    assert await tries_for(world, task, 10 * MINUTE) == 10 * MINUTE
    await world.server.start()
    await tries_for(world, task, MINUTE)
    assert world.server.serials
    task.cancel()
    with suppress(asyncio.CancelledError, SpireError):
        await task
