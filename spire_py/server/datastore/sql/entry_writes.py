"""Entries created, changed and deleted, within a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from spire_py.errors import Internal
from spire_py.model.entry import Entry, time_to_seconds
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.entry_checks import check_changed, check_ttls
from spire_py.server.datastore.sql.entry_rows import build_entries, select_entries
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import add_events, chunks
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.stored import attributes_to_stored

_ENTRIES = schema.entries.c

# Made once, because making a statement costs as much as running it.
_INSERT_ENTRIES = insert(schema.entries)
_INSERT_SELECTORS = insert(schema.selectors)
_ROW_IDS = select(_ENTRIES.entry_id, _ENTRIES.id).where(
    _ENTRIES.entry_id.in_(bindparam("ids", expanding=True))
)

_FIELDS_OF_MASK = {
    "additional_attributes": ("disable_x509_svid_prefetch", "jwt_svid_include_jti"),
}
"""The fields of an entry behind a name in a mask, where they differ."""

_NOT_CHANGED_BY_MASK = frozenset({"revision_number", "created_at"})


def insert_entries(connection: Connection, new: Sequence[Entry], now: datetime) -> None:
    """Write entries that have their IDs, with all that belongs to them, and tell of each.

    All trust domains they federate with must have bundles.
    """
    if not new:
        return
    connection.execute(
        _INSERT_ENTRIES,
        [
            {"created_at": now, "updated_at": now, "entry_id": entry.id} | _row(entry)
            for entry in new
        ],
    )
    row_ids: dict[str, int] = {}
    for chunk in chunks(entry.id for entry in new):
        row_ids.update((row[0], row[1]) for row in connection.execute(_ROW_IDS, {"ids": chunk}))
    _insert_parts(connection, [(row_ids[entry.id], entry) for entry in new], now)
    add_events(connection, schema.entry_events, (entry.id for entry in new), now)


def update_entry(
    connection: Connection, entry: Entry, mask: frozenset[str] | None, now: datetime
) -> Entry:
    """Change the fields that the mask names, all without one, and count the revision up.

    Raises:
        NotFound: there is no entry of this ID.
        InvalidArgument: what it would become is not acceptable.
        Internal: a trust domain it is to federate with has no bundle.
    """
    check_ttls(entry)
    row = connection.execute(
        select_entries().where(_ENTRIES.entry_id == entry.id).with_for_update()
    ).first()
    built = build_entries(connection, [row]) if row else []
    if row is None or not built:
        raise not_found()
    stored = built[0]
    changed = _merged(stored, entry, mask)
    check_changed(changed)
    connection.execute(
        update(schema.entries).where(_ENTRIES.id == row.id).values(updated_at=now, **_row(changed))
    )
    _replace_parts(connection, row.id, stored, changed, now)
    add_events(connection, schema.entry_events, [entry.id], now)
    return changed


def delete_entries(connection: Connection, rows: Iterable[Any], now: datetime) -> None:
    """Delete the entries of these rows, which have `id` and `entry_id`, and tell of each."""
    rows = list(rows)
    for chunk in chunks([row.id for row in rows]):
        for table, column in (
            (schema.entry_bundles, schema.entry_bundles.c.registered_entry_id),
            (schema.selectors, schema.selectors.c.registered_entry_id),
            (schema.dns_names, schema.dns_names.c.registered_entry_id),
            (schema.entries, _ENTRIES.id),
        ):
            connection.execute(delete(table).where(column.in_(chunk)))
    add_events(connection, schema.entry_events, (row.entry_id for row in rows), now)


def bundle_rows(connection: Connection, trust_domains: Iterable[TrustDomain]) -> dict[str, int]:
    """The row IDs of the bundles of these trust domains, as far as there are any."""
    bundles = schema.bundles.c
    found: dict[str, int] = {}
    for chunk in chunks(sorted({str(trust_domain.id) for trust_domain in trust_domains})):
        query = select(bundles.trust_domain, bundles.id).where(bundles.trust_domain.in_(chunk))
        found.update((row.trust_domain, row.id) for row in connection.execute(query))
    return found


def no_bundle(trust_domain: TrustDomain) -> Internal:
    """An entry is to federate with a trust domain that we have no bundle of."""
    return Internal(f'unable to find federated bundle "{trust_domain.id}"')


def _row(entry: Entry) -> dict[str, Any]:
    attributes = None
    if entry.disable_x509_svid_prefetch or entry.jwt_svid_include_jti:
        attributes = attributes_to_stored(
            disable_x509_svid_prefetch=entry.disable_x509_svid_prefetch,
            jwt_svid_include_jti=entry.jwt_svid_include_jti,
        )
    return {
        "spiffe_id": str(entry.spiffe_id),
        "parent_id": str(entry.parent_id),
        "ttl": int(entry.x509_svid_ttl.total_seconds()),
        "jwt_svid_ttl": int(entry.jwt_svid_ttl.total_seconds()),
        "admin": entry.admin,
        "downstream": entry.downstream,
        "expiry": time_to_seconds(entry.expires_at),
        "revision_number": entry.revision_number,
        "store_svid": entry.store_svid,
        "hint": entry.hint,
        "additional_attributes": attributes,
    }


def _insert_parts(connection: Connection, new: Sequence[tuple[int, Entry]], now: datetime) -> None:
    _insert_selectors(connection, new, now)
    _insert_dns_names(connection, new, now)
    _insert_links(connection, new)


def _insert_selectors(
    connection: Connection, new: Sequence[tuple[int, Entry]], now: datetime
) -> None:
    rows = [
        {
            "created_at": now,
            "updated_at": now,
            "registered_entry_id": row_id,
            "type": selector.type,
            "value": selector.value,
        }
        for row_id, entry in new
        for selector in entry.selectors
    ]
    if rows:
        connection.execute(_INSERT_SELECTORS, rows)


def _insert_dns_names(
    connection: Connection, new: Sequence[tuple[int, Entry]], now: datetime
) -> None:
    rows = [
        {"created_at": now, "updated_at": now, "registered_entry_id": row_id, "value": name}
        for row_id, entry in new
        for name in entry.dns_names
    ]
    if rows:
        connection.execute(insert(schema.dns_names), rows)


def _insert_links(connection: Connection, new: Sequence[tuple[int, Entry]]) -> None:
    bundles = bundle_rows(
        connection, (trust_domain for _, entry in new for trust_domain in entry.federates_with)
    )
    rows = []
    for row_id, entry in new:
        for trust_domain in entry.federates_with:
            bundle_id = bundles.get(str(trust_domain.id))
            if bundle_id is None:
                raise no_bundle(trust_domain)
            rows.append({"bundle_id": bundle_id, "registered_entry_id": row_id})
    if rows:
        connection.execute(insert(schema.entry_bundles), rows)


def _replace_parts(
    connection: Connection, row_id: int, stored: Entry, changed: Entry, now: datetime
) -> None:
    if changed.selectors != stored.selectors:
        selectors = schema.selectors
        connection.execute(delete(selectors).where(selectors.c.registered_entry_id == row_id))
        _insert_selectors(connection, [(row_id, changed)], now)
    if changed.dns_names != stored.dns_names:
        names = schema.dns_names
        connection.execute(delete(names).where(names.c.registered_entry_id == row_id))
        _insert_dns_names(connection, [(row_id, changed)], now)
    if changed.federates_with != stored.federates_with:
        links = schema.entry_bundles
        connection.execute(delete(links).where(links.c.registered_entry_id == row_id))
        _insert_links(connection, [(row_id, changed)])


def _merged(stored: Entry, wanted: Entry, mask: frozenset[str] | None) -> Entry:
    """The stored entry with the fields in the mask as they are wanted."""
    if mask is None:
        changes = {name: getattr(wanted, name) for name in _CHANGEABLE}
    else:
        changes = {
            field: getattr(wanted, field)
            for name in mask - _NOT_CHANGED_BY_MASK
            for field in _FIELDS_OF_MASK.get(name, (name,))
        }
    return replace(stored, revision_number=stored.revision_number + 1, **changes)


_CHANGEABLE = frozenset(Entry.__dataclass_fields__) - {"id", "revision_number", "created_at"}
