"""Why a server refused this agent, and what the agent must do about it (features O4, O5)."""

from __future__ import annotations

from enum import Enum

from spire_py.errors import PermissionDenied, SpireError
from spire_py.wire.status import Reason, permission_denied_reason


class Reaction(Enum):
    """What a refusal asks of the agent."""

    TRY_AGAIN = "try again"
    REATTEST = "reattest"
    SHUT_DOWN = "shut down"


_REACTIONS: dict[int | None, Reaction] = {
    Reason.AGENT_EXPIRED: Reaction.REATTEST,
    Reason.AGENT_NOT_ACTIVE: Reaction.REATTEST,
    Reason.AGENT_NOT_ATTESTED: Reaction.REATTEST,
    Reason.AGENT_MUST_REATTEST: Reaction.REATTEST,
    Reason.AGENT_BANNED: Reaction.SHUT_DOWN,
}


class AgentBanned(PermissionDenied):
    """The server banned this agent. The daemon ends."""


class AttestationLost(PermissionDenied):
    """The server knows this agent no longer, and it cannot attest again by itself."""


def reaction_to(error: SpireError) -> Reaction:
    """What to do about an error of a call to the server.

    Only `PermissionDenied` with SPIRE's own details ever costs the agent its SVID: a proxy or a
    mistaken policy in between can refuse a call, too.
    """
    return _REACTIONS.get(permission_denied_reason(error), Reaction.TRY_AGAIN)
