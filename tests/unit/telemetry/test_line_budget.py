"""A flood of refused calls does not fill the disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta

import pytest

from spire_py.telemetry.line_budget import LineBudget
from spire_py.telemetry.logs import configure_logging, get_logger
from tests.fakes.clock import FakeClock


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging(stream=stream)
    yield stream
    configure_logging()


async def test_a_flood_is_counted_and_the_count_told_with_the_next_line(
    stream: io.StringIO,
) -> None:
    clock = FakeClock()
    budget = LineBudget(get_logger("api"), clock)
    for _ in range(5_000):
        budget.error("Failed to authenticate caller", reason="none")
    assert stream.getvalue().count("\n") == 1_000
    await clock.advance(timedelta(seconds=1))
    for _ in range(5_000):
        budget.error("Failed to authenticate caller", reason="none")
    lines = stream.getvalue().splitlines()[1_000:]
    assert "lines_left_out" in lines[0]
    assert "count=4000" in lines[0]
    assert len(lines) == 1 + 100


async def test_a_quiet_hour_saves_up_no_more_than_the_first_thousand(stream: io.StringIO) -> None:
    clock = FakeClock()
    budget = LineBudget(get_logger("api"), clock)
    await clock.advance(timedelta(hours=1))
    for _ in range(5_000):
        budget.error("Failed to authenticate caller")
    assert stream.getvalue().count("\n") == 1_000
