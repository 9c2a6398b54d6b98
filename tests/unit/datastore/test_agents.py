from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from spire_py.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from spire_py.model.selector import Selector
from spire_py.server.datastore import AgentFilter, Datastore, Match, Page, SelectorFilter
from tests.fakes.clock import FakeClock
from tests.unit.datastore.samples import AGENT_ID, LATER, TD, agent, entry, selectors


async def test_created_agent_is_read_back_as_it_was_stored(datastore: Datastore) -> None:
    made = agent(
        "one",
        "k8s:b",
        "k8s:a",
        new_serial_number="2",
        new_expires_at=LATER + timedelta(hours=1),
        can_reattest=True,
        agent_version="1.15.3",
    )
    assert await datastore.create_agent(made) == made
    assert await datastore.get_agent(made.id) == made
    assert await datastore.load_all_agents() == [made]


async def test_agent_is_created_once(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one", "a:1"))
    with pytest.raises(AlreadyExists):
        await datastore.create_agent(agent("one", "b:1"))
    stored = await datastore.get_agent(AGENT_ID)
    assert stored == agent("one", "a:1")
    assert len(await datastore.agent_events(0)) == 1


async def test_attestation_stores_new_facts_of_a_known_agent(
    datastore: Datastore, clock: FakeClock
) -> None:
    await datastore.store_attested_agent(
        agent("one", "a:1", agent_version="1.0", new_serial_number="9"), clock.now()
    )
    shown = agent("one", "b:1", serial_number="77", can_reattest=True)
    stored = await datastore.store_attested_agent(shown)
    assert stored == replace(shown, agent_version="1.0")
    assert await datastore.get_agent(AGENT_ID) == stored
    assert [name for _, name in await datastore.agent_events(0)] == [str(AGENT_ID)] * 2


async def test_attestation_of_a_banned_agent_is_refused(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one"))
    banned = await datastore.update_agent(AGENT_ID, serial_number="", new_serial_number="")
    assert banned.banned
    with pytest.raises(PermissionDenied, match="failed to attest: agent is banned"):
        await datastore.store_attested_agent(agent("one", "a:1"))
    assert await datastore.get_agent(AGENT_ID) == banned


async def test_attestations_at_the_same_time_each_have_their_own_outcome(
    datastore: Datastore,
) -> None:
    await datastore.create_agent(agent("banned", "a:1"))
    await datastore.update_agent(agent("banned").id, serial_number="", new_serial_number="")
    await datastore.create_agent(agent("known", "a:1", agent_version="1.0"))
    shown = [
        agent("new", "a:1", serial_number="7"),
        agent("banned", "a:1", serial_number="7"),
        agent("known", "b:1", "a:1", serial_number="7"),
        agent("newer", serial_number="7"),
    ]
    new, banned, known, newer = await asyncio.gather(
        *map(datastore.store_attested_agent, shown), return_exceptions=True
    )
    assert (new, newer) == (shown[0], shown[3])
    assert isinstance(banned, PermissionDenied)
    assert known == replace(shown[2], agent_version="1.0")
    stored = {each.id: each for each in await datastore.load_all_agents()}
    assert {stored[agent(name).id].serial_number for name in ("known", "newer")} == {"7"}
    assert stored[agent("banned").id].banned


async def test_the_second_of_two_attestations_with_the_same_evidence_is_refused(
    datastore: Datastore,
) -> None:
    outcomes = await asyncio.gather(
        *(
            datastore.store_attested_agent(agent("one", serial_number=str(n)), must_be_new=True)
            for n in range(1, 6)
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes].count(AlreadyExists) == 4
    assert await datastore.get_agent(AGENT_ID) in outcomes


async def test_evidence_that_counts_once_makes_one_agent(datastore: Datastore) -> None:
    await datastore.store_attested_agent(agent("one"), must_be_new=True)
    with pytest.raises(AlreadyExists, match="already been used"):
        await datastore.store_attested_agent(agent("one", serial_number="2"), must_be_new=True)
    assert await datastore.get_agent(AGENT_ID) == agent("one")


async def test_update_changes_the_named_fields(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one", "a:1"))
    later = LATER + timedelta(hours=1)
    changed = await datastore.update_agent(
        AGENT_ID, new_serial_number="5", new_expires_at=later, agent_version="2"
    )
    assert changed == agent(
        "one", "a:1", new_serial_number="5", new_expires_at=later, agent_version="2"
    )
    changed = await datastore.update_agent(AGENT_ID, new_serial_number="", new_expires_at=None)
    assert changed == agent("one", "a:1", agent_version="2")
    assert await datastore.get_agent(AGENT_ID) == changed


async def test_agent_that_is_not_there_is_not_found(datastore: Datastore) -> None:
    changes = (datastore.update_agent(AGENT_ID, serial_number=""), datastore.delete_agent(AGENT_ID))
    for change in changes:
        with pytest.raises(NotFound, match="datastore-sql: record not found"):
            await change
    assert await datastore.get_agent(AGENT_ID) is None
    assert await datastore.latest_agent_event_id() == 0


async def test_selectors_are_replaced_as_a_whole(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one", "a:1", "a:2"))
    await datastore.create_agent(agent("two", "a:1"))
    await datastore.set_agent_selectors(AGENT_ID, selectors("a:2", "b:1"))
    found = await datastore.get_agents([str(AGENT_ID), str(agent("two").id), "spiffe://x/y"])
    assert sorted(each.selectors for each in found) == [selectors("a:1"), selectors("a:2", "b:1")]
    assert len(await datastore.agent_events(0)) == 3


async def test_deleted_agent_is_returned_and_gone(datastore: Datastore) -> None:
    made = await datastore.create_agent(agent("one", "a:1"))
    assert await datastore.delete_agent(AGENT_ID) == made
    assert await datastore.get_agent(AGENT_ID) is None
    # Its selectors are gone too.
    assert (await datastore.create_agent(agent("one"))).selectors == ()
    assert await datastore.get_agent(AGENT_ID) == agent("one")
    assert len(await datastore.agent_events(0)) == 3


async def test_entry_made_with_a_join_token_goes_with_its_agent(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one", attestation_type="join_token"))
    own = selectors(f"spiffe_id:{AGENT_ID}")
    alias, _ = await datastore.create_entry(entry("/alias", selectors=own))
    await datastore.create_entry(entry("/more", selectors=own + selectors("x:1")))
    await datastore.create_entry(entry("/workload", "unix:uid:1"))
    await datastore.create_entry(entry("/other", selectors=own, parent_id=TD.member("/o")))
    await datastore.delete_agent(AGENT_ID)
    left = [each.spiffe_id.path for each in await datastore.load_all_entries()]
    assert left == ["/more", "/workload", "/other"]
    assert (await datastore.entry_events(0))[-1][1] == alias.id


async def test_entries_of_other_agents_stay(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one"))
    await datastore.create_entry(entry("/alias", selectors=selectors(f"spiffe_id:{AGENT_ID}")))
    await datastore.delete_agent(AGENT_ID)
    assert await datastore.count_entries() == 1


async def test_expired_agents_are_pruned_but_never_banned_ones(datastore: Datastore) -> None:
    await datastore.create_agent(agent("old", can_reattest=True))
    await datastore.create_agent(agent("tofu"))
    await datastore.create_agent(agent("banned", can_reattest=True, serial_number=""))
    await datastore.create_agent(
        agent("new", can_reattest=True, expires_at=LATER + timedelta(days=1))
    )
    assert await datastore.prune_agents(LATER) == []
    cutoff = LATER + timedelta(seconds=1)
    assert [each.id.path for each in await datastore.prune_agents(cutoff)] == [
        "/spire/agent/test/old"
    ]
    pruned = await datastore.prune_agents(cutoff, include_non_reattestable=True)
    assert [each.id.path for each in pruned] == ["/spire/agent/test/tofu"]
    assert await datastore.count_agents() == 2
    assert len(await datastore.agent_events(0)) == 6


async def test_pruning_takes_a_batch_at_a_time(datastore: Datastore) -> None:
    for n in range(5):
        await datastore.create_agent(agent(f"a{n}", can_reattest=True))
    cutoff = LATER + timedelta(days=1)
    counts = [len(await datastore.prune_agents(cutoff, batch_size=2)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(AgentFilter(), ["one", "two", "three"], id="nothing"),
        pytest.param(AgentFilter(attestation_type="k8s_psat"), ["two"], id="type"),
        pytest.param(AgentFilter(banned=True), ["three"], id="banned"),
        pytest.param(AgentFilter(banned=False), ["one", "two"], id="not banned"),
        pytest.param(AgentFilter(can_reattest=True), ["two"], id="re-attestable"),
        pytest.param(AgentFilter(can_reattest=False), ["one", "three"], id="not re-attestable"),
        pytest.param(AgentFilter(expires_before=LATER), ["one"], id="expires before"),
        pytest.param(AgentFilter(valid_at=LATER), ["two", "three"], id="valid at"),
        pytest.param(
            AgentFilter(banned=False, expires_before=LATER + timedelta(days=9)),
            ["one", "two"],
            id="two of them",
        ),
        pytest.param(
            AgentFilter(selectors=SelectorFilter(selectors("a:1"), Match.EXACT)),
            ["one"],
            id="EXACT",
        ),
        pytest.param(
            AgentFilter(selectors=SelectorFilter(selectors("a:1", "c:1"), Match.SUBSET)),
            ["one"],
            id="SUBSET",
        ),
        pytest.param(
            AgentFilter(selectors=SelectorFilter(selectors("a:1"), Match.SUPERSET)),
            ["one", "two"],
            id="SUPERSET",
        ),
        pytest.param(
            AgentFilter(selectors=SelectorFilter(selectors("b:1", "c:1"), Match.ANY)),
            ["two"],
            id="ANY",
        ),
    ],
)
async def test_agents_pass_all_that_is_asked_for(
    datastore: Datastore, wanted: AgentFilter, expected: list[str]
) -> None:
    await datastore.create_agent(agent("one", "a:1", expires_at=LATER - timedelta(seconds=1)))
    await datastore.create_agent(
        agent("two", "a:1", "b:1", attestation_type="k8s_psat", can_reattest=True)
    )
    await datastore.create_agent(agent("three", serial_number=""))
    found, _ = await datastore.list_agents(wanted)
    assert [each.id.path.rpartition("/")[2] for each in found] == expected
    assert await datastore.count_agents(wanted) == len(expected)


async def test_pages_hold_each_agent_once_and_end_with_an_empty_one(datastore: Datastore) -> None:
    for n in range(3):
        await datastore.create_agent(agent(f"a{n}", "x:1"))
    first, token = await datastore.list_agents(AgentFilter(), Page(2))
    second, token = await datastore.list_agents(AgentFilter(), Page(2, token))
    assert [each.id.path[-2:] for each in first + second] == ["a0", "a1", "a2"]
    assert await datastore.list_agents(AgentFilter(), Page(2, token)) == ([], "")


async def test_empty_set_of_selectors_is_refused(datastore: Datastore) -> None:
    with pytest.raises(InvalidArgument, match="cannot list by empty selectors set"):
        await datastore.list_agents(AgentFilter(selectors=SelectorFilter(())))


async def test_many_agents_are_loaded_with_their_selectors(datastore: Datastore) -> None:
    for n in range(20):
        await datastore.create_agent(agent(f"a{n}", f"x:{n}"))
    loaded = await datastore.load_all_agents()
    assert [each.selectors for each in loaded] == [(Selector("x", str(n)),) for n in range(20)]


async def test_old_events_are_pruned(datastore: Datastore, clock: FakeClock) -> None:
    await datastore.create_agent(agent("one"))
    clock.jump(timedelta(hours=12))
    await datastore.create_agent(agent("two"))
    assert await datastore.prune_agent_events(clock.now()) == 1
    assert [name[-3:] for _, name in await datastore.agent_events(0)] == ["two"]


async def test_a_renewed_svid_waits_beside_the_current_one_until_it_is_used(
    datastore: Datastore,
) -> None:
    await datastore.create_agent(agent("one", "a:1"))
    later = LATER + timedelta(hours=1)
    noted = await datastore.note_renewed_svid(AGENT_ID, "5", later)
    assert noted == agent("one", "a:1", new_serial_number="5", new_expires_at=later)
    assert await datastore.activate_svid(AGENT_ID, "4", LATER) == noted
    used = await datastore.activate_svid(AGENT_ID, "5", later)
    assert used == agent("one", "a:1", serial_number="5", expires_at=later)
    assert await datastore.activate_svid(AGENT_ID, "5", later) == used
    assert await datastore.get_agent(AGENT_ID) == used


async def test_neither_a_renewal_nor_its_use_lifts_a_ban(datastore: Datastore) -> None:
    await datastore.create_agent(agent("one", new_serial_number="5"))
    banned = await datastore.update_agent(AGENT_ID, serial_number="", new_serial_number="")
    events = await datastore.latest_agent_event_id()
    assert await datastore.note_renewed_svid(AGENT_ID, "6", LATER) == banned
    assert await datastore.activate_svid(AGENT_ID, "5", LATER) == banned
    assert await datastore.latest_agent_event_id() == events


async def test_an_svid_of_an_agent_that_is_gone_is_not_noted(datastore: Datastore) -> None:
    for change in (
        datastore.note_renewed_svid(AGENT_ID, "6", LATER),
        datastore.activate_svid(AGENT_ID, "5", LATER),
    ):
        with pytest.raises(NotFound, match="datastore-sql: record not found"):
            await change
