from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from spire_py_plugins.workload_attestor.k8s.pod_lists import PodLists
from spire_py_plugins.workload_attestor.k8s.pods import Pod

from spire_py.errors import Unavailable
from tests.fakes.clock import FakeClock

INTERVAL = timedelta(milliseconds=500)


class Source:
    """Answers when it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        self.starts: list[float] = []
        self.cancelled = 0
        self.error: Unavailable | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._clock = clock

    async def fetch_pods(self) -> Mapping[str, Pod]:
        self.starts.append(self._clock.monotonic())
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return {}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source(clock: FakeClock) -> Source:
    return Source(clock)


@pytest.fixture
def lists(source: Source, clock: FakeClock) -> PodLists:
    return PodLists(source=source, interval=INTERVAL, clock=clock)


async def test_concurrent_callers_share_one_fetch(lists: PodLists, source: Source) -> None:
    source.may_answer.clear()
    callers = [asyncio.create_task(lists.newer_than(0)) for _ in range(100)]
    await asyncio.sleep(0)
    source.may_answer.set()
    assert {(await caller).version for caller in callers} == {1}
    assert source.starts == [0]


async def test_a_list_counts_until_the_next_fetch_may_start(
    lists: PodLists, source: Source, clock: FakeClock
) -> None:
    assert (await lists.newer_than(0)).version == 1
    await clock.advance(timedelta(milliseconds=499))
    assert (await lists.newer_than(0)).version == 1
    await clock.advance(timedelta(milliseconds=1))
    assert (await lists.newer_than(0)).version == 2
    assert source.starts == [0, 0.5]


async def test_who_wants_a_newer_list_waits_for_the_interval(
    lists: PodLists, source: Source, clock: FakeClock
) -> None:
    await lists.newer_than(0)
    await clock.advance(timedelta(milliseconds=100))
    caller = asyncio.create_task(lists.newer_than(1))
    await clock.sleepers()
    await clock.advance(timedelta(milliseconds=400))
    assert (await caller).version == 2
    assert source.starts == [0, 0.5]


async def test_a_failure_reaches_all_and_is_not_kept(
    lists: PodLists, source: Source, clock: FakeClock
) -> None:
    source.error = Unavailable("kubelet is away")
    source.may_answer.clear()
    callers = [asyncio.create_task(lists.newer_than(0)) for _ in range(3)]
    await asyncio.sleep(0)
    source.may_answer.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["kubelet is away"] * 3
    source.error = None
    caller = asyncio.create_task(lists.newer_than(0))
    await clock.sleepers()
    await clock.advance(INTERVAL)
    assert (await caller).version == 1
    assert source.starts == [0, 0.5]


async def test_the_last_good_list_is_not_served_after_its_time(
    lists: PodLists, source: Source, clock: FakeClock
) -> None:
    await lists.newer_than(0)
    await clock.advance(INTERVAL)
    source.error = Unavailable("kubelet is away")
    with pytest.raises(Unavailable, match="kubelet is away"):
        await lists.newer_than(0)


async def test_who_goes_away_takes_nobody_along(lists: PodLists, source: Source) -> None:
    source.may_answer.clear()
    first = asyncio.create_task(lists.newer_than(0))
    await asyncio.sleep(0)
    second = asyncio.create_task(lists.newer_than(0))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    source.may_answer.set()
    assert (await second).version == 1
    assert (len(source.starts), source.cancelled) == (1, 0)


async def test_closing_ends_what_is_under_way(lists: PodLists, source: Source) -> None:
    source.may_answer.clear()
    caller = asyncio.create_task(lists.newer_than(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await lists.aclose()
    with pytest.raises(Unavailable, match="pod list fetcher is closed"):
        await caller
    with pytest.raises(Unavailable, match="pod list fetcher is closed"):
        await lists.newer_than(0)
    assert source.cancelled == 1


@pytest.mark.parametrize(("quiet", "complaints"), [(False, 1), (True, 0)])
async def test_who_tells_of_a_failure_himself_may_have_it_kept_out_of_the_log(
    lists: PodLists,
    source: Source,
    capsys: pytest.CaptureFixture[str],
    quiet: bool,
    complaints: int,
) -> None:
    source.error = Unavailable("kubelet is away")
    with pytest.raises(Unavailable):
        await lists.newer_than(0, quiet=quiet)
    assert capsys.readouterr().out.count("Unable to get pod list") == complaints
