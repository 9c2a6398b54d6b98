from __future__ import annotations

from datetime import timedelta

import pytest

from spire_py.agent.rotation import RotationStrategy
from tests.fakes.clock import START


@pytest.mark.parametrize(
    ("lifetime", "target", "least_left", "most_left"),
    [
        pytest.param("1h", "0h", 27 / 60, 33 / 60, id="half of it, 10 % more or less"),
        pytest.param("30d", "0h", 13.5 * 24, 16.5 * 24, id="half of it, however long"),
        pytest.param("48h", "30h", 30, 30 + 1 / 6, id="target and up to ten minutes"),
        pytest.param("48h", "36h", 21.6, 26.4, id="12 hours more than the target: half"),
        pytest.param("49h", "36h", 36, 36 + 1 / 6, id="13 hours more than the target: target"),
        pytest.param("100h", "24h", 45, 55, id="half is earlier than the target"),
    ],
)
def test_the_time_of_rotation(
    lifetime: str, target: str, least_left: float, most_left: float
) -> None:
    units = {"h": timedelta(hours=1), "d": timedelta(days=1)}
    whole = int(lifetime[:-1]) * units[lifetime[-1]]
    strategy = RotationStrategy(int(target[:-1]) * units[target[-1]])
    for _ in range(100):
        left = START + whole - strategy.rotate_at(START, START + whole)
        assert least_left <= left / timedelta(hours=1) <= most_left


def test_svids_of_one_age_do_not_rotate_all_at_once() -> None:
    strategy = RotationStrategy()
    times = {strategy.rotate_at(START, START + timedelta(hours=1)) for _ in range(50)}
    assert len(times) > 40
