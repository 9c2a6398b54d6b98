from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta

import pytest

from spire_py.agent.starting import NoTrustBundle, Start, is_awaited
from spire_py.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    SpireError,
    Unauthenticated,
    Unavailable,
)
from tests.fakes.clock import FakeClock

HOUR = timedelta(hours=1)
REMINDER = "Agent waits for what it needs to start"


class Tries:
    """A start whose tries fail with `errors`, one after the other."""

    def __init__(self, *errors: SpireError) -> None:
        self.clock = FakeClock()
        self.start = Start(
            server="spire-server:8081", clock=self.clock, give_up_after=timedelta(minutes=1)
        )
        self.errors = list(errors)
        self.times: list[float] = []
        self.may_wait = True
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> str:
        return await self.start.retry(
            self._attempt, message="Failed to try", may_wait=lambda: self.may_wait
        )

    async def _attempt(self) -> str:
        self.times.append(self.clock.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_it_ends_with_the_first_success() -> None:
    tries = Tries(*[Internal("no")] * 2)
    await tries.clock.advance(timedelta(seconds=30))
    assert await tries.task == "done"
    assert len(tries.times) == 3
    assert 4.5 <= tries.times[1] <= 5.5
    assert 6.7 <= tries.times[2] - tries.times[1] <= 8.3


async def test_what_the_server_says_is_given_up_after_a_while() -> None:
    tries = Tries(*[Internal("no")] * 100)
    await tries.clock.advance(timedelta(minutes=2))
    with pytest.raises(Internal):
        await tries.task
    assert tries.times[-1] < 60


async def test_a_refusal_is_final() -> None:
    tries = Tries(PermissionDenied("no"))
    with pytest.raises(PermissionDenied):
        await tries.task
    assert len(tries.times) == 1


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (Unavailable("connection refused"), "the server at spire-server:8081"),
        (DeadlineExceeded("too late"), "the server at spire-server:8081"),
        (NoTrustBundle("no such file"), "the trust bundle"),
    ],
)
async def test_what_may_come_is_waited_for_and_told_now_and_then(
    error: SpireError, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = Tries(*[error] * 10_000)
    await tries.clock.advance(HOUR)
    waits = [later - time for time, later in zip(tries.times, tries.times[1:], strict=False)]
    assert max(waits) < 30
    assert len(set(waits)) > len(waits) / 2
    assert tries.start.obstacle == f"waiting for {what}: {error.message}"
    logged = capsys.readouterr().out
    assert logged.count(REMINDER) == 12
    assert logged.count(f'awaited="{what}"') == 12
    assert logged.count("waited=0s") == 1
    assert 4 < logged.count("Failed to try") < 10
    tries.errors.clear()
    await tries.clock.advance(timedelta(seconds=30))
    assert await tries.task == "done"
    assert tries.start.obstacle == ""
    assert "Agent goes on with its start" in capsys.readouterr().out


async def test_a_server_that_comes_and_refuses_has_its_minute_from_then_on() -> None:
    tries = Tries(*[Unavailable("away")] * 100, *[Internal("no")] * 100)
    await tries.clock.advance(2 * HOUR)
    with pytest.raises(Internal):
        await tries.task
    assert len(tries.times) > 102


async def test_the_obstacle_is_the_last_one() -> None:
    tries = Tries(NoTrustBundle("no such file"), Internal("failed to attest"))
    await tries.clock.advance(timedelta(seconds=6))
    assert tries.start.obstacle == "failed to attest"
    await tries.clock.advance(timedelta(seconds=10))
    assert await tries.task == "done"


async def test_it_is_not_waited_where_that_helps_no_more() -> None:
    tries = Tries(*[Unavailable("connection closed")] * 100)
    tries.may_wait = False
    await tries.clock.advance(timedelta(minutes=2))
    with pytest.raises(Unavailable):
        await tries.task


def caused(error: SpireError, cause: Exception) -> SpireError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "awaited"),
    [
        (Unavailable("x"), True),
        (caused(Unavailable("x"), ConnectionRefusedError()), True),
        (caused(Unavailable("x"), caused(Unavailable("y"), TimeoutError())), True),
        (NoTrustBundle("x"), True),
        (caused(Unavailable("x"), ssl.SSLCertVerificationError()), False),
        (caused(Unavailable("x"), Unauthenticated("unexpected ID")), False),
        (FailedPrecondition("x"), False),
        (Internal("x"), False),
    ],
)
def test_a_server_that_is_there_and_wrong_is_not_awaited(error: SpireError, awaited: bool) -> None:
    assert is_awaited(error) is awaited
