"""Registration entries between model and wire (features N1 to N15).

`entry_from_pb` raises what SPIRE's API says after `failed to convert entry: `; the API layer adds
that prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.entry import Entry, seconds_to_time, time_to_seconds
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.dns_names import check_dns_name
from spire_py.wire.masks import Fields, fields_of
from spire_py.wire.selectors import selectors_from_pb, selectors_to_pb
from spire_py.wire.spiffe_ids import (
    id_to_pb,
    member_id_from_pb,
    workload_id_from_pb,
)
from spire_py.wire.status import prefixing

MAX_HINT_BYTES = 1024

ALL_FIELDS: Fields = frozenset(field.name for field in types_pb2.EntryMask.DESCRIPTOR.fields)
"""Every name an entry mask has: what an absent mask means."""

T = TypeVar("T")
Setter: TypeAlias = Callable[[types_pb2.Entry, Entry], None]


def entry_to_pb(entry: Entry, fields: Fields = ALL_FIELDS) -> types_pb2.Entry:
    """The entry as a message with its ID and the chosen fields only."""
    message = types_pb2.Entry(id=entry.id)
    for name in fields:
        _SETTERS[name](message, entry)
    return message


def entry_from_pb(
    message: types_pb2.Entry, trust_domain: TrustDomain, mask: types_pb2.EntryMask | None = None
) -> Entry:
    """Read and check an entry that a client wants created or changed.

    Fields outside the input mask are not looked at and stay empty; an ID outside it is the trust
    domain's own, as a placeholder. `revision_number` and `created_at` are the datastore's.

    Raises:
        InvalidArgument: a field in the mask is not acceptable.
    """
    fields = ALL_FIELDS if mask is None else fields_of(mask)
    given = types_pb2.Entry(id=message.id)
    given.CopyFrom(message)
    for name in ALL_FIELDS - fields:
        given.ClearField(name)
    parent_id = spiffe_id = trust_domain.id
    if "parent_id" in fields:
        parent = given.parent_id if given.HasField("parent_id") else None
        parent_id = _named("invalid parent ID", member_id_from_pb, parent, trust_domain)
    if "spiffe_id" in fields:
        own = given.spiffe_id if given.HasField("spiffe_id") else None
        spiffe_id = _named("invalid spiffe ID", workload_id_from_pb, own, trust_domain)
    dns_names = [_named("invalid DNS name", check_dns_name, name) for name in given.dns_names]
    federates_with = _trust_domains(given.federates_with)
    if "selectors" in fields and not given.selectors:
        raise InvalidArgument("selector list is empty")
    selectors = selectors_from_pb(given.selectors)
    if len(given.hint.encode()) > MAX_HINT_BYTES:
        raise InvalidArgument(f"hint is too long, max length is {MAX_HINT_BYTES} characters")
    return Entry(
        id=given.id,
        spiffe_id=spiffe_id,
        parent_id=parent_id,
        selectors=selectors,
        federates_with=federates_with,
        dns_names=tuple(dict.fromkeys(dns_names)),
        expires_at=_named("invalid expiration time", expiry_from_seconds, given.expires_at),
        **_plain_fields(given),
    )


def expiry_from_seconds(seconds: int) -> datetime | None:
    """The time an entry expires; None for 0.

    Raises:
        InvalidArgument: it lies before 1970 or beyond the year 9999.
    """
    try:
        if seconds < 0:
            raise InvalidArgument("out of range")
        return seconds_to_time(seconds)
    except (OverflowError, ValueError, OSError) as error:
        raise InvalidArgument("out of range") from error


def _plain_fields(message: types_pb2.Entry) -> dict[str, Any]:
    attributes = message.additional_attributes
    return {
        "x509_svid_ttl": timedelta(seconds=message.x509_svid_ttl),
        "jwt_svid_ttl": timedelta(seconds=message.jwt_svid_ttl),
        "admin": message.admin,
        "downstream": message.downstream,
        "store_svid": message.store_svid,
        "hint": message.hint,
        "disable_x509_svid_prefetch": attributes.disable_x509_svid_prefetch,
        "jwt_svid_include_jti": attributes.jwt_svid_include_jti,
    }


def _trust_domains(names: Iterable[str]) -> tuple[TrustDomain, ...]:
    named = {_named("invalid federated trust domain", TrustDomain.parse, name) for name in names}
    return tuple(sorted(named))


def _named(what: str, convert: Callable[..., T], *values: object) -> T:
    """Convert, and say what it was that could not be converted."""
    with prefixing(what):
        return convert(*values)


def _set_attributes(message: types_pb2.Entry, entry: Entry) -> None:
    if entry.disable_x509_svid_prefetch or entry.jwt_svid_include_jti:
        message.additional_attributes.disable_x509_svid_prefetch = entry.disable_x509_svid_prefetch
        message.additional_attributes.jwt_svid_include_jti = entry.jwt_svid_include_jti


def _plain(name: str, convert: Callable[[Any], object] | None = None) -> Setter:
    """A setter for a field that has the same name on both sides."""

    def set_field(message: types_pb2.Entry, entry: Entry) -> None:
        value = getattr(entry, name)
        setattr(message, name, convert(value) if convert else value)

    return set_field


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


_SETTERS: dict[str, Setter] = {
    "spiffe_id": lambda message, entry: message.spiffe_id.CopyFrom(id_to_pb(entry.spiffe_id)),
    "parent_id": lambda message, entry: message.parent_id.CopyFrom(id_to_pb(entry.parent_id)),
    "selectors": lambda message, entry: message.selectors.extend(selectors_to_pb(entry.selectors)),
    "federates_with": lambda message, entry: message.federates_with.extend(
        trust_domain.name for trust_domain in entry.federates_with
    ),
    "dns_names": lambda message, entry: message.dns_names.extend(entry.dns_names),
    "additional_attributes": _set_attributes,
    "x509_svid_ttl": _plain("x509_svid_ttl", _seconds),
    "jwt_svid_ttl": _plain("jwt_svid_ttl", _seconds),
    "expires_at": _plain("expires_at", time_to_seconds),
    "created_at": _plain("created_at", time_to_seconds),
    "admin": _plain("admin"),
    "downstream": _plain("downstream"),
    "store_svid": _plain("store_svid"),
    "hint": _plain("hint"),
    "revision_number": _plain("revision_number"),
}
