from __future__ import annotations

from spire_py._proto.spire.api.server.entry_pb2 import ListEntriesRequest
from spire_py._proto.spire.api.types_pb2 import (
    SPIFFEID,
    Agent,
    AgentMask,
    EntryMask,
    FederationRelationship,
    FederationRelationshipMask,
)
from spire_py.wire.masks import apply_mask, fields_of, mask_fields, output_mask


def test_absent_mask_leaves_everything() -> None:
    agent = Agent(id=SPIFFEID(path="/x"), banned=True)
    apply_mask(agent, None)
    assert agent.banned


def test_mask_leaves_what_it_names_and_the_id() -> None:
    agent = Agent(id=SPIFFEID(path="/x"), banned=True, agent_version="1", attestation_type="t")
    apply_mask(agent, AgentMask(agent_version=True))
    assert agent == Agent(id=SPIFFEID(path="/x"), agent_version="1")


def test_mask_may_name_a_oneof() -> None:
    relationship = FederationRelationship(trust_domain="t", bundle_endpoint_url="u")
    relationship.https_spiffe.endpoint_spiffe_id = "spiffe://t/x"
    apply_mask(relationship, FederationRelationshipMask(bundle_endpoint_url=True))
    assert relationship == FederationRelationship(trust_domain="t", bundle_endpoint_url="u")


def test_mask_is_read_as_a_set_of_names() -> None:
    assert fields_of(EntryMask(hint=True, admin=True, downstream=False)) == {"hint", "admin"}
    assert fields_of(EntryMask()) == frozenset()


def test_absent_mask_is_not_an_empty_one() -> None:
    request = ListEntriesRequest()
    assert mask_fields(request, "output_mask") is None
    assert output_mask(request) is None
    request.output_mask.SetInParent()
    assert mask_fields(request, "output_mask") == frozenset()
    assert output_mask(request) == EntryMask()
