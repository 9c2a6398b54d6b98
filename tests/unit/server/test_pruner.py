"""What has expired is removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spire_py.errors import Unavailable
from spire_py.model.agent import Agent
from spire_py.model.join_token import JoinToken
from spire_py.server.datastore import Datastore
from spire_py.server.pruner import AgentPruner, Pruner
from tests.fakes.agents import make_agent, make_entry
from tests.fakes.clock import START, FakeClock

HOUR = timedelta(hours=1)


async def test_expired_entries_and_old_events_go(datastore: Datastore, clock: FakeClock) -> None:
    await datastore.create_entry(make_entry("1", "/p", "/one", expires_at=START + HOUR))
    await datastore.create_entry(make_entry("2", "/p", "/two"))
    pruner = Pruner(store=datastore, clock=clock, events_older_than=12 * HOUR)
    await pruner.prune()
    assert await datastore.count_entries() == 2
    clock.jump(2 * HOUR)
    await pruner.prune()
    assert [entry.id for entry in await datastore.load_all_entries()] == ["2"]
    clock.jump(24 * HOUR)
    await pruner.prune()
    assert await datastore.entry_events(0) == []


async def test_a_token_nobody_used_goes_a_day_after_it_expired(
    datastore: Datastore, clock: FakeClock
) -> None:
    await datastore.create_join_token(JoinToken("t", START + HOUR))
    pruner = Pruner(store=datastore, clock=clock, events_older_than=HOUR)
    clock.jump(25 * HOUR)
    await pruner.prune()
    clock.jump(timedelta(seconds=1))
    await pruner.prune()
    assert await datastore.take_join_token("t") is None


async def test_until_then_its_late_user_is_told_that_it_expired(
    datastore: Datastore, clock: FakeClock
) -> None:
    await datastore.create_join_token(JoinToken("t", START + HOUR))
    clock.jump(25 * HOUR)
    await Pruner(store=datastore, clock=clock, events_older_than=HOUR).prune()
    assert await datastore.take_join_token("t") == JoinToken("t", START + HOUR)


class BrokenStore:
    """A datastore that is away."""

    def __init__(self) -> None:
        self.asked = 0

    async def prune_entries(self, expired_before: object) -> object:
        self.asked += 1
        raise Unavailable("the database is away")

    async def prune_join_tokens(self, expired_before: object) -> int:
        raise Unavailable("the database is away")

    async def prune_entry_events(self, older_than: object) -> int:
        raise Unavailable("the database is away")

    async def prune_agent_events(self, older_than: object) -> int:
        raise Unavailable("the database is away")


async def test_it_goes_on_every_five_minutes_whatever_fails(clock: FakeClock) -> None:
    store = BrokenStore()
    pruner = Pruner(store=store, clock=clock, events_older_than=HOUR)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pruner.run())
        await clock.advance(timedelta(minutes=16))
        assert store.asked == 3
        running.cancel()


@pytest.mark.parametrize(
    ("include", "left"),
    [pytest.param(False, {"fresh", "tofu"}, id="default"), pytest.param(True, {"fresh"}, id="all")],
)
async def test_agents_that_expired_long_ago_go_where_asked_for(
    datastore: Datastore, clock: FakeClock, include: bool, left: set[str]
) -> None:
    old = START - 48 * HOUR
    await datastore.create_agent(make_agent("old", can_reattest=True, expires_at=old))
    await datastore.create_agent(make_agent("tofu", expires_at=old))
    await datastore.create_agent(make_agent("fresh", can_reattest=True, expires_at=START + HOUR))
    pruner = AgentPruner(
        store=datastore,
        clock=clock,
        expired_for=24 * HOUR,
        include_non_reattestable=include,
        batch_size=1000,
    )
    await pruner.prune()
    agents = await datastore.load_all_agents()
    assert {agent.id.path.rpartition("/")[2] for agent in agents} == left


class CountingStore:
    """Counts the rounds; nothing has expired."""

    def __init__(self) -> None:
        self.rounds = 0

    async def prune_agents(self, expired_before: object, **_: object) -> list[Agent]:
        self.rounds += 1
        return []


async def test_servers_prune_agents_about_once_an_hour_each_at_its_own_time(
    clock: FakeClock,
) -> None:
    stores = [CountingStore() for _ in range(50)]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(
                AgentPruner(
                    store=store,
                    clock=clock,
                    expired_for=HOUR,
                    include_non_reattestable=False,
                    batch_size=1000,
                ).run()
            )
            for store in stores
        ]
        await clock.advance(timedelta(minutes=45) - timedelta(seconds=1))
        assert sum(store.rounds for store in stores) == 0
        await clock.advance(timedelta(minutes=15))
        assert 0 < sum(store.rounds for store in stores) < len(stores)
        await clock.advance(timedelta(minutes=15, seconds=2))
        assert {store.rounds for store in stores} == {1}
        for task in running:
            task.cancel()
