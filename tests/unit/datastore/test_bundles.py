from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from spire_py.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from spire_py.server.datastore import Datastore, DeleteMode, Page
from spire_py.spiffe.bundle import Bundle, X509Authority
from tests.fakes.clock import START
from tests.fakes.pki import issue
from tests.unit.datastore.samples import OTHER, TD, THIRD, bundle, entry, jwt_authority

OLD_KEY = jwt_authority("old", expires_at=START)


def root(days: int) -> X509Authority:
    """A CA certificate that expires so many days after the start of the clock."""
    end = START + timedelta(days=days)
    return X509Authority(issue(is_ca=True, not_before=START - timedelta(9), not_after=end).der)


async def test_bundle_is_read_back_as_it_was_stored(datastore: Datastore) -> None:
    made = bundle(
        x509_authorities=(X509Authority(b"\x30\x01a"), X509Authority(b"\x30\x01b", True)),
        jwt_authorities=(jwt_authority("a"), jwt_authority("b", tainted=True, expires_at=None)),
        wit_authorities=(jwt_authority("w"),),
        refresh_hint=timedelta(minutes=5),
        sequence_number=2**63,
    )
    assert await datastore.create_bundle(made) == made
    assert await datastore.get_bundle(TD) == made
    assert await datastore.get_bundle(OTHER) is None
    assert await datastore.list_bundles() == ([made], "")
    assert await datastore.count_bundles() == 1


async def test_trust_domain_has_one_bundle(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle())
    with pytest.raises(AlreadyExists):
        await datastore.create_bundle(bundle(sequence_number=2))
    assert await datastore.get_bundle(TD) == bundle()


async def test_set_makes_or_replaces_a_bundle(datastore: Datastore) -> None:
    await datastore.set_bundle(bundle())
    replaced = Bundle(TD, sequence_number=9)
    assert await datastore.set_bundle(replaced) == replaced
    assert await datastore.get_bundle(TD) == replaced


async def test_update_changes_what_the_mask_names(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle())
    wanted = Bundle(TD, refresh_hint=timedelta(hours=1), sequence_number=4)
    changed = await datastore.update_bundle(wanted, frozenset({"refresh_hint"}))
    assert changed == bundle(refresh_hint=timedelta(hours=1))
    assert await datastore.update_bundle(wanted) == wanted
    assert await datastore.get_bundle(TD) == wanted
    with pytest.raises(NotFound, match="record not found"):
        await datastore.update_bundle(bundle(OTHER))


async def test_append_adds_what_is_new_and_counts_up(datastore: Datastore) -> None:
    first = bundle(wit_authorities=(jwt_authority("w"),))
    assert await datastore.append_bundle(first) == first
    assert await datastore.append_bundle(first) == first
    new = Bundle(
        TD,
        (X509Authority(b"\x30\x01b"),),
        (jwt_authority("two"),),
        (jwt_authority("w"), jwt_authority("x")),
        refresh_hint=timedelta(hours=9),
        sequence_number=99,
    )
    grown = await datastore.append_bundle(new)
    assert grown == Bundle(
        TD,
        first.x509_authorities + new.x509_authorities,
        first.jwt_authorities + new.jwt_authorities,
        first.wit_authorities + new.wit_authorities[1:],
        sequence_number=1,
    )
    assert await datastore.get_bundle(TD) == grown


async def test_append_does_not_clean_a_tainted_authority(datastore: Datastore) -> None:
    tainted = bundle(
        x509_authorities=(X509Authority(b"\x30\x01a", tainted=True),),
        jwt_authorities=(jwt_authority("one", tainted=True),),
    )
    await datastore.create_bundle(tainted)
    assert await datastore.append_bundle(bundle()) == tainted


async def test_change_is_written_with_the_next_sequence_number(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(sequence_number=5))
    changed = await datastore.change_bundle(
        TD, lambda stored: stored.with_changes(jwt_authorities=())
    )
    assert changed == bundle(jwt_authorities=(), sequence_number=6)
    assert await datastore.change_bundle(TD, lambda stored: stored) == changed
    assert await datastore.get_bundle(TD) == changed
    with pytest.raises(NotFound):
        await datastore.change_bundle(OTHER, lambda stored: stored)


