"""What signs: the active X.509 CA and the active JWT key (features A9 to A13, L19)."""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.crypto.subject import Subject
from spire_py.crypto.x509_signer import X509Signer
from spire_py.errors import InvalidArgument, SpireError, Unavailable
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.server.ca.lifetime import BACKDATE, whole_seconds
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.jwt_svid import sign_jwt_svid
from spire_py.spiffe.reserved_path import check_member, server_id

_HEALTH_CHECK_PATH = "/for/health/check/only"
_LEAST_PER_THREAD = 8

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SignedX509SVID:
    """An X509-SVID that this server signed.

    `chain` is DER, leaf first, the root not among it. `authority_id` names the CA that signed.
    """

    spiffe_id: SpiffeID
    chain: tuple[bytes, ...]
    serial_number: int
    not_before: datetime
    expires_at: datetime
    authority_id: str = ""


@dataclass(frozen=True, slots=True)
class SignedX509CA:
    """A CA certificate for a downstream server. `chain` is DER, the root not among it."""

    chain: tuple[bytes, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedJWTSVID:
    """A JWT-SVID that this server signed. The token is a secret of its holder."""

    spiffe_id: SpiffeID
    token: str
    issued_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedJWTSVID(spiffe_id={self.spiffe_id}, expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True)
class X509SVIDParams:
    """What to sign.

    `public_key` is DER of a SubjectPublicKeyInfo. A `ttl` of zero is the server's default, and so
    is an empty `subject`. The first DNS name becomes the common name, whatever the subject has.
    """

    spiffe_id: SpiffeID
    public_key: bytes
    dns_names: tuple[str, ...] = ()
    ttl: timedelta = timedelta()
    subject: Subject | None = None


class X509Authority:
    """An X.509 CA that can sign.

    Args:
        certificate: DER.
        upstream_chain: what lies between an SVID and the root, the CA's own certificate first;
            empty when the CA is itself a root.
    """

    def __init__(
        self, *, certificate: bytes, key: PrivateKey, upstream_chain: tuple[bytes, ...] = ()
    ) -> None:
        facts = CertificateFacts(certificate)
        self.certificate = certificate
        self.upstream_chain = upstream_chain
        self.authority_id = facts.authority_id
        self.not_before = facts.not_before
        self.not_after = facts.not_after
        self.subject = facts.subject
        self.signer = X509Signer(certificate, key)
        self.key = key


@dataclass(frozen=True, slots=True)
class JWTSigningKey:
    """A JWT key that can sign."""

    key_id: str
    key: PrivateKey
    not_after: datetime


@dataclass(frozen=True, slots=True)
class SVIDDefaults:
    """Lifetimes where a request names none, and the issuer of tokens (features A9 to A11, A13)."""

    x509_svid_ttl: timedelta = timedelta(hours=1)
    jwt_svid_ttl: timedelta = timedelta(minutes=5)
    agent_ttl: timedelta | None = None
    ca_ttl: timedelta = timedelta(hours=24)
    jwt_issuer: str = ""


class CA:
    """Signs SVIDs with the authorities that the CA manager activates.

    No SVID outlives the authority that signed it. Signing fails with `Unavailable` while there is
    no active authority.

    Args:
        trust_bundle: where the CA manager sets the trust domain's own bundle.
        threads: how many batches are signed at a time; None is one for each core, at most four.
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        clock: Clock,
        defaults: SVIDDefaults = SVIDDefaults(),
        trust_bundle: Watch[Bundle] | None = None,
        threads: int | None = None,
    ) -> None:
        self.trust_domain = trust_domain
        self.trust_bundle = trust_bundle or Watch(Bundle(trust_domain))
        """The trust domain's own bundle as last seen in the datastore; the CA manager sets it."""
        self._clock = clock
        self._defaults = defaults
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="sign")
        self._x509: X509Authority | None = None
        self._jwt: JWTSigningKey | None = None

    @property
    def x509_authority(self) -> X509Authority | None:
        return self._x509

    @property
    def jwt_key(self) -> JWTSigningKey | None:
        return self._jwt

    def activate_x509_authority(self, authority: X509Authority) -> None:
        """Sign X509-SVIDs with this one from now on."""
        self._x509 = authority

    def activate_jwt_key(self, key: JWTSigningKey) -> None:
        """Sign JWT-SVIDs with this one from now on."""
        self._jwt = key

    def trusts(self, authority_id: str) -> bool:
        """Whether SVIDs of this X.509 authority may go on being shown.

        Those of the active one may; those of another as long as the bundle has it, untainted.
        """
        if self._x509 is not None and self._x509.authority_id == authority_id:
            return True
        return any(
            not authority.tainted and CertificateFacts(authority.der).authority_id == authority_id
            for authority in self.trust_bundle.value.x509_authorities
        )

    async def sign_x509_svid(
        self,
        public_key_der: bytes,
        spiffe_id: SpiffeID,
        dns_names: Sequence[str] = (),
        ttl: timedelta = timedelta(),
        subject: Subject | None = None,
    ) -> SignedX509SVID:
        """Sign one X509-SVID; what the arguments mean is told by `X509SVIDParams`.

        Raises:
            InvalidArgument: the ID names no member of the trust domain.
            Unavailable: there is no X.509 CA that could sign.
        """
        params = X509SVIDParams(spiffe_id, public_key_der, tuple(dns_names), ttl, subject)
        now = self._clock.now()
        authority = self._signing_authority(now)
        if _is_fast(authority.key):
            return self._sign(authority, params, now)
        return await self._in_thread(self._sign, authority, params, now)

    async def sign_x509_svids(
        self, params: Sequence[X509SVIDParams]
    ) -> list[SignedX509SVID | SpireError]:
        """Sign many, in threads; the results stand in the order of `params`.

        Raises:
            Unavailable: there is no X.509 CA that could sign.
        """
        now = self._clock.now()
        authority = self._signing_authority(now)
        if len(params) <= _LEAST_PER_THREAD and _is_fast(authority.key):
            return self._sign_each(authority, params, now)
        size = max(_LEAST_PER_THREAD, -(-len(params) // self._threads))
        parts = [params[start : start + size] for start in range(0, len(params), size)]
        signed = await asyncio.gather(
            *(self._in_thread(self._sign_each, authority, part, now) for part in parts)
        )
        return [result for results in signed for result in results]

    async def sign_agent_svid(self, public_key_der: bytes, agent_id: SpiffeID) -> SignedX509SVID:
        """Sign an agent's SVID, which lives `agent_ttl`."""
        ttl = self._defaults.agent_ttl or timedelta()
        return await self.sign_x509_svid(public_key_der, agent_id, ttl=ttl)

    async def sign_server_svid(self, public_key_der: bytes) -> SignedX509SVID:
        """Sign the server's own SVID."""
        return await self.sign_x509_svid(public_key_der, server_id(self.trust_domain))

    async def sign_downstream_x509_ca(
        self, public_key_der: bytes, ttl: timedelta = timedelta()
    ) -> SignedX509CA:
        """Sign the CA of a server below this one (feature G12). A `ttl` of zero is `ca_ttl`.

        Raises:
            Unavailable: there is no X.509 CA that could sign.
        """
        now = self._clock.now()
        authority = self._signing_authority(now)
        return await self._in_thread(self._sign_ca, authority, public_key_der, ttl, now)

    async def sign_jwt_svid(
        self,
        spiffe_id: SpiffeID,
        audience: Sequence[str],
        ttl: timedelta = timedelta(),
        *,
        include_jti: bool = False,
    ) -> SignedJWTSVID:
        """Sign one JWT-SVID.

        Args:
            spiffe_id: who the token is for.
            audience: empty ones among them are left out.
            ttl: zero is the server's default.
            include_jti: give it an ID of its own.

        Raises:
            InvalidArgument: the ID names no member of the trust domain, or no audience is left.
            Unavailable: there is no JWT key that could sign.
        """
        self._check_member(spiffe_id, "JWT-SVID")
        now = self._clock.now()
        key = self._signing_key(now)
        lifetime = ttl if ttl > timedelta() else self._defaults.jwt_svid_ttl
        expires_at = min(now + lifetime, key.not_after)
        sign = partial(
            sign_jwt_svid,
            key.key,
            key.key_id,
            spiffe_id=spiffe_id,
            audience=audience,
            expires_at=expires_at,
            issued_at=now,
            issuer=self._defaults.jwt_issuer,
            jti=_new_jti() if include_jti else "",
        )
        token = sign() if _is_fast(key.key) else await self._in_thread(sign)
        return SignedJWTSVID(spiffe_id, token, whole_seconds(now), whole_seconds(expires_at))

    async def check_health(self) -> None:
        """Sign for nobody, to see whether signing works (feature L19).

        Raises:
            SpireError: it does not.
        """
        key = generate_key(KeyType.EC_P256)
        await self.sign_x509_svid(public_key_der(key), self.trust_domain.member(_HEALTH_CHECK_PATH))

    async def aclose(self) -> None:
        """Let the signing threads end."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _in_thread(self, sign: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(sign, *arguments, **named))

    def _signing_authority(self, now: datetime) -> X509Authority:
        if self._x509 is None:
            raise Unavailable("X509 CA is not available for signing")
        if self._x509.not_after <= now:
            raise Unavailable("X509 CA is not available for signing: it has expired")
        if self._x509.not_before > now:
            # The clock was set back. Another CA will be there in seconds.
            raise Unavailable("X509 CA is not available for signing: it is not valid yet")
        return self._x509

    def _signing_key(self, now: datetime) -> JWTSigningKey:
        if self._jwt is None:
            raise Unavailable("JWT key is not available for signing")
        if self._jwt.not_after <= now:
            raise Unavailable("JWT key is not available for signing: it has expired")
        return self._jwt

    def _sign_each(
        self, authority: X509Authority, params: Sequence[X509SVIDParams], now: datetime
    ) -> list[SignedX509SVID | SpireError]:
        results: list[SignedX509SVID | SpireError] = []
        for wanted in params:
            try:
                results.append(self._sign(authority, wanted, now))
            except SpireError as error:
                results.append(error)
        return results

    def _sign(
        self, authority: X509Authority, params: X509SVIDParams, now: datetime
    ) -> SignedX509SVID:
        self._check_member(params.spiffe_id, "X509-SVID")
        ttl = params.ttl if params.ttl > timedelta() else self._defaults.x509_svid_ttl
        not_before = now - BACKDATE
        signed = authority.signer.sign_svid(
            params.public_key,
            str(params.spiffe_id),
            params.dns_names,
            not_before=not_before,
            not_after=min(now + ttl, authority.not_after),
            subject=_subject(params),
        )
        return SignedX509SVID(
            spiffe_id=params.spiffe_id,
            chain=(signed.der, *authority.upstream_chain),
            serial_number=signed.serial_number,
            not_before=whole_seconds(not_before),
            expires_at=signed.not_after,
            authority_id=authority.authority_id,
        )

    def _sign_ca(
        self, authority: X509Authority, public_key: bytes, ttl: timedelta, now: datetime
    ) -> SignedX509CA:
        length = len(authority.upstream_chain) or 1
        signed = authority.signer.sign_ca(
            public_key,
            str(self.trust_domain.id),
            subject=replace(authority.subject, organizational_unit=(f"DOWNSTREAM-{length}",)),
            not_before=now - BACKDATE,
            not_after=now + (ttl if ttl > timedelta() else self._defaults.ca_ttl),
        )
        return SignedX509CA((signed.der, *authority.upstream_chain), signed.not_after)

    def _check_member(self, spiffe_id: SpiffeID, kind: str) -> None:
        try:
            check_member(spiffe_id, self.trust_domain)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid {kind} ID: {error.message}") from error


def _is_fast(key: PrivateKey) -> bool:
    """Whether a signature takes less time than handing it to a thread."""
    return isinstance(key, ec.EllipticCurvePrivateKey)


def _subject(params: X509SVIDParams) -> bytes | None:
    if not params.subject:
        return None
    if not params.dns_names:
        return bytes(params.subject)
    return bytes(replace(params.subject, common_name=params.dns_names[0]))


def _new_jti() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
