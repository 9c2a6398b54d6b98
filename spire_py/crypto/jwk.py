"""Public keys as JSON Web Keys (RFC 7517, 7518, 8037)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from spire_py.crypto.keys import (
    MAX_RSA_BITS,
    PublicKey,
    check_public_key,
    load_public_key,
    public_key_der,
)
from spire_py.errors import InvalidArgument

_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}

KNOWN_KEY_TYPES = frozenset({"EC", "RSA", "OKP"})
"""The `kty` values that `jwk_to_public_key` reads."""

KNOWN_CURVES = frozenset({*_CURVES, "Ed25519"})
"""The `crv` values that `jwk_to_public_key` reads."""


def public_key_to_jwk(public_key: bytes) -> dict[str, str]:
    """The JWK members of a key given as DER, in the order SPIRE prints them.

    Raises:
        InvalidArgument: the key is malformed or of a kind or size we do not use.
    """
    key = load_public_key(public_key)
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _encode_integer(numbers.n), "e": _encode_integer(numbers.e)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        octets = (key.curve.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": _CURVE_NAMES[key.curve.name],
            "x": encode_base64url(point.x.to_bytes(octets, "big")),
            "y": encode_base64url(point.y.to_bytes(octets, "big")),
        }
    return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(key.public_bytes_raw())}


def jwk_to_public_key(jwk: Mapping[str, object]) -> bytes:
    """The key of a JWK as DER; members that are not the key's are passed over.

    Raises:
        InvalidArgument: a member is missing or malformed, or the key is of a kind or size we do
            not use.
    """
    readers = {"RSA": _rsa, "EC": _ec, "OKP": _okp}
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in readers:
        raise InvalidArgument(f"JWK has unknown kty {kind!r}")
    try:
        key = readers[kind](jwk)
    except ValueError as error:
        raise InvalidArgument(f"JWK of kty {kind} is malformed") from error
    return public_key_der(check_public_key(key))


def _rsa(jwk: Mapping[str, object]) -> PublicKey:
    modulus, exponent = _integer(jwk, "n"), _integer(jwk, "e")
    if modulus.bit_length() > MAX_RSA_BITS or exponent.bit_length() > 64:
        raise InvalidArgument("JWK of kty RSA is too long")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _ec(jwk: Mapping[str, object]) -> PublicKey:
    name = jwk.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise InvalidArgument(f"JWK has unknown crv {name!r}")
    x, y = _integer(jwk, "x"), _integer(jwk, "y")
    return ec.EllipticCurvePublicNumbers(x, y, _CURVES[name]).public_key()


def _okp(jwk: Mapping[str, object]) -> PublicKey:
    name = jwk.get("crv")
    if name != "Ed25519":
        raise InvalidArgument(f"JWK has unknown crv {name!r}")
    return ed25519.Ed25519PublicKey.from_public_bytes(_octets(jwk, "x"))


def _integer(jwk: Mapping[str, object], member: str) -> int:
    return int.from_bytes(_octets(jwk, member), "big")


def _octets(jwk: Mapping[str, object], member: str) -> bytes:
    value = jwk.get(member)
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"JWK has no {member}")
    # Some producers pad, against RFC 7518.
    return decode_base64url(value.rstrip("="))


def _encode_integer(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def encode_base64url(content: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


_BASE64URL = str.maketrans("-_", "+/", "+/=")


def decode_base64url(text: str) -> bytes:
    """Read base64url without padding, and nothing else.

    Raises:
        InvalidArgument: there is any other character, or a length that cannot be.
    """
    translated = text.translate(_BASE64URL)
    if len(translated) != len(text) or not text.isascii():
        raise InvalidArgument("base64url is malformed")
    try:
        return base64.b64decode(translated + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("base64url is malformed") from error
