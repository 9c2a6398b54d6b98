from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from spire_py.errors import InvalidArgument, NotFound
from spire_py.model.ca_journal import AuthorityStatus, CAJournal, JWTKeyRecord, X509CARecord
from spire_py.server.datastore import Datastore
from tests.unit.datastore.samples import LATER

X509_CA = X509CARecord(
    slot_id="A",
    issued_at=LATER,
    not_after=LATER + timedelta(days=1),
    certificate=b"certificate",
    authority_id="aabb",
    status=AuthorityStatus.ACTIVE,
    upstream_chain=(b"one", b"two"),
    upstream_authority_id="ccdd",
)
JWT_KEY = JWTKeyRecord(
    slot_id="B",
    issued_at=LATER,
    not_after=LATER + timedelta(days=2),
    key_id="kid",
    public_key=b"public",
    authority_id="kid",
    status=AuthorityStatus.PREPARED,
)
JOURNAL = CAJournal(
    x509_cas=(X509_CA, replace(X509_CA, status=AuthorityStatus.OLD)),
    jwt_keys=(JWT_KEY,),
    wit_keys=(replace(JWT_KEY, status=AuthorityStatus.UNKNOWN),),
    active_x509_authority_id="aabb",
    active_jwt_authority_id="kid",
)


async def test_journal_is_found_by_its_active_authority(datastore: Datastore) -> None:
    stored = await datastore.set_ca_journal(JOURNAL)
    assert stored.row is not None
    assert stored == replace(JOURNAL, row=stored.row)
    assert await datastore.get_ca_journal("aabb") == stored
    assert await datastore.get_ca_journal("ffff") is None
    with pytest.raises(InvalidArgument, match="active X509 authority ID is required"):
        await datastore.get_ca_journal("")


async def test_journal_keeps_its_row(datastore: Datastore) -> None:
    await datastore.set_ca_journal(CAJournal())
    stored = await datastore.set_ca_journal(JOURNAL)
    changed = replace(stored, jwt_keys=(), active_x509_authority_id="eeff")
    assert await datastore.set_ca_journal(changed) == changed
    assert await datastore.get_ca_journal("eeff") == changed
    assert await datastore.get_ca_journal("aabb") is None
    assert len(await datastore.list_ca_journals()) == 2


async def test_journal_whose_row_is_gone_is_not_found(datastore: Datastore) -> None:
    with pytest.raises(NotFound, match="record not found"):
        await datastore.set_ca_journal(replace(JOURNAL, row=12345))
    assert await datastore.list_ca_journals() == []


async def test_journals_are_pruned_when_all_in_them_is_old(datastore: Datastore) -> None:
    await datastore.set_ca_journal(replace(JOURNAL, jwt_keys=(), wit_keys=()))
    kept = await datastore.set_ca_journal(JOURNAL)
    assert await datastore.prune_ca_journals(X509_CA.not_after - timedelta(seconds=1)) == 0
    assert await datastore.prune_ca_journals(X509_CA.not_after) == 1
    assert await datastore.list_ca_journals() == [kept]
