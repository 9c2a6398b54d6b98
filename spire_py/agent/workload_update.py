"""What a workload is told: its identities and the bundles it may trust, encoded once.

The same update object goes to every stream whose workload has the same identities, so that the
cost of a rotation is that of its encodings, not that of its streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Protocol, TypeVar

from spire_py._proto import workload_pb2
from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.cached_svid import CachedSVID
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.bundle_format import bundle_to_pem, jwks_for_workloads
from spire_py.spiffe.id import TrustDomain


class EncodedBundle:
    """A bundle and the forms in which workloads get it, each made at its first use."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def trust_domain(self) -> TrustDomain:
        return self.bundle.trust_domain

    @cached_property
    def der(self) -> bytes:
        """The CA certificates, one after the other."""
        return b"".join(authority.der for authority in self.bundle.x509_authorities)

    @cached_property
    def pem(self) -> bytes:
        """The CA certificates as PEM blocks."""
        return bundle_to_pem(self.bundle).encode()

    @cached_property
    def jwks(self) -> bytes:
        return jwks_for_workloads(self.bundle)


class WorkloadUpdate:
    """The whole truth for one set of identities at one time; an instance never changes.

    `identities` are sorted by entry ID: the first is the default one. Each is as it was signed,
    also while a changed entry waits for its new SVID. `bundle` is the own trust domain's;
    `federated` are those the entries federate with by now, sorted by trust domain.
    """

    def __init__(
        self,
        identities: tuple[CachedSVID, ...],
        bundle: EncodedBundle,
        federated: tuple[EncodedBundle, ...],
    ) -> None:
        self.identities = identities
        self.bundle = bundle
        self.federated = federated
        self.encodings: dict[object, tuple[bytes, int]] = {}
        """Answers of Envoy's secret discovery, each with its number of resources."""

    def consists_of(
        self,
        identities: tuple[CachedSVID, ...],
        bundle: EncodedBundle,
        federated: tuple[EncodedBundle, ...],
    ) -> bool:
        """Whether an update made of these would say the same."""
        return (
            self.bundle is bundle
            and self.identities == identities
            and len(self.federated) == len(federated)
            and all(ours is theirs for ours, theirs in zip(self.federated, federated, strict=True))
        )

    @property
    def bundles(self) -> Mapping[TrustDomain, Bundle]:
        """All bundles by trust domain, to validate with."""
        return {item.trust_domain: item.bundle for item in (self.bundle, *self.federated)}

    @cached_property
    def x509_svid_response(self) -> bytes:
        """An `X509SVIDResponse`, of identities whose hints are unique (feature H18)."""
        return workload_pb2.X509SVIDResponse(
            svids=[
                workload_pb2.X509SVID(
                    spiffe_id=str(svid.entry.spiffe_id),
                    x509_svid=b"".join(svid.chain),
                    x509_svid_key=svid.key,
                    bundle=self.bundle.der,
                    hint=svid.entry.hint,
                )
                for svid in without_repeated_hints(self.identities)
            ],
            federated_bundles={str(item.trust_domain.id): item.der for item in self.federated},
        ).SerializeToString(deterministic=True)

    @cached_property
    def x509_bundles_response(self) -> bytes:
        """An `X509BundlesResponse`."""
        return workload_pb2.X509BundlesResponse(
            bundles={
                str(item.trust_domain.id): item.der for item in (self.bundle, *self.federated)
            },
        ).SerializeToString(deterministic=True)

    @cached_property
    def jwt_bundles_response(self) -> bytes:
        """A `JWTBundlesResponse`."""
        return workload_pb2.JWTBundlesResponse(
            bundles={
                str(item.trust_domain.id): item.jwks for item in (self.bundle, *self.federated)
            },
        ).SerializeToString(deterministic=True)


class _HasEntry(Protocol):
    @property
    def entry(self) -> AuthorizedEntry: ...


T = TypeVar("T", bound=_HasEntry)


def without_repeated_hints(identities: Iterable[T]) -> list[T]:
    """The identities, of each hint only the one whose entry is oldest (spec check 98).

    Of two that are equally old the one with the lesser entry ID stays.
    """
    identities = list(identities)
    keep: dict[str, T] = {}
    for identity in identities:
        hint = identity.entry.hint
        if hint and (hint not in keep or _age(identity) < _age(keep[hint])):
            keep[hint] = identity
    return [item for item in identities if not item.entry.hint or keep[item.entry.hint] is item]


def _age(identity: _HasEntry) -> tuple[int, str]:
    return identity.entry.created_at, identity.entry.id
