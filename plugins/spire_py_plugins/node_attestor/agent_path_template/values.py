"""The values in a template, and what Go says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from spire_py.errors import InvalidArgument

Value: TypeAlias = "str | int | bool | Sequence[str] | Mapping[str, str]"
Data: TypeAlias = Mapping[str, Any]
"""The fields: values, or mappings with further fields."""


class InvalidTemplate(InvalidArgument):
    """A template cannot be read, or gives no path for what it is filled with."""


def is_true(value: Value) -> bool:
    """As `if` takes it: what is empty or zero is false."""
    return bool(value)


def as_text(value: Value) -> str:
    """As it stands in the path.

    Raises:
        InvalidTemplate: it is a list or a mapping.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    kind = "mapping" if isinstance(value, Mapping) else "list"
    raise InvalidTemplate(f"a {kind} is no part of a path; use join or index")
