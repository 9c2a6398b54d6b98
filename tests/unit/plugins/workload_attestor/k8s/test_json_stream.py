from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.workload_attestor.k8s.json_stream import list_items

from spire_py.errors import Unavailable


async def sent(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(*pieces: bytes, most: int = 1_000_000) -> list[Any]:
    async with aclosing(list_items(sent(pieces), "items", max_characters=most)) as values:
        return [value async for value in values]


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(b'{"items":[{"a":1},{"b":[2]}]}', [{"a": 1}, {"b": [2]}], id="objects"),
        pytest.param(b' { "items" : [ 12 , null ] } \n', [12, None], id="with spaces"),
        pytest.param(b'{"kind":"PodList","metadata":{},"items":[],"x":1.5}', [], id="empty"),
        pytest.param(b'{"items":null}', [], id="null, as Go writes an empty list"),
        pytest.param('{"ä":"ö","items":["ü😀"]}'.encode(), ["ü😀"], id="beyond ASCII"),
        pytest.param(b'{"x":{"items":[1]},"items":[2]}', [2], id="only at the top"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_items_are_read_however_they_come(
    document: bytes, expected: list[Any], size: int
) -> None:
    assert await read(*parts(document, size)) == expected


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"{}", id="no items"),
        pytest.param(b'{"items":{}}', id="items no array"),
        pytest.param(b'{"items":false}', id="items false"),
        pytest.param(b'{"items":nul}', id="items broken"),
        pytest.param(b'{"items":[1],"items":[2]}', id="items twice"),
        pytest.param(b'{"items":[1,]}', id="comma too many"),
        pytest.param(b'{"items":[1]}{', id="something after"),
        pytest.param(b'{"items":[1],}', id="comma at the end"),
        pytest.param(b'{1:2,"items":[]}', id="name no text"),
        pytest.param(b'{"items":[\xff]}', id="no UTF-8"),
        pytest.param(b'{"items":["\xc3', id="half a character"),
        pytest.param(b'{"items":[' + b"[" * 100_000, id="deep"),
        pytest.param(b"<html>Not Found</html>", id="HTML"),
    ],
)
async def test_anything_else_is_refused(document: bytes) -> None:
    with pytest.raises(Unavailable, match=r"^invalid kubelet response: "):
        await read(document)


async def test_each_document_that_is_cut_off_is_refused() -> None:
    document = b'{"kind":"PodList","items":[{"a":"b"},{"c":12}]}'
    for length in range(len(document)):
        with pytest.raises(Unavailable):
            await read(document[:length])


async def test_a_value_that_is_too_long_is_refused_before_it_ends() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'{"items":["'
        while True:
            taken += 1
            yield b"a" * 1000

    async with aclosing(list_items(endless(), "items", max_characters=100_000)) as values:
        with pytest.raises(Unavailable, match="a value is longer than 100000 characters"):
            await anext(values)
    assert taken < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.lists(JSON, max_size=6),
    st.dictionaries(st.text().filter(lambda name: name != "items"), JSON, max_size=3),
    st.integers(1, 50),
    st.booleans(),
)
async def test_what_is_read_is_what_json_reads(
    items: list[Any], others: dict[str, Any], size: int, ascii_only: bool
) -> None:
    document = {**others, "items": items}
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    assert await read(*parts(text, size)) == json.loads(text)["items"]


@given(st.binary(max_size=200), st.integers(1, 20))
async def test_any_bytes_are_read_or_refused(data: bytes, size: int) -> None:
    try:
        await read(*parts(data, size), most=50)
    except Unavailable as error:
        refused = error.message
    else:
        refused = "no"
    assert refused
