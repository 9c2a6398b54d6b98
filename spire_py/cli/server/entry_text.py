"""A registration entry, as text (people parse it)."""

from __future__ import annotations

from collections.abc import Iterator

from spire_py._proto.spire.api import types_pb2 as types
from spire_py.cli.output import go_time, on_one_line
from spire_py.cli.server.api import id_to_text

_LABEL_WIDTH = 24


def entry_text(entry: types.Entry) -> str:
    """The lines of one entry; an empty line ends it."""
    lines = [f"{label:<{_LABEL_WIDTH}}: {on_one_line(value)}" for label, value in _fields(entry)]
    return "\n".join(lines) + "\n"


def _fields(entry: types.Entry) -> Iterator[tuple[str, object]]:
    yield "Entry ID", entry.id or "(none)"
    yield "SPIFFE ID", id_to_text(entry.spiffe_id) if entry.HasField("spiffe_id") else ""
    yield "Parent ID", id_to_text(entry.parent_id) if entry.HasField("parent_id") else ""
    yield "Revision", entry.revision_number
    if entry.downstream:
        yield "Downstream", "true"
    yield "X509-SVID TTL", entry.x509_svid_ttl or "default"
    yield "JWT-SVID TTL", entry.jwt_svid_ttl or "default"
    if entry.expires_at:
        yield "Expiration time", go_time(entry.expires_at)
    for selector in entry.selectors:
        yield "Selector", f"{selector.type}:{selector.value}"
    for trust_domain in entry.federates_with:
        yield "FederatesWith", trust_domain
    for dns_name in entry.dns_names:
        yield "DNS name", dns_name
    yield from _rare_fields(entry)


def _rare_fields(entry: types.Entry) -> Iterator[tuple[str, object]]:
    if entry.admin:
        yield "Admin", "true"
    if entry.store_svid:
        yield "StoreSvid", "true"
    if entry.hint:
        yield "Hint", entry.hint
    if entry.additional_attributes.disable_x509_svid_prefetch:
        yield "DisableX509SvidPrefetch", "true"
    if entry.additional_attributes.jwt_svid_include_jti:
        yield "JwtSvidIncludeJti", "true"
