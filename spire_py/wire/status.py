"""Errors as statuses: items of batch calls, and why an agent was refused.

Who adds what: conversions and the datastore raise the inner sentence; the API layer puts its own
before it with `prefixing`, such as `failed to create entry`; the transport sends the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from spire_py._proto.spire.api.types_pb2 import PermissionDeniedDetails, Status
from spire_py.errors import NotFound, PermissionDenied, SpireError, StatusCode, error_for_status

Reason = PermissionDeniedDetails.Reason
"""Why an agent was refused: `Reason.AGENT_BANNED` and the like."""

_TYPE_URL_PREFIX = "type.googleapis.com"


def ok() -> Status:
    """The status of an item that succeeded."""
    return Status(code=StatusCode.OK, message="OK")


def status_to_pb(error: SpireError) -> Status:
    """The status of an item that failed."""
    return Status(code=error.code, message=error.message)


def prefixed(message: str, error: SpireError, code: StatusCode | None = None) -> SpireError:
    """The error as `message: inner error`, as SPIRE puts them together.

    What was not found keeps the message alone: the inner text stays out of the wire.

    `code` is the code on the wire where it differs from the error's own.
    """
    code = error.code if code is None else code
    if code is StatusCode.UNKNOWN:
        code = StatusCode.INTERNAL
    text = message if code is NotFound.code else f"{message}: {error.message}"
    return error_for_status(code, text, error.details)


@contextmanager
def prefixing(message: str, code: StatusCode | None = None) -> Iterator[None]:
    """Errors leave the block as `prefixed` makes them."""
    try:
        yield
    except SpireError as error:
        raise prefixed(message, error, code) from error


def permission_denied(reason: PermissionDeniedDetails.Reason, message: str) -> PermissionDenied:
    """A refusal that tells an agent what to do about it."""
    packed = Any()
    packed.Pack(PermissionDeniedDetails(reason=reason), type_url_prefix=_TYPE_URL_PREFIX)
    return PermissionDenied(message, details=(packed.SerializeToString(),))


def permission_denied_reason(error: SpireError) -> PermissionDeniedDetails.Reason | None:
    """The reason a server gave with a refusal; None where it gave none that can be read."""
    if error.code is not StatusCode.PERMISSION_DENIED:
        return None
    for detail in error.details:
        reason = _reason_in(detail)
        if reason is not None:
            return reason
    return None


def _reason_in(detail: bytes) -> PermissionDeniedDetails.Reason | None:
    details = PermissionDeniedDetails()
    try:
        packed = Any.FromString(detail)
        if not packed.Unpack(details):
            return None
    except DecodeError:
        return None
    return details.reason
