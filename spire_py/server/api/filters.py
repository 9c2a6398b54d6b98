"""Filters and pages of list requests, from the wire to the datastore (features G18, G19)."""

from __future__ import annotations

from typing import Protocol

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, entry_pb2
from spire_py.errors import InvalidArgument
from spire_py.server.datastore.filters import (
    AgentFilter,
    EntryFilter,
    FederatesWithFilter,
    Match,
    Page,
    SelectorFilter,
)
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.agents import expires_before_from_text
from spire_py.wire.selectors import selectors_from_pb
from spire_py.wire.spiffe_ids import member_id_from_pb, workload_id_from_pb
from spire_py.wire.status import prefixing


class PagedRequest(Protocol):
    """A list request of any service."""

    page_size: int
    page_token: str


def page_from_pb(request: PagedRequest) -> Page | None:
    """The page asked for; None, for everything, where no size is given."""
    if request.page_size <= 0:
        return None
    return Page(request.page_size, request.page_token)


def entry_filter_from_pb(
    message: entry_pb2.ListEntriesRequest.Filter | entry_pb2.CountEntriesRequest.Filter,
    trust_domain: TrustDomain,
) -> EntryFilter:
    """Read the filter of a list or count of entries.

    Raises:
        InvalidArgument: a part of it is malformed; the message says which.
    """
    spiffe_id = parent_id = selectors = federates_with = None
    if message.HasField("by_parent_id"):
        with prefixing("malformed parent ID filter"):
            parent_id = member_id_from_pb(message.by_parent_id, trust_domain)
    if message.HasField("by_spiffe_id"):
        with prefixing("malformed SPIFFE ID filter"):
            spiffe_id = workload_id_from_pb(message.by_spiffe_id, trust_domain)
    if message.HasField("by_selectors"):
        selectors = _selector_filter(message.by_selectors)
    if message.HasField("by_federates_with"):
        federates_with = _federates_with_filter(message.by_federates_with)
    return EntryFilter(
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        selectors=selectors,
        federates_with=federates_with,
        hint=message.by_hint.value,
        downstream=message.by_downstream.value,
    )


def agent_filter_from_pb(
    message: agent_pb2.ListAgentsRequest.Filter | agent_pb2.CountAgentsRequest.Filter,
) -> AgentFilter:
    """Read the filter of a list or count of agents.

    Raises:
        InvalidArgument: a part of it is malformed; the message says which.
    """
    selectors = None
    if message.HasField("by_selector_match"):
        match = message.by_selector_match
        with prefixing("failed to parse selectors"):
            asked = selectors_from_pb(match.selectors)
        selectors = SelectorFilter(asked, _match(match.match))
    return AgentFilter(
        attestation_type=message.by_attestation_type,
        selectors=selectors,
        banned=message.by_banned.value if message.HasField("by_banned") else None,
        can_reattest=(
            message.by_can_reattest.value if message.HasField("by_can_reattest") else None
        ),
        expires_before=expires_before_from_text(message.by_expires_before),
    )


def _selector_filter(message: types_pb2.SelectorMatch) -> SelectorFilter:
    with prefixing("malformed selectors filter"):
        selectors = selectors_from_pb(message.selectors)
        if not selectors:
            raise InvalidArgument("empty selector set")
        return SelectorFilter(selectors, _match(message.match))


def _federates_with_filter(message: types_pb2.FederatesWithMatch) -> FederatesWithFilter:
    with prefixing("malformed federates with filter"):
        domains = tuple(TrustDomain.parse(name) for name in message.trust_domains)
        if not domains:
            raise InvalidArgument("empty trust domain set")
        return FederatesWithFilter(domains, _match(message.match))


def _match(number: int) -> Match:
    try:
        return Match(number)
    except ValueError as error:
        raise InvalidArgument(f"unhandled match behavior: {number}") from error
