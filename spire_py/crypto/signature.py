"""Signatures under certificates and requests: which algorithm goes with which key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from spire_py.crypto import der
from spire_py.crypto.keys import PrivateKey
from spire_py.errors import InvalidArgument

_EC: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("1.2.840.10045.4.3.2", hashes.SHA256()),
    "secp384r1": ("1.2.840.10045.4.3.3", hashes.SHA384()),
    "secp521r1": ("1.2.840.10045.4.3.4", hashes.SHA512()),
}
_SHA256_WITH_RSA = "1.2.840.113549.1.1.11"


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How a key signs: the DER of the `AlgorithmIdentifier`, and the act itself."""

    algorithm: bytes
    sign: Callable[[bytes], bytes]


def signature_scheme(key: PrivateKey) -> SignatureScheme:
    """The scheme SPIRE uses with `key`: ES256, ES384, ES512, or RS256 for any RSA key.

    Raises:
        InvalidArgument: a curve we do not use.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = der.sequence(der.object_identifier(_SHA256_WITH_RSA), der.NULL)
        pkcs1 = padding.PKCS1v15()
        sha256 = hashes.SHA256()
        return SignatureScheme(algorithm, lambda data: key.sign(data, pkcs1, sha256))
    if key.curve.name not in _EC:
        raise InvalidArgument(f"private key is on curve {key.curve.name}, which is not used")
    oid, digest = _EC[key.curve.name]
    ecdsa = ec.ECDSA(digest)
    return SignatureScheme(
        der.sequence(der.object_identifier(oid)), lambda data: key.sign(data, ecdsa)
    )


def signed(scheme: SignatureScheme, content: bytes) -> bytes:
    """The `SIGNED` sequence of X.509 and PKCS#10: content, algorithm, signature."""
    return der.sequence(content, scheme.algorithm, der.bit_string(scheme.sign(content)))
