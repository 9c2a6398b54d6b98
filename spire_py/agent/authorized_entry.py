"""Entries as the agent sees them: what a server says of the workloads this node may run."""

from __future__ import annotations

from dataclasses import dataclass

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID, TrustDomain

ENTRY_MASK = types_pb2.EntryMask(
    spiffe_id=True,
    selectors=True,
    federates_with=True,
    admin=True,
    downstream=True,
    revision_number=True,
    store_svid=True,
    hint=True,
    additional_attributes=True,
    created_at=True,
)
"""What the agent asks for. Parents, TTLs and DNS names are the server's own business."""


@dataclass(frozen=True, slots=True)
class AuthorizedEntry:
    """An entry this agent is entitled to. Always valid: it has an ID and at least one selector.

    `created_at` is in unix seconds, 0 where an old server does not tell.
    """

    id: str
    spiffe_id: SpiffeID
    selectors: frozenset[Selector]
    federates_with: tuple[TrustDomain, ...] = ()
    hint: str = ""
    revision_number: int = 0
    created_at: int = 0
    store_svid: bool = False
    disable_x509_svid_prefetch: bool = False
    jwt_svid_include_jti: bool = False

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidArgument("missing entry ID")
        if not self.selectors:
            raise InvalidArgument("selector list is empty")

    def is_current(self, revision_number: int, created_at: int) -> bool:
        """Whether the server still has this very entry.

        An entry that was deleted and made again under its old ID has a new time of creation.
        """
        if self.revision_number != revision_number:
            return False
        return not created_at or self.created_at == created_at

    def says_the_same(self, message: types_pb2.Entry) -> bool:
        """Whether `message` needs no second look.

        Federation is compared by itself, because the server drops links without a new revision.
        """
        return self.is_current(message.revision_number, message.created_at) and tuple(
            domain.name for domain in self.federates_with
        ) == tuple(message.federates_with)


def authorized_entry_from_pb(message: types_pb2.Entry) -> AuthorizedEntry:
    """Read an entry as a server sends it to agents.

    Raises:
        InvalidArgument: it has no ID or no selectors, or a value in it is malformed (feature O13).
    """
    if not message.id:
        raise InvalidArgument("missing entry ID")
    if not message.HasField("spiffe_id"):
        raise InvalidArgument("response missing SPIFFE ID")
    return AuthorizedEntry(
        id=message.id,
        spiffe_id=SpiffeID(TrustDomain(message.spiffe_id.trust_domain), message.spiffe_id.path),
        selectors=frozenset(Selector(item.type, item.value) for item in message.selectors),
        federates_with=tuple(TrustDomain.parse(name) for name in message.federates_with),
        hint=message.hint,
        revision_number=message.revision_number,
        created_at=message.created_at,
        store_svid=message.store_svid,
        disable_x509_svid_prefetch=message.additional_attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti=message.additional_attributes.jwt_svid_include_jti,
    )
