"""Bundles with real authorities, and where they are loaded from."""

from __future__ import annotations

from dataclasses import dataclass

from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from tests.fakes.pki import issue

TRUST_DOMAIN = TrustDomain("example.org")


def make_bundle(sequence_number: int = 1) -> Bundle:
    """One authority of each kind."""
    key = public_key_der(generate_key("ec-p256"))
    return Bundle(
        TRUST_DOMAIN,
        x509_authorities=(X509Authority(issue(is_ca=True).der),),
        jwt_authorities=(JWTAuthority("jwt-1", key),),
        wit_authorities=(JWTAuthority("wit-1", key),),
        sequence_number=sequence_number,
    )


@dataclass
class BundleSource:
    """Gives whatever bundle it has at the moment."""

    bundle: Bundle

    async def load(self) -> Bundle:
        return self.bundle
