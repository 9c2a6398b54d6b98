"""Rows narrowed by sets of selectors that stand in a table of their own."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, Table, exists, func, select, tuple_

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
    pairs = [(selector.type, selector.value) for selector in asked]
    is_asked = tuple_(table.c.type, table.c.value).in_(pairs)
    # The first two conditions say nothing new; they are what SQLite finds its index by.
    matching = select(link).where(
        table.c.type.in_(sorted({selector.type for selector in asked})),
        table.c.value.in_(sorted({selector.value for selector in asked})),
        is_asked,
    )
    if wanted.match in {Match.EXACT, Match.SUPERSET}:
        # One subquery that counts, since PostgreSQL plans a join of hundreds for hours. A unique
        # index makes sure that no selector counts twice.
        matching = matching.group_by(link).having(func.count() == len(asked))
    conditions: list[ColumnElement[bool]] = [owner.in_(matching)]
    if wanted.match in {Match.EXACT, Match.SUBSET}:
        others = exists().where(link == owner, ~is_asked)
        conditions.append(~others.correlate(owner.table))
    return conditions
