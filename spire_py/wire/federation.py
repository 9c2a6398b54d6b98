"""Federation relationships between model and wire (features M5, M6)."""

from __future__ import annotations

from urllib.parse import urlsplit

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.federation_relationship import FederationRelationship
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.wire.bundles import bundle_from_pb, bundle_to_pb
from spire_py.wire.masks import Fields, fields_of
from spire_py.wire.status import prefixing

ALL_FIELDS: Fields = frozenset(
    field.name for field in types_pb2.FederationRelationshipMask.DESCRIPTOR.fields
)


def relationship_to_pb(
    relationship: FederationRelationship, bundle: Bundle | None = None
) -> types_pb2.FederationRelationship:
    """The relationship as a message, with the foreign bundle where it is known."""
    message = types_pb2.FederationRelationship(
        trust_domain=relationship.trust_domain.name,
        bundle_endpoint_url=relationship.bundle_endpoint_url,
    )
    if relationship.endpoint_id is None:
        message.https_web.SetInParent()
    else:
        message.https_spiffe.endpoint_spiffe_id = str(relationship.endpoint_id)
    if bundle is not None:
        message.trust_domain_bundle.CopyFrom(bundle_to_pb(bundle))
    return message


def relationship_from_pb(
    message: types_pb2.FederationRelationship,
    mask: types_pb2.FederationRelationshipMask | None = None,
) -> tuple[FederationRelationship, Bundle | None]:
    """Read and check a relationship, and the foreign bundle if one came with it.

    Fields outside the input mask are not looked at and stay empty.

    Raises:
        InvalidArgument: a field in the mask is not acceptable.
    """
    fields = ALL_FIELDS if mask is None else fields_of(mask)
    with prefixing("failed to parse trust domain"):
        trust_domain = TrustDomain.parse(message.trust_domain)
    url = _endpoint_url(message) if "bundle_endpoint_url" in fields else ""
    endpoint_id = _endpoint_id(message) if "bundle_endpoint_profile" in fields else None
    bundle = None
    if "trust_domain_bundle" in fields and message.HasField("trust_domain_bundle"):
        bundle = _bundle(message.trust_domain_bundle, trust_domain)
    return FederationRelationship(trust_domain, url, endpoint_id), bundle


def _endpoint_url(message: types_pb2.FederationRelationship) -> str:
    text = message.bundle_endpoint_url
    try:
        url = urlsplit(text)
        _ = url.port  # a port that is no number is found only here
    except ValueError as error:
        raise InvalidArgument(f"failed to parse bundle endpoint URL: {error}") from error
    if url.scheme != "https":
        raise InvalidArgument("bundle endpoint URL must use the https scheme")
    if not url.netloc:
        raise InvalidArgument("bundle endpoint URL must specify the host")
    if "@" in url.netloc:
        raise InvalidArgument("bundle endpoint URL must not contain user info")
    return text


def _endpoint_id(message: types_pb2.FederationRelationship) -> SpiffeID | None:
    match message.WhichOneof("bundle_endpoint_profile"):
        case "https_web":
            return None
        case "https_spiffe":
            with prefixing("failed to parse endpoint SPIFFE ID"):
                return SpiffeID.parse(message.https_spiffe.endpoint_spiffe_id)
        case _:
            raise InvalidArgument("unsupported bundle endpoint profile type: <nil>")


def _bundle(message: types_pb2.Bundle, trust_domain: TrustDomain) -> Bundle:
    with prefixing("failed to parse bundle"):
        bundle = bundle_from_pb(message)
    if bundle.trust_domain != trust_domain:
        raise InvalidArgument(
            f'trust domain bundle ("{message.trust_domain}") must match the trust domain of the '
            f'federation relationship ("{trust_domain}")'
        )
    return bundle
