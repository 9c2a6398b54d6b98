"""Flags of the command line that win over the file (features A28, E1, F1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spire_py.config.problems import Problem
from spire_py.config.tree import Body, Table, merge
from spire_py.errors import InvalidArgument
from spire_py.runtime.booleans import parse_boolean

if TYPE_CHECKING:
    from spire_py.config.reader import Reader

_SWITCHES = frozenset(
    {
        "allow_unauthenticated_verifiers",
        "disable_sds_api",
        "disable_workload_api",
        "insecure_bootstrap",
        "log_source_location",
    }
)


def override(
    body: Body, section: str, values: Mapping[str, str], flags: Mapping[str, str], reader: Reader
) -> Body:
    """A copy of the file's tables in which `section` has these values.

    An empty value leaves the file's, and a switch can only be turned on, as in SPIRE.

    Args:
        body: the file.
        section: `server` or `agent`.
        values: by flag, such as `bindAddress`, or by key, such as `bind_address`.
        flags: the flags that there are, and the key that each sets.
        reader: takes the faults.

    Raises:
        InvalidArgument: no flag can set one of the keys; that is a mistake of the caller.
    """
    keyed = {flags.get(name, name): value for name, value in values.items() if value}
    if unknown := sorted(set(keyed) - set(flags.values())):
        raise InvalidArgument(f"no flag can set {', '.join(unknown)} of {section}")
    given: dict[str, Any] = {
        key: True if key in _SWITCHES else value
        for key, value in keyed.items()
        if key not in _SWITCHES or parse_boolean(value)
    }
    copy = Table(body.line)
    copy.update(body)
    copy.lines = dict(body.lines)
    name = next((key for key in body if key.casefold() == section), section)
    if not given:
        # Without the block, its required keys are what is missing.
        copy.setdefault(name, Table())
        return copy
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
