"""The CA journal: what one server remembers of its own authorities (feature L13)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class AuthorityStatus(IntEnum):
    """The life of an authority; the numbers are those stored."""

    UNKNOWN = 0
    PREPARED = 2
    ACTIVE = 3
    OLD = 4


@dataclass(frozen=True, slots=True)
class X509CARecord:
    """An X.509 CA of this server. `slot_id` is `A` or `B`; `authority_id` the hex of its SKI."""

    slot_id: str
    issued_at: datetime
    not_after: datetime
    certificate: bytes
    authority_id: str
    status: AuthorityStatus
    upstream_chain: tuple[bytes, ...] = ()
    upstream_authority_id: str = ""


@dataclass(frozen=True, slots=True)
class JWTKeyRecord:
    """A JWT (or WIT) signing key of this server.

    `public_key` is DER; `authority_id` equals `key_id`.
    """

    slot_id: str
    issued_at: datetime
    not_after: datetime
    key_id: str
    public_key: bytes
    authority_id: str
    status: AuthorityStatus


@dataclass(frozen=True, slots=True)
class CAJournal:
    """The records of one server, oldest first, at most ten of each kind.

    `row` is None until stored.
    """

    row: int | None = None
    x509_cas: tuple[X509CARecord, ...] = ()
    jwt_keys: tuple[JWTKeyRecord, ...] = ()
    wit_keys: tuple[JWTKeyRecord, ...] = ()
    active_x509_authority_id: str = ""
    active_jwt_authority_id: str = ""
