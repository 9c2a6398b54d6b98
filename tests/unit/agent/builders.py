"""Entries, bundles and SVIDs for the agent's tests."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.cached_svid import CachedSVID
from spire_py.agent.rotation import RotationStrategy
from spire_py.crypto.keys import generate_key, private_key_to_pkcs8, public_key_der
from spire_py.crypto.subject import CASubject
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.model.selector import Selector
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.jwt_svid import sign_jwt_svid
from tests.fakes.clock import START

EXAMPLE = TrustDomain("example.org")
OTHER = TrustDomain("other.test")
THIRD = TrustDomain("third.test")

_NUMBERS = itertools.count(1)


def selectors(*texts: str) -> frozenset[Selector]:
    return frozenset(Selector.parse(text) for text in texts)


def entry(
    entry_id: str,
    *texts: str,
    spiffe_id: str = "",
    federates_with: tuple[TrustDomain, ...] = (),
    hint: str = "",
    revision_number: int = 0,
    created_at: int = 0,
    disable_x509_svid_prefetch: bool = False,
    jwt_svid_include_jti: bool = False,
) -> AuthorizedEntry:
    """An entry; without selectors named it is for `unix:uid:1000`."""
    return AuthorizedEntry(
        id=entry_id,
        spiffe_id=SpiffeID.parse(spiffe_id or f"spiffe://example.org/{entry_id}"),
        selectors=selectors(*(texts or ("unix:uid:1000",))),
        federates_with=federates_with,
        hint=hint,
        revision_number=revision_number,
        created_at=created_at,
        disable_x509_svid_prefetch=disable_x509_svid_prefetch,
        jwt_svid_include_jti=jwt_svid_include_jti,
    )


def by_id(*entries: AuthorizedEntry) -> dict[str, AuthorizedEntry]:
    return {item.id: item for item in entries}


def by_domain(*bundles: Bundle) -> dict[TrustDomain, Bundle]:
    return {item.trust_domain: item for item in bundles}


class Authority:
    """A trust domain's CA and JWT key, which sign as a server would."""

    def __init__(self, trust_domain: TrustDomain = EXAMPLE, now: datetime = START) -> None:
        self.trust_domain = trust_domain
        self.now = now
        self.key = generate_key("ec-p256")
        self.certificate = self_signed_ca(
            self.key,
            str(trust_domain.id),
            CASubject(country=("US",), organization=("SPIFFE",)),
            now - timedelta(seconds=10),
            now + timedelta(days=30),
        )
        self.jwt_key = generate_key("ec-p256")
        self.key_id = f"key-{next(_NUMBERS)}"
        self.signer = X509Signer(self.certificate, self.key)

    @property
    def bundle(self) -> Bundle:
        return Bundle(
            self.trust_domain,
            (X509Authority(self.certificate),),
            (JWTAuthority(self.key_id, public_key_der(self.jwt_key)),),
        )

    def chain(
        self, public_key: bytes, spiffe_id: str, lifetime: timedelta = timedelta(hours=1)
    ) -> tuple[bytes, ...]:
        signed = self.signer.sign_svid(
            public_key,
            spiffe_id,
            not_before=self.now - timedelta(seconds=10),
            not_after=self.now + lifetime,
        )
        return (signed.der,)

    def svid(self, item: AuthorizedEntry, lifetime: timedelta = timedelta(hours=1)) -> CachedSVID:
        key = generate_key("ec-p256")
        return CachedSVID(
            entry=item,
            chain=self.chain(public_key_der(key), str(item.spiffe_id), lifetime),
            key=private_key_to_pkcs8(key),
            not_after=self.now + lifetime,
            rotate_at=RotationStrategy().rotate_at(self.now, self.now + lifetime),
        )

    def token(
        self,
        spiffe_id: str = "spiffe://example.org/workload",
        audience: tuple[str, ...] = ("audience",),
        *,
        issued_at: datetime | None = None,
        lifetime: timedelta = timedelta(minutes=5),
        jti: str = "",
    ) -> str:
        issued_at = issued_at or self.now
        return sign_jwt_svid(
            self.jwt_key,
            self.key_id,
            spiffe_id=spiffe_id,
            audience=audience,
            expires_at=issued_at + lifetime,
            issued_at=issued_at,
            jti=jti,
        )
