"""Certificates in a row, as the Workload API sends them: DER after DER with nothing between."""

from __future__ import annotations

from spire_py.errors import InvalidArgument


def split_certificates(data: bytes) -> list[bytes]:
    """The single certificates of `data`, unparsed but cut at their own lengths.

    Raises:
        InvalidArgument: the data does not end where a certificate does.
    """
    certificates = []
    position = 0
    while position < len(data):
        end = position + _whole_length(data, position)
        if end > len(data):
            raise InvalidArgument("malformed certificate: truncated")
        certificates.append(data[position:end])
        position = end
    return certificates


def _whole_length(data: bytes, position: int) -> int:
    header = data[position : position + 2]
    if len(header) < 2 or header[0] != 0x30:
        raise InvalidArgument("malformed certificate: not a DER sequence")
    if header[1] < 0x80:
        return 2 + header[1]
    width = header[1] & 0x7F
    length = data[position + 2 : position + 2 + width]
    if not 1 <= width <= 4 or len(length) < width:
        raise InvalidArgument("malformed certificate: bad length")
    return 2 + width + int.from_bytes(length, "big")
