"""Federation relationships: where a foreign trust domain's bundle comes from."""

from __future__ import annotations

from dataclasses import dataclass

from spire_py.spiffe.id import SpiffeID, TrustDomain


@dataclass(frozen=True, slots=True)
class FederationRelationship:
    """A bundle endpoint of a foreign trust domain. `endpoint_id` is None for profile https_web."""

    trust_domain: TrustDomain
    bundle_endpoint_url: str
    endpoint_id: SpiffeID | None = None
