"""The server's SVID is rotated at half its life."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spire_py.errors import Unavailable
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.ca.ca import SignedX509SVID
from spire_py.server.server_svid import ServerSVIDRotator
from tests.fakes.agents import member
from tests.fakes.clock import FakeClock

LIFE = timedelta(hours=1)


class FakeSigner:
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.broken = False
        self.signed = 0
        self.distrusted: set[str] = set()

    def trusts(self, authority_id: str) -> bool:
        return authority_id not in self.distrusted

    async def sign_server_svid(self, public_key_der: bytes) -> SignedX509SVID:
        if self.broken:
            raise Unavailable("X509 CA is not available for signing")
        self.signed += 1
        now = self._clock.now()
        return SignedX509SVID(
            member("/spire/server"),
            (public_key_der,),
            self.signed,
            now,
            now + LIFE,
            authority_id=f"authority-{self.signed}",
        )


@pytest.fixture
def signer(clock: FakeClock) -> FakeSigner:
    return FakeSigner(clock)


@pytest.fixture
async def rotator(signer: FakeSigner, clock: FakeClock) -> ServerSVIDRotator:
    rotator = ServerSVIDRotator(signer=signer, key_type=KeyType.EC_P256, clock=clock)
    await rotator.rotate()
    return rotator


async def test_it_is_replaced_with_a_new_key_at_half_its_life(
    rotator: ServerSVIDRotator, signer: FakeSigner, clock: FakeClock
) -> None:
    first = rotator.current
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rotator.run())
        await clock.advance(LIFE / 2 - timedelta(seconds=10))
        assert rotator.current is first
        await clock.advance(timedelta(seconds=15))
        assert signer.signed == 2
        assert rotator.current.chain != first.chain
        running.cancel()


async def test_it_is_replaced_when_its_authority_is_not_trusted_any_more(
    rotator: ServerSVIDRotator, signer: FakeSigner, clock: FakeClock
) -> None:
    first = rotator.current
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rotator.run())
        signer.distrusted.add("authority-1")
        await clock.advance(timedelta(seconds=20))
        assert rotator.current is not first
        assert signer.signed == 2
        running.cancel()


async def test_the_old_one_stays_while_signing_fails(
    rotator: ServerSVIDRotator, signer: FakeSigner, clock: FakeClock
) -> None:
    first = rotator.current
    signer.broken = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rotator.run())
        await clock.advance(LIFE / 2 + timedelta(minutes=1))
        assert rotator.current is first
        signer.broken = False
        await clock.advance(timedelta(seconds=10))
        assert rotator.current is not first
        running.cancel()


async def test_before_the_first_there_is_none(signer: FakeSigner, clock: FakeClock) -> None:
    rotator = ServerSVIDRotator(signer=signer, key_type=KeyType.EC_P256, clock=clock)
    with pytest.raises(Unavailable):
        _ = rotator.current


async def test_its_key_is_not_shown(rotator: ServerSVIDRotator) -> None:
    assert "private_key" not in repr(rotator.current)


async def test_an_svid_from_the_future_is_replaced_when_the_clock_was_set_back(
    rotator: ServerSVIDRotator, signer: FakeSigner, clock: FakeClock
) -> None:
    task = asyncio.create_task(rotator.run())
    await clock.sleepers(1)
    clock.jump(-timedelta(hours=2))
    await clock.advance(timedelta(seconds=10))
    task.cancel()
    assert signer.signed == 2
    assert rotator.current.not_before <= clock.now()
