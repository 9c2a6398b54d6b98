"""Agents between model and wire."""

from __future__ import annotations

from datetime import datetime

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.agent import Agent
from spire_py.model.entry import time_to_seconds
from spire_py.wire.selectors import selectors_to_pb
from spire_py.wire.spiffe_ids import id_to_pb


def agent_to_pb(agent: Agent) -> types_pb2.Agent:
    """The agent as a message, to which an output mask may be applied."""
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


def expires_before_from_text(text: str) -> datetime | None:
    """The time of a filter `by_expires_before`; None for an empty text.

    The form is the one SPIRE's commands send, `2006-01-02 15:04:05 -0700 -07`.

    Raises:
        InvalidArgument: it is no such time. SPIRE takes one for no filter at all.
    """
    if not text:
        return None
    try:
        return datetime.strptime(" ".join(text.split(" ")[:3]), "%Y-%m-%d %H:%M:%S %z")
    except ValueError as error:
        raise InvalidArgument(f'malformed expires before filter: "{text}"') from error
