"""The places that SPIRE reserves among the SPIFFE IDs of a trust domain.

The wording of the refusals is SPIRE's, because clients see it.
"""

from __future__ import annotations

from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain

SERVER_PATH = "/spire/server"
_AGENTS = "/spire/agent/"


def server_id(trust_domain: TrustDomain) -> SpiffeID:
    return trust_domain.member(SERVER_PATH)


def is_agent_path(path: str, attestation_type: str = "") -> bool:
    """Whether an ID with this path is an agent's, of this attestation type if one is named."""
    prefix = f"{_AGENTS}{attestation_type}/" if attestation_type else _AGENTS
    return path.startswith(prefix)


def check_member(trust_domain: TrustDomain, spiffe_id: SpiffeID) -> SpiffeID:
    """The ID, if it is of this trust domain and has a path.

    Raises:
        InvalidArgument: it is not.
    """
    where = f'"{spiffe_id}" is not a member of trust domain "{trust_domain}"'
    if not spiffe_id.is_member_of(trust_domain):
        raise InvalidArgument(where)
    if not spiffe_id.path:
        raise InvalidArgument(f"{where}; path is empty")
    return spiffe_id


def check_workload(trust_domain: TrustDomain, spiffe_id: SpiffeID) -> SpiffeID:
    """The ID, if a workload of this trust domain may have it: nothing at or below `/spire`.

    Raises:
        InvalidArgument: it may not.
    """
    if not spiffe_id.is_member_of(trust_domain):
        raise InvalidArgument(f'"{spiffe_id}" is not a member of trust domain "{trust_domain}"')
    where = f'"{spiffe_id}" is not a workload in trust domain "{trust_domain}"'
    if not spiffe_id.path:
        raise InvalidArgument(f"{where}; path is empty")
    if spiffe_id.path == "/spire" or spiffe_id.path.startswith("/spire/"):
        raise InvalidArgument(f"{where}; path is in the reserved namespace")
    return spiffe_id


def check_agent(trust_domain: TrustDomain, spiffe_id: SpiffeID) -> SpiffeID:
    """The ID, if it is one of an agent of this trust domain.

    Raises:
        InvalidArgument: it is not.
    """
    if not spiffe_id.is_member_of(trust_domain):
        raise InvalidArgument(f'"{spiffe_id}" is not a member of trust domain "{trust_domain}"')
    where = f'"{spiffe_id}" is not an agent in trust domain "{trust_domain}"'
    if not spiffe_id.path:
        raise InvalidArgument(f"{where}; path is empty")
    if not is_agent_path(spiffe_id.path):
        raise InvalidArgument(f"{where}; path is not in the agent namespace")
    return spiffe_id
