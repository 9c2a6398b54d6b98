"""Which entries an agent may have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spire_py.server.entry_cache.index import EntryIndex
from spire_py.spiffe.id import SpiffeID, TrustDomain
from tests.fakes.agents import DOMAIN, agent_id, make_agent, make_entry, member

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = "/spire/agent/test/node"


@pytest.fixture
def index() -> EntryIndex:
    return EntryIndex(DOMAIN)


def ids(index: EntryIndex, name: str = "node", now: datetime = NOW) -> list[str]:
    return [each.entry.id for each in index.authorized(agent_id(name), now).entries]


def test_an_agent_may_have_the_entries_whose_parent_it_is(index: EntryIndex) -> None:
    index.put_entry(make_entry("b", NODE, "/b"))
    index.put_entry(make_entry("a", NODE, "/a"))
    index.put_entry(make_entry("other", "/spire/agent/test/other", "/other"))
    assert ids(index) == ["a", "b"]


def test_children_of_children_belong_to_it_and_a_cycle_ends(index: EntryIndex) -> None:
    index.put_entry(make_entry("1", NODE, "/one"))
    index.put_entry(make_entry("2", "/one", "/two"))
    index.put_entry(make_entry("3", "/two", "/one"))
    assert ids(index) == ["1", "2", "3"]


def test_an_alias_gives_what_hangs_below_it_but_not_itself(index: EntryIndex) -> None:
    index.put_agent(make_agent("node", "k8s:cluster:a", "k8s:zone:1"))
    index.put_entry(make_entry("alias", "/spire/server", "/cluster/a", "k8s:cluster:a"))
    index.put_entry(make_entry("below", "/cluster/a", "/workload"))
    assert ids(index) == ["below"]


def test_an_alias_needs_all_its_selectors_among_those_of_the_agent(index: EntryIndex) -> None:
    index.put_agent(make_agent("node", "k8s:cluster:a"))
    index.put_entry(
        make_entry("alias", "/spire/server", "/cluster/a", "k8s:cluster:a", "k8s:zone:1")
    )
    index.put_entry(make_entry("below", "/cluster/a", "/workload"))
    assert ids(index) == []
    index.put_agent(make_agent("node", "k8s:cluster:a", "k8s:zone:1"))
    assert ids(index) == ["below"]


def test_an_alias_that_comes_or_goes_counts_at_once(index: EntryIndex) -> None:
    index.put_agent(make_agent("node", "a:b"))
    index.put_entry(make_entry("below", "/alias", "/workload"))
    assert ids(index) == []
    index.put_entry(make_entry("alias", "/spire/server", "/alias", "a:b"))
    assert ids(index) == ["below"]
    index.remove_entry("alias")
    assert ids(index) == []


def test_a_new_child_of_a_leaf_is_found(index: EntryIndex) -> None:
    index.put_entry(make_entry("1", NODE, "/one"))
    assert ids(index) == ["1"]
    index.put_entry(make_entry("2", "/one", "/two"))
    assert ids(index) == ["1", "2"]


def test_an_entry_that_moves_to_another_parent_leaves_the_first(index: EntryIndex) -> None:
    index.put_entry(make_entry("1", NODE, "/one"))
    assert ids(index) == ["1"]
    index.put_entry(make_entry("1", "/spire/agent/test/other", "/one", revision_number=1))
    assert (ids(index), ids(index, "other")) == ([], ["1"])


def test_entries_of_another_trust_domain_are_left_out(index: EntryIndex) -> None:
    foreign = TrustDomain("other.org")
    entry = make_entry("1", NODE, "/one")
    index.put_entry(
        type(entry)(
            id="2",
            parent_id=SpiffeID(foreign, NODE),
            spiffe_id=member("/two"),
            selectors=entry.selectors,
        )
    )
    assert ids(index) == []


def test_an_expired_entry_is_not_given_out_and_neither_is_what_hangs_below(
    index: EntryIndex,
) -> None:
    soon = NOW + timedelta(hours=1)
    index.put_entry(make_entry("1", NODE, "/one", expires_at=soon))
    index.put_entry(make_entry("2", "/one", "/two"))
    assert ids(index) == ["1", "2"]
    assert ids(index, now=soon) == []


def test_agents_with_the_same_aliases_share_a_snapshot(index: EntryIndex) -> None:
    index.put_entry(make_entry("alias", "/spire/server", "/all", "a:b"))
    index.put_entry(make_entry("1", "/all", "/one"))
    for name in ("x", "y"):
        index.put_agent(make_agent(name, "a:b"))
    first = index.authorized(agent_id("x"), NOW)
    assert index.authorized(agent_id("y"), NOW) is first


def test_an_unchanged_entry_keeps_the_snapshot(index: EntryIndex) -> None:
    index.put_entry(make_entry("1", NODE, "/one"))
    first = index.authorized(agent_id("node"), NOW)
    index.put_entry(make_entry("1", NODE, "/one"))
    assert index.authorized(agent_id("node"), NOW) is first


def test_admin_and_downstream_rights_are_found_by_id_until_the_entry_expires(
    index: EntryIndex,
) -> None:
    soon = NOW + timedelta(hours=1)
    index.put_entry(make_entry("1", NODE, "/admin", admin=True, expires_at=soon))
    index.put_entry(make_entry("2", NODE, "/plain"))
    assert [entry.id for entry in index.privileged(member("/admin"), NOW)] == ["1"]
    assert index.privileged(member("/admin"), soon) == []
    assert index.privileged(member("/plain"), NOW) == []
    index.remove_entry("1")
    assert index.privileged(member("/admin"), NOW) == []


def test_entries_that_federate_with_an_unknown_trust_domain_are_named(index: EntryIndex) -> None:
    one, two = TrustDomain("one.org"), TrustDomain("two.org")
    index.put_entry(make_entry("1", NODE, "/one", federates_with=(one,)))
    index.put_entry(make_entry("2", NODE, "/two", federates_with=(one, two)))
    assert index.federating_with_none_of({one, two}) == set()
    assert index.federating_with_none_of({one}) == {"2"}
    index.put_entry(make_entry("2", NODE, "/two"))
    assert index.federating_with_none_of({one}) == set()
