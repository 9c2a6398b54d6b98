"""JWT-SVIDs: signing, and the checks a recipient owes (JWT-SVID, sections 2 to 4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spire_py.crypto.jwk import decode_base64url
from spire_py.crypto.keys import PrivateKey, PublicKey, load_public_key
from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument
from spire_py.spiffe.bundle import Bundle, JWTAuthority
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain

MAX_TOKEN_BYTES = 16 * 1024
"""The longest token read: HTTP servers commonly take no more in one header."""

LEEWAY = timedelta(minutes=1)
"""How far clocks may differ; SPIRE's library allows the same."""

_MAX_KEYS_TRIED = 16
"""How many keys a token without `kid` is tried against."""

_EC_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_TYPES = frozenset({"JWT", "JOSE"})
_SIGNING_ALGORITHMS = {curve: name for name, curve in _EC_CURVES.items()}


class InvalidJWTSVID(InvalidArgument):
    """A token is no JWT-SVID, or not one that is valid for us now."""


@dataclass(frozen=True, slots=True)
class UnverifiedClaims:
    """What a well-formed JWT-SVID says. Nobody has checked who signed it."""

    spiffe_id: SpiffeID
    audience: tuple[str, ...]
    expires_at: datetime
    issued_at: datetime | None
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """What a JWT-SVID says that is valid: made by `validate_jwt_svid` only."""

    spiffe_id: SpiffeID
    audience: tuple[str, ...]
    expires_at: datetime
    issued_at: datetime | None
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Token:
    header: Mapping[str, Any]
    algorithm: str
    claims: Mapping[str, Any]
    signed_part: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def sign_jwt_svid(
    key: PrivateKey,
    key_id: str,
    *,
    spiffe_id: SpiffeID | str,
    audience: Sequence[str],
    expires_at: datetime,
    issued_at: datetime,
    issuer: str = "",
    jti: str = "",
) -> str:
    """Sign a JWT-SVID with ES256, ES384 or RS256, as the key is.

    Args:
        key: a key of ours.
        key_id: the `kid` under which the bundle has its public half.
        spiffe_id: the subject.
        audience: at least one name.
        expires_at: whole seconds count.
        issued_at: whole seconds count.
        issuer: left out where empty.
        jti: left out where empty.

    Raises:
        InvalidArgument: there is no audience or no key ID, or the key is of a kind we do not use.
    """
    names = [name for name in audience if name]
    if not names:
        raise InvalidArgument("invalid JWT-SVID audience: cannot be empty")
    if not key_id:
        raise InvalidArgument("JWT key has no key ID")
    claims: dict[str, Any] = {
        "sub": str(spiffe_id),
        "aud": names,
        "exp": int(expires_at.timestamp()),
        "iat": int(issued_at.timestamp()),
    }
    claims |= {name: text for name, text in (("iss", issuer), ("jti", jti)) if text}
    return sign_claims(key, key_id, claims)


def sign_claims(
    key: PrivateKey, key_id: str, claims: Mapping[str, Any], *, typ: str = "JWT"
) -> str:
    """Sign claims as they are; `sign_jwt_svid` is the way to make an SVID.

    Raises:
        InvalidArgument: the key is of a kind we do not use.
    """
    header = {"kid": key_id, "typ": typ}
    return jwt.encode(dict(claims), key, algorithm=signing_algorithm(key), headers=header)


def signing_algorithm(key: PrivateKey | PublicKey) -> str:
    """The `alg` SPIRE uses with a key: RS256 for RSA, else the curve's.

    Raises:
        InvalidArgument: the key is of a kind we do not use.
    """
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return "RS256"
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        name = _SIGNING_ALGORITHMS.get(key.curve.name)
        if name is not None:
            return name
    raise InvalidArgument("key is of a kind that signs no JWT-SVID")


def parse_unverified(token: str) -> UnverifiedClaims:
    """Read a token from a source we trust, such as our server; the signature is not checked.

    Raises:
        InvalidJWTSVID: it is no well-formed JWT-SVID.
    """
    return _read_claims(_parse(token).claims)


def validate_jwt_svid(
    token: str,
    audience: str | Sequence[str],
    bundles: Mapping[TrustDomain, Bundle],
    now: datetime,
) -> VerifiedClaims:
    """Check a token as its recipient must.

    Args:
        token: JWS compact serialization.
        audience: our own name, or names of which one suffices; must be among the token's.
        bundles: every bundle we hold; the one of the token's trust domain counts.
        now: may differ from the issuer's clock by `LEEWAY`.

    Raises:
        InvalidJWTSVID: any rule of JWT-SVID sections 2 to 4 is broken; the message says which.
    """
    parsed = _parse(token)
    claims = _read_claims(parsed.claims)
    _check_signature(parsed, claims.spiffe_id.trust_domain, bundles)
    _check_times(claims, now)
    # 3.2 aud: a token for someone else is refused even when its signature is good.
    wanted = (audience,) if isinstance(audience, str) else tuple(audience)
    if not set(wanted) & set(claims.audience):
        raise InvalidJWTSVID(
            f"expected audience in {_quoted(wanted)} (audience={_quoted(claims.audience)})"
        )
    return VerifiedClaims(
        claims.spiffe_id, claims.audience, claims.expires_at, claims.issued_at, claims.claims
    )


def _quoted(names: Sequence[str]) -> str:
    return "[" + " ".join(_quote(name) for name in names[:16]) + "]"


def _quote(text: str) -> str:
    return json.dumps(text[:256])


