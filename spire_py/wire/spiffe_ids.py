"""SPIFFE IDs between model and wire, and what the API asks of each kind.

The messages are SPIRE's to the letter; a caller puts its own word before them, such as
`invalid spiffe ID: `.
"""

from __future__ import annotations

from functools import lru_cache

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import check_agent_id, check_member, check_workload_id


def id_to_pb(spiffe_id: SpiffeID) -> types_pb2.SPIFFEID:
    """The ID as a message; its path has the leading slash."""
    return types_pb2.SPIFFEID(trust_domain=spiffe_id.trust_domain.name, path=spiffe_id.path)


@lru_cache(maxsize=4096)
def _spiffe_id(trust_domain: str, path: str) -> SpiffeID:
    """IDs that come again and again, such as parents', are one object each."""
    return SpiffeID(_trust_domain(trust_domain), path)


_trust_domain = lru_cache(maxsize=256)(TrustDomain.parse)


def id_from_pb(message: types_pb2.SPIFFEID | None) -> SpiffeID:
    """Any valid ID. For an unset field of a message pass None.

    Raises:
        InvalidArgument: there is none, or it breaks a rule of SPIFFE IDs.
    """
    if message is None:
        raise InvalidArgument("request must specify SPIFFE ID")
    return _spiffe_id(message.trust_domain, message.path)


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
    return check_agent_id(id_from_pb(message), trust_domain)


def workload_id_from_pb(message: types_pb2.SPIFFEID | None, trust_domain: TrustDomain) -> SpiffeID:
    """An ID a workload of our own trust domain may have: none below `/spire`.

    Raises:
        InvalidArgument: it is not.
    """
    return check_workload_id(id_from_pb(message), trust_domain)
