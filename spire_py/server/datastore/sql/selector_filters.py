"""Rows narrowed by sets of selectors that stand in a table of their own."""

from __future__ import annotations

from functools import reduce
from operator import or_

from sqlalchemy import Column, ColumnElement, Table, exists, select

from spire_py.errors import InvalidArgument
from spire_py.server.datastore.filters import Match, SelectorFilter

LARGEST_SET = 500
"""Members of one set in a filter; a database refuses statements far above this."""


def by_selectors(
    wanted: SelectorFilter, table: Table, link: Column[object], owner: Column[object]
) -> list[ColumnElement[bool]]:
    """Conditions on rows whose column `owner` is what `link` says in the table of selectors.

    Raises:
        InvalidArgument: the set of selectors is far too large.
    """
    asked = sorted(set(wanted.selectors))
    if len(asked) > LARGEST_SET:
        raise InvalidArgument(f"cannot list by more than {LARGEST_SET} selectors")
    is_asked = [
        (table.c.type == selector.type) & (table.c.value == selector.value) for selector in asked
    ]
    if wanted.match in {Match.EXACT, Match.SUPERSET}:
        conditions: list[ColumnElement[bool]] = [
            owner.in_(select(link).where(each)) for each in is_asked
        ]
    else:
        conditions = [owner.in_(select(link).where(reduce(or_, is_asked)))]
    if wanted.match in {Match.EXACT, Match.SUBSET}:
        others = exists().where(link == owner, *(~each for each in is_asked))
        conditions.append(~others.correlate(owner.table))
    return conditions
