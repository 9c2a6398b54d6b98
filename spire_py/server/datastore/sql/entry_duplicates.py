"""Finds entries that say the same: SPIFFE ID, parent ID and set of selectors (feature N15).

The schema has an index for each of the two IDs and none for both, and one of them may be the same
in ten thousand entries. So the rows of one index are read up to a limit, then those of the other,
and only where both are crowded the two indexes are intersected. The cost stays flat as the table
grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, Integer, bindparam, select

from spire_py.model.entry import Entry
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.store import Query, chunks

_ENTRIES = schema.entries.c
_ROWS_PER_ENTRY = 8
"""Rows that may be read for each new entry before the other index is tried."""

# Made once, because making a statement costs as much as running it.
_ROWS = select(_ENTRIES.id, _ENTRIES.entry_id, _ENTRIES.spiffe_id, _ENTRIES.parent_id)
_VALUES: BindParameter[str] = bindparam("values", expanding=True)
_LIMIT = bindparam("limit", type_=Integer)
_BY_SPIFFE_IDS = _ROWS.where(_ENTRIES.spiffe_id.in_(_VALUES)).limit(_LIMIT)
_BY_PARENT_IDS = _ROWS.where(_ENTRIES.parent_id.in_(_VALUES)).limit(_LIMIT)
_SELECTORS = schema.selectors.c
_SELECTORS_OF = select(_SELECTORS.registered_entry_id, _SELECTORS.type, _SELECTORS.value).where(
    _SELECTORS.registered_entry_id.in_(bindparam("ids", expanding=True))
)

Pair: TypeAlias = tuple[str, str]
"""A SPIFFE ID and a parent ID."""

Key: TypeAlias = tuple[str, str, frozenset[tuple[str, str]]]
"""What makes two entries similar."""


def key_of(entry: Entry) -> Key:
    """What another entry must have to be similar to this one."""
    selectors = frozenset((selector.type, selector.value) for selector in entry.selectors)
    return str(entry.spiffe_id), str(entry.parent_id), selectors


def find_similar(connection: Connection, keys: Iterable[Key]) -> dict[Key, str]:
    """The entry IDs of those that are stored already, by their keys; the oldest, of several."""
    wanted = set(keys)
    rows = _rows_with_pairs(connection, {key[:2] for key in wanted})
    if not rows:
        return {}
    selectors: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
    for chunk in chunks([row.id for row in rows]):
        for row in connection.execute(_SELECTORS_OF, {"ids": chunk}):
            selectors[row.registered_entry_id].add((row.type, row.value))
    found: dict[Key, str] = {}
    for row in sorted(rows, key=lambda each: int(each.id)):
        key = (row.spiffe_id, row.parent_id, frozenset(selectors[row.id]))
        if key in wanted:
            found.setdefault(key, row.entry_id)
    return found


def _rows_with_pairs(connection: Connection, pairs: set[Pair]) -> list[Any]:
    found: list[Any] = []
    for chunk in chunks(sorted(pairs)):
        rows = _rows_by(connection, _BY_SPIFFE_IDS, [pair[0] for pair in chunk])
        if rows is None:
            rows = _rows_by(connection, _BY_PARENT_IDS, [pair[1] for pair in chunk])
        if rows is None:
            rows = [row for pair in chunk for row in _rows_of_pair(connection, pair)]
        found.extend(row for row in rows if (row.spiffe_id, row.parent_id) in pairs)
    return found


def _rows_by(connection: Connection, query: Query, values: Sequence[str]) -> Sequence[Any] | None:
    """The rows that have one of the values in an indexed column; None where they are too many."""
    limit = _ROWS_PER_ENTRY * len(values)
    parameters = {"values": sorted(set(values)), "limit": limit + 1}
    rows = connection.execute(query, parameters).all()
    return rows if len(rows) <= limit else None


def _rows_of_pair(connection: Connection, pair: Pair) -> Sequence[Any]:
    both = (
        select(_ENTRIES.id)
        .where(_ENTRIES.spiffe_id == pair[0])
        .intersect(select(_ENTRIES.id).where(_ENTRIES.parent_id == pair[1]))
    )
    return connection.execute(_ROWS.where(_ENTRIES.id.in_(both))).all()
