"""The proof of possession: a signature over a nonce of each end."""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from spire_py.crypto.keys import PrivateKey, PublicKey
from spire_py.errors import InvalidArgument, PermissionDenied
from spire_py_plugins.node_attestor.x509pop.messages import (
    ECDSA,
    RSA,
    read_message,
    write_message,
)

NONCE_BYTES = 32

_MAX_SCALAR_BYTES = 66
"""Of P-521, the largest curve."""

_SHA256 = Prehashed(hashes.SHA256())


class Proof(Protocol):
    """One challenge and the check of what comes back."""

    @property
    def challenge(self) -> bytes:
        """What is sent to the node."""
        ...

    def check(self, response: bytes) -> None:
        """Whether the node holds the key.

        Raises:
            InvalidArgument: the response is malformed.
            PermissionDenied: it is not signed by that key.
        """
        ...


class RSAProof:
    """For a node with an RSA key: RSA-PSS with SHA-256."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key
        self._nonce = secrets.token_bytes(NONCE_BYTES)

    @property
    def challenge(self) -> bytes:
        return write_message(RSA, nonce=self._nonce)

    def check(self, response: bytes) -> None:
        fields = _read_response(response, RSA, ("nonce", "signature"), "RSA")
        digest = _combined(self._nonce, fields["nonce"])
        try:
            self._key.verify(fields["signature"], digest, _pss(padding.PSS.AUTO), _SHA256)
        except InvalidSignature as error:
            raise PermissionDenied("RSA signature verify failed") from error


class ECDSAProof:
    """For a node with an EC key: ECDSA with SHA-256, whatever the curve."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self._nonce = secrets.token_bytes(NONCE_BYTES)

    @property
    def challenge(self) -> bytes:
        return write_message(ECDSA, nonce=self._nonce)

    def check(self, response: bytes) -> None:
        fields = _read_response(response, ECDSA, ("nonce", "r", "s"), "ECDSA")
        digest = _combined(self._nonce, fields["nonce"])
        signature = encode_dss_signature(_scalar(fields["r"]), _scalar(fields["s"]))
        try:
            self._key.verify(signature, digest, ec.ECDSA(_SHA256))
        except InvalidSignature as error:
            raise PermissionDenied("ECDSA signature verify failed") from error


def proof_for(key: PublicKey) -> Proof:
    """A new challenge for the holder of `key`.

    Raises:
        InvalidArgument: keys of its kind cannot be proven here.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return RSAProof(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return ECDSAProof(key)
    raise InvalidArgument("unsupported public key type")


def respond(key: PrivateKey, challenge: bytes) -> bytes:
    """The node's answer to a challenge.

    Raises:
        InvalidArgument: the challenge is malformed, or for a key of another kind.
    """
    own_nonce = secrets.token_bytes(NONCE_BYTES)
    if isinstance(key, rsa.RSAPrivateKey):
        digest = _combined(_read_challenge(challenge, RSA, "RSA"), own_nonce)
        signature = key.sign(digest, _pss(padding.PSS.MAX_LENGTH), _SHA256)
        return write_message(RSA, nonce=own_nonce, signature=signature)
    digest = _combined(_read_challenge(challenge, ECDSA, "ECDSA"), own_nonce)
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(_SHA256)))
    return write_message(ECDSA, nonce=own_nonce, r=_scalar_bytes(r), s=_scalar_bytes(s))


def _read_challenge(challenge: bytes, kind: str, name: str) -> bytes:
    fields = read_message(challenge, kind, ("nonce",))
    if fields is None:
        raise InvalidArgument(f"expecting {name} challenge")
    return fields["nonce"]


def _read_response(
    response: bytes, kind: str, fields: tuple[str, ...], name: str
) -> dict[str, bytes]:
    found = read_message(response, kind, fields)
    if found is None:
        raise PermissionDenied(f"expecting {name} response")
    return found


def _combined(challenge: bytes, response: bytes) -> bytes:
    if len(challenge) != NONCE_BYTES:
        raise InvalidArgument("invalid challenge nonce")
    if len(response) != NONCE_BYTES:
        raise PermissionDenied("invalid response nonce")
    return hashlib.sha256(challenge + response).digest()


def _pss(salt_length: object) -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), salt_length)  # type: ignore[arg-type] # a private type


def _scalar(value: bytes) -> int:
    if len(value) > _MAX_SCALAR_BYTES:
        raise PermissionDenied("ECDSA signature verify failed")
    return int.from_bytes(value, "big")


def _scalar_bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
