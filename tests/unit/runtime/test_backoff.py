"""Waits between tries (feature O1)."""

from __future__ import annotations

from datetime import timedelta

from spire_py.runtime.backoff import Backoff

SECOND = timedelta(seconds=1)


def test_waits_grow_by_half_up_to_the_most_and_begin_again_after_a_success() -> None:
    backoff = Backoff(initial=5 * SECOND, maximum=20 * SECOND, jitter=0)
    assert [backoff.next() / SECOND for _ in range(6)] == [5, 7.5, 11.25, 16.875, 20, 20]
    backoff.reset()
    assert backoff.next() == 5 * SECOND


def test_waits_are_spread_by_a_tenth_to_both_sides() -> None:
    waits = [Backoff(initial=10 * SECOND, maximum=60 * SECOND).next() for _ in range(500)]
    assert 9 * SECOND <= min(waits) < 9.5 * SECOND
    assert 10.5 * SECOND < max(waits) <= 11 * SECOND
