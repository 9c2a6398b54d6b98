"""A configuration file as read: tables, lists and plain values, each with its line."""

from __future__ import annotations

from typing import Any, TypeAlias

from spire_py.errors import InvalidArgument

Value: TypeAlias = Any
"""A `str`, `int`, `float`, `bool`, a `Table`, or a list of values."""


class Table(dict[str, Any]):
    """A block or object: its values by key, and the line that each key stands on.

    A block that stands there several times is a list of tables; a labelled block (`Type "name" {}`)
    is a table in a table. JSON's lists of one-key objects come out alike (feature A27).
    """

    __slots__ = ("line", "lines")

    def __init__(self, line: int | None = None) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def add(self, key: str, value: Value, line: int, *, assigned: bool) -> None:
        """Put a value in; blocks of the same key gather.

        Raises:
            InvalidArgument: the key has a value and cannot have a second one.
        """
        if key not in self:
            self[key] = value
            self.lines[key] = line
            return
        if assigned or not (is_block(self[key]) and is_block(value)):
            raise InvalidArgument(
                f'the argument "{key}" was already set on line {self.lines[key]}; '
                "each argument can only be defined once"
            )
        self[key] = [*tables(self[key]), *tables(value)]


Body: TypeAlias = Table


def is_block(value: Value) -> bool:
    """Whether the value is a table, or a list of nothing but tables."""
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
    )


def tables(value: Value) -> list[Any]:
    """The tables of a block value, be it one or a list."""
    return list(value) if isinstance(value, list) else [value]


def merge(value: Value) -> Table:
    """The tables of a block as one; later values win, and blocks in them gather.

    Raises:
        InvalidArgument: the value is no block.
    """
    if value == []:
        return Table()
    if not is_block(value):
        raise InvalidArgument("expected a block")
    parts = tables(value)
    if len(parts) == 1 and isinstance(parts[0], Table):
        return parts[0]
    merged = Table(getattr(parts[0], "line", None))
    for part in parts:
        for key, item in part.items():
            line = part.lines.get(key) if isinstance(part, Table) else None
            if key in merged and is_block(merged[key]) and is_block(item):
                merged[key] = [*tables(merged[key]), *tables(item)]
                continue
            merged[key] = item
            if line is not None:
                merged.lines[key] = line
    return merged