def _parse(token: str) -> _Token:
    """Take the token apart; 3.1 and section 2: the algorithm is looked at before anything else."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidJWTSVID("unable to parse JWT token: too long")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise InvalidJWTSVID("unable to parse JWT token: must be JWS compact serialization")
    header = _part(parts[0])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or not (
        algorithm in _EC_CURVES or algorithm in _RSA_ALGORITHMS
    ):
        raise InvalidJWTSVID(f"unable to parse JWT token: unexpected alg {str(algorithm)[:32]!r}")
    _check_header(header)
    signed_part = f"{parts[0]}.{parts[1]}".encode("ascii")
    return _Token(header, algorithm, _part(parts[1]), signed_part, _decode(parts[2]))


def _part(text: str) -> dict[str, Any]:
    try:
        return parse_json_object(_decode(text), max_bytes=MAX_TOKEN_BYTES)
    except InvalidJWTSVID:
        raise
    except InvalidArgument as error:
        raise InvalidJWTSVID(f"unable to parse JWT token: {error.message}") from error


def _decode(text: str) -> bytes:
    try:
        return decode_base64url(text)
    except InvalidArgument as error:
        raise InvalidJWTSVID(f"unable to parse JWT token: {error.message}") from error


def _check_header(header: Mapping[str, Any]) -> None:
    # 2.3: `typ` may be left out.
    if "typ" in header and not (isinstance(header["typ"], str) and header["typ"] in _TYPES):
        raise InvalidJWTSVID("token header type not equal to either JWT or JOSE")
    if not isinstance(header.get("kid", ""), str):
        raise InvalidJWTSVID("token header has a malformed key id")
    # RFC 7515 section 4.1.11: we understand no extension; RFC 7797 changes what is signed.
    if "crit" in header or "b64" in header:
        raise InvalidJWTSVID("token header has an extension that is not supported")


def _read_claims(claims: Mapping[str, Any]) -> UnverifiedClaims:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidJWTSVID("token missing subject claim")
    if claims.get("exp") is None:
        raise InvalidJWTSVID("token missing exp claim")
    try:
        spiffe_id = SpiffeID.parse_foreign(subject)
    except InvalidSpiffeID as error:
        raise InvalidJWTSVID(f"token has in invalid subject claim: {error.message}") from error
    return UnverifiedClaims(
        spiffe_id=spiffe_id,
        audience=_audience(claims.get("aud")),
        expires_at=_time(claims, "exp"),
        issued_at=_time(claims, "iat") if claims.get("iat") is not None else None,
        claims=claims,
    )


def _audience(value: object) -> tuple[str, ...]:
    """3.2: a string or a list of strings, and at least one."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise InvalidJWTSVID("token missing aud claim")
    if not all(isinstance(name, str) for name in names):
        raise InvalidJWTSVID("token has a malformed aud claim")
    return tuple(names)


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidJWTSVID(f"token has a malformed {name} claim")
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidJWTSVID(f"token has a malformed {name} claim") from error


def _check_times(claims: UnverifiedClaims, now: datetime) -> None:
    # Differences of datetimes cannot overflow, sums can.
    if now - claims.expires_at > LEEWAY:
        raise InvalidJWTSVID("token has expired")
    if claims.claims.get("nbf") is not None and _time(claims.claims, "nbf") - now > LEEWAY:
        raise InvalidJWTSVID("token not valid yet (nbf)")
    if claims.issued_at is not None and claims.issued_at - now > LEEWAY:
        raise InvalidJWTSVID("token issued in the future (iat)")


def _check_signature(
    token: _Token, trust_domain: TrustDomain, bundles: Mapping[TrustDomain, Bundle]
) -> None:
    bundle = bundles.get(trust_domain)
    if bundle is None or not bundle.jwt_authorities:
        raise InvalidJWTSVID(f'no keys found for trust domain "{trust_domain}"')
    key_id = token.header.get("kid", "")
    algorithm = jwt.get_algorithm_by_name(token.algorithm)
    for key in _candidates(bundle, key_id, token.algorithm):
        if algorithm.verify(token.signed_part, key, token.signature):
            return
    raise InvalidJWTSVID("token signature is invalid")


def _candidates(bundle: Bundle, key_id: str, algorithm: str) -> Iterator[PublicKey]:
    """The keys the token may be signed with. Only `jwt-svid` keys are among a JWT authority's."""
    if key_id:
        authority = bundle.jwt_authority(key_id)
        if authority is None:
            domain = bundle.trust_domain
            raise InvalidJWTSVID(
                f'public key {_quote(key_id)} not found in trust domain "{domain}"'
            )
        key = _load(authority)
        if not _fits(algorithm, key):
            raise InvalidJWTSVID("token alg does not fit the type of the key")
        yield key
        return
    # 2.2: a token without `kid` is legal; one key of the right type must have signed it.
    for authority in bundle.jwt_authorities[:_MAX_KEYS_TRIED]:
        key = _load(authority)
        if _fits(algorithm, key):
            yield key


_load_public_key = lru_cache(maxsize=512)(load_public_key)


def _load(authority: JWTAuthority) -> PublicKey:
    try:
        return _load_public_key(authority.public_key)
    except InvalidArgument as error:
        raise InvalidJWTSVID(f"JWT authority is not usable: {error.message}") from error


def _fits(algorithm: str, key: PublicKey) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _EC_CURVES.get(algorithm) == key.curve.name
    return isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA_ALGORITHMS
