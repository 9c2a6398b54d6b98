from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spire_py._proto import workload_pb2
from spire_py.agent.workload_cache import WorkloadCache, WorkloadGroup
from spire_py.agent.workload_update import WorkloadUpdate
from tests.fakes.clock import START
from tests.unit.agent.builders import (
    OTHER,
    THIRD,
    Authority,
    by_domain,
    by_id,
    entry,
    selectors,
)

UID = selectors("unix:uid:1000")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def cache(authority: Authority) -> WorkloadCache:
    return WorkloadCache(bundle=authority.bundle, max_svids=1000)


def names(update: WorkloadUpdate | None) -> list[str]:
    assert update is not None
    return [identity.entry.id for identity in update.identities]


def is_waiting(group: WorkloadGroup) -> bool:
    return group.update is None


def test_a_workload_without_entries_is_told_so_at_once(cache: WorkloadCache) -> None:
    with cache.subscribe(UID) as group:
        assert names(group.update) == []


def test_a_new_subscriber_waits_until_all_its_svids_are_there(
    cache: WorkloadCache, authority: Authority
) -> None:
    a, b = entry("a"), entry("b")
    cache.replace(by_id(a, b), by_domain(authority.bundle))
    cache.wanted.clear()
    with cache.subscribe(UID) as group:
        assert cache.wanted.is_set()
        cache.store_svids({"a": authority.svid(a)})
        assert is_waiting(group)
        cache.store_svids({"b": authority.svid(b)})
        assert names(group.update) == ["a", "b"]


def test_a_subscriber_keeps_what_it_has_while_a_new_entry_is_signed(
    cache: WorkloadCache, authority: Authority
) -> None:
    a, b = entry("a"), entry("b")
    cache.replace(by_id(a), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(a)})
    with cache.subscribe(UID) as group:
        before = group.update
        cache.replace(by_id(a, b), by_domain(authority.bundle))
        assert group.update is before
        cache.store_svids({"b": authority.svid(b)})
        assert names(group.update) == ["a", "b"]


def test_a_withdrawn_entry_is_gone_at_once(cache: WorkloadCache, authority: Authority) -> None:
    a = entry("a")
    cache.replace(by_id(a), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(a)})
    with cache.subscribe(UID) as group:
        cache.replace({}, by_domain(authority.bundle))
        assert names(group.update) == []
    assert cache.svid_count == 0


def test_groups_with_the_same_identities_share_one_update(
    cache: WorkloadCache, authority: Authority
) -> None:
    a = entry("a")
    cache.replace(by_id(a), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(a)})
    with (
        cache.subscribe(UID) as one,
        cache.subscribe(UID | selectors("k8s:ns:x")) as two,
    ):
        assert one is not two
        assert one.update is two.update
        cache.store_svids({"a": authority.svid(a)})
        assert one.update is two.update


def test_what_does_not_concern_a_group_gives_no_update(
    cache: WorkloadCache, authority: Authority
) -> None:
    a, b = entry("a"), entry("b", "unix:uid:2000")
    cache.replace(by_id(a, b), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(a), "b": authority.svid(b)})
    with cache.subscribe(UID) as group:
        before = group.update
        cache.store_svids({"b": authority.svid(b)})
        foreign = Authority(OTHER).bundle
        cache.replace(by_id(a, b), by_domain(authority.bundle, foreign))
        assert group.update is before


def test_only_bundles_that_the_entries_federate_with_are_given(
    cache: WorkloadCache, authority: Authority
) -> None:
    a = entry("a", federates_with=(OTHER,))
    bundles = by_domain(authority.bundle, Authority(OTHER).bundle, Authority(THIRD).bundle)
    cache.replace(by_id(a), bundles)
    cache.store_svids({"a": authority.svid(a)})
    with cache.subscribe(UID) as group:
        assert group.update is not None
        assert [item.trust_domain for item in group.update.federated] == [OTHER]
        cache.replace(by_id(a), by_domain(authority.bundle))
        assert group.update.federated == ()


def test_the_own_bundle_stays_when_a_sync_lacks_it(
    cache: WorkloadCache, authority: Authority
) -> None:
    cache.replace({}, {})
    assert cache.bundle == authority.bundle


async def test_a_slow_reader_sees_the_latest_update_only(
    cache: WorkloadCache, authority: Authority
) -> None:
    a = entry("a")
    cache.replace(by_id(a), by_domain(authority.bundle))
    with cache.subscribe(UID) as group:
        for _ in range(5):
            cache.store_svids({"a": authority.svid(a)})
        version, update = await asyncio.wait_for(group.next_update(-1), 10)
        assert update is group.update
        waiting = asyncio.create_task(group.next_update(version))
        await asyncio.sleep(0)
        assert not waiting.done()
        cache.store_svids({"a": authority.svid(a)})
        assert (await asyncio.wait_for(waiting, 10))[1] is group.update


