from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, combinations

import pytest

from spire_py.errors import InvalidArgument, SpireError
from spire_py.model.entry import Entry
from spire_py.server.datastore import (
    Datastore,
    EntryFilter,
    FederatesWithFilter,
    Match,
    Page,
    SelectorFilter,
)
from spire_py.spiffe.id import TrustDomain
from tests.unit.datastore.samples import AGENT_ID, OTHER, TD, THIRD, bundle, entry, selectors

ALL = ("a:1", "a:2", "b:1")
DOMAINS = (OTHER, THIRD)


def subsets(values: Iterable[str]) -> list[tuple[str, ...]]:
    values = tuple(values)
    return list(chain.from_iterable(combinations(values, n) for n in range(1, len(values) + 1)))


def names(entries: Iterable[Entry]) -> list[str]:
    return [each.spiffe_id.path for each in entries]


async def created(datastore: Datastore, entries: list[Entry]) -> None:
    for result in await datastore.create_entries(entries):
        assert not isinstance(result, SpireError)


@pytest.mark.parametrize("match", list(Match))
async def test_selectors_match_as_sets_do(datastore: Datastore, match: Match) -> None:
    stored = {f"/{'-'.join(texts).replace(':', '')}": texts for texts in subsets(ALL)}
    await created(datastore, [entry(path, *texts) for path, texts in stored.items()])
    for asked in subsets(ALL):
        expected = [
            path
            for path, texts in stored.items()
            if match.holds(frozenset(texts), frozenset(asked))
        ]
        wanted = EntryFilter(selectors=SelectorFilter(selectors(*asked), match))
        assert names((await datastore.list_entries(wanted))[0]) == expected
        assert await datastore.count_entries(wanted) == len(expected)


@pytest.mark.parametrize("match", list(Match))
async def test_trust_domains_match_as_sets_do(datastore: Datastore, match: Match) -> None:
    for trust_domain in DOMAINS:
        await datastore.create_bundle(bundle(trust_domain))
    stored: dict[str, tuple[TrustDomain, ...]] = {
        "/none": (),
        "/other": (OTHER,),
        "/third": (THIRD,),
        "/both": DOMAINS,
    }
    await created(
        datastore, [entry(path, federates_with=domains) for path, domains in stored.items()]
    )
    for asked in ((OTHER,), (THIRD,), DOMAINS, (TrustDomain("unknown.org"),)):
        expected = [
            path
            for path, domains in stored.items()
            if domains and match.holds(frozenset(domains), frozenset(asked))
        ]
        wanted = EntryFilter(federates_with=FederatesWithFilter(asked, match))
        assert names((await datastore.list_entries(wanted))[0]) == expected
        assert await datastore.count_entries(wanted) == len(expected)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(EntryFilter(), ["/a", "/b", "/b", "/c"], id="nothing"),
        pytest.param(EntryFilter(spiffe_id=TD.member("/b")), ["/b", "/b"], id="SPIFFE ID"),
        pytest.param(EntryFilter(parent_id=AGENT_ID), ["/a", "/b", "/c"], id="parent"),
        pytest.param(EntryFilter(hint="h"), ["/a", "/c"], id="hint"),
        pytest.param(EntryFilter(downstream=True), ["/c"], id="downstream"),
        pytest.param(EntryFilter(downstream=False), ["/a", "/b", "/b", "/c"], id="not downstream"),
        pytest.param(
            EntryFilter(spiffe_id=TD.member("/b"), parent_id=AGENT_ID), ["/b"], id="both IDs"
        ),
        pytest.param(
            EntryFilter(hint="h", selectors=SelectorFilter(selectors("x:1"))), ["/a"], id="two"
        ),
        pytest.param(
            EntryFilter(federates_with=FederatesWithFilter(())),
            ["/a", "/b", "/b", "/c"],
            id="no trust domains",
        ),
    ],
)
async def test_entries_pass_all_that_is_asked_for(
    datastore: Datastore, wanted: EntryFilter, expected: list[str]
) -> None:
    await created(
        datastore,
        [
            entry("/a", "x:1", hint="h"),
            entry("/b", "x:1"),
            entry("/b", "x:1", parent_id=TD.member("/spire/server")),
            entry("/c", "y:1", hint="h", downstream=True),
        ],
    )
    assert names((await datastore.list_entries(wanted))[0]) == expected
    assert await datastore.count_entries(wanted) == len(expected)


async def test_pages_go_on_through_what_passes(datastore: Datastore) -> None:
    await created(datastore, [entry(f"/w{n}", "x:1" if n % 3 else "y:1") for n in range(10)])
    wanted = EntryFilter(selectors=SelectorFilter(selectors("x:1"), Match.EXACT))
    found: list[str] = []
    token = ""
    while True:
        page, token = await datastore.list_entries(wanted, Page(4, token))
        if not page:
            break
        found += names(page)
    assert found == ["/w1", "/w2", "/w4", "/w5", "/w7", "/w8"]


async def test_empty_set_of_selectors_is_refused(datastore: Datastore) -> None:
    wanted = EntryFilter(selectors=SelectorFilter(()))
    with pytest.raises(InvalidArgument, match="cannot list by empty selector set"):
        await datastore.list_entries(wanted)
    with pytest.raises(InvalidArgument, match="cannot list by empty selector set"):
        await datastore.count_entries(wanted)


@pytest.mark.parametrize("match", list(Match))
async def test_sets_are_bounded(datastore: Datastore, match: Match) -> None:
    most = selectors(*(f"x:{n}" for n in range(500)))
    assert await datastore.count_entries(EntryFilter(selectors=SelectorFilter(most, match))) == 0
    too_many = selectors(*(f"x:{n}" for n in range(501)))
    with pytest.raises(InvalidArgument, match="more than 500 selectors"):
        await datastore.count_entries(EntryFilter(selectors=SelectorFilter(too_many, match)))
    domains = tuple(TrustDomain(f"d{n}") for n in range(501))
    with pytest.raises(InvalidArgument, match="more than 500 trust domains"):
        await datastore.count_entries(
            EntryFilter(federates_with=FederatesWithFilter(domains, match))
        )
