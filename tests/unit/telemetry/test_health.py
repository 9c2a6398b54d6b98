from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from spire_py.errors import AlreadyExists, FailedPrecondition, Unavailable
from spire_py.telemetry.health import HealthRegistry, HealthState
from spire_py.telemetry.logs import configure_logging
from tests.fakes.clock import FakeClock

GOOD = HealthState(live=True, ready=True, live_details={}, ready_details={})


class Subsystem:
    """Is as it is told to be, and counts how often it was asked."""

    def __init__(self, state: HealthState | Exception = GOOD) -> None:
        self.state = state
        self.asked = 0

    async def check(self) -> HealthState:
        self.asked += 1
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("debug", stream=stream, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    yield stream
    configure_logging(stream=io.StringIO())


@asynccontextmanager
async def running(registry: HealthRegistry, clock: FakeClock) -> AsyncIterator[None]:
    task = asyncio.create_task(registry.run())
    await clock.advance(timedelta(0))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_answers_are_those_of_spire() -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("server", Subsystem().check)
    bad = HealthState(
        live=True, ready=False, live_details={}, ready_details={"sign_x509_svid_err": "x"}
    )
    registry.add("server.ca", Subsystem(bad).check)
    await registry.check_now()
    live, ready = await registry.live(), await registry.ready()
    assert (live.status, live.body) == (200, b'{"server":{},"server.ca":{}}\n')
    assert (ready.status, ready.body) == (
        500,
        b'{"server":{},"server.ca":{"sign_x509_svid_err":"x"}}\n',
    )
    assert ready.content_type == "application/json"


async def test_nothing_is_well_before_the_first_check() -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("agent", Subsystem().check)
    response = await registry.ready()
    assert (response.status, response.body) == (500, b'{"agent":null}\n')


async def test_checks_are_frequent_until_all_is_well() -> None:
    clock = FakeClock()
    registry = HealthRegistry(clock=clock)
    subsystem = Subsystem(HealthState(live=True, ready=False))
    registry.add("agent", subsystem.check)
    async with running(registry, clock):
        await clock.advance(timedelta(seconds=3))
        assert subsystem.asked == 4
        subsystem.state = GOOD
        await clock.advance(timedelta(seconds=1))
        assert registry.is_ready
        assert subsystem.asked == 5
        await clock.advance(timedelta(seconds=9))
        assert subsystem.asked == 5
        await clock.advance(timedelta(seconds=1))
        assert subsystem.asked == 6


async def test_failing_check_is_not_live_and_says_why() -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("catalog.datastore", Subsystem(Unavailable("no database")).check)
    await registry.check_now()
    response = await registry.live()
    assert (response.status, response.body) == (
        500,
        b'{"catalog.datastore":{"err":"no database"}}\n',
    )


async def test_failure_and_recovery_are_logged_once(lines: io.StringIO) -> None:
    clock = FakeClock()
    registry = HealthRegistry(clock=clock)
    subsystem = Subsystem(HealthState(live=False, ready=False))
    registry.add("server", subsystem.check)
    await registry.check_now()
    await registry.check_now()
    await clock.advance(timedelta(seconds=5))
    subsystem.state = GOOD
    await registry.check_now()
    text = lines.getvalue().splitlines()
    assert ['level=error msg="Health check has failed" check=server' in line for line in text] == [
        True,
        False,
        False,
        False,
    ]
    assert 'error="subsystem is not live or ready"' in text[0]
    assert 'level=warning msg="Health check failed"' in text[1]
    assert 'level=info msg="Health check recovered" check=server' in text[3]
    assert "duration=5.0" in text[3]
    assert "failures=2" in text[3]


async def test_failure_while_starting_is_no_error(lines: io.StringIO) -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("agent", Subsystem(HealthState(live=True, ready=False, started=False)).check)
    await registry.check_now()
    await registry.check_now()
    (line,) = lines.getvalue().splitlines()
    assert 'level=warning msg="Health check has failed. Starting up still." check=agent' in line


def test_name_is_taken_once() -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("agent", Subsystem().check)
    with pytest.raises(AlreadyExists, match='check "agent" has already been added'):
        registry.add("agent", Subsystem().check)


async def test_there_must_be_something_to_check() -> None:
    with pytest.raises(FailedPrecondition, match="no health checks defined"):
        await HealthRegistry(clock=FakeClock()).run()


async def test_remarks_stand_in_the_answer_and_change_no_verdict() -> None:
    registry = HealthRegistry(clock=FakeClock())
    registry.add("agent", Subsystem().check)
    remarks: dict[str, list[str]] = {}
    registry.add_remarks("plugins", lambda: remarks)
    await registry.check_now()
    assert (await registry.ready()).body == b'{"agent":{}}\n'
    remarks["WorkloadAttestor docker"] = ["no socket"]
    ready, live = await registry.ready(), await registry.live()
    assert ready.body == b'{"agent":{},"plugins":{"WorkloadAttestor docker":["no socket"]}}\n'
    assert (ready.status, live.status, live.body) == (200, 200, b'{"agent":{}}\n')
