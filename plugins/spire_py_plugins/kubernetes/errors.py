"""What an API server's refusals become."""

from __future__ import annotations

from http import HTTPStatus

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SpireError,
    Unauthenticated,
    Unavailable,
)

_MAX_STATUS_BYTES = 64 * 1024
_MAX_MESSAGE_CHARACTERS = 500


class Conflict(FailedPrecondition):
    """The object has changed since it was read, or another manager owns a field of it."""


class Gone(FailedPrecondition):
    """The resource version is too old; list again."""


_BY_STATUS: dict[int, type[SpireError]] = {
    HTTPStatus.BAD_REQUEST: InvalidArgument,
    HTTPStatus.UNAUTHORIZED: Unauthenticated,
    HTTPStatus.FORBIDDEN: PermissionDenied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ResourceExhausted,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: InvalidArgument,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidArgument,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
}


def error_for_answer(status: int, body: bytes) -> SpireError:
    """The error for an answer whose HTTP status is not 2xx.

    Its message is that of the `Status` object in the body, as kubectl shows it, else the HTTP
    status.
    """
    try:
        document = parse_json_object(body, max_bytes=_MAX_STATUS_BYTES)
    except InvalidArgument:
        document = {}
    return error_for_status(document, status)


def error_for_status(document: dict[str, object], status: int = 0) -> SpireError:
    """The error for a `Status` object, which may stand in a watch as well."""
    code = document.get("code")
    if not status:
        status = code if isinstance(code, int) else 0
    message = document.get("message")
    if not isinstance(message, str) or not message:
        message = f"the server answered with status {status} {_phrase(status)}".rstrip()
    text = _printable(message)
    if status == HTTPStatus.CONFLICT and document.get("reason") == "AlreadyExists":
        return AlreadyExists(text)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text)
    return _BY_STATUS.get(status, Internal)(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _printable(text: str) -> str:
    """One line of bounded length: it goes into logs and to agents."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    if len(shown) > _MAX_MESSAGE_CHARACTERS:
        return f"{shown[:_MAX_MESSAGE_CHARACTERS]}…"
    return shown
