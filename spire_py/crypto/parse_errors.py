"""What `cryptography` raises when it reads bytes that are not what they should be."""

from __future__ import annotations

import warnings

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
    # See below; where warnings are made errors, as in tests, they come this way.
    Warning,
)
"""The exceptions to be translated where the library is called."""

# The library warns of certain faults in what strangers send. We refuse them or do not mind them;
# either way they are no news for our standard error.
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)
warnings.filterwarnings("ignore", message="Parsed a serial number which", category=UserWarning)


def reason(error: BaseException) -> str:
    """The library's text on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200]
