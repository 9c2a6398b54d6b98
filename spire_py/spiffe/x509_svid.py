"""X509-SVIDs: the value, and the checks a validator owes (X509-SVID, sections 2 to 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spire_py.crypto.certificate import CertificateFacts, InvalidCertificate
from spire_py.crypto.certificate_path import verify_path
from spire_py.crypto.keys import pkcs8_to_private_key, public_key_der
from spire_py.errors import InvalidArgument
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain

MAX_CHAIN_LENGTH = 10
"""The most certificates a chain may have, leaf and anchor included."""


class InvalidX509SVID(InvalidArgument):
    """A certificate chain is no X509-SVID, or not one that the bundles make valid."""


@dataclass(frozen=True, slots=True)
class X509SVID:
    """An X509-SVID as handed to its owner. `chain` is DER, leaf first, the root not in it."""

    spiffe_id: SpiffeID
    chain: tuple[bytes, ...]
    expires_at: datetime
    private_key: bytes | None = field(default=None, repr=False)
    """Unencrypted PKCS#8 DER; None where the holder has no key."""
    hint: str = ""


def parse_x509_svid(
    chain: Sequence[bytes], private_key: bytes | None = None, *, hint: str = ""
) -> X509SVID:
    """Read an SVID; nothing is verified but that leaf and key belong together.

    Args:
        chain: DER, leaf first.
        private_key: PKCS#8 DER of the leaf's key.
        hint: what the entry says of the SVID's use.

    Raises:
        InvalidX509SVID: the leaf is no X509-SVID, or the key is another's.
        InvalidArgument: the key is malformed.
    """
    leaf = _leaf_facts(chain)
    if private_key is not None:
        key = pkcs8_to_private_key(private_key)
        if public_key_der(key) != leaf.public_key_der:
            raise InvalidX509SVID("private key does not match the leaf certificate")
    return X509SVID(
        spiffe_id=_check_leaf(leaf),
        chain=tuple(chain),
        expires_at=leaf.not_after,
        private_key=private_key,
        hint=hint,
    )


def check_leaf(der: bytes) -> SpiffeID:
    """The ID of a leaf certificate that keeps the rules for leaves; nothing is verified.

    Raises:
        InvalidX509SVID: it breaks a rule of X509-SVID section 5.2.
    """
    return _check_leaf(_leaf_facts((der,)))


def _leaf_facts(chain: Sequence[bytes]) -> CertificateFacts:
    if not chain:
        raise InvalidX509SVID("empty certificates chain")
    if len(chain) > MAX_CHAIN_LENGTH:
        raise InvalidX509SVID(f"chain is longer than {MAX_CHAIN_LENGTH} certificates")
    try:
        return CertificateFacts(chain[0])
    except InvalidCertificate as error:
        raise InvalidX509SVID(error.message) from error


def _check_leaf(leaf: CertificateFacts) -> SpiffeID:
    spiffe_id = _only_uri(leaf)
    # 5.2: a signing certificate is never accepted as somebody's identity.
    if leaf.is_ca:
        raise InvalidX509SVID("leaf certificate with CA flag set to true")
    if usage := leaf.key_usage:
        if usage.key_cert_sign:
            raise InvalidX509SVID("leaf certificate with KeyCertSign key usage")
        if usage.crl_sign:
            raise InvalidX509SVID("leaf certificate with KeyCrlSign key usage")
    if spiffe_id.is_trust_domain:
        raise InvalidX509SVID(f'leaf certificate has ID "{spiffe_id}", which has no path')
    return spiffe_id


def _only_uri(leaf: CertificateFacts) -> SpiffeID:
    uris = leaf.uris
    if not uris:
        raise InvalidX509SVID("certificate contains no URI SAN")
    if len(uris) > 1:
        # 5.2: also where only one of them is a SPIFFE ID.
        raise InvalidX509SVID("certificate contains more than one URI SAN")
    try:
        return SpiffeID.parse_foreign(uris[0])
    except InvalidSpiffeID as error:
        raise InvalidX509SVID(f"could not get leaf SPIFFE ID: {error.message}") from error


def verify_chain(
    chain: Sequence[bytes], bundles: Mapping[TrustDomain, Bundle], now: datetime
) -> SpiffeID:
    """Validate an X509-SVID as its recipient must (section 5): leaf rules and RFC 5280 path.

    Trust comes from the bundle of the leaf's own trust domain and from nowhere else: what another
    domain's authority signed is refused, however good the signature.

    Name constraints on DNS names and IP addresses are kept; a CA with others is refused.

    Args:
        chain: DER, leaf first; the rest are intermediates in any order.
        bundles: every bundle we hold.
        now: the time at which all certificates must be valid, anchor included.

    Raises:
        InvalidX509SVID: any rule is broken; the message says which.
    """
    leaf = _leaf_facts(chain)
    spiffe_id = _check_leaf(leaf)
    bundle = bundles.get(spiffe_id.trust_domain)
    anchors = tuple(authority.der for authority in bundle.x509_authorities) if bundle else ()
    if not anchors:
        raise InvalidX509SVID(f'no X509 bundle for trust domain "{spiffe_id.trust_domain}"')
    try:
        path = verify_path(
            chain[0], chain[1:], anchors=anchors, now=now, max_intermediates=MAX_CHAIN_LENGTH - 2
        )
    except InvalidCertificate as error:
        raise InvalidX509SVID(f"could not verify leaf certificate: {error.message}") from error
    if len(path) < 2:
        # A leaf that stands in the bundle itself: no authority has signed it.
        raise InvalidX509SVID("could not verify leaf certificate: it is not signed by an authority")
    return spiffe_id


def verify_peer_chain(
    chain: Sequence[bytes], bundles: Mapping[TrustDomain, Bundle], now: datetime | None = None
) -> SpiffeID:
    """Validate the chain of a TLS peer, which the TLS library has verified up to some anchor.

    The TLS library trusts all bundles alike; here the leaf must lead to its own trust domain's.
    The whole path is walked again, so that nothing hangs on how the library was set up.

    Args:
        chain: DER, leaf first, with the anchor or without.
        bundles: every bundle we hold.
        now: the present where None.

    Raises:
        InvalidX509SVID: any rule is broken; the message says which.
    """
    return verify_chain(chain, bundles, now or datetime.now(UTC))
