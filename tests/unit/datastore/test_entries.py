from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spire_py.errors import AlreadyExists, Internal, InvalidArgument, NotFound, SpireError
from spire_py.model.entry import Entry
from spire_py.server.datastore import Datastore, EntryFilter, Page
from spire_py.spiffe.id import SpiffeID
from tests.fakes.clock import START, FakeClock
from tests.unit.datastore.conftest import Opener
from tests.unit.datastore.samples import (
    AGENT_ID,
    FULL_ENTRY,
    LATER,
    OTHER,
    TD,
    THIRD,
    bundle,
    entry,
    selectors,
)


async def test_created_entry_is_read_back_as_it_was_stored(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    stored, existed = await datastore.create_entry(FULL_ENTRY)
    assert not existed
    assert stored == replace(FULL_ENTRY, created_at=START)
    assert await datastore.get_entry(FULL_ENTRY.id) == stored
    assert await datastore.load_all_entries() == [stored]


async def test_entry_without_an_id_gets_one_of_its_own(datastore: Datastore) -> None:
    first, _ = await datastore.create_entry(entry("/one"))
    second, _ = await datastore.create_entry(entry("/two"))
    assert first.id != second.id
    assert len(first.id) == 36


async def test_created_at_is_the_nearest_second(datastore: Datastore, clock: FakeClock) -> None:
    clock.jump(timedelta(milliseconds=500))
    stored, _ = await datastore.create_entry(entry())
    assert stored.created_at == START + timedelta(seconds=1)
    assert await datastore.get_entry(stored.id) == stored


async def test_similar_entry_is_given_back_instead_of_a_new_one(datastore: Datastore) -> None:
    first, _ = await datastore.create_entry(entry("/w", "unix:uid:1", "unix:gid:2", hint="first"))
    again, existed = await datastore.create_entry(
        entry("/w", "unix:gid:2", "unix:uid:1", id="another", hint="second")
    )
    assert existed
    assert again == first
    assert await datastore.count_entries() == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(entry("/w", "unix:uid:1", "unix:gid:2"), id="more selectors"),
        pytest.param(entry("/w", "unix:uid:2"), id="another selector"),
        pytest.param(entry("/v", "unix:uid:1"), id="another SPIFFE ID"),
        pytest.param(
            entry("/w", "unix:uid:1", parent_id=TD.member("/spire/server")), id="another parent"
        ),
    ],
)
async def test_entry_that_differs_in_what_counts_is_stored(
    datastore: Datastore, other: Entry
) -> None:
    await datastore.create_entry(entry("/w", "unix:uid:1"))
    _, existed = await datastore.create_entry(other)
    assert not existed
    assert await datastore.count_entries() == 2


async def test_similar_entry_is_found_where_both_ids_are_crowded(datastore: Datastore) -> None:
    crowd = [entry("/same", "unix:uid:1", parent_id=TD.member(f"/p{n}")) for n in range(30)]
    crowd += [entry(f"/w{n}", "unix:uid:1", parent_id=TD.member("/p0")) for n in range(30)]
    crowd += [entry("/same", f"unix:uid:{n}", parent_id=TD.member("/p0")) for n in range(2, 30)]
    results = await datastore.create_entries(crowd)
    assert not any(isinstance(result, SpireError) or result[1] for result in results)
    again = [await datastore.create_entry(each) for each in (crowd[0], crowd[31], crowd[-1])]
    assert [existed for _, existed in again] == [True, True, True]
    assert [stored.spiffe_id.path for stored, _ in again] == ["/same", "/w1", "/same"]


async def test_batch_accepts_and_refuses_each_by_itself(datastore: Datastore) -> None:
    await datastore.create_entry(entry("/taken", id="taken"))
    results = await datastore.create_entries(
        [
            entry("/good"),
            entry("/none", selectors=()),
            entry("/good"),
            entry("/twice", id="taken"),
            entry("/federated", federates_with=(OTHER,)),
            entry("/last"),
        ]
    )
    shown = [
        str(result) if isinstance(result, SpireError) else (result[0].spiffe_id.path, result[1])
        for result in results
    ]
    assert shown[:3] == [
        ("/good", False),
        "datastore-validation: invalid registration entry: missing selector list",
        ("/good", True),
    ]
    assert isinstance(results[3], AlreadyExists)
    assert "entry_id" in results[3].message
    assert isinstance(results[4], Internal)
    assert shown[4:] == ['unable to find federated bundle "spiffe://other.org"', ("/last", False)]
    assert await datastore.count_entries() == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"selectors": ()}, "missing selector list", id="no selectors"),
        pytest.param({"id": "a" * 256}, "entry ID too long", id="long ID"),
        pytest.param({"id": "a b"}, "entry ID contains invalid characters", id="space in ID"),
        pytest.param({"id": "a\n"}, "entry ID contains invalid characters", id="newline in ID"),
        pytest.param({"id": "é"}, "entry ID contains invalid characters", id="not ASCII"),
        pytest.param(
            {"x509_svid_ttl": timedelta(seconds=-1)}, "X509SvidTtl is not set", id="X.509 TTL"
        ),
        pytest.param(
            {"jwt_svid_ttl": timedelta(seconds=-1)}, "JwtSvidTtl is not set", id="JWT TTL"
        ),
        pytest.param(
            {"spiffe_id": TD.member("/" + "a" * 2048)}, "SPIFFE ID is longer", id="long SPIFFE ID"
        ),
        pytest.param(
            {"store_svid": True, "selectors": selectors("a:1", "b:2")},
            "selector types must be the same when store SVID is enabled",
            id="stored with two types",
        ),
    ],
)
async def test_entry_that_is_not_acceptable_is_refused(
    datastore: Datastore, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message) as refusal:
        await datastore.create_entry(entry(**changes))
    assert refusal.value.message.startswith("datastore-validation: invalid registration entry: ")
    assert await datastore.latest_entry_event_id() == 0


