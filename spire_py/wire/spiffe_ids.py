"""SPIFFE IDs between model and wire, and what the API asks of each kind.

The messages are SPIRE's to the letter; a caller puts its own word before them, such as
`invalid spiffe ID: `.
"""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain

AGENT_PATH_PREFIX = "/spire/agent/"


def id_to_pb(spiffe_id: SpiffeID) -> types_pb2.SPIFFEID:
    """The ID as a message; its path has the leading slash."""
    return types_pb2.SPIFFEID(trust_domain=spiffe_id.trust_domain.name, path=spiffe_id.path)


def id_from_pb(message: types_pb2.SPIFFEID | None) -> SpiffeID:
    """Any valid ID. For an unset field of a message pass None.

    Raises:
        InvalidArgument: there is none, or it breaks a rule of SPIFFE IDs.
    """
    if message is None:
        raise InvalidArgument("request must specify SPIFFE ID")
    return SpiffeID(TrustDomain.parse(message.trust_domain), message.path)


def member_id_from_pb(message: types_pb2.SPIFFEID | None, trust_domain: TrustDomain) -> SpiffeID:
    """An ID with a path in our own trust domain, such as a parent ID.

    Raises:
        InvalidArgument: it is not.
    """
    return check_member(id_from_pb(message), trust_domain)


def agent_id_from_pb(message: types_pb2.SPIFFEID | None, trust_domain: TrustDomain) -> SpiffeID:
    """The ID of an agent of our own trust domain.

    Raises:
        InvalidArgument: it is not.
    """
    return check_agent(id_from_pb(message), trust_domain)


def workload_id_from_pb(message: types_pb2.SPIFFEID | None, trust_domain: TrustDomain) -> SpiffeID:
    """An ID a workload of our own trust domain may have: none below `/spire`.

    Raises:
        InvalidArgument: it is not.
    """
    return check_workload(id_from_pb(message), trust_domain)


def check_member(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if it is a member of the trust domain, with a path."""
    _check_trust_domain(spiffe_id, trust_domain)
    if not spiffe_id.path:
        raise _refusal(spiffe_id, trust_domain, "a member of", "path is empty")
    return spiffe_id


def check_agent(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if it is one of an agent of the trust domain."""
    _check_trust_domain(spiffe_id, trust_domain)
    if not spiffe_id.path:
        raise _refusal(spiffe_id, trust_domain, "an agent in", "path is empty")
    if not spiffe_id.path.startswith(AGENT_PATH_PREFIX):
        raise _refusal(spiffe_id, trust_domain, "an agent in", "path is not in the agent namespace")
    return spiffe_id


def check_workload(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> SpiffeID:
    """The ID itself, if a workload of the trust domain may have it."""
    _check_trust_domain(spiffe_id, trust_domain)
    if not spiffe_id.path:
        raise _refusal(spiffe_id, trust_domain, "a workload in", "path is empty")
    if spiffe_id.path == "/spire" or spiffe_id.path.startswith("/spire/"):
        raise _refusal(
            spiffe_id, trust_domain, "a workload in", "path is in the reserved namespace"
        )
    return spiffe_id


def _check_trust_domain(spiffe_id: SpiffeID, trust_domain: TrustDomain) -> None:
    if not spiffe_id.is_member_of(trust_domain):
        raise InvalidArgument(f'"{spiffe_id}" is not a member of trust domain "{trust_domain}"')


def _refusal(
    spiffe_id: SpiffeID, trust_domain: TrustDomain, what: str, why: str
) -> InvalidArgument:
    return InvalidArgument(f'"{spiffe_id}" is not {what} trust domain "{trust_domain}"; {why}')
