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

    __slots__ = ("line", "lines", "repeated")

    def __init__(self, line: int | None = None) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}
        self.repeated: list[tuple[str, int]] = []
        """Keys that got another value, with its line."""

    def add(self, key: str, value: Value, line: int) -> None:
        """Put a value in.

        Where the key is there already, blocks gather, lists are joined, and of other values the
        last one counts, all as in SPIRE.
        """
        if key not in self:
            self[key] = value
            self.lines[key] = line
            return
        former = self[key]
        if is_block(former) and is_block(value):
            self[key] = [*tables(former), *tables(value)]
            return
        self.repeated.append((key, line))
        self[key] = _later(former, value)
        self.lines[key] = line


def _later(former: Value, value: Value) -> Value:
    return [*former, *value] if isinstance(former, list) and isinstance(value, list) else value


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
    """The tables of a block as one; see `Table.add` for keys that several have.

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
        lines = part.lines if isinstance(part, Table) else {}
        merged.repeated.extend(part.repeated if isinstance(part, Table) else ())
        for key, item in part.items():
            if key in lines:
                merged.add(key, item, lines[key])
            else:
                merged[key] = item
    return merged
