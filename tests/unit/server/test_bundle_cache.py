"""Bundles in memory follow the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest

from spire_py.errors import Unavailable
from spire_py.server.bundle_cache import BundleCache
from spire_py.server.datastore import Page
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from tests.fakes.clock import FakeClock

ONE, TWO = TrustDomain("one.org"), TrustDomain("two.org")


class FakeStore:
    def __init__(self) -> None:
        self.bundles = [Bundle(ONE)]
        self.away = False

    async def list_bundles(self, page: Page | None) -> tuple[list[Bundle], str]:
        if self.away:
            raise Unavailable("the database is away")
        return list(self.bundles), ""


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def listed() -> list[set[TrustDomain]]:
    return []


@pytest.fixture
def cache(store: FakeStore, clock: FakeClock, listed: list[set[TrustDomain]]) -> BundleCache:
    async def note(domains: Iterable[TrustDomain]) -> None:
        listed.append(set(domains))

    return BundleCache(store=store, clock=clock, listed=note)


async def test_what_is_in_the_database_is_taken_in_and_told(
    cache: BundleCache, store: FakeStore, listed: list[set[TrustDomain]]
) -> None:
    await cache.refresh()
    assert cache.get(ONE) == Bundle(ONE)
    store.bundles = [Bundle(ONE, sequence_number=2), Bundle(TWO)]
    await cache.refresh()
    assert cache.get(ONE) == Bundle(ONE, sequence_number=2)
    assert listed == [{ONE}, {ONE, TWO}]


async def test_an_unchanged_database_wakes_nobody(cache: BundleCache) -> None:
    await cache.refresh()
    version = cache.bundles.version
    await cache.refresh()
    assert cache.bundles.version == version


async def test_what_this_server_wrote_is_there_at_once(
    cache: BundleCache, listed: list[set[TrustDomain]]
) -> None:
    cache.put(Bundle(TWO))
    assert cache.get(TWO) == Bundle(TWO)
    await cache.removed(TWO)
    assert cache.get(TWO) is None
    assert listed == [set()]


async def test_it_goes_on_when_the_database_was_away(
    cache: BundleCache, store: FakeStore, clock: FakeClock
) -> None:
    await cache.refresh()
    store.away = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cache.run())
        await clock.advance(timedelta(seconds=5))
        assert cache.get(ONE) == Bundle(ONE)
        store.away = False
        store.bundles.append(Bundle(TWO))
        await clock.advance(timedelta(seconds=1))
        assert cache.get(TWO) == Bundle(TWO)
        running.cancel()
