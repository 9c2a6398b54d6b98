"""Entries put together from their rows in four tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from spire_py.errors import SpireError
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.store import AnyRow, Query, chunks
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.wire.stored import attributes_from_stored

log = get_logger("sql")

_ALL_AT_ONCE = 5000
"""From so many entries on, whole tables are read and not the rows of each."""

_DEFAULT = timedelta()
_HALF_SECOND = timedelta(microseconds=500_000)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)

_ENTRIES = schema.entries.c
_COLUMNS = (
    _ENTRIES.id,
    _ENTRIES.entry_id,
    _ENTRIES.spiffe_id,
    _ENTRIES.parent_id,
    _ENTRIES.ttl,
    _ENTRIES.jwt_svid_ttl,
    _ENTRIES.admin,
    _ENTRIES.downstream,
    _ENTRIES.store_svid,
    _ENTRIES.expiry,
    _ENTRIES.hint,
    _ENTRIES.revision_number,
    _ENTRIES.created_at,
    _ENTRIES.additional_attributes,
)


def select_entries() -> Query:
    """The query whose rows `build_entries` takes."""
    return select(*_COLUMNS)


def fetch_entries(connection: Connection, entry_ids: Iterable[str]) -> list[Entry]:
    """The entries with these IDs, as far as they exist."""
    rows: list[AnyRow] = []
    for chunk in chunks(dict.fromkeys(entry_ids)):
        query = select_entries().where(_ENTRIES.entry_id.in_(chunk))
        rows.extend(connection.execute(query))
    return build_entries(connection, rows)


def load_entries(connection: Connection) -> list[Entry]:
    """All entries, oldest first. Their rows are not held in memory together."""
    parts = _Parts(connection, None)
    return _built(parts, connection.execute(select_entries().order_by(_ENTRIES.id)))


def build_entries(connection: Connection, rows: Sequence[AnyRow]) -> list[Entry]:
    """The entries of these rows, in their order.

    What cannot be read, or has no selectors, is left out with a warning: an entry with fewer
    selectors than it was made with would give its identity to more workloads.
    """
    return _built(_Parts(connection, [row.id for row in rows]), rows)


def _built(parts: _Parts, rows: Iterable[AnyRow]) -> list[Entry]:
    entries = []
    for row in rows:
        try:
            entry = parts.build(row)
        except (SpireError, ValueError, OverflowError) as error:
            log.warning("stored entry cannot be read", entry_id=row.entry_id, error=str(error))
            continue
        if entry.selectors:
            entries.append(entry)
        else:
            log.warning("stored entry has no selectors", entry_id=row.entry_id)
    return entries


class _Parts:
    """What belongs to a set of entries, or to all of them, in other tables, by row ID."""

    def __init__(self, connection: Connection, row_ids: Sequence[int] | None) -> None:
        self._selectors: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        self._dns_names: defaultdict[int, list[str]] = defaultdict(list)
        self._bundles: defaultdict[int, list[str]] = defaultdict(list)
        self._known_selectors: dict[tuple[str, str], Selector] = {}
        self._known_ids: dict[str, SpiffeID] = {}
        if row_ids is None or len(row_ids) > _ALL_AT_ONCE:
            self._load(connection, None)
            return
        for chunk in chunks(row_ids):
            self._load(connection, chunk)

    def build(self, row: AnyRow) -> Entry:
        row_id, entry_id, spiffe_id, parent_id, ttl, jwt_ttl = row[:6]
        admin, downstream, store_svid, expiry, hint, revision, created, attributes = row[6:]
        prefetch, jti = attributes_from_stored(attributes) if attributes else (False, False)
        domains = self._bundles.get(row_id)
        return Entry(
            id=entry_id,
            spiffe_id=self._id(spiffe_id),
            parent_id=self._id(parent_id),
            selectors=self._entry_selectors(row_id),
            x509_svid_ttl=timedelta(seconds=ttl) if ttl else _DEFAULT,
            jwt_svid_ttl=timedelta(seconds=jwt_ttl) if jwt_ttl else _DEFAULT,
            federates_with=tuple(sorted(map(TrustDomain.parse, domains))) if domains else (),
            admin=bool(admin),
            downstream=bool(downstream),
            store_svid=bool(store_svid),
            expires_at=_expiry(expiry) if expiry else None,
            dns_names=tuple(self._dns_names.get(row_id, ())),
            hint=hint or "",
            disable_x509_svid_prefetch=prefetch,
            jwt_svid_include_jti=jti,
            revision_number=revision or 0,
            created_at=rounded(created) if created else None,
        )

    def _load(self, connection: Connection, row_ids: Sequence[int] | None) -> None:
        selectors, names, links = schema.selectors.c, schema.dns_names.c, schema.entry_bundles.c
        query = select(selectors.registered_entry_id, selectors.type, selectors.value)
        for row_id, kind, value in _rows(connection, query, selectors.registered_entry_id, row_ids):
            self._selectors[row_id].append((kind or "", value or ""))
        query = select(names.registered_entry_id, names.value).order_by(names.id)
        for row_id, name in _rows(connection, query, names.registered_entry_id, row_ids):
            self._dns_names[row_id].append(name or "")
        query = select(links.registered_entry_id, schema.bundles.c.trust_domain).join(
            schema.bundles, schema.bundles.c.id == links.bundle_id
        )
        for row_id, name in _rows(connection, query, links.registered_entry_id, row_ids):
            self._bundles[row_id].append(name)

    def _entry_selectors(self, row_id: int) -> tuple[Selector, ...]:
        pairs = self._selectors.pop(row_id, [])
        pairs.sort()
        known = self._known_selectors
        found = []
        for pair in pairs:
            selector = known.get(pair)
            if selector is None:
                selector = known[pair] = Selector(*pair)
            found.append(selector)
        return tuple(found)

    def _id(self, text: str | None) -> SpiffeID:
        text = text or ""
        known = self._known_ids.get(text)
        if known is None:
            known = self._known_ids[text] = SpiffeID.parse(text)
        return known


def rounded(time: datetime) -> datetime:
    """The nearest whole second, as SPIRE gives `created_at` out."""
    return (time + _HALF_SECOND).replace(microsecond=0).astimezone(UTC)


def _rows(
    connection: Connection, query: Query, column: Any, row_ids: Sequence[int] | None
) -> Iterable[AnyRow]:
    return connection.execute(query if row_ids is None else query.where(column.in_(row_ids)))


def _expiry(seconds: int) -> datetime:
    """The time an entry expires; what a `datetime` cannot hold becomes the nearest that it can."""
    return datetime.fromtimestamp(min(max(seconds, 0), int(_LATEST.timestamp())), UTC)
