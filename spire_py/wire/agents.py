"""Agents between model and wire."""

from __future__ import annotations

from datetime import datetime

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.agent import Agent
from spire_py.model.entry import seconds_to_time, time_to_seconds
from spire_py.wire.selectors import selectors_from_pb, selectors_to_pb
from spire_py.wire.spiffe_ids import id_from_pb, id_to_pb


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


def agent_from_pb(message: types_pb2.Agent) -> Agent:
    """Read an agent that a server sent; what its mask left out is empty.

    Raises:
        InvalidArgument: the server sent what is no agent.
    """
    return Agent(
        id=id_from_pb(message.id),
        attestation_type=message.attestation_type,
        serial_number=message.x509svid_serial_number,
        expires_at=seconds_to_time(message.x509svid_expires_at) or _EPOCH,
        can_reattest=message.can_reattest,
        agent_version=message.agent_version,
        selectors=selectors_from_pb(message.selectors),
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


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
