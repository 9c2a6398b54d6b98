"""Agents, from the model to the wire."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py.model.agent import Agent
from spire_py.model.entry import time_to_seconds
from spire_py.wire.ids import id_to_pb, selectors_to_pb


def agent_to_pb(agent: Agent) -> types_pb2.Agent:
    """The whole agent; `wire.masks.apply_mask` takes away what was not asked for."""
    return types_pb2.Agent(
        id=id_to_pb(agent.id),
        attestation_type=agent.attestation_type,
        x509svid_serial_number=agent.serial_number,
        x509svid_expires_at=time_to_seconds(agent.expires_at),
        selectors=selectors_to_pb(agent.selectors),
        banned=agent.banned,
        can_reattest=agent.can_reattest,
        agent_version=agent.agent_version,
    )
