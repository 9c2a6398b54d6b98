"""The one protobuf message that Go's client sends to the double: a TokenReview.

Facts: k8s.io/apimachinery/pkg/runtime/generated.proto (Unknown) and
k8s.io/api/authentication/v1/generated.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.fakes.kubernetes.errors import bad_request

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


def read_token_review(body: bytes) -> dict[str, Any]:
    """The same as JSON would have it."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is no protobuf of Kubernetes")
    envelope = dict(_fields(body.removeprefix(_MAGIC)))
    if dict(_fields(envelope[1]))[2] != b"TokenReview":
        raise bad_request("the double takes this kind as JSON only")
    spec = list(_fields(dict(_fields(envelope[2]))[2]))
    return {
        "spec": {
            "token": dict(spec)[1].decode(),
            "audiences": [value.decode() for number, value in spec if number == 2],
        }
    }


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; there are no others in these."""
    while data:
        tag, data = _varint(data)
        length, data = _varint(data)
        yield tag >> 3, data[:length]
        data = data[length:]


def _varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for position, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, data[position + 1 :]
    raise bad_request("the protobuf is cut")
