"""Nothing is missed when events become visible out of order."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.server.entry_cache.events import EventFollower

PATIENCE = timedelta(minutes=15)


def follower(*seen: int) -> EventFollower:
    return EventFollower(seen, now=0.0, patience=PATIENCE)


def test_events_are_taken_once() -> None:
    events = follower(1, 2)
    assert events.take([(3, "a"), (4, "b")], now=1.0) == {"a", "b"}
    assert events.take([(3, "a"), (4, "b")], now=2.0) == set()


def test_a_lower_id_that_comes_after_a_higher_one_is_taken() -> None:
    events = follower(1)
    assert events.take([(3, "late commit of 2")], now=1.0) == {"late commit of 2"}
    assert events.read_after(2.0) == 1
    assert events.take([(2, "a"), (3, "b")], now=2.0) == {"a"}
    assert events.read_after(3.0) == 3


def test_a_gap_that_was_there_at_the_start_is_watched() -> None:
    events = follower(5, 7)
    assert events.read_after(1.0) == 5
    assert events.take([(6, "a"), (7, "b")], now=1.0) == {"a"}


def test_an_id_that_never_comes_is_given_up_after_the_patience() -> None:
    events = follower(1)
    events.take([(3, "a")], now=0.0)
    events.take([], now=PATIENCE.total_seconds() + 1)
    assert events.read_after(PATIENCE.total_seconds() + 2) == 3


def test_an_old_gap_is_looked_for_less_often() -> None:
    events = follower(1)
    events.take([(3, "a")], now=0.0)
    looks = [events.read_after(float(second)) == 1 for second in range(31, 91)]
    assert 1 <= sum(looks) <= 3


def test_too_many_gaps_ask_for_a_full_reload() -> None:
    events = follower(1)
    events.take([(1_000_000, "a")], now=1.0)
    assert events.overflowed
    assert events.read_after(2.0) == 1_000_000


@pytest.mark.filterwarnings("error")
@given(st.integers(0, 2**32))
def test_every_event_is_taken_exactly_once_in_whatever_order_it_becomes_visible(seed: int) -> None:
    dice = random.Random(seed)
    start = dice.randrange(0, 5)
    visible: set[int] = set(range(1, start + 1))
    events = EventFollower(visible, now=0.0, patience=PATIENCE)
    waiting = list(range(start + 1, start + 30))
    taken: list[str] = []
    now = 0.0
    while waiting:
        now += 1.0
        # Ids become visible in any order among the next few.
        for _ in range(dice.randrange(0, 4)):
            if waiting:
                visible.add(waiting.pop(dice.randrange(0, min(5, len(waiting)))))
        after = events.read_after(now)
        taken += events.take([(i, str(i)) for i in sorted(visible) if i > after], now=now)
    taken += events.take([(i, str(i)) for i in visible], now=now + 1)
    assert sorted(map(int, taken)) == list(range(start + 1, start + 30))
