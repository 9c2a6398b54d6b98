"""The errors of spire-py, one class for each thing a caller can do about it.

Every error carries the gRPC status code it has on the wire, so that a servicer raises, the
transport answers, and a client that reads the answer raises the same class again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class StatusCode(IntEnum):
    """The status codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def camel(self) -> str:
        """The name as gRPC for Go prints it, such as `InvalidArgument`; `OK` stays `OK`."""
        if self is StatusCode.OK:
            return "OK"
        if self is StatusCode.CANCELLED:
            return "Canceled"
        return self.name.title().replace("_", "")


class SpireError(Exception):
    """The base of all errors of spire-py.

    Args:
        message: lower case, names the thing, holds no secret; a client sees SPIRE's wording.
        details: serialized `google.protobuf.Any` messages for `grpc-status-details-bin`.
    """

    code: ClassVar[StatusCode] = StatusCode.UNKNOWN

    def __init__(self, message: str, *, details: tuple[bytes, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidArgument(SpireError):
    """What was asked can never be right; the caller must change it."""

    code = StatusCode.INVALID_ARGUMENT


class NotFound(SpireError):
    """The thing named does not exist."""

    code = StatusCode.NOT_FOUND


class AlreadyExists(SpireError):
    """The thing to be made is there already."""

    code = StatusCode.ALREADY_EXISTS


class PermissionDenied(SpireError):
    """The caller is known and may not do this."""

    code = StatusCode.PERMISSION_DENIED


class Unauthenticated(SpireError):
    """The caller could not show who it is."""

    code = StatusCode.UNAUTHENTICATED


class FailedPrecondition(SpireError):
    """The state of the system does not allow it now."""

    code = StatusCode.FAILED_PRECONDITION


class ResourceExhausted(SpireError):
    """A limit is reached; the caller should slow down."""

    code = StatusCode.RESOURCE_EXHAUSTED


class Unavailable(SpireError):
    """Not possible now; trying again later may help."""

    code = StatusCode.UNAVAILABLE


class Internal(SpireError):
    """Something broke on our side."""

    code = StatusCode.INTERNAL


class Unimplemented(SpireError):
    """Not offered here."""

    code = StatusCode.UNIMPLEMENTED


class DeadlineExceeded(SpireError):
    """The caller's time was over before the answer came."""

    code = StatusCode.DEADLINE_EXCEEDED


class Canceled(SpireError):
    """The call was ended before its answer came."""

    code = StatusCode.CANCELLED


class Unknown(SpireError):
    """A peer answered with a code that has no class of its own."""


_BY_CODE: dict[int, type[SpireError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        Unauthenticated,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        Internal,
        Unimplemented,
        DeadlineExceeded,
        Canceled,
    )
}


def error_for_status(code: int, message: str, details: tuple[bytes, ...] = ()) -> SpireError:
    """The error that stands for a status a peer answered with; `code` is not 0."""
    return _BY_CODE.get(code, Unknown)(message, details=details)
