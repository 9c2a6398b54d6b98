"""The TLS of the server's port: what it shows, and whom it lets in (feature G22)."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.issuer_names import issuer_names
from spire_py.errors import PermissionDenied
from spire_py.runtime.clock import Clock
from spire_py.server.policy import PeerSVID
from spire_py.server.server_svid import ServerSVID
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.x509_svid import verify_peer_chain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import server_context

log = get_logger("endpoints")


class SVIDSource(Protocol):
    """Where the server's own SVID comes from."""

    @property
    def current(self) -> ServerSVID: ...


class BundleSource(Protocol):
    """Where bundles come from."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None: ...


class PortTLS:
    """Makes contexts for new connections and checks the certificates of clients.

    Members of our own trust domain may come, and admins of others whose bundle we hold.
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        admin_ids: Collection[SpiffeID],
        svid: SVIDSource,
        bundles: BundleSource,
        clock: Clock,
    ) -> None:
        self._trust_domain = trust_domain
        self._admin_ids = frozenset(admin_ids)
        self._trust_domains = frozenset(
            {trust_domain, *(admin.trust_domain for admin in admin_ids)}
        )
        self._svid = svid
        self._bundles = bundles
        self._clock = clock
        self._made_of: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context for a connection that begins now; a new one where something changed."""
        svid, bundles = self._svid.current, self._trusted()
        # Compared by identity: both are replaced as a whole when anything in them changes.
        parts = (svid, *bundles.values())
        if self._context is None or not _same(parts, self._made_of):
            self._context = server_context(
                chain=svid.chain,
                key=svid.private_key,
                roots=self._roots(svid, bundles),
            )
            self._made_of = parts
        return self._context

    def _roots(self, svid: ServerSVID, bundles: Mapping[TrustDomain, Bundle]) -> set[bytes]:
        """Our authorities, and those foreign ones that cannot be taken for one of ours.

        TLS finds the issuer of a client's certificate by name and key ID among all of them, and
        tries no second one: a foreign bundle could shut all our agents out.
        """
        ours = {
            a.der
            for bundle in bundles.values()
            for a in bundle.x509_authorities
            if bundle.trust_domain == self._trust_domain
        }
        issuers = [issuer_names(der) for der in (*ours, *svid.chain[1:])]
        foreign = {a.der for bundle in bundles.values() for a in bundle.x509_authorities} - ours
        alike = {der for der in foreign if issuer_names(der).may_be_any_of(issuers)}
        for der in alike:
            log.warning(
                "foreign_authority_ignored",
                reason="it could be taken for one of ours",
                sha256=hashlib.sha256(der).hexdigest(),
            )
        return ours | (foreign - alike)

    def verify(self, chain: tuple[bytes, ...]) -> PeerSVID:
        """Who a client is, by the chain that TLS has verified.

        Raises:
            InvalidX509SVID: it is no X509-SVID of a trust domain that we trust.
            PermissionDenied: it is of another trust domain, and no admin.
        """
        spiffe_id = verify_peer_chain(chain, self._trusted(), self._clock.now())
        if spiffe_id.trust_domain != self._trust_domain and spiffe_id not in self._admin_ids:
            raise PermissionDenied(f'unexpected trust domain in ID "{spiffe_id}"')
        leaf = CertificateFacts(chain[0])
        return PeerSVID(spiffe_id, str(leaf.serial_number), leaf.not_after)

    def _trusted(self) -> Mapping[TrustDomain, Bundle]:
        bundles = {domain: self._bundles.get(domain) for domain in self._trust_domains}
        return {domain: bundle for domain, bundle in bundles.items() if bundle is not None}


def _same(these: Sequence[object], those: Sequence[object]) -> bool:
    return len(these) == len(those) and all(a is b for a, b in zip(these, those, strict=True))
