"""Bundles between model and wire.

`bundle_from_pb` raises what SPIRE's API says after a prefix of its own, such as
`failed to convert bundle: `. Clients cannot taint an authority: a mark they send is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from spire_py._proto.spire.api import types_pb2
from spire_py.crypto.concatenated import split_certificates
from spire_py.crypto.parse_errors import PARSE_ERRORS
from spire_py.errors import InvalidArgument
from spire_py.model.entry import seconds_to_time, time_to_seconds
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.status import prefixing


class KeyMessage(Protocol):
    """A JWT or WIT authority of SPIRE's API."""

    public_key: bytes
    key_id: str
    expires_at: int
    tainted: bool


def bundle_to_pb(bundle: Bundle) -> types_pb2.Bundle:
    """The bundle as a message, to which an output mask may be applied."""
    return types_pb2.Bundle(
        trust_domain=bundle.trust_domain.name,
        x509_authorities=[x509_authority_to_pb(each) for each in bundle.x509_authorities],
        jwt_authorities=[jwt_authority_to_pb(each) for each in bundle.jwt_authorities],
        wit_authorities=[
            types_pb2.WITKey(
                public_key=each.public_key,
                key_id=each.key_id,
                expires_at=time_to_seconds(each.expires_at),
                tainted=each.tainted,
            )
            for each in bundle.wit_authorities
        ],
        refresh_hint=int(bundle.refresh_hint.total_seconds()),
        sequence_number=bundle.sequence_number,
    )


def bundle_from_pb(message: types_pb2.Bundle) -> Bundle:
    """Read and check a bundle that a client sent; marks of taint are dropped.

    Raises:
        InvalidArgument: the trust domain, a certificate or a key is not valid.
    """
    bundle = _bundle_from_pb(message, x509_authorities_from_pb)
    return bundle.with_changes(
        x509_authorities=tuple(replace(each, tainted=False) for each in bundle.x509_authorities),
        jwt_authorities=tuple(replace(each, tainted=False) for each in bundle.jwt_authorities),
        wit_authorities=tuple(replace(each, tainted=False) for each in bundle.wit_authorities),
    )


def known_bundle_from_pb(message: types_pb2.Bundle) -> Bundle:
    """Read and check a bundle that our server sent: marks of taint count.

    A certificate that cannot be read is left out: the trust in the others must not go with it.

    Raises:
        InvalidArgument: the trust domain or a key is not valid.
    """
    return _bundle_from_pb(message, _readable_x509_authorities)


def _bundle_from_pb(
    message: types_pb2.Bundle,
    read: Callable[[Iterable[types_pb2.X509Certificate]], tuple[X509Authority, ...]],
) -> Bundle:
    with prefixing("invalid trust domain"):
        trust_domain = TrustDomain.parse(message.trust_domain)
    with prefixing("unable to parse X.509 authority"):
        x509_authorities = read(message.x509_authorities)
    with prefixing("unable to parse JWT authority"):
        jwt_authorities = jwt_authorities_from_pb(message.jwt_authorities)
    with prefixing("unable to parse WIT authority"):
        wit_authorities = jwt_authorities_from_pb(message.wit_authorities)
    return Bundle(
        trust_domain=trust_domain,
        x509_authorities=x509_authorities,
        jwt_authorities=jwt_authorities,
        wit_authorities=wit_authorities,
        refresh_hint=timedelta(seconds=min(max(0, message.refresh_hint), _MAX_HINT_SECONDS)),
        sequence_number=message.sequence_number,
    )


def x509_authority_to_pb(authority: X509Authority) -> types_pb2.X509Certificate:
    """A CA certificate as a message."""
    return types_pb2.X509Certificate(asn1=authority.der, tainted=authority.tainted)


def x509_authorities_from_pb(
    messages: Iterable[types_pb2.X509Certificate],
) -> tuple[X509Authority, ...]:
    """The CA certificates; one message may hold several, one after the other.

    Raises:
        InvalidArgument: they are no certificates.
    """
    return tuple(
        X509Authority(_checked(der), message.tainted)
        for message in messages
        for der in _split(message.asn1)
    )


def _readable_x509_authorities(
    messages: Iterable[types_pb2.X509Certificate],
) -> tuple[X509Authority, ...]:
    found: list[X509Authority] = []
    for message in messages:
        with suppress(InvalidArgument):
            found += x509_authorities_from_pb([message])
    return tuple(found)


def jwt_authority_to_pb(authority: JWTAuthority) -> types_pb2.JWTKey:
    """A JWT authority as a message."""
    return types_pb2.JWTKey(
        public_key=authority.public_key,
        key_id=authority.key_id,
        expires_at=time_to_seconds(authority.expires_at),
        tainted=authority.tainted,
    )


def jwt_authorities_from_pb(messages: Iterable[KeyMessage]) -> tuple[JWTAuthority, ...]:
    """JWT or WIT authorities.

    Raises:
        InvalidArgument: a public key cannot be read, or has no key ID.
    """
    return tuple(jwt_authority_from_pb(message) for message in messages)


def jwt_authority_from_pb(message: KeyMessage) -> JWTAuthority:
    """Read and check a JWT or WIT authority.

    Raises:
        InvalidArgument: the public key cannot be read, or it has no key ID.
    """
    try:
        load_der_public_key(message.public_key)
        expires_at = seconds_to_time(message.expires_at)
    except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError, OSError) as error:
        raise InvalidArgument("malformed public key") from error
    if not message.key_id:
        raise InvalidArgument("missing key ID")
    return JWTAuthority(message.key_id, message.public_key, expires_at, message.tainted)


def _split(data: bytes) -> list[bytes]:
    try:
        return split_certificates(data)
    except InvalidArgument as error:
        raise InvalidArgument("malformed certificate") from error


def _checked(der: bytes) -> bytes:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Read late by the library; whoever verifies against the bundle would meet the fault.
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except PARSE_ERRORS as error:
        raise InvalidArgument("malformed certificate") from error
    return der


_MAX_HINT_SECONDS = 10 * 365 * 24 * 3600