def test_a_one_time_caller_finds_the_group_of_the_last(
    cache: WorkloadCache, authority: Authority
) -> None:
    a = entry("a")
    cache.replace(by_id(a), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(a)})
    with cache.subscribe(UID) as first:
        pass
    with cache.subscribe(UID) as second:
        assert second is first
    cache.store_svids({"a": authority.svid(a)})
    with cache.subscribe(UID) as third:
        assert third.update is not first.update


def test_a_changed_entry_is_told_of_once_with_the_svid_that_fits_it(
    cache: WorkloadCache, authority: Authority
) -> None:
    before = entry("a", spiffe_id="spiffe://example.org/before")
    cache.replace(by_id(before), by_domain(authority.bundle))
    cache.store_svids({"a": authority.svid(before)})
    after = entry("a", spiffe_id="spiffe://example.org/after", revision_number=1)
    with cache.subscribe(UID) as group:
        first = group.update
        cache.replace(by_id(after), by_domain(authority.bundle))
        assert group.update is first
        cache.store_svids({"a": authority.svid(after)})
        assert group.update is not None
        response = workload_pb2.X509SVIDResponse.FromString(group.update.x509_svid_response)
    assert [svid.spiffe_id for svid in response.svids] == ["spiffe://example.org/after"]


class TestDue:
    def test_subscribed_entries_come_before_prefetch(
        self, cache: WorkloadCache, authority: Authority
    ) -> None:
        cache.replace(by_id(entry("a", "unix:uid:1"), entry("z")), by_domain(authority.bundle))
        with cache.subscribe(UID):
            assert [item.id for item in cache.due(START)] == ["z", "a"]

    def test_prefetch_stops_at_the_size_of_the_cache(self, authority: Authority) -> None:
        cache = WorkloadCache(bundle=authority.bundle, max_svids=3)
        cache.replace(by_id(*(entry(name) for name in "abcdef")), by_domain(authority.bundle))
        assert len(cache.due(START)) == 3

    def test_subscribers_are_served_beyond_the_size_of_the_cache(
        self, authority: Authority
    ) -> None:
        cache = WorkloadCache(bundle=authority.bundle, max_svids=1)
        entries = [entry(name) for name in "abc"]
        cache.replace(by_id(*entries), by_domain(authority.bundle))
        with cache.subscribe(UID) as group:
            assert len(cache.due(START)) == 3
            cache.store_svids({item.id: authority.svid(item) for item in entries})
            assert names(group.update) == ["a", "b", "c"]
        cache.store_svids({"a": authority.svid(entries[0])})
        assert cache.svid_count == 1

    def test_the_svids_longest_unused_go_first(self, authority: Authority) -> None:
        cache = WorkloadCache(bundle=authority.bundle, max_svids=2)
        entries = [entry(name, f"unix:uid:{number}") for number, name in enumerate("abcd")]
        cache.replace(by_id(*entries), by_domain(authority.bundle))
        cache.store_svids({item.id: authority.svid(item) for item in entries[:2]})
        with cache.subscribe(selectors("unix:uid:0")):
            pass
        cache.store_svids({"c": authority.svid(entries[2])})
        assert sorted(cache.svids()) == ["a", "c"]
        with cache.subscribe(selectors("unix:uid:0")):
            cache.store_svids({"d": authority.svid(entries[3])})
            assert sorted(cache.svids()) == ["a", "d"]

    def test_an_entry_without_prefetch_waits_for_a_subscriber(
        self, cache: WorkloadCache, authority: Authority
    ) -> None:
        cache.replace(
            by_id(entry("a", disable_x509_svid_prefetch=True)), by_domain(authority.bundle)
        )
        assert cache.due(START) == []
        with cache.subscribe(UID):
            assert [item.id for item in cache.due(START)] == ["a"]

    def test_an_svid_is_due_at_half_of_its_life(
        self, cache: WorkloadCache, authority: Authority
    ) -> None:
        a = entry("a")
        cache.replace(by_id(a), by_domain(authority.bundle))
        cache.store_svids({"a": authority.svid(a, timedelta(hours=1))})
        assert cache.due(START + timedelta(minutes=26)) == []
        assert cache.due(START + timedelta(minutes=34)) == [a]

    def test_an_svid_of_an_older_revision_is_due(
        self, cache: WorkloadCache, authority: Authority
    ) -> None:
        a = entry("a")
        cache.replace(by_id(a), by_domain(authority.bundle))
        cache.store_svids({"a": authority.svid(a)})
        changed = entry("a", revision_number=1)
        cache.replace(by_id(changed), by_domain(authority.bundle))
        assert cache.due(START) == [changed]

    def test_a_distrusted_svid_is_due_and_stays_until_it_is_replaced(
        self, cache: WorkloadCache, authority: Authority
    ) -> None:
        a = entry("a")
        cache.replace(by_id(a), by_domain(authority.bundle))
        cache.store_svids({"a": authority.svid(a)})
        with cache.subscribe(UID) as group:
            cache.rotate_now(["a"])
            assert cache.due(START) == [a]
            assert names(group.update) == ["a"]
            cache.store_svids({"a": authority.svid(a)})
            assert cache.due(START) == []
