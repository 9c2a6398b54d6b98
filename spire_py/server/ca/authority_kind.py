"""The two kinds of authority, X.509 CAs and JWT keys, as the one rotation sees them."""

from __future__ import annotations

import secrets
import string
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from spire_py.crypto.certificate import CertificateFacts, InvalidCertificate
from spire_py.crypto.certificate_path import verify_path
from spire_py.crypto.keys import PrivateKey, public_key_der
from spire_py.crypto.subject import CASubject
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.model.ca_journal import AuthorityStatus, CAJournal, JWTKeyRecord, X509CARecord
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import Clock
from spire_py.server.ca.ca import CA, JWTSigningKey, X509Authority
from spire_py.server.ca.lifetime import BACKDATE, whole_seconds
from spire_py.spiffe.bundle import Bundle, JWTAuthority
from spire_py.spiffe.bundle import X509Authority as BundleX509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import MAX_CHAIN_LENGTH

_KEY_ID_ALPHABET = string.ascii_letters + string.digits
_KEY_ID_LENGTH = 32

R = TypeVar("R", bound=X509CARecord | JWTKeyRecord)


class AuthorityKind(ABC, Generic[R]):
    """What differs between X.509 CAs and JWT keys."""

    preparing: str
    prepared: str
    activated: str
    """What the log says of each step."""
    key_prefix: str
    """What the key's ID begins with; the slot follows (feature L15)."""
    key_type: KeyType

    @abstractmethod
    def records(self, journal: CAJournal) -> tuple[R, ...]:
        """The records of this kind, oldest first."""

    @abstractmethod
    def with_records(self, journal: CAJournal, records: tuple[R, ...]) -> CAJournal:
        """The journal with these records of this kind."""

    @abstractmethod
    async def issue(self, slot_id: str, key: PrivateKey, now: datetime) -> tuple[R, Bundle]:
        """A new authority with this key, and what the bundle needs to have before it signs.

        Raises:
            SpireError: whoever makes the authority did not.
        """

    @abstractmethod
    def public_key(self, record: R) -> bytes:
        """DER of the key that belongs to the record."""

    @abstractmethod
    def is_published(self, record: R, bundle: Bundle) -> bool:
        """Whether peers that have `bundle` accept what the authority signs."""

    @abstractmethod
    def install(self, record: R, key: PrivateKey) -> None:
        """Sign with the authority from now on."""

    def facts(self, record: R) -> dict[str, Any]:
        """What log lines tell of the authority."""
        return {
            "slot": record.slot_id,
            "issued_at": record.issued_at,
            "expiration": record.not_after,
            "local_authority_id": record.authority_id,
        }


@dataclass(frozen=True, slots=True)
class IssuedX509CA:
    """A CA certificate and what makes it trusted, all as DER.

    `upstream_chain` begins with the certificate itself; it is empty where the CA is its own root.
    """

    certificate: bytes
    roots: tuple[bytes, ...]
    upstream_chain: tuple[bytes, ...] = ()


class X509CAIssuer(Protocol):
    """Who signs this server's CA certificate: the server itself, or an authority above it."""

    async def issue(self, key: PrivateKey, now: datetime) -> IssuedX509CA:
        """A CA certificate for the key.

        Raises:
            SpireError: there is none to be had now.
        """
        ...


