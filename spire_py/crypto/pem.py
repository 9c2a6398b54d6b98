"""Certificates as PEM (RFC 7468)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from spire_py.crypto.certificate import load_certificate
from spire_py.errors import InvalidArgument

MAX_PEM_BYTES = 4 * 1024 * 1024
"""A file of CA certificates is far smaller; what is longer is not read."""

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
        raise InvalidArgument(f"PEM block is {label!r}; must be 'CERTIFICATE'")
    try:
        content = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("PEM block is malformed") from error
    load_certificate(content)
    return content
