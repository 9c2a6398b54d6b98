from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spire_py.server.ca.lifetime import is_valid, wants_successor, wants_to_retire

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("ttl", "successor_at", "retires_at"),
    [
        pytest.param(24 * HOUR, 12 * HOUR, 20 * HOUR, id="a day"),
        pytest.param(6 * HOUR, 3 * HOUR, 5 * HOUR, id="hours"),
        pytest.param(42 * DAY, 21 * DAY, 35 * DAY, id="up to the limit of a sixth"),
        pytest.param(60 * DAY, 30 * DAY, 53 * DAY, id="up to the limit of a half"),
        pytest.param(365 * DAY, 335 * DAY, 358 * DAY, id="a year"),
    ],
)
def test_thresholds(ttl: timedelta, successor_at: timedelta, retires_at: timedelta) -> None:
    end = BEGIN + ttl
    for due, at in ((wants_successor, successor_at), (wants_to_retire, retires_at)):
        assert not due(BEGIN, end, BEGIN + at - SECOND)
        assert due(BEGIN, end, BEGIN + at)
        assert due(BEGIN, end, end + DAY)


@pytest.mark.parametrize(
    ("at", "valid"),
    [
        pytest.param(-11 * SECOND, False, id="before the backdating"),
        pytest.param(-10 * SECOND, True, id="backdated"),
        pytest.param(timedelta(), True, id="begin"),
        pytest.param(HOUR - SECOND, True, id="last second"),
        pytest.param(HOUR, False, id="end"),
    ],
)
def test_validity(at: timedelta, valid: bool) -> None:
    assert is_valid(BEGIN, BEGIN + HOUR, BEGIN + at) is valid
