from __future__ import annotations

import pytest

from spire_py.errors import AlreadyExists, NotFound
from spire_py.model.federation_relationship import FederationRelationship
from spire_py.server.datastore import Datastore, Page
from tests.unit.datastore.samples import OTHER, THIRD, bundle

WEB = FederationRelationship(OTHER, "https://other.org/bundle")
SPIFFE = FederationRelationship(THIRD, "https://third.org:8443", THIRD.member("/spire/server"))


@pytest.mark.parametrize("relationship", [WEB, SPIFFE])
async def test_relationship_is_read_back_as_it_was_stored(
    datastore: Datastore, relationship: FederationRelationship
) -> None:
    assert await datastore.create_federation_relationship(relationship) == relationship
    trust_domain = relationship.trust_domain
    assert await datastore.get_federation_relationship(trust_domain) == relationship
    assert await datastore.list_federation_relationships() == ([relationship], "")
    assert await datastore.get_bundle(trust_domain) is None


async def test_bundle_comes_with_the_relationship_or_not_at_all(datastore: Datastore) -> None:
    await datastore.create_federation_relationship(WEB, bundle(OTHER))
    assert await datastore.get_bundle(OTHER) == bundle(OTHER)
    with pytest.raises(AlreadyExists):
        await datastore.create_federation_relationship(WEB, bundle(OTHER, sequence_number=7))
    assert await datastore.get_bundle(OTHER) == bundle(OTHER)


async def test_update_changes_what_the_mask_names(datastore: Datastore) -> None:
    await datastore.create_federation_relationship(WEB)
    wanted = FederationRelationship(OTHER, "https://new.org", OTHER.member("/server"))
    changed = await datastore.update_federation_relationship(
        wanted, bundle(OTHER), frozenset({"bundle_endpoint_url"})
    )
    assert changed == FederationRelationship(OTHER, "https://new.org")
    assert await datastore.get_bundle(OTHER) is None
    assert await datastore.update_federation_relationship(wanted, bundle(OTHER)) == wanted
    assert await datastore.get_federation_relationship(OTHER) == wanted
    assert await datastore.get_bundle(OTHER) == bundle(OTHER)


async def test_deleted_relationship_leaves_its_bundle(datastore: Datastore) -> None:
    await datastore.create_federation_relationship(WEB, bundle(OTHER))
    await datastore.delete_federation_relationship(OTHER)
    assert await datastore.get_federation_relationship(OTHER) is None
    assert await datastore.get_bundle(OTHER) == bundle(OTHER)


async def test_relationship_that_is_not_there_is_not_found(datastore: Datastore) -> None:
    with pytest.raises(NotFound, match="record not found"):
        await datastore.update_federation_relationship(WEB, bundle(OTHER))
    with pytest.raises(NotFound, match="record not found"):
        await datastore.delete_federation_relationship(OTHER)
    assert await datastore.get_bundle(OTHER) is None


async def test_pages_hold_each_relationship_once(datastore: Datastore) -> None:
    await datastore.create_federation_relationship(WEB)
    await datastore.create_federation_relationship(SPIFFE)
    first, token = await datastore.list_federation_relationships(Page(1))
    second, token = await datastore.list_federation_relationships(Page(1, token))
    assert first + second == [WEB, SPIFFE]
    assert await datastore.list_federation_relationships(Page(1, token)) == ([], "")
