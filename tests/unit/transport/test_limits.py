from __future__ import annotations

import pytest

from spire_py.transport.frames import ConnectionFault, ErrorCode
from spire_py.transport.limits import ControlBudget, Limits, fitted_to


def spend(budget: ControlBudget, count: int, now: float) -> None:
    for _ in range(count):
        budget.spend(now)


def test_too_many_frames_in_one_period_are_refused() -> None:
    budget = ControlBudget(10, 60, now=0)
    spend(budget, 10, now=5)
    with pytest.raises(ConnectionFault) as caught:
        budget.spend(59)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_new_period_starts_anew() -> None:
    budget = ControlBudget(10, 60, now=0)
    spend(budget, 10, now=5)
    spend(budget, 11, now=61)
    with pytest.raises(ConnectionFault):
        budget.spend(62)


def test_completed_calls_earn_frames_but_save_none_up() -> None:
    budget = ControlBudget(10, 60, now=0)
    for _ in range(100):
        budget.spend(1)
        budget.earn()
    for _ in range(100):
        budget.earn()
    spend(budget, 10, now=1)
    with pytest.raises(ConnectionFault):
        budget.spend(1)


@pytest.mark.parametrize(
    ("open_files", "connections", "per_peer"),
    [(1 << 20, 10_000, 5_000), (4_096, 1_024, 512), (1_024, 256, 128), (10, 16, 8)],
)
def test_there_are_no_more_connections_than_half_the_descriptors_allow(
    open_files: int, connections: int, per_peer: int
) -> None:
    limits = fitted_to(Limits(), open_files)
    assert (limits.connections, limits.connections_per_peer) == (connections, per_peer)
