"""The CA manager without its database or keys, with a clock that jumps, and killed anywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from spire_py.errors import SpireError, Unavailable
from tests.unit.server.ca.conftest import Killed, Server, World
from tests.unit.server.ca.managed import (
    HOUR,
    PUBLIC_KEY,
    WORKLOAD,
    journal,
    jwt_key,
    signs_validly,
    statuses,
    x509_authority,
)


class TestWhileTheDatabaseIsAway:
    async def test_a_start_fails(self, world: World) -> None:
        world.faults.database_away = True
        with pytest.raises(Unavailable):
            await world.start()

    async def test_signing_goes_on(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        for _ in range(23):
            await world.clock.advance(HOUR)
            await server.manager.rotate()
            await server.manager.prune_bundle()
            await server.manager.prune_journals()
        world.faults.database_away = False
        await signs_validly(world, server)

    async def test_no_keys_are_made_that_could_not_be_published(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        assert sorted(await world.key_manager().get_keys()) == ["JWT-Signer-A", "x509-CA-A"]

    async def test_what_is_prepared_takes_over(self, world: World) -> None:
        server = await world.start()
        first = x509_authority(server)
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = True
        await world.clock.advance(8 * HOUR)
        await server.manager.rotate()
        assert x509_authority(server) != first
        await signs_validly(world, server)

        # The journal still tells of the first: its key must not be overwritten before it does not.
        await world.clock.advance(12 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = False
        restarted = await world.start()
        assert x509_authority(restarted) == x509_authority(server)

    async def test_the_journal_is_stored_once_it_is_back(self, world: World) -> None:
        server = await world.start()
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = True
        await world.clock.advance(8 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = False
        await server.manager.rotate()
        assert (await journal(world)).active_x509_authority_id == x509_authority(server)

    async def test_an_expired_authority_signs_nothing(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        await world.clock.advance(25 * HOUR)
        await server.manager.rotate()
        with pytest.raises(Unavailable, match="X509 CA is not available for signing"):
            await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)
        with pytest.raises(Unavailable, match="JWT key is not available for signing"):
            await server.ca.sign_jwt_svid(WORKLOAD, ["them"])
        world.faults.database_away = False
        await server.manager.rotate()
        await signs_validly(world, server)


async def test_no_key_is_overwritten_while_the_stored_journal_needs_it(world: World) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    world.faults.journal_full = True
    await world.clock.advance(8 * HOUR)
    await server.manager.rotate()
    second = x509_authority(server)
    # The next one is due. Its key would go where the first one's is, by which the journal is found.
    await world.clock.advance(5 * HOUR)
    await server.manager.rotate()
    assert len((await world.bundle()).x509_authorities) == 2
    world.faults.journal_full = False
    restarted = await world.start()
    assert x509_authority(restarted) == second
    await restarted.manager.rotate()
    assert len((await world.bundle()).x509_authorities) == 3


async def test_a_key_manager_that_is_away_stops_no_signing(world: World) -> None:
    server = await world.start()
    world.faults.keys_away = True
    await world.clock.advance(20 * HOUR)
    await server.manager.rotate()
    await signs_validly(world, server)
    world.faults.keys_away = False
    await server.manager.rotate()
    await signs_validly(world, server)
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]


async def test_a_start_without_the_key_manager_goes_on_with_what_is_there(world: World) -> None:
    first = await world.start()
    await world.clock.advance(13 * HOUR)
    world.faults.keys_away = True
    second = await world.start()
    assert x509_authority(second) == x509_authority(first)
    await signs_validly(world, second)


async def test_a_first_start_without_the_key_manager_fails(world: World) -> None:
    world.faults.keys_away = True
    with pytest.raises(SpireError, match="the key manager is away"):
        await world.start()


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(timedelta(hours=13), id="half a day ahead"),
        pytest.param(timedelta(hours=21), id="past activation"),
        pytest.param(timedelta(days=100), id="months ahead"),
        pytest.param(timedelta(seconds=-5), id="a little back"),
        pytest.param(timedelta(hours=-2), id="hours back"),
        pytest.param(timedelta(days=-100), id="months back"),
    ],
)
async def test_one_round_heals_a_jump_of_the_clock(world: World, jump: timedelta) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    for each in (jump, -jump):
        world.clock.jump(each)
        await server.manager.rotate()
        await signs_validly(world, server)
    restarted = await world.start()
    await signs_validly(world, restarted)


async def test_small_steps_back_cost_no_new_authority(world: World) -> None:
    server = await world.start()
    bundle = await world.bundle()
    world.clock.jump(timedelta(seconds=-9))
    await server.manager.rotate()
    assert await world.bundle() == bundle


async def steps_of(world: World, action: Callable[[], Awaitable[object]]) -> list[str]:
    world.faults.steps.clear()
    await action()
    return list(world.faults.steps)


async def test_the_steps_that_the_kill_points_lie_between(world: World) -> None:
    prepare = ["generate_key", "append_bundle"]
    assert await steps_of(world, world.start) == [
        *prepare,
        "set_ca_journal",
        *prepare,
        "set_ca_journal",
        "set_ca_journal",
    ]
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    assert await steps_of(world, server.manager.rotate) == [*prepare, "set_ca_journal"] * 2
    await world.clock.advance(8 * HOUR)
    assert await steps_of(world, server.manager.rotate) == ["set_ca_journal"] * 2


@pytest.mark.parametrize("kill_at", range(7))
async def test_a_first_start_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    world.faults.steps_left = kill_at
    with pytest.raises(Killed):
        await world.start()
    world.faults.steps_left = None
    server = await world.start()
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(6))
async def test_a_preparation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    first = x509_authority(server)
    await world.clock.advance(13 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    assert x509_authority(server) == first
    assert len([each for each in statuses(await journal(world)) if each[1] == "PREPARED"]) == 1
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(2))
async def test_an_activation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    bundle = await world.bundle()
    await world.clock.advance(8 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]
    assert await world.bundle() == bundle
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(8))
async def test_a_late_rotation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    await world.clock.advance(22 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    await signs_validly(world, server)
    await goes_on(world, server)


async def killed(world: World, server: Server, kill_at: int) -> None:
    world.faults.steps_left = kill_at
    with pytest.raises(Killed):
        await server.manager.rotate()
    world.faults.steps_left = None


async def goes_on(world: World, server: Server) -> None:
    """Two days later all is as it should be."""
    for _ in range(12):
        await world.clock.advance(4 * HOUR)
        await server.manager.rotate()
        await signs_validly(world, server)
    restarted = await world.start()
    assert x509_authority(restarted) == x509_authority(server)
    assert jwt_key(restarted) == jwt_key(server)
