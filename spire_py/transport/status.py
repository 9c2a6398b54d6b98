"""gRPC's status on the wire: trailers from errors, errors from trailers (feature G21)."""

from __future__ import annotations

from collections.abc import Iterable

from spire_py.errors import SpireError, StatusCode, error_for_status

from .headers import Header, encode_header, encode_headers
from .metadata import decode_binary, decode_message, encode_binary, encode_message, encode_pair

TRAILER_OK = encode_header(b"grpc-status", b"0")
_MAX_DETAILS_BYTES = 6_000


def encode_trailers(
    code: StatusCode,
    message: str = "",
    details: tuple[bytes, ...] = (),
    metadata: Iterable[tuple[str, str | bytes]] = (),
) -> bytes:
    """The header block of the trailers.

    `details` are serialized `google.protobuf.Any` messages; they are left out where they are too
    large for the header limits of usual clients.
    """
    headers: list[Header] = [(b"grpc-status", str(int(code)).encode())]
    if message:
        headers.append((b"grpc-message", encode_message(message)))
    if details:
        encoded = encode_binary(_status_message(code, message, details))
        if len(encoded) <= _MAX_DETAILS_BYTES:
            headers.append((b"grpc-status-details-bin", encoded))
    headers += [encode_pair(name, value) for name, value in metadata]
    return encode_headers(headers)


def error_from_trailers(headers: Iterable[Header]) -> SpireError | None:
    """What a peer's trailers say; None is OK."""
    fields = dict(headers)
    raw = fields.get(b"grpc-status")
    if raw is None:
        return error_for_status(StatusCode.UNKNOWN, "the server sent no status")
    code = int(raw) if raw.isdigit() and len(raw) < 5 else int(StatusCode.UNKNOWN)
    if code == StatusCode.OK:
        return None
    message = decode_message(fields.get(b"grpc-message", b""))
    return error_for_status(code, message, _details(fields.get(b"grpc-status-details-bin")))


def error_from_http_status(status: bytes) -> SpireError:
    """What an answer without a gRPC status means (gRPC's table of HTTP status codes)."""
    code = {
        b"400": StatusCode.INTERNAL,
        b"401": StatusCode.UNAUTHENTICATED,
        b"403": StatusCode.PERMISSION_DENIED,
        b"404": StatusCode.UNIMPLEMENTED,
        b"429": StatusCode.UNAVAILABLE,
        b"502": StatusCode.UNAVAILABLE,
        b"503": StatusCode.UNAVAILABLE,
        b"504": StatusCode.UNAVAILABLE,
    }.get(status, StatusCode.UNKNOWN)
    shown = status.decode("latin-1")[:3]
    return error_for_status(code, f"unexpected HTTP status code {shown} from the server")


def _status_message(code: StatusCode, message: str, details: tuple[bytes, ...]) -> bytes:
    from google.protobuf.any_pb2 import Any
    from google.protobuf.message import DecodeError

    from spire_py._proto.google.rpc.status_pb2 import Status

    try:
        anys = [Any.FromString(detail) for detail in details]
    except DecodeError:
        anys = []  # the status must get through whatever its details are
    return Status(code=int(code), message=message, details=anys).SerializeToString()


def _details(value: bytes | None) -> tuple[bytes, ...]:
    if value is None:
        return ()
    from google.protobuf.message import DecodeError

    from spire_py._proto.google.rpc.status_pb2 import Status

    try:
        status = Status.FromString(decode_binary(value))
    except (DecodeError, SpireError):
        return ()  # the status itself still stands
    return tuple(detail.SerializeToString() for detail in status.details)
