"""How long an agent goes on trying to attest (feature O12)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from spire_py.errors import SpireError, Unavailable
from tests.integration.agent.world import World

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def away() -> AsyncIterator[World]:
    """An agent whose server is not there."""
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        made = World(Path(folder))
        await made.server.start()
        await made.server.stop()
        yield made


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


async def test_it_is_a_minute(away: World) -> None:
    task = away.start()
    # The last try is the last that begins within the minute: waits are 5, 7.5, 11.3 and 16.9 s.
    assert timedelta(seconds=30) < await tries_for(away, task, 10 * MINUTE) <= MINUTE
    with pytest.raises(Unavailable):
        await task


async def test_it_is_a_day_where_the_agent_may_begin_anew(away: World) -> None:
    away.bootstrap += '\nrebootstrap_mode = "auto"'
    task = away.start()
    assert await tries_for(away, task, 10 * MINUTE) == 10 * MINUTE
    task.cancel()
    with suppress(asyncio.CancelledError, SpireError):
        await task