async def test_change_that_raises_changes_nothing(datastore: Datastore) -> None:
    def refuse(_: Bundle) -> Bundle:
        raise InvalidArgument("root CA is already tainted")

    await datastore.create_bundle(bundle())
    with pytest.raises(InvalidArgument, match="root CA is already tainted"):
        await datastore.change_bundle(TD, refuse)
    assert await datastore.get_bundle(TD) == bundle()


async def test_expired_authorities_are_pruned(datastore: Datastore) -> None:
    old, new = root(1), root(3)
    keys = [
        jwt_authority("old", expires_at=START + timedelta(days=1)),
        jwt_authority("new", expires_at=START + timedelta(days=3)),
        jwt_authority("never", expires_at=None),
    ]
    stored = Bundle(TD, (old, new), tuple(keys), tuple(keys), sequence_number=3)
    await datastore.create_bundle(stored)
    assert not await datastore.prune_bundle(TD, START)
    assert await datastore.prune_bundle(TD, START + timedelta(days=2))
    assert await datastore.get_bundle(TD) == Bundle(
        TD, (new,), tuple(keys[1:]), tuple(keys[1:]), sequence_number=4
    )
    assert not await datastore.prune_bundle(OTHER, START)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"x509_authorities": (root(1),)}, "all certificates", id="certificates"),
        pytest.param({"jwt_authorities": (OLD_KEY,)}, "all JWT signing keys", id="JWT keys"),
        pytest.param({"wit_authorities": (OLD_KEY,)}, "all WIT signing keys", id="WIT keys"),
    ],
)
async def test_pruning_leaves_some_of_each_kind(
    datastore: Datastore, changes: dict[str, Any], message: str
) -> None:
    stored = replace(Bundle(TD, (root(9),)), **changes)
    await datastore.create_bundle(stored)
    with pytest.raises(FailedPrecondition, match=f"would prune {message}"):
        await datastore.prune_bundle(TD, START + timedelta(days=2))
    assert await datastore.get_bundle(TD) == stored


async def test_bundle_in_use_is_not_deleted(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    await datastore.create_entry(entry("/one", federates_with=(OTHER,)))
    await datastore.create_entry(entry("/two", federates_with=(OTHER,)))
    with pytest.raises(FailedPrecondition) as refusal:
        await datastore.delete_bundle(OTHER)
    assert refusal.value.message == (
        "datastore-sql: cannot delete bundle; federated with 2 registration entries"
    )
    assert await datastore.get_bundle(OTHER) == bundle(OTHER)


async def test_bundle_is_deleted_with_the_entries_that_use_it(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    gone, _ = await datastore.create_entry(entry("/one", federates_with=(OTHER,)))
    left, _ = await datastore.create_entry(entry("/two"))
    await datastore.delete_bundle(OTHER, DeleteMode.DELETE)
    assert await datastore.get_bundle(OTHER) is None
    assert await datastore.load_all_entries() == [left]
    assert (await datastore.entry_events(0))[-1][1] == gone.id


async def test_bundle_is_deleted_and_entries_come_loose(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    await datastore.create_bundle(bundle(THIRD))
    linked, _ = await datastore.create_entry(entry("/one", federates_with=(OTHER, THIRD)))
    await datastore.delete_bundle(OTHER, DeleteMode.DISSOCIATE)
    assert await datastore.load_all_entries() == [replace(linked, federates_with=(THIRD,))]
    assert (await datastore.entry_events(0))[-1][1] == linked.id


async def test_unused_bundle_is_deleted_in_any_mode(datastore: Datastore) -> None:
    for mode in DeleteMode:
        await datastore.create_bundle(bundle(OTHER))
        await datastore.delete_bundle(OTHER, mode)
        with pytest.raises(NotFound, match="record not found"):
            await datastore.delete_bundle(OTHER, mode)


async def test_pages_hold_each_bundle_once(datastore: Datastore) -> None:
    for each in (TD, OTHER, THIRD):
        await datastore.create_bundle(bundle(each))
    first, token = await datastore.list_bundles(Page(2))
    second, token = await datastore.list_bundles(Page(2, token))
    assert [each.trust_domain for each in first + second] == [TD, OTHER, THIRD]
    assert await datastore.list_bundles(Page(2, token)) == ([], "")
