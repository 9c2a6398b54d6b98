from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.denial import AgentBanned
from spire_py.agent.sync import Synchronizer
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.errors import Internal, NotFound, SpireError, Unavailable
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from tests.fakes.clock import FakeClock
from tests.fakes.tasks import running
from tests.unit.agent.builders import OTHER, THIRD, Authority, by_id, entry, selectors
from tests.unit.agent.test_svid_refresher import FakeDenials

UID = selectors("unix:uid:1000")


class FakeSource:
    """A server whose state the test sets."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.federated: dict[TrustDomain, Bundle | SpireError] = {}
        self.entries: dict[str, AuthorizedEntry] = {}
        self.error: SpireError | None = None
        self.rounds = 0
        self.at_once = 0
        self.most_at_once = 0

    async def fetch_entries(
        self, known: Mapping[str, AuthorizedEntry]
    ) -> Mapping[str, AuthorizedEntry]:
        self.rounds += 1
        if self.error is not None:
            raise self.error
        return dict(self.entries)

    async def fetch_bundle(self) -> Bundle:
        return self.bundle

    async def fetch_federated_bundle(self, trust_domain: TrustDomain) -> Bundle:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        found = self.federated.get(trust_domain, NotFound("bundle not found"))
        if isinstance(found, SpireError):
            raise found
        return found


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.authority = Authority()
        self.cache = WorkloadCache(bundle=self.authority.bundle, max_svids=100)
        self.source = FakeSource(self.authority.bundle)
        self.denials = FakeDenials()
        self.stored: list[Bundle] = []
        self.synchronizer = Synchronizer(
            source=self.source,
            cache=self.cache,
            denials=self.denials,
            on_bundle=self._store,
            clock=self.clock,
        )

    async def _store(self, bundle: Bundle) -> None:
        self.stored.append(bundle)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.synchronizer.run()):
            await self.clock.sleepers(1)
            yield


@pytest.fixture
def world() -> World:
    return World()


async def test_a_round_brings_entries_and_their_bundles(world: World) -> None:
    other = Authority(OTHER)
    a = entry("a", federates_with=(OTHER, THIRD))
    world.source.entries = by_id(a)
    world.source.federated = {OTHER: other.bundle}
    await world.synchronizer.synchronize()
    world.cache.store_svids({"a": world.authority.svid(a)})
    assert world.cache.match(UID) == (a,)
    update = world.cache.current(UID)
    assert [item.trust_domain for item in update.federated] == [OTHER]
    assert world.synchronizer.last_success == world.clock.now()


async def test_entries_for_a_store_are_not_for_workloads(world: World) -> None:
    world.source.entries = by_id(replace(entry("a"), store_svid=True), entry("b"))
    await world.synchronizer.synchronize()
    assert [item.id for item in world.cache.match(UID)] == ["b"]


async def test_a_failed_bundle_fails_the_round(world: World) -> None:
    world.source.entries = by_id(entry("a", federates_with=(OTHER,)))
    world.source.federated = {OTHER: Internal("no")}
    with pytest.raises(Internal):
        await world.synchronizer.synchronize()
    assert world.cache.match(UID) == ()
    assert world.synchronizer.last_success is None


async def test_ten_bundles_at_most_are_fetched_at_once(world: World) -> None:
    domains = [TrustDomain(f"td{number}.test") for number in range(30)]
    world.source.entries = by_id(entry("a", federates_with=tuple(domains)))
    await world.synchronizer.synchronize()
    assert world.source.most_at_once == 10


async def test_a_new_own_bundle_is_stored_once(world: World) -> None:
    await world.synchronizer.synchronize()
    assert world.stored == []
    world.source.bundle = Authority().bundle
    await world.synchronizer.synchronize()
    await world.synchronizer.synchronize()
    assert world.stored == [world.source.bundle]
    assert world.cache.bundle == world.source.bundle


async def test_rounds_come_every_five_seconds(world: World) -> None:
    async with world.running():
        await world.clock.advance(timedelta(seconds=60))
    assert 10 <= world.source.rounds <= 13


async def test_waits_grow_while_the_server_is_away_and_workloads_keep_what_they_have(
    world: World,
) -> None:
    a = entry("a")
    world.source.entries = by_id(a)
    await world.synchronizer.synchronize()
    world.cache.store_svids({"a": world.authority.svid(a)})
    with world.cache.subscribe(UID) as group:
        before = group.update
        world.source.error = Unavailable("connection refused")
        world.source.rounds = 0
        async with world.running():
            await world.clock.advance(timedelta(hours=1))
            # 5 s × 1.5 each time up to 4 minutes: a dozen on the way up, then 15 an hour.
            assert 18 <= world.source.rounds <= 28
            assert group.update is before
            world.source.error = None
            world.source.rounds = 0
            await world.clock.advance(timedelta(minutes=6))
            assert world.source.rounds > 10
        assert group.update is before


async def test_a_ban_ends_it(world: World) -> None:
    world.source.error = Unavailable("denied")
    world.denials.fatal = AgentBanned("banned")
    task = asyncio.create_task(world.synchronizer.run())
    await world.clock.sleepers(1)
    await world.clock.advance(timedelta(seconds=6))
    with pytest.raises(AgentBanned):
        await asyncio.wait_for(task, 20)
