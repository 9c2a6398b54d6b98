"""Agents: nodes that have attested."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID


@dataclass(frozen=True, slots=True)
class Agent:
    """An attested node, called `attested_node` in SPIRE's database.

    Serial numbers are decimal strings. A renewed agent has both a current and a new serial number
    until it first calls with the new one. A banned agent has no serial number at all.
    """

    id: SpiffeID
    attestation_type: str
    serial_number: str
    expires_at: datetime
    new_serial_number: str = ""
    new_expires_at: datetime | None = None
    can_reattest: bool = False
    agent_version: str = ""
    selectors: tuple[Selector, ...] = ()

    @property
    def banned(self) -> bool:
        return not self.serial_number and not self.new_serial_number
