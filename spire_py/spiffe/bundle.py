"""The trust bundle of one trust domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from spire_py.spiffe.id import TrustDomain


@dataclass(frozen=True, slots=True)
class X509Authority:
    """A CA certificate, as DER.

    A tainted one is still trusted; what it signed is to be replaced.
    """

    der: bytes
    tainted: bool = False


@dataclass(frozen=True, slots=True)
class JWTAuthority:
    """A public key, as DER of its SubjectPublicKeyInfo, under which JWT-SVIDs are signed.

    `expires_at` is None where the bundle does not tell.
    """

    key_id: str
    public_key: bytes
    expires_at: datetime | None = None
    tainted: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """What makes the SVIDs of a trust domain valid.

    `wit_authorities` are kept so that nothing is lost when a bundle passes through us.
    A `refresh_hint` of zero and a `sequence_number` of 0 mean that none is set.
    """

    trust_domain: TrustDomain
    x509_authorities: tuple[X509Authority, ...] = ()
    jwt_authorities: tuple[JWTAuthority, ...] = ()
    wit_authorities: tuple[JWTAuthority, ...] = ()
    refresh_hint: timedelta = timedelta()
    sequence_number: int = 0

    def with_changes(self, **changes: object) -> Self:
        """A copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type] # `replace` checks the names

    def jwt_authority(self, key_id: str) -> JWTAuthority | None:
        return next((key for key in self.jwt_authorities if key.key_id == key_id), None)
