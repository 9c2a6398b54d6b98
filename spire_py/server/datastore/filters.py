"""What a list of entries or agents may be narrowed by (feature G19), and pages of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID, TrustDomain


class Match(IntEnum):
    """How a set that is stored compares with the set that is asked for; the numbers of the API."""

    EXACT = 0
    SUBSET = 1
    """The stored set is part of the one asked for, and not empty."""
    SUPERSET = 2
    """The stored set holds all that is asked for."""
    ANY = 3
    """The two have something in common."""

    def holds(self, stored: frozenset[object], asked: frozenset[object]) -> bool:
        """Whether `stored` compares with `asked` in this way."""
        if self is Match.EXACT:
            return stored == asked
        if self is Match.SUBSET:
            return bool(stored) and stored <= asked
        if self is Match.SUPERSET:
            return stored >= asked
        return not stored.isdisjoint(asked)


class DeleteMode(IntEnum):
    """What happens to the entries that federate with a bundle that is deleted."""

    RESTRICT = 0
    """The bundle stays while there are any."""
    DELETE = 1
    """They are deleted too."""
    DISSOCIATE = 2
    """They stay, without the bundle and without a new revision; SPIRE tells of it by no event."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: at most `size` items, from the first on or after what `token` names."""

    size: int
    token: str = ""


@dataclass(frozen=True, slots=True)
class SelectorFilter:
    """Selectors to compare with; there must be at least one."""

    selectors: tuple[Selector, ...]
    match: Match = Match.EXACT


@dataclass(frozen=True, slots=True)
class FederatesWithFilter:
    """Trust domains to compare with; none means no filter."""

    trust_domains: tuple[TrustDomain, ...]
    match: Match = Match.EXACT


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Entries that fulfil all that is given; `downstream` False is no filter, as in SPIRE."""

    spiffe_id: SpiffeID | None = None
    parent_id: SpiffeID | None = None
    selectors: SelectorFilter | None = None
    federates_with: FederatesWithFilter | None = None
    hint: str = ""
    downstream: bool = False


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Agents that fulfil all that is given; None and "" mean no filter.

    `expires_before` and `valid_at` compare with the expiry of the current SVID.
    """

    attestation_type: str = ""
    selectors: SelectorFilter | None = None
    banned: bool | None = None
    can_reattest: bool | None = None
    expires_before: datetime | None = None
    valid_at: datetime | None = None
