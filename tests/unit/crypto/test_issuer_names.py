from __future__ import annotations

import pytest

from spire_py.crypto.issuer_names import IssuerNames, issuer_names

NAME = ((("2.5.4.10", "spire"),),)
OTHER = ((("2.5.4.10", "other"),),)


@pytest.mark.parametrize(
    ("one", "another", "alike"),
    [
        ((NAME, b"a"), (NAME, b"a"), True),
        ((NAME, None), (NAME, b"a"), True),
        ((NAME, b"a"), (NAME, None), True),
        ((NAME, b"a"), (NAME, b"b"), False),
        ((OTHER, b"a"), (NAME, b"a"), False),
        ((None, None), (NAME, b"a"), True),
        ((NAME, b"a"), (None, None), False),
    ],
)
def test_name_and_key_id_decide(
    one: tuple[object, object], another: tuple[object, object], alike: bool
) -> None:
    this, that = IssuerNames(*one), IssuerNames(*another)  # type: ignore[arg-type]
    assert this.may_be_any_of([that]) is alike
    assert not this.may_be_any_of([])


def test_what_cannot_be_read_has_no_names() -> None:
    assert issuer_names(b"junk") == IssuerNames(None, None)
