"""Certification paths (RFC 5280 section 6), without what the web's policies ask on top."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification

from spire_py.crypto.certificate import CertificateFacts, InvalidCertificate
from spire_py.crypto.parse_errors import PARSE_ERRORS

_FAULTS: tuple[type[Exception], ...] = (verification.VerificationError, *PARSE_ERRORS)


def verify_path(
    leaf: bytes,
    intermediates: Sequence[bytes],
    *,
    anchors: tuple[bytes, ...],
    now: datetime,
    max_intermediates: int,
) -> tuple[bytes, ...]:
    """Find a path from `leaf` to one of the anchors, and return it, leaf first, anchor last.

    All certificates are DER. What the leaf may be used for is for the caller to check. A leaf that
    is itself an anchor is a path of one.

    Raises:
        InvalidCertificate: there is no valid path, or a certificate is malformed.
    """
    if not anchors:
        raise InvalidCertificate("there is no CA certificate to trust")
    known = [CertificateFacts(der).certificate for der in intermediates]
    verifier = (
        verification.PolicyBuilder()
        .store(_store(anchors))
        .time(now)
        .max_chain_depth(max_intermediates)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        verified = verifier.verify(CertificateFacts(leaf).certificate, known)
    except _FAULTS as error:
        raise InvalidCertificate(_reason(error)) from error
    return tuple(certificate.public_bytes(_DER) for certificate in verified.chain)


def _reason(error: Exception) -> str:
    """The library's text without its picture of the certificate, which a stranger has written."""
    try:
        return str(error).partition(" (encountered processing")[0][:200]
    except PARSE_ERRORS:
        return "validation failed"


@lru_cache(maxsize=256)
def _store(anchors: tuple[bytes, ...]) -> verification.Store:
    readable = []
    for der in anchors:
        # One that cannot be read must not take the trust in the others away.
        with suppress(InvalidCertificate):
            readable.append(CertificateFacts(der).certificate)
    if not readable:
        raise InvalidCertificate("no CA certificate to trust can be read")
    return verification.Store(readable)


def _ca_may_sign(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    # RFC 5280 section 6.1.4 (n): a key usage that is there must allow it.
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("CA certificate lacks KeyCertSign key usage")


# Unknown critical extensions and breaches of path length are refused under any policy.
_DER = serialization.Encoding.DER
_LEAF_POLICY = verification.ExtensionPolicy.permit_all()
_CA_POLICY = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _ca_may_sign)
)
