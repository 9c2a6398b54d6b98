from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from spire_py.agent.rebootstrap import Rebootstrap, Rebootstrapping
from spire_py.agent.storage import AgentStorage
from spire_py.errors import Unavailable
from tests.fakes.clock import FakeClock

DELAY = timedelta(minutes=10)


def unknown_authority(code: int = 19) -> Unavailable:
    """The failure of a call to a server whose certificate leads to no authority of ours."""
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = code
    error = Unavailable("the server's certificate is not trusted")
    error.__cause__ = cause
    return error


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class World:
    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.last_success: datetime | None = None
        self.storage = AgentStorage.open(folder)
        self.storage.store(bundle=(b"bundle",), svid=(b"svid",))
        self.rebootstrap = Rebootstrap(
            mode="auto",
            delay=DELAY,
            storage=self.storage,
            clock=clock,
            last_success=lambda: self.last_success,
        )

    async def fail(self, code: int = 19) -> None:
        await self.rebootstrap.end_if_due(unknown_authority(code))

    @property
    def forgot(self) -> bool:
        return not self.storage.data.bundle and not self.storage.data.svid


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> World:
    return World(tmp_path, clock)


async def test_it_begins_once_the_delay_is_over(world: World, clock: FakeClock) -> None:
    await world.fail()
    await clock.advance(DELAY - timedelta(seconds=1))
    await world.fail()
    assert not world.forgot
    await clock.advance(timedelta(seconds=1))
    with pytest.raises(Rebootstrapping):
        await world.fail()
    assert world.forgot


@pytest.mark.parametrize("jump", [timedelta(days=1), -timedelta(days=1)])
async def test_a_clock_that_jumps_changes_nothing(
    world: World, clock: FakeClock, jump: timedelta
) -> None:
    await world.fail()
    clock.jump(jump)
    await world.fail()
    await clock.advance(DELAY - timedelta(seconds=1))
    await world.fail()
    assert not world.forgot
    await clock.advance(timedelta(seconds=1))
    with pytest.raises(Rebootstrapping):
        await world.fail()


@pytest.mark.parametrize("jump", [timedelta(), -timedelta(days=1)])
async def test_a_server_that_is_ours_again_begins_the_delay_anew(
    world: World, clock: FakeClock, jump: timedelta
) -> None:
    await world.fail()
    clock.jump(jump)
    await clock.advance(DELAY)
    world.last_success = clock.now()
    await world.fail()
    assert not world.forgot


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(10, id="expired"),
        pytest.param(62, id="of another name"),
        pytest.param(23, id="revoked"),
    ],
)
async def test_other_faults_of_a_certificate_do_not_count(
    world: World, clock: FakeClock, code: int
) -> None:
    await world.fail(code)
    await clock.advance(DELAY)
    await world.fail(code)
    assert not world.forgot
