"""Entries narrowed by a filter, in SQL."""

from __future__ import annotations

from sqlalchemy import ColumnElement, distinct, func, select

from spire_py.errors import InvalidArgument
from spire_py.server.datastore.filters import (
    EntryFilter,
    FederatesWithFilter,
    Match,
)
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.selector_filters import LARGEST_SET, by_selectors
from spire_py.server.datastore.sql.store import Query

_ENTRIES = schema.entries.c


def filtered(query: Query, wanted: EntryFilter) -> Query:
    """The query with all conditions of the filter.

    Raises:
        InvalidArgument: the set of selectors is empty, or far too large.
    """
    if wanted.spiffe_id is not None:
        query = query.where(_ENTRIES.spiffe_id == str(wanted.spiffe_id))
    if wanted.parent_id is not None:
        query = query.where(_ENTRIES.parent_id == str(wanted.parent_id))
    if wanted.hint:
        query = query.where(_ENTRIES.hint == wanted.hint)
    if wanted.downstream:
        query = query.where(_ENTRIES.downstream.is_(True))
    if wanted.selectors is not None:
        if not wanted.selectors.selectors:
            raise InvalidArgument("cannot list by empty selector set")
        table = schema.selectors
        link = table.c.registered_entry_id
        query = query.where(*by_selectors(wanted.selectors, table, link, _ENTRIES.id))
    if wanted.federates_with is not None and wanted.federates_with.trust_domains:
        query = query.where(_by_trust_domains(wanted.federates_with))
    return query


def _by_trust_domains(wanted: FederatesWithFilter) -> ColumnElement[bool]:
    asked = sorted({str(trust_domain.id) for trust_domain in wanted.trust_domains})
    if len(asked) > LARGEST_SET:
        raise InvalidArgument(f"cannot list by more than {LARGEST_SET} trust domains")
    links, bundles = schema.entry_bundles.c, schema.bundles.c
    is_asked = bundles.trust_domain.in_(asked)
    linked = (
        select(links.registered_entry_id)
        .join(schema.bundles, bundles.id == links.bundle_id)
        .where(is_asked)
    )
    if wanted.match in {Match.EXACT, Match.SUPERSET}:
        linked = linked.group_by(links.registered_entry_id).having(
            func.count(distinct(bundles.trust_domain)) == len(asked)
        )
    condition: ColumnElement[bool] = _ENTRIES.id.in_(linked)
    if wanted.match in {Match.EXACT, Match.SUBSET}:
        others = (
            select(links.registered_entry_id)
            .join(schema.bundles, bundles.id == links.bundle_id)
            .where(~is_asked)
        )
        condition &= _ENTRIES.id.not_in(others)
    return condition
