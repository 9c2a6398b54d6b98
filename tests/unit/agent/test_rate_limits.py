from __future__ import annotations

from datetime import timedelta

import pytest

from spire_py.agent.rate_limits import MAX_CALLERS, RateLimits
from spire_py.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.unit.agent.builders import selectors

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
ONE, TWO = selectors("unix:uid:1"), selectors("unix:uid:2")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limits(clock: FakeClock) -> RateLimits:
    return RateLimits({METHOD: 3, "/other": 0}, clock)


def spend(limits: RateLimits, count: int, caller: frozenset = ONE) -> None:  # type: ignore[type-arg]
    for _ in range(count):
        limits.spend(METHOD, caller)


async def test_a_seconds_worth_may_be_spent_at_once(limits: RateLimits, clock: FakeClock) -> None:
    spend(limits, 3)
    with pytest.raises(Unavailable) as refusal:
        spend(limits, 1)
    assert refusal.value.message == f"rate limit exceeded for {METHOD}"
    await clock.advance(timedelta(seconds=1))
    spend(limits, 3)


async def test_nothing_is_saved_up(limits: RateLimits, clock: FakeClock) -> None:
    await clock.advance(timedelta(hours=1))
    spend(limits, 3)
    with pytest.raises(Unavailable):
        spend(limits, 1)


def test_callers_do_not_share(limits: RateLimits) -> None:
    spend(limits, 3)
    spend(limits, 3, TWO)


def test_methods_without_a_limit_are_free(limits: RateLimits) -> None:
    for _ in range(100):
        limits.spend("/other", ONE)
        limits.spend("/another", ONE)


def test_the_number_of_callers_is_bounded(limits: RateLimits) -> None:
    spend(limits, 3)
    for number in range(MAX_CALLERS):
        spend(limits, 1, selectors(f"unix:uid:{number + 10}"))
    spend(limits, 3)
