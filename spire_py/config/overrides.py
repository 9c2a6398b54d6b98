"""Flags of the command line that win over the file (features A28, E1, F1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from spire_py.config.problems import Problem
from spire_py.config.tree import Body, Table, merge
from spire_py.errors import InvalidArgument

if TYPE_CHECKING:
    from spire_py.config.reader import Reader

_FLAGS: Mapping[str, bool] = {"true": True, "false": False}


def override(
    body: Body, section: str, values: Mapping[str, str], allowed: Collection[str], reader: Reader
) -> Body:
    """A copy of the file's tables in which `section` has these values.

    An empty value leaves the file's, as in SPIRE. `true` and `false` are read as such.

    Raises:
        InvalidArgument: a key is none that a flag may set; that is a mistake of the caller.
    """
    if unknown := sorted(set(values) - set(allowed)):
        raise InvalidArgument(f"no flag can set {', '.join(unknown)} of {section}")
    given = {key: _FLAGS.get(value, value) for key, value in values.items() if value}
    given = {key: value for key, value in given.items() if value is not False}
    copy = Table(body.line)
    copy.update(body)
    copy.lines = dict(body.lines)
    if not given:
        return copy
    name = next((key for key in body if key.casefold() == section), section)
    try:
        table = merge(body.get(name) or [])
    except InvalidArgument:
        reader.problems.append(Problem(f"{section}: expected a block", body.lines.get(name)))
        return copy
    copy[name] = _replaced(table, given)
    return copy


def _replaced(table: Table, given: Mapping[str, Any]) -> Table:
    result = Table(table.line)
    for key, value in table.items():
        if key.casefold() not in given:
            result[key] = value
            if key in table.lines:
                result.lines[key] = table.lines[key]
    result.update(given)
    return result
