"""The cache follows the database, and answers without it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from spire_py.errors import Unavailable
from spire_py.server.datastore import Datastore, DeleteMode
from spire_py.server.entry_cache.cache import EntryCache
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from tests.fakes.agents import DOMAIN, agent_id, make_agent, make_entry
from tests.fakes.clock import FakeClock

NODE = "/spire/agent/test/node"


@pytest.fixture
async def cache(datastore: Datastore, clock: FakeClock) -> EntryCache:
    cache = EntryCache(trust_domain=DOMAIN, store=datastore, clock=clock)
    await cache.load()
    return cache


def ids(cache: EntryCache) -> list[str]:
    return [each.entry.id for each in cache.authorized(agent_id("node")).entries]


async def test_what_is_there_at_the_start_is_loaded(datastore: Datastore, clock: FakeClock) -> None:
    await datastore.create_entry(make_entry("1", NODE, "/one"))
    await datastore.create_agent(make_agent("node"))
    cache = EntryCache(trust_domain=DOMAIN, store=datastore, clock=clock)
    await cache.load()
    assert ids(cache) == ["1"]
    assert cache.agent(agent_id("node")) is not None


async def test_what_another_server_writes_is_there_after_a_refresh(
    datastore: Datastore, cache: EntryCache
) -> None:
    entry, _ = await datastore.create_entry(make_entry("1", NODE, "/one"))
    await datastore.create_agent(make_agent("node"))
    assert ids(cache) == []
    await cache.refresh()
    assert ids(cache) == ["1"]
    await datastore.update_entry(replace(entry, hint="new"), frozenset({"hint"}))
    await datastore.update_agent(agent_id("node"), serial_number="", new_serial_number="")
    await cache.refresh()
    assert cache.entry("1") is not None
    assert cache.entry("1").hint == "new"
    assert cache.agent(agent_id("node")).banned
    await datastore.delete_entry("1")
    await datastore.delete_agent(agent_id("node"))
    await cache.refresh()
    assert ids(cache) == []
    assert cache.agent(agent_id("node")) is None


async def test_a_change_of_node_selectors_changes_what_the_agent_may_have(
    datastore: Datastore, cache: EntryCache
) -> None:
    await datastore.create_agent(make_agent("node", "a:1"))
    await datastore.create_entry(make_entry("alias", "/spire/server", "/alias", "a:2"))
    await datastore.create_entry(make_entry("1", "/alias", "/one"))
    await cache.refresh()
    assert ids(cache) == []
    await datastore.set_agent_selectors(agent_id("node"), make_agent("node", "a:2").selectors)
    await cache.refresh()
    assert ids(cache) == ["1"]


async def test_the_cache_follows_by_itself_every_second(
    datastore: Datastore, cache: EntryCache, clock: FakeClock
) -> None:
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(cache.run())
        await clock.sleepers()
        await datastore.create_entry(make_entry("1", NODE, "/one"))
        await clock.advance(timedelta(seconds=1))
        await clock.sleepers()
        assert ids(cache) == ["1"]
        following.cancel()


async def test_what_this_server_wrote_is_there_at_once(
    datastore: Datastore, cache: EntryCache
) -> None:
    entry, _ = await datastore.create_entry(make_entry("1", NODE, "/one"))
    cache.put_entry(entry)
    assert ids(cache) == ["1"]
    await datastore.delete_entry("1")
    cache.remove_entry("1")
    assert ids(cache) == []
    await cache.refresh()
    assert ids(cache) == []


async def test_an_entry_that_a_dissociate_unlinked_is_read_again(
    datastore: Datastore, cache: EntryCache
) -> None:
    foreign = TrustDomain("other.org")
    await datastore.set_bundle(Bundle(foreign))
    await datastore.create_entry(make_entry("1", NODE, "/one", federates_with=(foreign,)))
    await cache.refresh()
    await datastore.delete_bundle(foreign, DeleteMode.DISSOCIATE)
    await cache.reread_unlinked([])
    assert cache.entry("1") is not None
    assert cache.entry("1").federates_with == ()


class BrokenStore:
    """A datastore that is away when it is told so."""

    def __init__(self, store: Datastore) -> None:
        self.store = store
        self.away = False

    def __getattr__(self, name: str) -> object:
        if self.away:
            raise Unavailable("the database is away")
        return getattr(self.store, name)

    async def entry_events(self, after_id: int) -> list[tuple[int, str]]:
        if self.away:
            raise Unavailable("the database is away")
        return await self.store.entry_events(after_id)


async def test_the_last_known_state_stays_while_the_database_is_away(
    datastore: Datastore, clock: FakeClock
) -> None:
    store = BrokenStore(datastore)
    cache = EntryCache(trust_domain=DOMAIN, store=store, clock=clock)
    await datastore.create_entry(make_entry("1", NODE, "/one"))
    await cache.load()
    store.away = True
    with pytest.raises(Unavailable):
        await cache.refresh()
    assert ids(cache) == ["1"]
    await datastore.create_entry(make_entry("2", NODE, "/two"))
    store.away = False
    await cache.refresh()
    assert ids(cache) == ["1", "2"]


async def test_an_agent_unknown_here_is_read_through(
    datastore: Datastore, cache: EntryCache
) -> None:
    await datastore.create_entry(make_entry("1", NODE, "/one"))
    await datastore.create_agent(make_agent("node"))
    agent = await cache.fetch_agent(agent_id("node"))
    assert agent is not None
    assert ids(cache) == ["1"], "what was created before the agent attested belongs to its sync"


async def test_the_first_sync_of_an_agent_waits_for_what_was_there_when_it_attested(
    datastore: Datastore, cache: EntryCache
) -> None:
    await datastore.create_entry(make_entry("1", NODE, "/one"))
    cache.put_attested_agent(await datastore.create_agent(make_agent("node")))
    await cache.settle(agent_id("node"))
    assert ids(cache) == ["1"]
    await datastore.create_entry(make_entry("2", NODE, "/two"))
    await cache.settle(agent_id("node"))
    assert ids(cache) == ["1"], "only the first sync waits for a query"
