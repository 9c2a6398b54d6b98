"""How a stored bundle grows and shrinks (feature L14)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509

from spire_py.errors import FailedPrecondition
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.telemetry.logs import get_logger

log = get_logger("datastore")


def merged(stored: Bundle, added: Bundle) -> Bundle:
    """The stored bundle with the authorities that it has not.

    One that it has stays as it is: whoever sends a tainted authority again does not clean it.
    """
    known = {authority.der for authority in stored.x509_authorities}
    new = {each.der: each for each in added.x509_authorities if each.der not in known}
    return stored.with_changes(
        x509_authorities=stored.x509_authorities + tuple(new.values()),
        jwt_authorities=_merged_keys(stored.jwt_authorities, added.jwt_authorities),
        wit_authorities=_merged_keys(stored.wit_authorities, added.wit_authorities),
    )


def pruned(stored: Bundle, expired_before: datetime) -> Bundle:
    """The stored bundle without the authorities that expired before.

    Raises:
        FailedPrecondition: none of a kind would be left.
    """
    kept = stored.with_changes(
        x509_authorities=tuple(
            each for each in stored.x509_authorities if not _is_old(each, expired_before)
        ),
        jwt_authorities=_kept_keys(stored.jwt_authorities, expired_before),
        wit_authorities=_kept_keys(stored.wit_authorities, expired_before),
    )
    if not kept.x509_authorities:
        raise FailedPrecondition("prune failed: would prune all certificates")
    if stored.jwt_authorities and not kept.jwt_authorities:
        raise FailedPrecondition("prune failed: would prune all JWT signing keys")
    if stored.wit_authorities and not kept.wit_authorities:
        raise FailedPrecondition("prune failed: would prune all WIT signing keys")
    return kept


def _merged_keys(
    stored: tuple[JWTAuthority, ...], added: Iterable[JWTAuthority]
) -> tuple[JWTAuthority, ...]:
    known = {(each.key_id, each.public_key) for each in stored}
    new = {
        (each.key_id, each.public_key): each
        for each in added
        if (each.key_id, each.public_key) not in known
    }
    return stored + tuple(new.values())


def _is_old(authority: X509Authority, expired_before: datetime) -> bool:
    certificate = x509.load_der_x509_certificate(authority.der)
    if certificate.not_valid_after_utc > expired_before:
        return False
    log.info(
        "Pruning CA certificate due to expiration",
        serial_number=str(certificate.serial_number),
        expiration=certificate.not_valid_after_utc.isoformat(),
    )
    return True


def _kept_keys(
    authorities: Iterable[JWTAuthority], expired_before: datetime
) -> tuple[JWTAuthority, ...]:
    """Those that did not expire; where a bundle does not tell, they did not."""
    kept = []
    for each in authorities:
        if each.expires_at is None or each.expires_at > expired_before:
            kept.append(each)
        else:
            log.info(
                "Pruning signing key due to expiration",
                kid=each.key_id,
                expiration=each.expires_at.isoformat(),
            )
    return tuple(kept)
