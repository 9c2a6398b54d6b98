"""Entries and agents as tests need them, and an agent that talks to a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID, TrustDomain

DOMAIN = TrustDomain("example.org")
FAR = datetime(2030, 1, 1, tzinfo=UTC)


def member(path: str) -> SpiffeID:
    return DOMAIN.member(path)


def agent_id(name: str) -> SpiffeID:
    return member(f"/spire/agent/test/{name}")


def make_entry(entry_id: str, parent: str, path: str, *selectors: str, **fields: Any) -> Entry:
    """An entry of the trust domain; parent and path are paths."""
    return Entry(
        id=entry_id,
        parent_id=member(parent),
        spiffe_id=member(path),
        selectors=tuple(sorted(Selector.parse(text) for text in selectors or ("unix:uid:0",))),
        **fields,
    )


def make_agent(name: str, *selectors: str, **fields: Any) -> Agent:
    """An attested agent with serial number 1."""
    agent = Agent(
        id=agent_id(name),
        attestation_type="test",
        serial_number="1",
        expires_at=FAR,
        selectors=tuple(sorted(Selector.parse(text) for text in selectors)),
    )
    return replace(agent, **fields)
