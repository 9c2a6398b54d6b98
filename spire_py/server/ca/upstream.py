"""The authority above this server: whatever comes from it is checked before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import PrivateKey, public_key_der
from spire_py.crypto.subject import CASubject
from spire_py.crypto.x509_signer import X509Signer, ca_subject, new_serial_number
from spire_py.errors import Internal, InvalidArgument, SpireError, Unavailable, Unimplemented
from spire_py.plugin_api.upstream_authority import MintedX509CA, UpstreamAuthority
from spire_py.server.ca.authority_kind import IssuedX509CA
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.x509_svid import verify_chain
from spire_py.telemetry.logs import get_logger

_MINT_TIMEOUT = timedelta(minutes=1)
_PUBLISH_TIMEOUT = timedelta(seconds=5)
_SHORTENED_BY_AT_LEAST = timedelta(minutes=1)

_NO_JWT_KEYS = (
    "UpstreamAuthority plugin does not support JWT-SVIDs. Workloads managed by this server may "
    "have trouble communicating with workloads outside this cluster when using JWT-SVIDs."
)

T = TypeVar("T")

log = get_logger("ca_manager")


class UpstreamClient:
    """Has this server's CAs signed, and its JWT keys published, by an UpstreamAuthority plugin.

    It is an `X509CAIssuer` and a `JWTKeyPublisher`. Errors of the plugin get its name before them.

    Args:
        plugin: the plugin.
        name: of the plugin, for errors and the log.
        trust_domain: this server's; CAs have its ID.
        subject: of the CAs.
        ttl: how long CAs should live.
    """

    def __init__(
        self,
        plugin: UpstreamAuthority,
        name: str,
        *,
        trust_domain: TrustDomain,
        subject: CASubject,
        ttl: timedelta,
    ) -> None:
        self._plugin = plugin
        self._name = name
        self._trust_domain = trust_domain
        self._subject = subject
        self._ttl = ttl
        self._has_told_of_jwt_keys = False

    async def issue(self, key: PrivateKey, now: datetime) -> IssuedX509CA:
        csr = make_csr(
            key,
            uri=str(self._trust_domain.id),
            subject=ca_subject(self._subject, new_serial_number()),
        )
        async with self._asking(_MINT_TIMEOUT):
            minted = await self._plugin.mint_x509_ca(csr, self._ttl)
            _check_complete(minted)
        try:
            not_after = self._check(minted, key, now)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"X509 CA minted by upstream authority is invalid: {error.message}"
            ) from error
        if not_after < now + self._ttl - _SHORTENED_BY_AT_LEAST:
            log.warning("x509_ca_shorter_than_ca_ttl", expiration=not_after, plugin_name=self._name)
        return IssuedX509CA(minted.chain[0], roots=minted.roots, upstream_chain=minted.chain)

    async def publish(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        try:
            async with self._asking(_PUBLISH_TIMEOUT):
                return _all_of(JWTAuthority, await self._plugin.publish_jwt_key(key))
        except Unimplemented:
            if not self._has_told_of_jwt_keys:
                log.warning(_NO_JWT_KEYS, plugin_name=self._name)
            self._has_told_of_jwt_keys = True
            return (key,)

    async def next_roots(self) -> Bundle:
        """Wait for other roots to be trusted upstream.

        Raises:
            SpireError: they cannot be had now.
        """
        async with self._asking(None):
            roots = _all_of(bytes, await self._plugin.next_roots())
            for root in roots:
                CertificateFacts(root)
        return self._bundle(roots)

    def _check(self, minted: MintedX509CA, key: PrivateKey, now: datetime) -> datetime:
        """See that what the CA signs is valid, and when it ends."""
        facts = CertificateFacts(minted.chain[0])
        try:
            _check_ca(facts, self._trust_domain, now)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"invalid upstream-signed X509 CA: invalid X509 CA: {error.message}"
            ) from error
        self._check_chain(facts, minted, key, now)
        for der in (*minted.chain[1:], *minted.roots):
            self._warn_of_foreign(CertificateFacts(der))
        return facts.not_after

    def _check_chain(
        self, facts: CertificateFacts, minted: MintedX509CA, key: PrivateKey, now: datetime
    ) -> None:
        throwaway = SpiffeID(self._trust_domain, "/spire/throwaway")
        try:
            signed = X509Signer(facts.der, key).sign_svid(
                public_key_der(key),
                str(throwaway),
                not_before=facts.not_before,
                not_after=facts.not_after,
            )
        except SpireError as error:
            raise InvalidArgument(
                f"failed to sign validation certificate: {error.message}"
            ) from error
        bundles = {self._trust_domain: self._bundle(minted.roots)}
        try:
            verify_chain((signed.der, *minted.chain), bundles, now)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"X509 CA produced an invalid X509-SVID chain: {error.message}"
            ) from error

    def _warn_of_foreign(self, facts: CertificateFacts) -> None:
        """A CA above ours should not assert another trust domain; SPIRE does not look."""
        wanted = str(self._trust_domain.id)
        for uri in facts.uris:
            if uri.lower().startswith("spiffe:") and uri != wanted:
                log.warning(
                    "upstream_authority_of_another_trust_domain",
                    authority_id=facts.authority_id,
                    plugin_name=self._name,
                    spiffe_id=uri,
                )

    def _bundle(self, roots: Sequence[bytes]) -> Bundle:
        return Bundle(
            self._trust_domain, x509_authorities=tuple(X509Authority(root) for root in roots)
        )

    @asynccontextmanager
    async def _asking(self, timeout: timedelta | None) -> AsyncIterator[None]:
        prefix = f"upstreamauthority({self._name}): "
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                yield
        except TimeoutError as error:
            raise Unavailable(f"{prefix}no answer in time") from error
        except SpireError as error:
            raise type(error)(prefix + error.message, details=error.details) from error
        except Exception as error:
            # Anybody may write plugins: a fault of one must not end a server whose CA still signs.
            log.exception("upstream_authority_failed", plugin_name=self._name)
            raise Internal(f"{prefix}{type(error).__name__}") from error


def _check_complete(minted: MintedX509CA) -> None:
    if not minted.chain:
        raise Internal("plugin response missing X.509 CA chain")
    if not minted.roots:
        raise Internal("plugin response missing upstream X.509 roots")
    _all_of(bytes, (*minted.chain, *minted.roots))


def _all_of(kind: type[T], answer: Sequence[object]) -> tuple[T, ...]:
    """What a plugin gave, seen to be of a kind: types bind nobody who writes plugins."""
    found = tuple(each for each in answer if isinstance(each, kind))
    if len(found) < len(answer):
        raise Internal("plugin response is of another type")
    return found


def _check_ca(facts: CertificateFacts, trust_domain: TrustDomain, now: datetime) -> None:
    if not facts.is_ca:
        raise InvalidArgument("cA constraint is not set")
    usage = facts.key_usage
    if usage is None or not usage.key_cert_sign:
        raise InvalidArgument("keyCertSign key usage must be set")
    if (
        usage.content_commitment
        or usage.key_encipherment
        or usage.data_encipherment
        or usage.key_agreement
    ):
        raise InvalidArgument("only keyCertSign, cRLSign, or digitalSignature key usage can be set")
    # A signing certificate should be an SVID itself, and need not.
    if facts.uris not in ((), (str(trust_domain.id),)):
        raise InvalidArgument(
            f'expected URI SAN "{trust_domain.id}" but got {" ".join(facts.uris)!r}'
        )
    if now < facts.not_before:
        raise InvalidArgument(f"not yet valid until {facts.not_before:%Y-%m-%dT%H:%M:%SZ}")
    if now > facts.not_after:
        raise InvalidArgument(f"already expired as of {facts.not_after:%Y-%m-%dT%H:%M:%SZ}")
