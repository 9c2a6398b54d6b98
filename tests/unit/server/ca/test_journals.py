"""How long the journal of a server that is gone is kept (feature L13)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.unit.server.ca.conftest import World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def journals(world: World) -> int:
    return len(await world.store.list_ca_journals())


async def test_it_is_kept_for_two_weeks_after_its_authorities_have_expired(world: World) -> None:
    await world.start("gone")
    await world.clock.advance(14 * DAY)
    server = await world.start("first")
    # Its authorities lived for a day.
    await world.clock.advance(DAY - HOUR)
    await server.manager.rotate()
    await server.manager.prune_journals()
    assert await journals(world) == 2
    await world.clock.advance(2 * HOUR)
    await server.manager.prune_journals()
    assert await journals(world) == 1


async def test_a_running_manager_looks_every_eight_hours(world: World) -> None:
    await world.start("gone")
    world.clock.jump(20 * DAY)
    server = await world.start("first")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.manager.run())
        await world.clock.sleepers(3)
        await world.clock.advance(8 * HOUR - timedelta(seconds=1))
        await world.clock.sleepers(3)
        assert await journals(world) == 2
        await world.clock.advance(timedelta(seconds=1))
        await world.clock.sleepers(3)
        running.cancel()
    assert await journals(world) == 1
