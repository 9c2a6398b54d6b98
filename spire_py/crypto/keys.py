"""Private and public keys: EC P-256, P-384 and P-521, RSA, and Ed25519 as a workload's key only."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from spire_py.crypto.der import public_key_bits
from spire_py.crypto.parse_errors import PARSE_ERRORS
from spire_py.errors import InvalidArgument

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""A key that can sign. One held in a KMS is an object with this interface."""

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_KEY_BYTES = 16 * 1024
"""No key of the sizes above is longer as DER; what is longer is not even parsed."""

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ec-p256": ec.SECP256R1,
    "ec-p384": ec.SECP384R1,
}
_RSA_SIZES = {"rsa-2048": 2048, "rsa-4096": 4096}
_KNOWN_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


def generate_key(key_type: str) -> PrivateKey:
    """Make a key. RSA takes a second or so: call it in a thread.

    Args:
        key_type: `ec-p256`, `ec-p384`, `rsa-2048` or `rsa-4096`, as in the config.

    Raises:
        InvalidArgument: another type.
    """
    if curve := _CURVES.get(key_type):
        return ec.generate_private_key(curve())
    if size := _RSA_SIZES.get(key_type):
        return rsa.generate_private_key(public_exponent=65537, key_size=size)
    raise InvalidArgument(
        f"key type {key_type!r} is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"
    )


def private_key_to_pkcs8(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS#8 DER."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pkcs8_to_private_key(der: bytes) -> PrivateKey:
    """Read unencrypted PKCS#8 DER.

    Raises:
        InvalidArgument: it is none, or a key of a kind or size we do not use.
    """
    if len(der) > MAX_KEY_BYTES:
        raise InvalidArgument("private key is too long")
    try:
        key = serialization.load_der_private_key(der, password=None)
    except PARSE_ERRORS:
        # The cause might quote key material: it is left out on purpose.
        raise InvalidArgument("private key is malformed") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise InvalidArgument("private key must be EC or RSA")
    check_public_key(key.public_key())
    return key


def public_key_der(key: PrivateKey | PublicKey) -> bytes:
    """The public key as DER of its SubjectPublicKeyInfo (PKIX)."""
    public = (
        key.public_key()
        if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey))
        else key
    )
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def load_public_key(der: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo.

    Raises:
        InvalidArgument: it is none, or a key of a kind or size we do not use.
    """
    if len(der) > MAX_KEY_BYTES:
        raise InvalidArgument("public key is too long")
    try:
        key = serialization.load_der_public_key(der)
    except PARSE_ERRORS as error:
        raise InvalidArgument("public key is malformed") from error
    return check_public_key(key)


def check_public_key(key: object) -> PublicKey:
    """The key itself, if it is of a kind and size we use.

    Raises:
        InvalidArgument: it is not.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _KNOWN_CURVES:
            raise InvalidArgument(f"public key is on curve {key.curve.name}, which is not used")
    elif isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise InvalidArgument(
                f"RSA key has {key.key_size} bits; must be {MIN_RSA_BITS} to {MAX_RSA_BITS}"
            )
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidArgument("public key must be EC, RSA or Ed25519")
    return key


def subject_key_id(public_key_info: bytes) -> bytes:
    """The key identifier that SPIRE puts in certificates: RFC 5280 section 4.2.1.2, method 1.

    Raises:
        InvalidArgument: `public_key_info` is no DER of a SubjectPublicKeyInfo.
    """
    return hashlib.sha1(public_key_bits(public_key_info), usedforsecurity=False).digest()
