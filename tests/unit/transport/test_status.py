from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from spire_py.errors import (
    Internal,
    NotFound,
    PermissionDenied,
    StatusCode,
    Unavailable,
    Unimplemented,
    Unknown,
)
from spire_py.transport.headers import Header, HeaderDecoder
from spire_py.transport.status import (
    TRAILER_OK,
    encode_trailers,
    error_from_http_status,
    error_from_trailers,
)


def headers_of(block: bytes) -> list[Header]:
    return list(HeaderDecoder(100_000).decode(block))


def test_an_error_comes_back_with_its_details() -> None:
    details = tuple(
        AnyMessage(type_url=f"type.googleapis.com/{name}", value=b"\1").SerializeToString()
        for name in ("a.B", "c.D")
    )
    block = encode_trailers(StatusCode.PERMISSION_DENIED, "nö", details)
    error = error_from_trailers(headers_of(block))
    assert isinstance(error, PermissionDenied)
    assert (error.message, error.details) == ("nö", details)


def test_ok_is_no_error() -> None:
    assert error_from_trailers(headers_of(TRAILER_OK)) is None


def test_details_that_are_too_large_are_left_out() -> None:
    detail = AnyMessage(type_url="x", value=b"y" * 10_000).SerializeToString()
    block = encode_trailers(StatusCode.NOT_FOUND, "gone", (detail,))
    assert len(block) < 1000
    error = error_from_trailers(headers_of(block))
    assert isinstance(error, NotFound)
    assert error.details == ()


def test_metadata_goes_along() -> None:
    block = encode_trailers(StatusCode.OK, metadata=[("x-a", "1"), ("x-bin", b"\0")])
    assert headers_of(block)[1:] == [(b"x-a", b"1"), (b"x-bin", b"AA")]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        pytest.param([], Unknown, id="no status"),
        pytest.param([(b"grpc-status", b"x")], Unknown, id="no number"),
        pytest.param([(b"grpc-status", b"99")], Unknown, id="unknown number"),
        pytest.param([(b"grpc-status", b"9" * 50)], Unknown, id="huge number"),
        pytest.param(
            [(b"grpc-status", b"5"), (b"grpc-status-details-bin", b"*")], NotFound, id="no base64"
        ),
        pytest.param(
            [(b"grpc-status", b"5"), (b"grpc-status-details-bin", b"////")],
            NotFound,
            id="no message",
        ),
    ],
)
def test_strange_trailers_are_errors_all_the_same(
    headers: list[Header], kind: type[Exception]
) -> None:
    assert isinstance(error_from_trailers(headers), kind)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"404", Unimplemented), (b"503", Unavailable), (b"400", Internal), (b"418", Unknown)],
)
def test_an_http_status_becomes_an_error(status: bytes, kind: type[Exception]) -> None:
    assert isinstance(error_from_http_status(status), kind)
