"""Agents narrowed by a filter, in SQL."""

from __future__ import annotations

from spire_py.errors import InvalidArgument
from spire_py.server.datastore.filters import AgentFilter
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.selector_filters import by_selectors
from spire_py.server.datastore.sql.store import Query

_AGENTS = schema.agents.c


def filtered(query: Query, wanted: AgentFilter) -> Query:
    """The query with all conditions of the filter.

    Raises:
        InvalidArgument: the set of selectors is empty, or far too large.
    """
    if wanted.attestation_type:
        query = query.where(_AGENTS.data_type == wanted.attestation_type)
    if wanted.banned is not None:
        # As in SPIRE, the current serial number decides; a ban takes both away.
        empty = _AGENTS.serial_number == ""
        query = query.where(empty if wanted.banned else ~empty)
    if wanted.can_reattest is not None:
        query = query.where(_AGENTS.can_reattest.is_(wanted.can_reattest))
    if wanted.expires_before is not None:
        query = query.where(_AGENTS.expires_at < wanted.expires_before)
    if wanted.valid_at is not None:
        query = query.where(_AGENTS.expires_at >= wanted.valid_at)
    if wanted.selectors is not None:
        if not wanted.selectors.selectors:
            raise InvalidArgument("cannot list by empty selectors set")
        table = schema.agent_selectors
        conditions = by_selectors(wanted.selectors, table, table.c.spiffe_id, _AGENTS.spiffe_id)
        query = query.where(*conditions)
    return query
