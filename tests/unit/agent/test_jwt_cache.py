from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spire_py.agent.jwt_cache import JWTCache, cache_key
from spire_py.errors import PermissionDenied, Unavailable
from spire_py.spiffe.id import SpiffeID
from tests.fakes.clock import FakeClock
from tests.unit.agent.builders import Authority, by_id, entry
from tests.unit.agent.endpoint import FakeJWTSigner

A, B = entry("a"), entry("b")
FRESH = entry("fresh", jwt_svid_include_jti=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def signer(clock: FakeClock) -> FakeJWTSigner:
    signer = FakeJWTSigner(Authority(), clock)
    signer.entries = by_id(A, B, FRESH)
    return signer


@pytest.fixture
def cache(signer: FakeJWTSigner, clock: FakeClock) -> JWTCache:
    return JWTCache(signer=signer, clock=clock, max_svids=3, hit_timeout=timedelta(seconds=5))


async def test_a_token_is_reused_until_half_of_its_life(
    cache: JWTCache, signer: FakeJWTSigner, clock: FakeClock
) -> None:
    first = await cache.get(A, ["x"])
    await clock.advance(timedelta(minutes=2))
    assert await cache.get(A, ["x"]) is first
    await clock.advance(timedelta(minutes=1))
    assert await cache.get(A, ["x"]) is not first
    assert len(signer.calls) == 2


async def test_the_order_of_audiences_does_not_matter(
    cache: JWTCache, signer: FakeJWTSigner
) -> None:
    first = await cache.get(A, ["x", "y"])
    assert await cache.get(A, ["y", "x"]) is first
    assert await cache.get(A, ["x"]) is not first
    assert await cache.get(B, ["x", "y"]) is not first


async def test_an_unexpired_token_serves_while_the_server_is_away(
    cache: JWTCache, signer: FakeJWTSigner, clock: FakeClock
) -> None:
    first = await cache.get(A, ["x"])
    signer.error = Unavailable("connection refused")
    await clock.advance(timedelta(minutes=4))
    assert await cache.get(A, ["x"]) is first
    assert signer.timeouts[-1] == timedelta(seconds=5)


async def test_an_expired_token_does_not(
    cache: JWTCache, signer: FakeJWTSigner, clock: FakeClock
) -> None:
    await cache.get(A, ["x"])
    signer.error = Unavailable("connection refused")
    await clock.advance(timedelta(minutes=5))
    with pytest.raises(Unavailable, match="could not fetch JWT-SVID: connection refused"):
        await cache.get(A, ["x"])
    assert signer.timeouts[-1] == timedelta(seconds=30)


async def test_any_refusal_of_the_server_can_heal(cache: JWTCache, signer: FakeJWTSigner) -> None:
    signer.error = PermissionDenied("entry not found or not authorized")
    with pytest.raises(Unavailable, match="could not fetch JWT-SVID"):
        await cache.get(A, ["x"])


async def test_the_one_longest_unused_goes_first(cache: JWTCache, signer: FakeJWTSigner) -> None:
    kept = await cache.get(A, ["1"])
    await cache.get(A, ["2"])
    await cache.get(A, ["3"])
    await cache.get(A, ["1"])
    await cache.get(A, ["4"])
    assert len(cache) == 3
    assert await cache.get(A, ["1"]) is kept
    await cache.get(A, ["2"])
    assert [audience for _, audience in signer.calls] == [("1",), ("2",), ("3",), ("4",), ("2",)]


async def test_callers_at_one_time_share_one_call(cache: JWTCache, signer: FakeJWTSigner) -> None:
    async with asyncio.TaskGroup() as tasks:
        wanted = [tasks.create_task(cache.get(A, ["x"])) for _ in range(20)]
    assert len({id(task.result()) for task in wanted}) == 1
    assert len(signer.calls) == 1


async def test_callers_at_one_time_share_one_failure(
    cache: JWTCache, signer: FakeJWTSigner
) -> None:
    signer.error = Unavailable("connection refused")

    async def get() -> str:
        with pytest.raises(Unavailable) as refusal:
            await cache.get(A, ["x"])
        return refusal.value.message

    async with asyncio.TaskGroup() as tasks:
        wanted = [tasks.create_task(get()) for _ in range(20)]
    assert {task.result() for task in wanted} == {"could not fetch JWT-SVID: connection refused"}
    assert len(signer.calls) == 1


async def test_a_caller_who_leaves_does_not_take_the_others_along(
    cache: JWTCache, signer: FakeJWTSigner
) -> None:
    signer.block = asyncio.Event()
    first = asyncio.create_task(cache.get(A, ["x"]))
    second = asyncio.create_task(cache.get(A, ["x"]))
    await asyncio.sleep(0)
    first.cancel()
    signer.block.set()
    assert (await asyncio.wait_for(second, 20)).token
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_very_long_token_is_not_kept(cache: JWTCache, signer: FakeJWTSigner) -> None:
    audience = [f"https://audience-{number}.example.org" for number in range(600)]
    await cache.get(A, audience)
    assert len(cache) == 0


async def test_an_entry_with_jti_gets_a_new_token_each_time(
    cache: JWTCache, signer: FakeJWTSigner
) -> None:
    first = await cache.get(FRESH, ["x"])
    second = await cache.get(FRESH, ["x"])
    assert first.token != second.token
    assert len(cache) == 0


async def test_tokens_of_a_tainted_key_are_forgotten(
    cache: JWTCache, signer: FakeJWTSigner
) -> None:
    first = await cache.get(A, ["x"])
    assert cache.drop_signed_by({"another"}) == 0
    assert cache.drop_signed_by({signer.authority.key_id}) == 1
    assert await cache.get(A, ["x"]) is not first


def test_no_two_lists_of_audiences_have_one_key() -> None:
    spiffe_id = SpiffeID.parse("spiffe://example.org/a")
    keys = [
        cache_key(spiffe_id, audience)
        for audience in (["a", "b"], ["ab"], ["a\0b"], ["a", "b", ""], ["1:a1:b"], [])
    ]
    assert len(set(keys)) == len(keys)


def test_a_token_is_not_shown() -> None:
    authority = Authority()
    signer = FakeJWTSigner(authority, FakeClock())
    signer.entries = by_id(A)
    svid = asyncio.run(signer.new_jwtsvid("a", ["x"], timeout=timedelta(seconds=1)))
    assert svid.token not in repr(svid)