async def test_stored_svid_cannot_have_its_prefetch_switched_off(datastore: Datastore) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await datastore.create_entry(entry(store_svid=True, disable_x509_svid_prefetch=True))
    assert refusal.value.message == (
        "datastore-validation: specifying cache behaviour is incompatible with storable SVIDs"
    )


async def test_update_without_a_mask_replaces_all_fields(
    datastore: Datastore, clock: FakeClock
) -> None:
    await datastore.create_bundle(bundle(OTHER))
    await datastore.create_entry(FULL_ENTRY)
    clock.jump(timedelta(hours=1))
    wanted = entry("/new", "unix:uid:9", id=FULL_ENTRY.id)
    changed = await datastore.update_entry(wanted)
    assert changed == replace(wanted, revision_number=1, created_at=START)
    assert await datastore.get_entry(FULL_ENTRY.id) == changed


async def test_update_with_a_mask_changes_only_what_it_names(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    await datastore.create_bundle(bundle(THIRD))
    await datastore.create_entry(FULL_ENTRY)
    wanted = Entry(
        TD.id, TD.id, id=FULL_ENTRY.id, hint="new", federates_with=(OTHER, THIRD), dns_names=("b",)
    )
    mask = frozenset({"hint", "federates_with", "dns_names", "additional_attributes"})
    changed = await datastore.update_entry(wanted, mask)
    assert changed == replace(
        FULL_ENTRY,
        hint="new",
        federates_with=(OTHER, THIRD),
        dns_names=("b",),
        disable_x509_svid_prefetch=False,
        jwt_svid_include_jti=False,
        revision_number=1,
        created_at=START,
    )
    assert await datastore.get_entry(FULL_ENTRY.id) == changed


async def test_update_ignores_what_only_the_datastore_sets(datastore: Datastore) -> None:
    stored, _ = await datastore.create_entry(entry())
    wanted = replace(stored, revision_number=77, created_at=LATER)
    changed = await datastore.update_entry(wanted, frozenset({"revision_number", "created_at"}))
    assert (changed.revision_number, changed.created_at) == (1, START)


@pytest.mark.parametrize(
    ("changes", "mask", "message"),
    [
        pytest.param({"selectors": ()}, {"selectors"}, "missing selector list", id="selectors"),
        pytest.param({"selectors": ()}, None, "missing selector list", id="without a mask"),
        pytest.param(
            {"store_svid": True}, {"store_svid"}, "selector types must be the same", id="stored"
        ),
    ],
)
async def test_update_that_makes_no_acceptable_entry_changes_nothing(
    datastore: Datastore, changes: dict[str, object], mask: set[str] | None, message: str
) -> None:
    stored, _ = await datastore.create_entry(entry("/w", "a:1", "b:2"))
    with pytest.raises(InvalidArgument, match=message):
        await datastore.update_entry(
            replace(stored, **changes),  # type: ignore[arg-type]
            None if mask is None else frozenset(mask),
        )
    assert await datastore.get_entry(stored.id) == stored


async def test_update_needs_a_bundle_for_each_trust_domain(datastore: Datastore) -> None:
    stored, _ = await datastore.create_entry(entry())
    with pytest.raises(Internal, match="unable to find federated bundle"):
        await datastore.update_entry(replace(stored, hint="x", federates_with=(OTHER,)))
    assert await datastore.get_entry(stored.id) == stored


async def test_deleted_entry_is_returned_and_gone(datastore: Datastore) -> None:
    await datastore.create_bundle(bundle(OTHER))
    stored, _ = await datastore.create_entry(FULL_ENTRY)
    assert await datastore.delete_entry(FULL_ENTRY.id) == stored
    assert await datastore.get_entry(FULL_ENTRY.id) is None
    again, existed = await datastore.create_entry(replace(FULL_ENTRY, federates_with=()))
    assert not existed
    assert again.federates_with == ()


async def test_entry_that_is_not_there_is_not_found(datastore: Datastore) -> None:
    for change in (datastore.update_entry(entry(id="nobody")), datastore.delete_entry("nobody")):
        with pytest.raises(NotFound) as refusal:
            await change
        assert refusal.value.message == "datastore-sql: record not found"
    assert await datastore.get_entry("nobody") is None


async def test_expired_entries_are_pruned(datastore: Datastore) -> None:
    old, _ = await datastore.create_entry(entry("/old", expires_at=LATER))
    await datastore.create_entry(entry("/new", expires_at=LATER + timedelta(seconds=1)))
    await datastore.create_entry(entry("/never"))
    assert await datastore.prune_entries(LATER) == []
    assert await datastore.prune_entries(LATER + timedelta(seconds=1)) == [old]
    assert [each.spiffe_id.path for each in await datastore.load_all_entries()] == [
        "/new",
        "/never",
    ]


async def test_each_change_of_an_entry_makes_one_event(datastore: Datastore) -> None:
    one, _ = await datastore.create_entry(entry("/one", expires_at=LATER))
    await datastore.create_entry(entry("/one"))
    two, _ = await datastore.create_entry(entry("/two"))
    await datastore.update_entry(replace(one, hint="x"))
    await datastore.delete_entry(two.id)
    await datastore.prune_entries(LATER + timedelta(days=1))
    events = await datastore.entry_events(0)
    assert [entry_id for _, entry_id in events] == [one.id, two.id, one.id, two.id, one.id]
    numbers = [event_id for event_id, _ in events]
    assert numbers == sorted(set(numbers))
    assert await datastore.latest_entry_event_id() == numbers[-1]
    assert await datastore.entry_events(numbers[2]) == events[3:]


async def test_old_events_are_pruned_and_their_ids_not_used_again(
    datastore: Datastore, clock: FakeClock
) -> None:
    await datastore.create_entry(entry("/one"))
    latest = await datastore.latest_entry_event_id()
    clock.jump(timedelta(hours=12))
    assert await datastore.prune_entry_events(clock.now()) == 1
    assert await datastore.latest_entry_event_id() == 0
    await datastore.create_entry(entry("/two"))
    assert await datastore.latest_entry_event_id() > latest


async def test_entries_are_fetched_by_their_ids(datastore: Datastore) -> None:
    results = await datastore.create_entries([entry(f"/w{n}", id=f"id{n}") for n in range(5)])
    stored = [result[0] for result in results if not isinstance(result, SpireError)]
    found = await datastore.get_entries(["id3", "nobody", "id1", "id1"])
    assert sorted(found, key=lambda each: each.id) == [stored[1], stored[3]]
    assert await datastore.get_entries([]) == []


async def test_pages_hold_each_entry_once_and_end_with_an_empty_one(datastore: Datastore) -> None:
    await datastore.create_entries([entry(f"/w{n}") for n in range(5)])
    pages, token = [], ""
    for _ in range(4):
        found, token = await datastore.list_entries(EntryFilter(), Page(2, token))
        pages.append([each.spiffe_id.path for each in found])
    assert pages == [["/w0", "/w1"], ["/w2", "/w3"], ["/w4"], []]
    assert token == ""


@pytest.mark.parametrize("token", ["99999999999999999999", "2147483647", "4294967296"])
async def test_page_beyond_the_end_is_empty(datastore: Datastore, token: str) -> None:
    await datastore.create_entry(entry())
    assert await datastore.list_entries(EntryFilter(), Page(10, token)) == ([], "")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        pytest.param(Page(0), "cannot paginate with pagesize = 0", id="no size"),
        pytest.param(Page(1, "x"), "could not parse token 'x'", id="no number"),
        pytest.param(Page(1, "-1"), "could not parse token '-1'", id="negative"),
        pytest.param(Page(1, "1 OR 1=1"), "could not parse token", id="SQL"),
    ],
)
async def test_bad_page_is_refused(datastore: Datastore, page: Page, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await datastore.list_entries(EntryFilter(), page)
    assert refusal.value.message.startswith(message)


async def test_many_entries_are_loaded_whole(datastore: Datastore) -> None:
    wanted = [entry(f"/w{n}", f"unix:uid:{n}", f"unix:gid:{n % 7}") for n in range(5_500)]
    await datastore.create_entries(wanted)
    loaded = await datastore.load_all_entries()
    assert [(each.spiffe_id, each.selectors) for each in loaded] == [
        (each.spiffe_id, each.selectors) for each in wanted
    ]


async def test_far_expiry_that_spire_stored_is_read(opener: Opener) -> None:
    async with opener() as datastore:
        made = datetime(9999, 12, 31, tzinfo=UTC)
        stored, _ = await datastore.create_entry(entry(expires_at=made))
        assert (await datastore.get_entry(stored.id)) == stored


def test_samples_have_the_parent_the_tests_count_on() -> None:
    assert SpiffeID.parse("spiffe://example.org/spire/agent/test/one") == AGENT_ID
