"""What the two ends of x509pop say to each other, as SPIRE writes it: JSON with base64 bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument

MAX_PAYLOAD_BYTES = 1024 * 1024
MAX_MESSAGE_BYTES = 16 * 1024

RSA = "rsa_signature"
ECDSA = "ecdsa_signature"


def write_payload(certificates: Sequence[bytes]) -> bytes:
    """The first message: certificates as DER, the node's own first."""
    return _dump({"certificates": [_encode(certificate) for certificate in certificates]})


def read_payload(payload: bytes) -> list[bytes]:
    """The certificates of a payload, as they stand.

    Raises:
        InvalidArgument: it is malformed.
    """
    certificates = parse_json_object(payload, max_bytes=MAX_PAYLOAD_BYTES).get("certificates")
    if certificates is None:
        return []
    if not isinstance(certificates, list):
        raise InvalidArgument("certificates must be a list")
    return [_decode(text, "certificate") for text in certificates]


def write_message(kind: str, **fields: bytes) -> bytes:
    """A challenge or a response of one kind, `RSA` or `ECDSA`."""
    other = ECDSA if kind == RSA else RSA
    return _dump({kind: {name: _encode(value) for name, value in fields.items()}, other: None})


def read_message(message: bytes, kind: str, fields: Sequence[str]) -> dict[str, bytes] | None:
    """The fields of a challenge or response of the kind; None where it is of another kind.

    Raises:
        InvalidArgument: it is malformed, or a field is missing.
    """
    value = parse_json_object(message, max_bytes=MAX_MESSAGE_BYTES).get(kind)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidArgument(f"{kind} must be an object")
    return {name: _decode(value.get(name), name) for name in fields}


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decode(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise InvalidArgument(f"{name} must be a base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"{name} must be a base64 text") from error
