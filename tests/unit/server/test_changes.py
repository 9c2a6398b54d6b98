from __future__ import annotations

from spire_py.server.changes import Changes


def test_a_change_of_one_agent_wakes_its_own_listeners_only() -> None:
    changes = Changes()
    with (
        changes.heard_by("a") as first,
        changes.heard_by("a") as second,
        changes.heard_by("b") as b,
    ):
        changes.tell("a")
        changes.tell("nobody")
        assert (first.is_set(), second.is_set(), b.is_set()) == (True, True, False)


def test_what_may_concern_anyone_wakes_everyone() -> None:
    changes = Changes()
    with changes.heard_by("a") as a, changes.heard_by("b") as b:
        changes.tell_all()
        assert a.is_set()
        assert b.is_set()


def test_who_has_left_hears_nothing() -> None:
    changes = Changes()
    with changes.heard_by("a") as stays:
        with changes.heard_by("a") as leaves:
            pass
        changes.tell("a")
        changes.tell_all()
        assert stays.is_set()
        assert not leaves.is_set()
