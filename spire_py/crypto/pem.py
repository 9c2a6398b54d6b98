"""Certificates as PEM (RFC 7468)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from spire_py.crypto.certificate import load_certificate
from spire_py.crypto.keys import PrivateKey, check_public_key
from spire_py.crypto.parse_errors import PARSE_ERRORS
from spire_py.errors import InvalidArgument

MAX_PEM_BYTES = 4 * 1024 * 1024
"""A file of CA certificates is far smaller; what is longer is not read."""

_KEY_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_BLOCK = re.compile(
    r"-----BEGIN (?P<label>[^\r\n-]*)-----[ \t]*\r?\n(?P<body>[^-]*)-----END (?P=label)-----"
)


def certificates_to_pem(certificates: Iterable[bytes]) -> str:
    """DER certificates as `CERTIFICATE` blocks, each ended by a line feed."""
    return "".join(_block("CERTIFICATE", certificate) for certificate in certificates)


def private_key_to_pem(pkcs8: bytes) -> str:
    """A PKCS#8 key as a `PRIVATE KEY` block."""
    return _block("PRIVATE KEY", pkcs8)


def _block(label: str, content: bytes) -> str:
    text = base64.b64encode(content).decode("ascii")
    lines = (text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n" + "\n".join(lines) + f"\n-----END {label}-----\n"


def pem_to_certificates(text: str | bytes) -> list[bytes]:
    """Read one certificate or more; text between the blocks is passed over.

    Raises:
        InvalidArgument: there is none, one is malformed, or there is a block of another kind.
    """
    if len(text) > MAX_PEM_BYTES:
        raise InvalidArgument("PEM is too long")
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    found = [_certificate(match["label"], match["body"]) for match in _BLOCK.finditer(text)]
    if not found:
        raise InvalidArgument("no PEM blocks")
    if len(found) != text.count("-----BEGIN "):
        raise InvalidArgument("PEM block is malformed")
    return found


def _certificate(label: str, body: str) -> bytes:
    if label != "CERTIFICATE":
        raise InvalidArgument(f'expected block type "CERTIFICATE"; got {json.dumps(label)}')
    try:
        content = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("PEM block is malformed") from error
    load_certificate(content)
    return content


def pem_to_private_key(text: bytes) -> PrivateKey:
    """Read the only block of a file: an unencrypted key, as PKCS#8, PKCS#1 or SEC 1.

    Raises:
        InvalidArgument: there is none or another block, or the key is not EC or RSA or of a size
            we do not use. Nothing of the text is in the message but names of blocks.
    """
    if len(text) > MAX_PEM_BYTES:
        raise InvalidArgument("PEM is too long")
    blocks = list(_BLOCK.finditer(text.decode("utf-8", errors="replace")))
    if not blocks:
        raise InvalidArgument("no PEM blocks")
    for block in blocks:
        if block["label"] not in _KEY_LABELS:
            expected = " ".join(f'"{label}"' for label in _KEY_LABELS)
            raise InvalidArgument(
                f"expected block type [{expected}]; got {json.dumps(block['label'])}"
            )
    if len(blocks) > 1:
        raise InvalidArgument(f"expected 1 PEM blocks; got {len(blocks)}")
    return load_private_key_block(blocks[0][0].encode())


def load_private_key_block(block: bytes) -> PrivateKey:
    """Read one PEM block that holds an unencrypted key.

    Raises:
        InvalidArgument: it cannot be read, or the key is not EC or RSA or of a size we do not use.
    """
    try:
        key = load_pem_private_key(block, password=None)
    except PARSE_ERRORS:
        # The cause might quote key material: it is left out on purpose.
        raise InvalidArgument("private key is malformed or encrypted") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InvalidArgument("private key must be EC or RSA")
    check_public_key(key.public_key())
    return key
