from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument, SpireError


def test_an_object_is_read() -> None:
    assert parse_json_object('{"a": {"b": [1, "\\u00e9\\ud83d\\ude00"]}}', max_bytes=100) == {
        "a": {"b": [1, "é😀"]}
    }
    assert parse_json_object(b"{}", max_bytes=2) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param('{"a": 1}', "longer than 5 bytes", id="too long"),
        pytest.param("[]", "not an object", id="list"),
        pytest.param("{", "malformed", id="cut off"),
        pytest.param(b"\xff", "malformed", id="not utf-8"),
        pytest.param("\ufeff{}", "malformed", id="byte order mark"),
    ],
)
def test_what_is_no_object_is_refused(text: str | bytes, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault):
        parse_json_object(text, max_bytes=5)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a": 1, "a": 2}', id="name twice"),
        pytest.param('{"b": [{"a": 1, "\\u0061": 2}]}', id="name twice, written otherwise"),
        pytest.param('{"a": NaN}', id="nan"),
        pytest.param('{"a": -Infinity}', id="infinity"),
        pytest.param('{"a": "\\ud800"}', id="half a surrogate pair"),
        pytest.param('{"\\udfff": 1}', id="half a pair in a name"),
        pytest.param('{"a": ' + "[" * 50_000, id="deep"),
        pytest.param('{"a": ' + "1" * 10_000 + "}", id="number of 10,000 digits"),
    ],
)
def test_what_readers_differ_on_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="JSON"):
        parse_json_object(text, max_bytes=100_000)


@given(st.text() | st.binary() | st.text('{}[]",:\\u0d8 ', max_size=40))
def test_no_text_raises_anything_but_our_error(text: str | bytes) -> None:
    try:
        value = parse_json_object(text, max_bytes=1000)
    except SpireError:
        return
    json.dumps(value, ensure_ascii=False).encode("utf-8")