class JWTKeyPublisher(Protocol):
    """Who makes a JWT key known beyond this trust domain's own bundle."""

    async def publish(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        """What the bundle is to have before the key signs.

        Raises:
            SpireError: the key could not be published now.
        """
        ...


class OwnBundleOnly:
    """Publishes keys nowhere else."""

    async def publish(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        return (key,)


class SelfSigned:
    """Signs with the CA's own key: each server is a root (features A7, A8)."""

    def __init__(self, trust_domain: TrustDomain, subject: CASubject, ttl: timedelta) -> None:
        self._trust_domain = trust_domain
        self._subject = subject
        self._ttl = ttl

    async def issue(self, key: PrivateKey, now: datetime) -> IssuedX509CA:
        certificate = self_signed_ca(
            key, str(self._trust_domain.id), self._subject, now - BACKDATE, now + self._ttl
        )
        return IssuedX509CA(certificate, roots=(certificate,))


class X509CAs(AuthorityKind[X509CARecord]):
    """X.509 CAs."""

    preparing = "Preparing X509 CA"
    prepared = "X509 CA prepared"
    activated = "X509 CA activated"
    key_prefix = "x509-CA"

    def __init__(self, *, ca: CA, issuer: X509CAIssuer, key_type: KeyType, clock: Clock) -> None:
        self.key_type = key_type
        self._ca = ca
        self._issuer = issuer
        self._clock = clock

    def records(self, journal: CAJournal) -> tuple[X509CARecord, ...]:
        return journal.x509_cas

    def with_records(self, journal: CAJournal, records: tuple[X509CARecord, ...]) -> CAJournal:
        active = [each for each in records if each.status is AuthorityStatus.ACTIVE]
        return replace(
            journal,
            x509_cas=records,
            # The journal is found by it even after its authority has expired.
            active_x509_authority_id=active[-1].authority_id
            if active
            else journal.active_x509_authority_id,
        )

    async def issue(
        self, slot_id: str, key: PrivateKey, now: datetime
    ) -> tuple[X509CARecord, Bundle]:
        issued = await self._issuer.issue(key, now)
        facts = CertificateFacts(issued.certificate)
        record = X509CARecord(
            slot_id=slot_id,
            issued_at=whole_seconds(now),
            not_after=facts.not_after,
            certificate=issued.certificate,
            authority_id=facts.authority_id,
            status=AuthorityStatus.PREPARED,
            upstream_chain=issued.upstream_chain,
            upstream_authority_id=(facts.authority_key_id or b"").hex(),
        )
        roots = tuple(BundleX509Authority(root) for root in issued.roots)
        return record, Bundle(self._ca.trust_domain, x509_authorities=roots)

    def public_key(self, record: X509CARecord) -> bytes:
        return CertificateFacts(record.certificate).public_key_der

    def is_published(self, record: X509CARecord, bundle: Bundle) -> bool:
        anchors = tuple(authority.der for authority in bundle.x509_authorities)
        if record.certificate in anchors:
            return True
        try:
            verify_path(
                record.certificate,
                record.upstream_chain[1:],
                anchors=anchors if record.upstream_chain else (),
                now=self._clock.now(),
                max_intermediates=MAX_CHAIN_LENGTH - 2,
            )
        except InvalidCertificate:
            return False
        return True

    def install(self, record: X509CARecord, key: PrivateKey) -> None:
        self._ca.activate_x509_authority(
            X509Authority(
                certificate=record.certificate, key=key, upstream_chain=record.upstream_chain
            )
        )

    def facts(self, record: X509CARecord) -> dict[str, Any]:
        return {
            **super().facts(record),
            "self_signed": not record.upstream_chain,
            "upstream_authority_id": record.upstream_authority_id,
        }


class JWTKeys(AuthorityKind[JWTKeyRecord]):
    """JWT signing keys; they live as long as a CA (feature L16)."""

    preparing = "Preparing JWT key"
    prepared = "JWT key prepared"
    activated = "JWT key activated"
    key_prefix = "JWT-Signer"

    def __init__(
        self, *, ca: CA, publisher: JWTKeyPublisher, ttl: timedelta, key_type: KeyType
    ) -> None:
        self.key_type = key_type
        self._ca = ca
        self._publisher = publisher
        self._ttl = ttl

    def records(self, journal: CAJournal) -> tuple[JWTKeyRecord, ...]:
        return journal.jwt_keys

    def with_records(self, journal: CAJournal, records: tuple[JWTKeyRecord, ...]) -> CAJournal:
        return replace(journal, jwt_keys=records)

    async def issue(
        self, slot_id: str, key: PrivateKey, now: datetime
    ) -> tuple[JWTKeyRecord, Bundle]:
        key_id = "".join(secrets.choice(_KEY_ID_ALPHABET) for _ in range(_KEY_ID_LENGTH))
        not_after = whole_seconds(now + self._ttl)
        record = JWTKeyRecord(
            slot_id=slot_id,
            issued_at=whole_seconds(now),
            not_after=not_after,
            key_id=key_id,
            public_key=public_key_der(key),
            authority_id=key_id,
            status=AuthorityStatus.PREPARED,
        )
        published = await self._publisher.publish(
            JWTAuthority(key_id, record.public_key, not_after)
        )
        return record, Bundle(self._ca.trust_domain, jwt_authorities=published)

    def public_key(self, record: JWTKeyRecord) -> bytes:
        return record.public_key

    def is_published(self, record: JWTKeyRecord, bundle: Bundle) -> bool:
        authority = bundle.jwt_authority(record.key_id)
        return authority is not None and authority.public_key == record.public_key

    def install(self, record: JWTKeyRecord, key: PrivateKey) -> None:
        self._ca.activate_jwt_key(JWTSigningKey(record.key_id, key, record.not_after))
