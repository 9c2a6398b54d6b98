"""Registration entries, between the wire and the model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.dns_name import check_dns_name
from spire_py.model.entry import Entry, time_to_seconds
from spire_py.model.spire_ids import check_member, check_workload
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.wire.ids import id_from_pb, id_to_pb, selectors_from_pb, selectors_to_pb

_MAX_HINT_BYTES = 1024
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def entry_to_pb(entry: Entry) -> types_pb2.Entry:
    """The whole entry; `wire.masks.apply_mask` takes away what was not asked for."""
    message = types_pb2.Entry(
        id=entry.id,
        spiffe_id=id_to_pb(entry.spiffe_id),
        parent_id=id_to_pb(entry.parent_id),
        selectors=selectors_to_pb(entry.selectors),
        x509_svid_ttl=int(entry.x509_svid_ttl.total_seconds()),
        federates_with=[domain.name for domain in entry.federates_with],
        admin=entry.admin,
        downstream=entry.downstream,
        expires_at=time_to_seconds(entry.expires_at),
        dns_names=entry.dns_names,
        revision_number=entry.revision_number,
        store_svid=entry.store_svid,
        jwt_svid_ttl=int(entry.jwt_svid_ttl.total_seconds()),
        hint=entry.hint,
        created_at=time_to_seconds(entry.created_at),
    )
    if entry.disable_x509_svid_prefetch or entry.jwt_svid_include_jti:
        message.additional_attributes.disable_x509_svid_prefetch = entry.disable_x509_svid_prefetch
        message.additional_attributes.jwt_svid_include_jti = entry.jwt_svid_include_jti
    return message


def entry_from_pb(
    message: types_pb2.Entry,
    trust_domain: TrustDomain,
    fields: frozenset[str] | None = None,
) -> Entry:
    """Read and check an entry that a client sent.

    Args:
        message: the entry.
        trust_domain: our own; the entry's ID and parent must be of it.
        fields: names of the fields that count, as in `EntryMask`; None for all. What does not
            count is left at its default, an ID at that of the trust domain.

    Raises:
        InvalidArgument: a field that counts breaks a rule; the words are SPIRE's.
    """

    def counts(name: str) -> bool:
        return fields is None or name in fields

    parent_id = spiffe_id = trust_domain.id
    if counts("parent_id"):
        parent_id = _parent_id(message, trust_domain)
    if counts("spiffe_id"):
        spiffe_id = _spiffe_id(message, trust_domain)
    if counts("selectors") and not message.selectors:
        raise InvalidArgument("selector list is empty")
    attributes = message.additional_attributes if counts("additional_attributes") else None
    return Entry(
        id=message.id,
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        selectors=selectors_from_pb(message.selectors) if counts("selectors") else (),
        x509_svid_ttl=timedelta(seconds=message.x509_svid_ttl * counts("x509_svid_ttl")),
        jwt_svid_ttl=timedelta(seconds=message.jwt_svid_ttl * counts("jwt_svid_ttl")),
        federates_with=_federates_with(message) if counts("federates_with") else (),
        admin=message.admin and counts("admin"),
        downstream=message.downstream and counts("downstream"),
        store_svid=message.store_svid and counts("store_svid"),
        expires_at=_expires_at(message) if counts("expires_at") else None,
        dns_names=_dns_names(message) if counts("dns_names") else (),
        hint=_hint(message) if counts("hint") else "",
        disable_x509_svid_prefetch=bool(attributes and attributes.disable_x509_svid_prefetch),
        jwt_svid_include_jti=bool(attributes and attributes.jwt_svid_include_jti),
    )


def _parent_id(message: types_pb2.Entry, trust_domain: TrustDomain) -> SpiffeID:
    try:
        parent = message.parent_id if message.HasField("parent_id") else None
        return check_member(trust_domain, id_from_pb(parent))
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid parent ID: {error.message}") from error


def _spiffe_id(message: types_pb2.Entry, trust_domain: TrustDomain) -> SpiffeID:
    try:
        spiffe_id = message.spiffe_id if message.HasField("spiffe_id") else None
        return check_workload(trust_domain, id_from_pb(spiffe_id))
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid spiffe ID: {error.message}") from error


def _federates_with(message: types_pb2.Entry) -> tuple[TrustDomain, ...]:
    try:
        return tuple(sorted({TrustDomain.parse(name) for name in message.federates_with}))
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid federated trust domain: {error.message}") from error


def _dns_names(message: types_pb2.Entry) -> tuple[str, ...]:
    try:
        return tuple(check_dns_name(name) for name in message.dns_names)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid DNS name: {error.message}") from error


def _hint(message: types_pb2.Entry) -> str:
    if len(message.hint.encode()) > _MAX_HINT_BYTES:
        raise InvalidArgument(f"hint is too long, max length is {_MAX_HINT_BYTES} characters")
    return message.hint


def _expires_at(message: types_pb2.Entry) -> datetime | None:
    if not message.expires_at:
        return None
    if not 0 < message.expires_at <= _LAST_SECOND:
        raise InvalidArgument("invalid expiration time")
    return datetime.fromtimestamp(message.expires_at, UTC)
