from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.concatenated import split_certificates
from spire_py.errors import InvalidArgument
from tests.unit.spiffe.certificates import Issuer

ROOTS = [Issuer("one").root(), Issuer("two").root()]


def test_certificates_in_a_row_are_told_apart() -> None:
    assert split_certificates(b"".join(ROOTS)) == ROOTS
    assert split_certificates(b"") == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ROOTS[0][:-1], id="cut off"),
        pytest.param(ROOTS[0] + b"\0", id="more after it"),
        pytest.param(ROOTS[0] + b"\x30\x80", id="indefinite length"),
        pytest.param(b"\x04\x00", id="no sequence"),
    ],
)
def test_a_row_that_does_not_end_with_a_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="malformed certificate"):
        split_certificates(data)


@given(st.binary(max_size=100))
def test_what_is_split_is_all_that_was_there(data: bytes) -> None:
    try:
        parts = split_certificates(data)
    except InvalidArgument:
        return
    assert b"".join(parts) == data
