from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from spire_py.agent.denial import AgentBanned
from spire_py.agent.rotation import RotationStrategy
from spire_py.agent.svid_refresher import SVIDRefresher
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.crypto.csr import parse_csr
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.errors import SpireError, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.tasks import running
from tests.unit.agent.builders import Authority, by_domain, by_id, entry, selectors

UID = selectors("unix:uid:1000")


class FakeSigner:
    """A server that signs what it is asked to, but for what the test refuses."""

    def __init__(self, authority: Authority, clock: FakeClock) -> None:
        self.authority = authority
        self.clock = clock
        self.error: SpireError | None = None
        self.refused: set[str] = set()
        self.other_key: set[str] = set()
        self.other_id: set[str] = set()
        self.batches: list[list[str]] = []
        self.called = asyncio.Event()

    async def new_x509svids(self, csrs: Mapping[str, bytes]) -> Mapping[str, tuple[bytes, ...]]:
        self.batches.append(list(csrs))
        self.called.set()
        if self.error is not None:
            raise self.error
        self.authority.now = self.clock.now()
        return {
            name: self._sign(name, csr) for name, csr in csrs.items() if name not in self.refused
        }

    def _sign(self, name: str, csr: bytes) -> tuple[bytes, ...]:
        request = parse_csr(csr)
        key = request.public_key_der
        if name in self.other_key:
            key = public_key_der(generate_key("ec-p256"))
        spiffe_id = "spiffe://example.org/else" if name in self.other_id else request.uris[0]
        return self.authority.chain(key, spiffe_id)


class FakeDenials:
    """Notes refusals; ends the daemon if the test says so."""

    def __init__(self) -> None:
        self.errors: list[SpireError] = []
        self.fatal: SpireError | None = None

    async def heal(self, error: SpireError) -> None:
        self.errors.append(error)
        if self.fatal is not None:
            raise self.fatal


class World:
    def __init__(self, availability_target: timedelta = timedelta()) -> None:
        self.clock = FakeClock()
        self.authority = Authority()
        self.cache = WorkloadCache(bundle=self.authority.bundle, max_svids=1000)
        self.signer = FakeSigner(self.authority, self.clock)
        self.denials = FakeDenials()
        self.refresher = SVIDRefresher(
            cache=self.cache,
            signer=self.signer,
            denials=self.denials,
            clock=self.clock,
            strategy=RotationStrategy(availability_target),
            key_type="ec-p256",
        )

    def authorize(self, *names: str) -> None:
        entries = by_id(*(entry(name) for name in names))
        self.cache.replace(entries, by_domain(self.authority.bundle))

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.refresher.run())

    async def next_call(self) -> None:
        self.signer.called.clear()
        async with asyncio.timeout(20):
            await self.signer.called.wait()


@pytest.fixture
def world() -> World:
    return World()


async def test_all_that_is_due_is_signed(world: World) -> None:
    world.authorize("a", "b")
    await world.refresher.refresh()
    assert sorted(world.cache.svids()) == ["a", "b"]
    assert world.cache.due(world.clock.now()) == []


@pytest.mark.parametrize(("hours", "warned"), [(0, 0), (24, 1)])
async def test_an_svid_too_short_lived_for_the_availability_target_is_told(
    hours: int, warned: int, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(timedelta(hours=hours))
    world.authorize("a")
    await world.refresher.refresh()
    logged = capsys.readouterr().out
    assert logged.count("isn't long enough to guarantee the availability_target") == warned


async def test_batches_hold_at_most_500(world: World) -> None:
    world.authorize(*(f"entry-{number}" for number in range(700)))
    await world.refresher.refresh()
    assert [len(batch) for batch in world.signer.batches] == [500, 200]


async def test_an_entry_that_is_refused_does_not_hold_up_the_others(world: World) -> None:
    world.authorize("a", "b")
    world.signer.refused = {"a"}
    await world.refresher.refresh()
    assert list(world.cache.svids()) == ["b"]
    assert len(world.signer.batches) == 1


@pytest.mark.parametrize("fault", ["other_key", "other_id"])
async def test_what_was_not_asked_for_is_not_kept(world: World, fault: str) -> None:
    world.authorize("a", "b")
    setattr(world.signer, fault, {"a"})
    await world.refresher.refresh()
    assert list(world.cache.svids()) == ["b"]


async def test_a_waiting_workload_is_served_without_any_time_passing(world: World) -> None:
    async with world.running():
        await world.clock.sleepers(1)
        world.authorize("a")
        with world.cache.subscribe(UID) as group:
            async with asyncio.timeout(20):
                _, update = await group.next_update(-1)
        assert [item.entry.id for item in update.identities] == ["a"]


async def test_an_svid_is_rotated_at_half_of_its_life(world: World) -> None:
    world.authorize("a")
    async with world.running():
        with world.cache.subscribe(UID) as group:
            async with asyncio.timeout(20):
                version, first = await group.next_update(-1)
            await world.clock.sleepers(1)
            await world.clock.advance(timedelta(minutes=25))
            assert group.update is first
            rotated = asyncio.create_task(group.next_update(version))
            await world.clock.advance(timedelta(minutes=10))
            async with asyncio.timeout(20):
                _, second = await rotated
        assert second.identities[0].not_after > first.identities[0].not_after


async def test_a_failed_batch_is_halved_and_grows_again(world: World) -> None:
    world.authorize(*(f"entry-{number}" for number in range(8)))
    world.signer.error = Unavailable("away")
    async with world.running():
        await world.next_call()
        for _ in range(8):
            await world.clock.sleepers(2)
            world.signer.called.clear()
            await world.clock.advance(timedelta(minutes=5))
            async with asyncio.timeout(20):
                await world.signer.called.wait()
        await world.clock.sleepers(2)
        world.signer.error = None
        world.signer.batches.clear()
        with world.cache.subscribe(UID) as group:
            await world.clock.advance(timedelta(minutes=5))
            async with asyncio.timeout(20):
                await group.next_update(-1)
    assert [len(batch) for batch in world.signer.batches] == [1, 2, 4, 1]
    assert len(world.denials.errors) >= 9


async def test_an_outage_leaves_what_is_there(world: World) -> None:
    world.authorize("a")
    await world.refresher.refresh()
    world.signer.error = Unavailable("away")
    await world.clock.advance(timedelta(hours=2))
    with pytest.raises(Unavailable):
        await world.refresher.refresh()
    with world.cache.subscribe(UID) as group:
        assert group.update is not None
        assert [item.entry.id for item in group.update.identities] == ["a"]


async def test_a_ban_ends_it(world: World) -> None:
    world.authorize("a")
    world.signer.error = Unavailable("away")
    world.denials.fatal = AgentBanned("banned")
    with pytest.raises(ExceptionGroup) as end:
        async with asyncio.timeout(20):
            await world.refresher.run()
    assert end.group_contains(AgentBanned)
