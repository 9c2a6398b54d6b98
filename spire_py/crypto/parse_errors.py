"""What `cryptography` raises when it reads bytes that are not what they should be."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

PARSE_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    # It warns of what RFC 5280 forbids, such as a negative serial number; tests make it an error.
    Warning,
)
"""The exceptions to be translated where the library is called."""


def reason(error: BaseException) -> str:
    """The library's text on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200]
