"""Metadata, deadlines and messages of errors as gRPC puts them into headers."""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from spire_py.errors import Internal, InvalidArgument

from .headers import Header

_KEY = re.compile(rb"[0-9a-z_.\-]+")
_VALUE = re.compile(rb"[\x20-\x7e]*")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_TIMEOUT_DIGITS = 10**8
_NOT_ESCAPED = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
_MAX_MESSAGE_BYTES = 6_000


class Metadata:
    """The headers of a call; names are lower case, values of `-bin` names are bytes.

    HTTP's own and gRPC's own headers are not left out: nobody asks for them.
    """

    __slots__ = ("_headers",)

    def __init__(self, headers: Iterable[Header] = ()) -> None:
        self._headers = list(headers)

    def get_all(self, name: str) -> list[str]:
        """The values of a text header, in order."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def get(self, name: str) -> str | None:
        """The first value, or None."""
        values = self.get_all(name)
        return values[0] if values else None

    def get_binary(self, name: str) -> list[bytes]:
        """The values of a header whose name ends in `-bin`.

        Raises:
            InvalidArgument: one of them is not base64.
        """
        return [
            decode_binary(part.encode()) for text in self.get_all(name) for part in text.split(",")
        ]

    def pairs(self) -> list[tuple[str, str | bytes]]:
        """All of it, decoded, but for the pseudo headers of HTTP.

        Raises:
            InvalidArgument: a value of a `-bin` name is not base64.
        """
        found: list[tuple[str, str | bytes]] = []
        for key, value in self._headers:
            name = key.decode("latin-1")
            if name.endswith("-bin"):
                found += [(name, decode_binary(part)) for part in value.split(b",")]
            elif not name.startswith(":"):
                found.append((name, value.decode("latin-1")))
        return found


def decode_binary(value: bytes) -> bytes:
    """Base64, padded or not.

    Raises:
        InvalidArgument: it is not base64.
    """
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except binascii.Error as error:
        raise InvalidArgument("binary metadata is not base64") from error


def encode_binary(value: bytes) -> bytes:
    return b64encode(value).rstrip(b"=")


def encode_pair(name: str, value: str | bytes) -> Header:
    """A metadata pair as a header.

    Raises:
        Internal: a name or text that HTTP/2 cannot carry; `-bin` names take bytes, others text.
    """
    key = name.lower().encode()
    binary = key.endswith(b"-bin")
    raw = value if isinstance(value, bytes) else value.encode()
    if not _KEY.fullmatch(key) or binary != isinstance(value, bytes):
        raise Internal(f"metadata {name!r} cannot be sent")
    if binary:
        return key, encode_binary(raw)
    if not _VALUE.fullmatch(raw) or key.startswith(b"grpc-"):
        raise Internal(f"metadata {name!r} cannot be sent")
    return key, raw


def parse_timeout(value: bytes) -> float:
    """Seconds of a `grpc-timeout`.

    Raises:
        InvalidArgument: it is malformed.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise InvalidArgument("malformed grpc-timeout")
    return int(match[1]) * _UNITS[match[2]]


def format_timeout(seconds: float) -> bytes:
    """A `grpc-timeout` in the finest unit whose eight digits suffice, rounded up."""
    for unit, size in (("u", 1e-6), ("m", 1e-3), ("S", 1.0), ("M", 60.0), ("H", 3600.0)):
        count = max(0, -int(-seconds // size))
        if count < _MAX_TIMEOUT_DIGITS:
            return f"{count}{unit}".encode()
    return b"99999999H"


def encode_message(message: str) -> bytes:
    """`grpc-message`: percent-encoded UTF-8, cut where a client might refuse the header's size."""
    # Cut before as well: a message may quote megabytes that a peer sent.
    raw = quote(message[:_MAX_MESSAGE_BYTES], safe=_NOT_ESCAPED).encode()
    if len(raw) <= _MAX_MESSAGE_BYTES:
        return raw
    cut = raw[:_MAX_MESSAGE_BYTES]
    escape = cut.rfind(b"%", _MAX_MESSAGE_BYTES - 2)
    return cut if escape < 0 else cut[:escape]


def decode_message(value: bytes) -> str:
    return unquote_to_bytes(value).decode("utf-8", "replace")
