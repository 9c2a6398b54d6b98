from __future__ import annotations

import pytest

from spire_py._proto.spire.api.types_pb2 import FederationRelationship as Message
from spire_py._proto.spire.api.types_pb2 import FederationRelationshipMask as Mask
from spire_py.errors import InvalidArgument
from spire_py.model.federation_relationship import FederationRelationship
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.federation import relationship_from_pb, relationship_to_pb

OTHER = TrustDomain("other.org")
WEB = FederationRelationship(OTHER, "https://other.org:8443/bundle?x=1")
SPIFFE = FederationRelationship(OTHER, "https://other.org", OTHER.member("/spire/server"))
BUNDLE = Bundle(OTHER, sequence_number=3)


@pytest.mark.parametrize("relationship", [WEB, SPIFFE])
@pytest.mark.parametrize("bundle", [None, BUNDLE])
def test_relationship_comes_back_as_it_was(
    relationship: FederationRelationship, bundle: Bundle | None
) -> None:
    message = relationship_to_pb(relationship, bundle)
    assert relationship_from_pb(message) == (relationship, bundle)


def test_fields_outside_the_mask_are_not_looked_at() -> None:
    message = Message(trust_domain="other.org", bundle_endpoint_url="http://")
    assert relationship_from_pb(message, Mask()) == (FederationRelationship(OTHER, ""), None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"trust_domain": "Bad"},
            "failed to parse trust domain: trust domain characters are limited to lowercase "
            "letters, numbers, dots, dashes, and underscores",
            id="trust domain",
        ),
        pytest.param(
            {"bundle_endpoint_url": "http://other.org"},
            "bundle endpoint URL must use the https scheme",
            id="no TLS",
        ),
        pytest.param(
            {"bundle_endpoint_url": ""}, "bundle endpoint URL must use the https scheme", id="none"
        ),
        pytest.param(
            {"bundle_endpoint_url": "https:///x"},
            "bundle endpoint URL must specify the host",
            id="no host",
        ),
        pytest.param(
            {"bundle_endpoint_url": "https://u:p@other.org"},
            "bundle endpoint URL must not contain user info",
            id="password",
        ),
        pytest.param(
            {"bundle_endpoint_url": "https://other.org:x"},
            "failed to parse bundle endpoint URL: Port could not be cast to integer value as 'x'",
            id="port",
        ),
        pytest.param(
            {"https_spiffe": {"endpoint_spiffe_id": "other.org"}},
            "failed to parse endpoint SPIFFE ID: scheme is missing or invalid",
            id="endpoint ID",
        ),
        pytest.param(
            {"trust_domain_bundle": {"trust_domain": "third.org"}},
            'trust domain bundle ("third.org") must match the trust domain of the federation '
            'relationship ("other.org")',
            id="bundle of another",
        ),
        pytest.param(
            {"trust_domain_bundle": {}},
            "failed to parse bundle: invalid trust domain: trust domain is missing",
            id="no bundle",
        ),
    ],
)
def test_what_is_not_acceptable_is_refused(changes: dict[str, object], text: str) -> None:
    given = {"trust_domain": "other.org", "bundle_endpoint_url": WEB.bundle_endpoint_url}
    profile = {} if "https_spiffe" in changes else {"https_web": {}}
    with pytest.raises(InvalidArgument) as refusal:
        relationship_from_pb(Message(**(given | profile | changes)))  # type: ignore[arg-type]
    assert refusal.value.message == text


def test_profile_must_be_given() -> None:
    message = relationship_to_pb(WEB)
    message.ClearField("https_web")
    with pytest.raises(InvalidArgument, match="unsupported bundle endpoint profile type"):
        relationship_from_pb(message)
