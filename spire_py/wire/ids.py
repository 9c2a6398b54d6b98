"""SPIFFE IDs and selectors, between the wire and the model."""

from __future__ import annotations

from collections.abc import Iterable

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID, TrustDomain


def id_to_pb(spiffe_id: SpiffeID) -> types_pb2.SPIFFEID:
    return types_pb2.SPIFFEID(trust_domain=spiffe_id.trust_domain.name, path=spiffe_id.path)


def id_from_pb(message: types_pb2.SPIFFEID | None) -> SpiffeID:
    """The ID in a message; None stands for a field that is not set.

    Raises:
        InvalidArgument: it is missing or malformed, in the words of SPIRE.
    """
    if message is None:
        raise InvalidArgument("request must specify SPIFFE ID")
    return SpiffeID(TrustDomain.parse(message.trust_domain), message.path)


def selectors_to_pb(selectors: Iterable[Selector]) -> list[types_pb2.Selector]:
    return [types_pb2.Selector(type=item.type, value=item.value) for item in selectors]


def selectors_from_pb(messages: Iterable[types_pb2.Selector]) -> tuple[Selector, ...]:
    """The selectors, sorted and each once.

    Raises:
        InvalidArgument: one is malformed.
    """
    return tuple(sorted({Selector(item.type, item.value) for item in messages}))
