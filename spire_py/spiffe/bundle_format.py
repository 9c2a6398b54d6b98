"""Bundles as text: SPIFFE's JSON, JWKS, PEM (Trust Domain and Bundle, sections 4 and 5).

What is written is what every reader takes, SPIRE's strict one included; what is read may be all
that the specification lets a producer write.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.jwk import KNOWN_CURVES, KNOWN_KEY_TYPES, jwk_to_public_key, public_key_to_jwk
from spire_py.crypto.pem import certificates_to_pem, pem_to_certificates
from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain

MAX_BUNDLE_BYTES = 4 * 1024 * 1024
"""The longest bundle, or bundle map, that is read; the most a gRPC message holds by default."""

MAX_BUNDLE_KEYS = 1000
"""The most JWKs of one bundle that are read; a rotation leaves a handful."""

MAX_REFRESH_HINT = timedelta(days=3660)
MAX_SEQUENCE_NUMBER = 2**64 - 1

_X509_SVID = "x509-svid"
_JWT_SVID = "jwt-svid"
_WIT_SVID = "wit-svid"


class InvalidBundle(InvalidArgument):
    """A text is no bundle."""


@dataclass(frozen=True, slots=True)
class BundleMap:
    """Bundles of many trust domains (section 5).

    `refresh_hint` is the map's own; the hints inside the bundles do not alter it.
    """

    bundles: Mapping[TrustDomain, Bundle]
    refresh_hint: timedelta = timedelta()


def bundle_to_json(bundle: Bundle) -> str:
    """The SPIFFE bundle document, indented by 4 as SPIRE prints it.

    Raises:
        InvalidArgument: an authority in it is malformed.
    """
    keys = [
        *(_x509_jwk(authority) for authority in bundle.x509_authorities),
        *(_jwt_jwk(authority, _JWT_SVID) for authority in bundle.jwt_authorities),
        *(_jwt_jwk(authority, _WIT_SVID) for authority in bundle.wit_authorities),
    ]
    document: dict[str, Any] = {"keys": keys}
    if bundle.sequence_number:
        document["spiffe_sequence"] = bundle.sequence_number
    if refresh_hint_seconds := bundle.refresh_hint // timedelta(seconds=1):
        document["spiffe_refresh_hint"] = refresh_hint_seconds
    return _dump(document)


def jwks_for_workloads(bundle: Bundle) -> bytes:
    """The JWT keys as the plain JWKS that the Workload API gives: no `use`, nothing of SPIFFE's.

    Raises:
        InvalidArgument: an authority in it is malformed.
    """
    keys = [_jwt_jwk(authority, "") for authority in bundle.jwt_authorities]
    return _dump({"keys": keys}).encode("utf-8")


def bundle_to_pem(bundle: Bundle) -> str:
    """The X.509 authorities as PEM."""
    return certificates_to_pem(authority.der for authority in bundle.x509_authorities)


def bundle_from_pem(trust_domain: TrustDomain, text: str | bytes) -> Bundle:
    """A bundle of the certificates in a PEM text.

    Raises:
        InvalidArgument: there is none, or one is malformed.
    """
    certificates = dict.fromkeys(pem_to_certificates(text))
    return Bundle(trust_domain, tuple(X509Authority(der) for der in certificates))


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False)


def _x509_jwk(authority: X509Authority) -> dict[str, Any]:
    # X509-SVID section 6.2: no `kid`, exactly one certificate.
    return {
        "use": _X509_SVID,
        **public_key_to_jwk(CertificateFacts(authority.der).public_key_der),
        "x5c": [base64.b64encode(authority.der).decode("ascii")],
    }


def _jwt_jwk(authority: JWTAuthority, use: str) -> dict[str, Any]:
    """The members in the order SPIRE prints them: use, kty, kid, and the key."""
    key = public_key_to_jwk(authority.public_key)
    head = {"use": use} if use else {}
    return {**head, "kty": key.pop("kty"), "kid": authority.key_id, **key}


def bundle_from_json(trust_domain: TrustDomain, text: str | bytes) -> Bundle:
    """Read a SPIFFE bundle document.

    Keys that the specification tells a reader to ignore are ignored: those with an unknown or
    missing `use` or an unknown `kty`, and X.509 ones without a certificate. A key of a known kind
    that is malformed makes the whole document invalid, so that a broken one replaces no good one.

    Args:
        trust_domain: whose bundle it is; the document does not tell.
        text: JSON, UTF-8 where it is bytes.

    Raises:
        InvalidBundle: it is no bundle; the message says why.
    """
    try:
        return _read_bundle(trust_domain, parse_json_object(text, max_bytes=MAX_BUNDLE_BYTES))
    except InvalidArgument as error:
        raise InvalidBundle(f"unable to parse bundle: {error.message}") from error


def bundle_map_from_json(text: str | bytes) -> BundleMap:
    """Read a SPIFFE bundle map. One bad bundle makes the whole map invalid: it is loaded at once.

    Raises:
        InvalidBundle: it is none; the message says why.
    """
    try:
        return _read_map(parse_json_object(text, max_bytes=MAX_BUNDLE_BYTES))
    except InvalidArgument as error:
        raise InvalidBundle(f"unable to parse bundle map: {error.message}") from error


def _read_map(document: Mapping[str, Any]) -> BundleMap:
    domains = document.get("trust_domains")
    if not isinstance(domains, dict):
        raise InvalidBundle("trust_domains is missing or no object")
    bundles: dict[TrustDomain, Bundle] = {}
    for name, content in domains.items():
        if not isinstance(content, dict):
            raise InvalidBundle(f"bundle of {name[:256]!r} is no object")
        trust_domain = TrustDomain(name)
        bundles[trust_domain] = _read_bundle(trust_domain, content)
    return BundleMap(bundles, _refresh_hint(document))


def _read_bundle(trust_domain: TrustDomain, document: Mapping[str, Any]) -> Bundle:
    keys = document.get("keys")
    if not isinstance(keys, list):
        # 4.1.3: an empty list revokes all keys; a missing one is a broken document.
        raise InvalidBundle("no authorities found")
    if len(keys) > MAX_BUNDLE_KEYS:
        raise InvalidBundle(f"more than {MAX_BUNDLE_KEYS} keys")
    known = [key for key in keys if _is_known(key)]
    certificates = (_certificate(key) for key in known if key["use"] == _X509_SVID)
    return Bundle(
        trust_domain=trust_domain,
        x509_authorities=tuple(
            X509Authority(der) for der in dict.fromkeys(certificates) if der is not None
        ),
        jwt_authorities=_jwt_authorities(key for key in known if key["use"] == _JWT_SVID),
        wit_authorities=_jwt_authorities(key for key in known if key["use"] == _WIT_SVID),
        refresh_hint=_refresh_hint(document),
        sequence_number=_whole_number(document, "spiffe_sequence", MAX_SEQUENCE_NUMBER),
    )


def _is_known(key: object) -> bool:
    """4.2: whether this JWK is one that must not be ignored."""
    if not isinstance(key, dict):
        raise InvalidBundle("a key is no object")
    use, kind = key.get("use"), key.get("kty")
    if not isinstance(use, str) or not isinstance(kind, str):
        return False
    if use not in {_X509_SVID, _JWT_SVID, _WIT_SVID} or kind not in KNOWN_KEY_TYPES:
        return False
    curve = key.get("crv")
    return kind == "RSA" or not isinstance(curve, str) or curve in KNOWN_CURVES


def _certificate(key: Mapping[str, Any]) -> bytes | None:
    """X509-SVID section 6.2: the first certificate counts; a key without any is ignored."""
    chain = key.get("x5c")
    if not isinstance(chain, list) or not chain:
        return None
    if not isinstance(chain[0], str):
        raise InvalidBundle("x5c is malformed")
    try:
        der = base64.b64decode("".join(chain[0].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBundle("x5c is malformed") from error
    facts = CertificateFacts(der)
    # RFC 7517 section 4.7: the certificate's key must be the JWK's.
    if facts.public_key_der != jwk_to_public_key(key):
        raise InvalidBundle("key and certificate of a JWK do not match")
    return der


def _jwt_authorities(keys: Iterable[Mapping[str, Any]]) -> tuple[JWTAuthority, ...]:
    """The keys by `kid`; one without could never be looked up, and is ignored."""
    found: dict[str, JWTAuthority] = {}
    for key in keys:
        key_id = key.get("kid")
        if not isinstance(key_id, str) or not key_id:
            continue
        authority = JWTAuthority(key_id, jwk_to_public_key(key))
        if found.setdefault(key_id, authority) != authority:
            raise InvalidBundle(f"two keys have the kid {key_id[:256]!r}")
    return tuple(found.values())


def _refresh_hint(document: Mapping[str, Any]) -> timedelta:
    most_seconds = MAX_REFRESH_HINT // timedelta(seconds=1)
    return timedelta(seconds=_whole_number(document, "spiffe_refresh_hint", most_seconds))


def _whole_number(document: Mapping[str, Any], name: str, most: int) -> int:
    value = document.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidBundle(f"{name} must be a whole number, 0 to {most}")
    return value
