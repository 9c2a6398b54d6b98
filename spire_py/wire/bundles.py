"""Bundles, between the wire of the server's API and the model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.entry import time_to_seconds
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain

_MAX_HINT_SECONDS = 100 * 365 * 24 * 3600
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def bundle_to_pb(bundle: Bundle) -> types_pb2.Bundle:
    """The whole bundle; `wire.masks.apply_mask` takes away what was not asked for."""
    return types_pb2.Bundle(
        trust_domain=bundle.trust_domain.name,
        x509_authorities=[
            types_pb2.X509Certificate(asn1=authority.der, tainted=authority.tainted)
            for authority in bundle.x509_authorities
        ],
        jwt_authorities=[
            types_pb2.JWTKey(
                public_key=key.public_key,
                key_id=key.key_id,
                expires_at=time_to_seconds(key.expires_at),
                tainted=key.tainted,
            )
            for key in bundle.jwt_authorities
        ],
        wit_authorities=[
            types_pb2.WITKey(
                public_key=key.public_key,
                key_id=key.key_id,
                expires_at=time_to_seconds(key.expires_at),
                tainted=key.tainted,
            )
            for key in bundle.wit_authorities
        ],
        refresh_hint=int(bundle.refresh_hint.total_seconds()),
        sequence_number=bundle.sequence_number,
    )


def bundle_from_pb(message: types_pb2.Bundle) -> Bundle:
    """Read and check a bundle that a client or a server sent.

    Raises:
        InvalidArgument: the trust domain, a certificate or a key is malformed.
    """
    try:
        x509_authorities = x509_authorities_from_pb(message.x509_authorities)
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to parse X.509 authority: {error.message}") from error
    try:
        jwt_authorities = jwt_authorities_from_pb(message.jwt_authorities)
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to parse JWT authority: {error.message}") from error
    if not 0 <= message.refresh_hint <= _MAX_HINT_SECONDS:
        raise InvalidArgument("refresh hint is out of range")
    return Bundle(
        trust_domain=TrustDomain.parse(message.trust_domain),
        x509_authorities=x509_authorities,
        jwt_authorities=jwt_authorities,
        refresh_hint=timedelta(seconds=message.refresh_hint),
        sequence_number=message.sequence_number,
    )


def x509_authorities_from_pb(
    messages: Iterable[types_pb2.X509Certificate],
) -> tuple[X509Authority, ...]:
    """The CA certificates of a message, each parsed once to see that it is one.

    Raises:
        InvalidArgument: one is malformed.
    """
    authorities = []
    for message in messages:
        try:
            x509.load_der_x509_certificate(message.asn1)
        except ValueError as error:
            raise InvalidArgument("x509: malformed certificate") from error
        authorities.append(X509Authority(message.asn1, message.tainted))
    return tuple(authorities)


def jwt_authorities_from_pb(messages: Iterable[types_pb2.JWTKey]) -> tuple[JWTAuthority, ...]:
    """The public keys of a message, each parsed once to see that it is one.

    Raises:
        InvalidArgument: one is malformed or has no key ID.
    """
    authorities = []
    for message in messages:
        try:
            load_der_public_key(message.public_key)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidArgument("malformed public key") from error
        if not message.key_id:
            raise InvalidArgument("missing key ID")
        if not 0 <= message.expires_at <= _LAST_SECOND:
            raise InvalidArgument("invalid expiration time")
        expires_at = datetime.fromtimestamp(message.expires_at, UTC) if message.expires_at else None
        authorities.append(
            JWTAuthority(message.key_id, message.public_key, expires_at, message.tainted)
        )
    return tuple(authorities)
