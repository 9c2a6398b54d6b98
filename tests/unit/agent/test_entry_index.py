from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.agent.entry_index import EntryIndex
from tests.unit.agent.builders import by_id, entry, selectors


@pytest.mark.parametrize(
    ("workload", "found"),
    [
        pytest.param(("unix:uid:1000",), ["one"], id="one selector of one"),
        pytest.param(("unix:uid:1000", "unix:gid:2"), ["both", "one"], id="all selectors of two"),
        pytest.param(("unix:gid:2",), [], id="one selector of two is not enough"),
        pytest.param(("k8s:ns:x", "unix:uid:1000"), ["one"], id="selectors beyond do no harm"),
        pytest.param((), [], id="no selectors match nothing"),
        pytest.param(("unix:uid:10000",), [], id="a prefix is no match"),
    ],
)
def test_an_entry_matches_when_its_selectors_are_among_the_workloads(
    workload: tuple[str, ...], found: list[str]
) -> None:
    index = EntryIndex()
    index.replace(
        by_id(entry("one", "unix:uid:1000"), entry("both", "unix:uid:1000", "unix:gid:2"))
    )
    assert [item.id for item in index.match(selectors(*workload))] == found


def test_the_found_are_sorted_by_entry_id() -> None:
    index = EntryIndex()
    index.replace(by_id(entry("b"), entry("c"), entry("a")))
    assert [item.id for item in index.match(selectors("unix:uid:1000"))] == ["a", "b", "c"]


def test_replacing_by_the_same_entries_is_no_change() -> None:
    index = EntryIndex()
    entries = by_id(entry("a"), entry("b"))
    assert index.replace(entries)
    assert not index.replace(dict(entries))


def test_a_changed_entry_is_found_by_its_new_selectors_only() -> None:
    index = EntryIndex()
    index.replace(by_id(entry("a", "unix:uid:1")))
    assert index.replace(by_id(entry("a", "unix:uid:2", revision_number=1)))
    assert index.match(selectors("unix:uid:1")) == ()
    assert [item.id for item in index.match(selectors("unix:uid:2"))] == ["a"]


def test_an_entry_that_is_gone_is_not_found() -> None:
    index = EntryIndex()
    index.replace(by_id(entry("a"), entry("b")))
    assert index.replace(by_id(entry("b")))
    assert [item.id for item in index.match(selectors("unix:uid:1000"))] == ["b"]
    assert len(index) == 1


_SELECTORS = st.sampled_from(["unix:uid:1", "unix:uid:2", "unix:gid:1", "k8s:ns:a", "k8s:sa:b"])
_ENTRIES = st.dictionaries(st.sampled_from("abcdefgh"), st.sets(_SELECTORS, min_size=1), max_size=8)


@given(states=st.lists(_ENTRIES, min_size=1, max_size=5), workload=st.sets(_SELECTORS))
def test_the_index_finds_what_a_look_at_every_entry_finds(
    states: list[dict[str, set[str]]], workload: set[str]
) -> None:
    index = EntryIndex()
    for revision, state in enumerate(states):
        index.replace(
            {name: entry(name, *texts, revision_number=revision) for name, texts in state.items()}
        )
    assert [item.id for item in index.match(selectors(*workload))] == sorted(
        name for name, texts in states[-1].items() if texts <= workload
    )
