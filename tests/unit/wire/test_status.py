from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from spire_py._proto.spire.api.types_pb2 import PermissionDeniedDetails, Status
from spire_py.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    SpireError,
    StatusCode,
    Unavailable,
    Unknown,
)
from spire_py.wire.status import (
    Reason,
    ok,
    permission_denied,
    permission_denied_reason,
    prefixed,
    status_to_pb,
)


def test_success_is_ok_with_its_name() -> None:
    assert ok() == Status(code=0, message="OK")


@pytest.mark.parametrize("kind", [InvalidArgument, NotFound, AlreadyExists, Unavailable])
def test_failure_is_code_and_message(kind: type[SpireError]) -> None:
    status = status_to_pb(kind("why"))
    assert (status.code, status.message) == (kind.code, "why")


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        pytest.param(Internal("inner"), None, Internal("outer: inner"), id="own code"),
        pytest.param(Internal("inner"), StatusCode.INVALID_ARGUMENT,
                     InvalidArgument("outer: inner"), id="another code"),
        pytest.param(NotFound("inner"), None, NotFound("outer"), id="not found"),
        pytest.param(Unknown("inner"), None, Internal("outer: inner"), id="unknown"),
    ],
)  # fmt: skip
def test_sentences_are_put_together_as_in_spire(
    error: SpireError, code: StatusCode | None, expected: SpireError
) -> None:
    made = prefixed("outer", error, code)
    assert (type(made), made.message) == (type(expected), expected.message)


@pytest.mark.parametrize("reason", Reason.values())
def test_reason_of_a_refusal_comes_back(reason: Reason) -> None:
    error = permission_denied(reason, "agent is banned")
    assert error.message == "agent is banned"
    packed = Any.FromString(error.details[0])
    assert packed.type_url == "type.googleapis.com/spire.api.types.PermissionDeniedDetails"
    assert PermissionDeniedDetails.FromString(packed.value).reason == reason
    assert permission_denied_reason(error) == reason


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(PermissionDenied("x"), id="no details"),
        pytest.param(PermissionDenied("x", details=(b"\xff",)), id="no message"),
        pytest.param(
            PermissionDenied("x", details=(Any(type_url="t/other").SerializeToString(),)),
            id="another message",
        ),
        pytest.param(
            Internal("x", details=permission_denied(Reason.AGENT_BANNED, "x").details),
            id="another code",
        ),
    ],
)
def test_refusal_without_a_reason_has_none(error: SpireError) -> None:
    assert permission_denied_reason(error) is None


def test_reason_is_found_among_other_details() -> None:
    details = permission_denied(Reason.AGENT_EXPIRED, "x").details
    error = PermissionDenied("x", details=(b"\xff", *details))
    assert permission_denied_reason(error) == Reason.AGENT_EXPIRED


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reason_or_none(detail: bytes) -> None:
    permission_denied_reason(PermissionDenied("x", details=(detail,)))
