"""A small writer of DER (ITU-T X.690), enough for certificates, and a reader of lengths."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from spire_py.errors import InvalidArgument

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

NULL = b"\x05\x00"
_EXPLICIT_VERSION = 0xA0
TRUE = b"\x01\x01\xff"


def tlv(tag: int, *parts: bytes) -> bytes:
    """One value: its tag, its length, and its content, which is the parts joined."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    return bytes((tag,)) + _long_length(length) + content


def _long_length(count: int) -> bytes:
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, *parts)


def integer(number: int) -> bytes:
    """A number that is not negative."""
    return tlv(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def bit_string(content: bytes) -> bytes:
    """Whole octets as a BIT STRING."""
    return tlv(BIT_STRING, b"\x00", content)


@lru_cache(maxsize=256)
def object_identifier(dotted: str) -> bytes:
    """An OID such as `2.5.29.15`."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(OBJECT_IDENTIFIER, *(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """An X.509 `Extension` (RFC 5280 section 4.1); `value` is the DER inside its OCTET STRING."""
    return sequence(object_identifier(oid), TRUE if critical else b"", tlv(OCTET_STRING, value))


@lru_cache(maxsize=4096)
def time(epoch_seconds: int) -> bytes:
    """A `Time`: UTCTime before 2050, else GeneralizedTime (RFC 5280 section 4.1.2.5)."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    if 1950 <= moment.year < 2050:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return tlv(GENERALIZED_TIME, f"{moment.year:04}{moment:%m%d%H%M%SZ}".encode("ascii"))


def read_header(data: bytes, offset: int = 0) -> tuple[int, int, int]:
    """The tag of the value at `offset`, where its content begins, and where it ends.

    Raises:
        InvalidArgument: the value does not fit in `data`, or its length has more than four octets.
    """
    if offset + 2 > len(data):
        raise InvalidArgument("DER ends early")
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4:
            raise InvalidArgument("DER length is malformed")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    if start + length > len(data):
        raise InvalidArgument("DER ends early")
    return tag, start, start + length


def subject_and_issuer(certificate: bytes) -> tuple[bytes, bytes]:
    """The names in a certificate as they are encoded there, which is what RFC 5280 compares.

    Args:
        certificate: DER that parses as a certificate.

    Raises:
        InvalidArgument: it is cut off.
    """
    _, content, _ = read_header(certificate)
    _, position, _ = read_header(certificate, content)
    tag, _, end = read_header(certificate, position)
    if tag == _EXPLICIT_VERSION:
        position = end
    fields = []
    for _ in range(5):
        _, _, end = read_header(certificate, position)
        fields.append(certificate[position:end])
        position = end
    _serial_number, _algorithm, issuer, _validity, subject = fields
    return subject, issuer


def check_signature_bits(signed: bytes) -> None:
    """Refuse a signature that does not end with a whole octet.

    Parsers pass over how many bits of the last octet are said to be unused. So one certificate
    could be had in two encodings, and one node seem to be two where we identify it by a hash.

    Args:
        signed: DER of content, algorithm and signature, such as a certificate.

    Raises:
        InvalidArgument: bits are left over, or it is no such value.
    """
    _, position, _ = read_header(signed)
    for _ in range(2):
        _, _, position = read_header(signed, position)
    tag, start, end = read_header(signed, position)
    if tag != BIT_STRING or start == end or signed[start] != 0:
        raise InvalidArgument("signature is malformed")


def public_key_bits(subject_public_key_info: bytes) -> bytes:
    """The octets of the BIT STRING in a `SubjectPublicKeyInfo`: what key identifiers hash.

    Raises:
        InvalidArgument: it is none.
    """
    tag, start, end = read_header(subject_public_key_info)
    if tag != SEQUENCE or end != len(subject_public_key_info):
        raise InvalidArgument("public key is malformed")
    _, _, algorithm_end = read_header(subject_public_key_info, start)
    tag, bits_start, bits_end = read_header(subject_public_key_info, algorithm_end)
    if tag != BIT_STRING or bits_end != end or bits_start == bits_end:
        raise InvalidArgument("public key is malformed")
    return subject_public_key_info[bits_start + 1 : bits_end]
