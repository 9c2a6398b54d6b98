"""Certificates in a row, as the Workload API sends them: DER after DER with nothing between."""

from __future__ import annotations

from spire_py.crypto.der import SEQUENCE, read_header
from spire_py.errors import InvalidArgument


def split_certificates(data: bytes) -> list[bytes]:
    """The single certificates of `data`, unparsed but cut at their own lengths.

    Raises:
        InvalidArgument: the data does not end where a certificate does.
    """
    certificates = []
    position = 0
    while position < len(data):
        try:
            tag, _, end = read_header(data, position)
        except InvalidArgument as error:
            raise InvalidArgument(f"malformed certificate: {error.message}") from error
        if tag != SEQUENCE:
            raise InvalidArgument("malformed certificate: not a DER sequence")
        certificates.append(data[position:end])
        position = end
    return certificates
