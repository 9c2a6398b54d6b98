"""Errors as `spire.api.types.Status`, for the items of a batch (feature G20)."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import PermissionDenied, SpireError, StatusCode

OK = types_pb2.Status(code=int(StatusCode.OK), message="OK")
"""What a batch item that went well carries. Never changed."""


def error_to_status(error: SpireError) -> types_pb2.Status:
    return types_pb2.Status(code=int(error.code), message=error.message)


def permission_denied(
    message: str, reason: types_pb2.PermissionDeniedDetails.Reason | None = None
) -> PermissionDenied:
    """A refusal, with the reason that tells an agent what to do about it (feature G21)."""
    if reason is None:
        return PermissionDenied(message)
    details = Any()
    details.Pack(types_pb2.PermissionDeniedDetails(reason=reason))
    return PermissionDenied(message, details=(details.SerializeToString(),))
