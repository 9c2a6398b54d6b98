"""The IDs that SPIRE keeps for itself: `/spire` and everything below it."""

from __future__ import annotations

import json

from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import MAX_ID_BYTES, InvalidSpiffeID, SpiffeID, TrustDomain

SERVER_PATH = "/spire/server"

_RESERVED = "/spire"
_AGENT_PREFIX = "/spire/agent/"


def server_id(trust_domain: TrustDomain) -> SpiffeID:
    """The ID of the servers of a trust domain, `/spire/server`."""
    return SpiffeID(trust_domain, SERVER_PATH)


def agent_id(trust_domain: TrustDomain, suffix: str) -> SpiffeID:
    """The ID of an agent.

    Args:
        trust_domain: the server's own.
        suffix: the path below `/spire/agent`, such as `/join_token/abc`.

    Raises:
        InvalidSpiffeID: `suffix` is no path.
    """
    try:
        SpiffeID(trust_domain, suffix)
    except InvalidSpiffeID as error:
        raise InvalidSpiffeID(
            f"invalid agent path suffix {json.dumps(suffix)}: {error.message}"
        ) from error
    return SpiffeID(trust_domain, f"/spire/agent{suffix}")


def is_agent_path(path: str, attestation_type: str = "") -> bool:
    """Whether `path` is an agent's, and of this attestation type where one is given."""
    prefix = f"{_AGENT_PREFIX}{attestation_type}/" if attestation_type else _AGENT_PREFIX
    return path.startswith(prefix)


def is_reserved_path(path: str) -> bool:
    return path == _RESERVED or path.startswith(f"{_RESERVED}/")


def check_member(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if it is in `trust_domain`, has a path, and is not too long to be issued.

    Raises:
        InvalidArgument: it is not, in SPIRE's words.
    """
    return _check(spiffe_id, trust_domain, "a member of")


def check_workload_id(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if a workload of `trust_domain` may have it.

    Raises:
        InvalidArgument: it may not, in SPIRE's words.
    """
    _check(spiffe_id, trust_domain, "a workload in")
    if is_reserved_path(spiffe_id.path):
        raise InvalidArgument(
            f'"{spiffe_id}" is not a workload in trust domain "{trust_domain}"; '
            "path is in the reserved namespace"
        )
    return spiffe_id


def check_agent_id(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if it is an agent's in `trust_domain`.

    Raises:
        InvalidArgument: it is not, in SPIRE's words.
    """
    _check(spiffe_id, trust_domain, "an agent in")
    if not is_agent_path(spiffe_id.path):
        raise InvalidArgument(
            f'"{spiffe_id}" is not an agent in trust domain "{trust_domain}"; '
            "path is not in the agent namespace"
        )
    return spiffe_id


def _check(spiffe_id: SpiffeID, trust_domain: TrustDomain, role: str) -> SpiffeID:
    if not spiffe_id.is_member_of(trust_domain):
        raise InvalidArgument(f'"{spiffe_id}" is not a member of trust domain "{trust_domain}"')
    if spiffe_id.is_trust_domain:
        raise InvalidArgument(
            f'"{spiffe_id}" is not {role} trust domain "{trust_domain}"; path is empty'
        )
    if len(str(spiffe_id)) > MAX_ID_BYTES:
        raise InvalidArgument(f"SPIFFE ID is longer than {MAX_ID_BYTES} bytes")
    return spiffe_id
