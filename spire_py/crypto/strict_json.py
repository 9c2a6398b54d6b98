"""JSON from strangers: a size limit, no repeated names, no NaN, one kind of error."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from spire_py.errors import InvalidArgument


def parse_json_object(text: str | bytes, *, max_bytes: int) -> dict[str, Any]:
    """Read a JSON object; bytes must be UTF-8.

    Names that stand twice in one object are refused, because readers differ in which one they take.

    Raises:
        InvalidArgument: it is longer than `max_bytes`, is no JSON, or no object.
    """
    if len(text) > max_bytes:
        raise InvalidArgument(f"JSON is longer than {max_bytes} bytes")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        _check_characters(text, value)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("JSON is malformed") from error
    if not isinstance(value, dict):
        raise InvalidArgument("JSON is not an object")
    return value


def _check_characters(text: str, value: object) -> None:
    """Refuse half of a surrogate pair: no text in UTF-8 could repeat it."""
    text.encode("utf-8")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidArgument("JSON has a name twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidArgument(f"JSON has {name}, which is no number")
