"""True and false as Go reads them."""

from __future__ import annotations

import pytest

from spire_py.runtime.booleans import parse_boolean


@pytest.mark.parametrize(
    ("texts", "meant"),
    [
        pytest.param("1 t T TRUE true True", True, id="true"),
        pytest.param("0 f F FALSE false False", False, id="false"),
        pytest.param("tRUE yes on 2 -", None, id="neither"),
    ],
)
def test_text_is_read_as_go_reads_it(texts: str, meant: bool | None) -> None:
    assert {parse_boolean(text) for text in texts.split()} == {meant}


def test_empty_text_is_neither() -> None:
    assert parse_boolean("") is None
